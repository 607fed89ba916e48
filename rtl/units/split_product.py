"""A product wider than one multiplier block, inside a pipeline that stalls."""

from amaranth.hdl import Cat, Const, Value
from amaranth.utils import ceil_log2
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product
from tilewright.rtl.wide_multiply import split_operand


def split_product_latency(a_width: int, b_width: int) -> int:
    """Stages of :func:`split_product`: those of one product, and one per level of adders."""
    pieces = len(split_operand(a_width, is_signed=True)) * len(split_operand(b_width, is_signed=False))
    return PRODUCT_LATENCY + ceil_log2(pieces)


def split_product(stages: Stages, a: Value, b: Value, name: str, *, target: str = "generic") -> Value:
    """``a * b``, exact and signed, of a signed ``a`` and an unsigned ``b``; one product per pair of 17-bit pieces."""
    pieces = []
    for a_piece in split_operand(len(a), is_signed=True):
        for b_piece in split_operand(len(b), is_signed=False):
            a_bits = a[a_piece.offset:a_piece.offset + a_piece.width]
            b_bits = b[b_piece.offset:b_piece.offset + b_piece.width]
            product = staged_product(
                stages, a_bits.as_signed() if a_piece.signed else a_bits, b_bits,
                f"{name}_{a_piece.offset}_{b_piece.offset}", target=target)
            pieces.append((a_piece.offset + b_piece.offset, product))
    pieces.sort(key=lambda piece: piece[0])
    level = 0
    while len(pieces) > 1:
        level += 1
        pairs = [pieces[start:start + 2] for start in range(0, len(pieces), 2)]
        pieces = [_registered_sum(stages, pair, f"{name}_{level}_{place}") for place, pair in enumerate(pairs)]
    return pieces[0][1][:len(a) + len(b)].as_signed()


def _registered_sum(stages: Stages, pair: list[tuple[int, Value]], name: str) -> tuple[int, Value]:
    """One piece or two as one; bits of the first below the second pass beside the carry chain."""
    offset, low = pair[0]
    if len(pair) == 1:
        return offset, stages.stage(low, name)
    high_offset, high = pair[1]
    apart = high_offset - offset
    upper = (low >> apart) + high
    total = Cat(low[:apart], Const(0, max(apart - len(low), 0)), upper)
    return offset, stages.stage(total.as_signed() if upper.shape().signed else total, name)
