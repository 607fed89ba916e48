"""An exact product wider than one multiplier block: chunks of 17 bits, then a tree of adders."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.multiply import Multiplier

# An 18 x 18 signed multiplier takes 17 unsigned bits; the signed top chunk may use all 18.
CHUNK_WIDTH = 17
MULTIPLIER_LATENCY = 2


@dataclass(frozen=True)
class Chunk:
    """Bits ``offset`` .. ``offset + width`` of an operand; only the top chunk of a signed one is signed."""

    offset: int
    width: int
    signed: bool

    def times(self, other: "Chunk") -> "Chunk":
        """Where their product lies; ``other`` is unsigned."""
        return Chunk(self.offset + other.offset, self.width + other.width, self.signed)


def split_operand(width: int, *, is_signed: bool) -> list[Chunk]:
    """The chunks of an operand, lowest first."""
    top = CHUNK_WIDTH + is_signed
    chunks, offset = [], 0
    while width - offset > top:
        chunks.append(Chunk(offset, CHUNK_WIDTH, False))
        offset += CHUNK_WIDTH
    return [*chunks, Chunk(offset, width - offset, is_signed)]


def _products(a_width: int, b_width: int) -> list[Chunk]:
    b_chunks = split_operand(b_width, is_signed=False)
    return [a.times(b) for a in split_operand(a_width, is_signed=True) for b in b_chunks]


def _pack(products: list[Chunk]) -> list[list[Chunk]]:
    """Products that do not overlap share a row; a signed one fills its row to the top."""
    rows: list[list[Chunk]] = []
    for product in sorted(products, key=lambda chunk: chunk.offset):
        for row in rows:
            if not row[-1].signed and row[-1].offset + row[-1].width <= product.offset:
                row.append(product)
                break
        else:
            rows.append([product])
    return rows


def wide_multiply_latency(a_width: int, b_width: int) -> int:
    """Latency of :class:`WideMultiply`: the multiplier's 2 cycles and one per level of adders."""
    return MULTIPLIER_LATENCY + ceil_log2(len(_pack(_products(a_width, b_width))))


class WideMultiply(wiring.Component):
    """``p(t + latency) = a(t) * b(t)``, exact; one product per cycle, no stall.

    One :class:`Multiplier` per pair of chunks. Partial products that do not overlap are one row of the
    sum; a registered tree adds the rows two by two. Latency is 2 + ceil(log2(rows)): 2 x 2 chunks
    are 3 rows, 3 x 2 chunks 4 rows, and a single multiplier 1.

    Parameters
    ----------
    a_width : int
        Width of the signed operand.
    b_width : int
        Width of the unsigned operand.
    target : str
    stalls : bool
        Passed on to :class:`Multiplier`.

    Members
    -------
    a : In(signed(a_width))    b : In(unsigned(b_width))    p : Out(signed(a_width + b_width))
    enable : In(1), only with ``stalls``
    """

    def __init__(self, *, a_width: int, b_width: int, target: str = "generic", stalls: bool = False) -> None:
        self.a_width = a_width
        self.b_width = b_width
        self.target = target
        self.stalls = stalls
        super().__init__({
            "a": In(signed(a_width)), "b": In(unsigned(b_width)), "p": Out(signed(a_width + b_width)),
            **({"enable": In(1)} if stalls else {})})

    @property
    def latency(self) -> int:
        return wide_multiply_latency(self.a_width, self.b_width)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        values: dict[Chunk, list[Value]] = {}
        for i, a in enumerate(split_operand(self.a_width, is_signed=True)):
            for j, b in enumerate(split_operand(self.b_width, is_signed=False)):
                m.submodules[f"multiplier_{i}_{j}"] = multiplier = Multiplier(
                    a_shape=signed(a.width) if a.signed else unsigned(a.width), b_shape=unsigned(b.width),
                    latency=MULTIPLIER_LATENCY, target=self.target, stalls=self.stalls)
                m.d.comb += [
                    multiplier.a.eq(self.a[a.offset:][:a.width]),
                    multiplier.b.eq(self.b[b.offset:][:b.width]),
                    multiplier.b_enable.eq(self.enable if self.stalls else 1),
                ]
                if self.stalls:
                    m.d.comb += multiplier.enable.eq(self.enable)
                product = a.times(b)
                bits = multiplier.p[:product.width]
                values.setdefault(product, []).append(
                    bits.as_signed() if product.signed else bits)
        rows = [self._row(row, values) for row in _pack(_products(self.a_width, self.b_width))]
        level = 0
        while len(rows) > 1:
            level += 1
            # In pairs from the last row on: with an odd count the first row, the longest, waits.
            pairs = [rows[max(0, end - 2):end] for end in range(len(rows), 0, -2)][::-1]
            rows = [self._registered_sum(m, pair, f"level_{level}_{k}") for k, pair in enumerate(pairs)]
        m.d.comb += self.p.eq(rows[0][1])
        return m

    @staticmethod
    def _row(row: list[Chunk], values: dict[Chunk, list[Value]]) -> tuple[int, Value]:
        """Offset of the row and its value from there on."""
        parts: list[Value] = []
        end = row[0].offset
        for chunk in row:
            parts += [Const(0, chunk.offset - end), values[chunk].pop()]
            end = chunk.offset + chunk.width
        bits = Cat(parts)
        return row[0].offset, bits.as_signed() if row[-1].signed else bits

    def _registered_sum(self, m: Module, rows: list[tuple[int, Value]], name: str) -> tuple[int, Value]:
        """One row or two as a row; bits of the first below the second pass beside the carry chain."""
        offset, value = rows[0]
        for other_offset, other in rows[1:]:
            apart = other_offset - offset
            added = (value >> apart) + other
            bits = Cat(value[:apart], added)
            value = bits.as_signed() if added.shape().signed else bits
        width = min(len(value), len(self.p) - offset)
        total = Signal(Shape(width, value.shape().signed), name=name, reset_less=True)
        m.d.sync += total.eq(value)
        return offset, total
