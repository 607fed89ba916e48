"""A function as a table and straight lines between its entries."""

import itertools
from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Value, signed, unsigned
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product

INTERPOLATE_LATENCY = 2 + PRODUCT_LATENCY + 1


def interpolated(
    stages: Stages, table: Sequence[int], index: Value, rest: Value, *, rounding: str = "floor", name: str = "curve",
    target: str = "generic",
) -> Value:
    """``table[index] + (table[index + 1] - table[index]) * rest / 2**len(rest)``, rounded, 6 stages later; signed.

    ``rounding`` is "floor", "half_up" or "ceiling". The table has one entry more than intervals, none of them negative;
    ``index`` stays below the number of intervals. One ROM, whose words hold where an interval starts and how far it
    rises, and one multiplier. Stages: ROM; its output register; product 3; sum.
    """
    starts = table[:-1]
    rises = [after - before for before, after in itertools.pairwise(table)]
    value_width = max(max(table).bit_length(), 1)
    rise_width = max(rise.bit_length() if rise >= 0 else (~rise).bit_length() for rise in rises) + 1
    words = [
        start | (rise & (1 << rise_width) - 1) << value_width for start, rise in zip(starts, rises, strict=True)]
    word = stages.table(words, index, f"{name}_intervals", shape=unsigned(value_width + rise_width))
    word = stages.stage(word, f"{name}_interval")
    start, rise = word[:value_width], word[value_width:].as_signed()
    rest_there = stages.stage(rest, f"{name}_rest", cycles=2)
    product = staged_product(stages, rise, rest_there, f"{name}_product", target=target)
    start = stages.stage(start, f"{name}_start", cycles=PRODUCT_LATENCY)
    if rounding == "floor":  # what is shifted out carries nothing: the chain begins above it
        total = start + (product >> len(rest))
    else:
        below_one = {"half_up": 1 << len(rest) >> 1, "ceiling": (1 << len(rest)) - 1}[rounding]
        total = Cat(Const(below_one, len(rest)), start) + product >> len(rest)
    return stages.stage(total, name, shape=signed(value_width + 1))
