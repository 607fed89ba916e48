"""How the sums of a row come down to what its weights now refer to: by a shift, by a product, or not at all.

``LOOP`` is from the address of a sum to the earliest one that finds what was added, ``LAG`` how long a sum is read behind the
step that adds to it: nothing is done to it meanwhile, and the product is not there before.
"""

from collections.abc import Callable, Mapping

from amaranth.hdl import Cat, Const, Module, Value
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.delay import delayed
from tilewright.rtl.units.softmax_exponent import whole_eights
from tilewright.rtl.wide_multiply import WideMultiply, wide_multiply_latency

# (sum before, product that joins it, lane) -> sum
Adder = Callable[[Value, Value, int], Value]


class ShiftedSums:
    """Down by ``drop`` octaves, an arithmetic shift by up to ``drop_max`` or more; two cycles."""

    LOOP = 5
    LAG = 0

    def __init__(self, *, drop_max: int) -> None:
        self.fields: Mapping[str, int] = {"drop": ceil_log2(drop_max + 1)}

    def adder(self, m: Module, entry: data.View) -> Adder:
        """Adds to a sum that is there LAG + 1 cycles after ``entry``; the product comes LAG + LOOP - 2 cycles after it."""
        drop = delayed(m, entry.drop, 1, "drop")
        fine = delayed(m, drop[:3], 1, "fine_drop")

        def added(before: Value, product: Value, lane: int) -> Value:
            coarse = delayed(m, before >> whole_eights(drop), 1, f"by_eights_{lane}")
            return delayed(m, coarse >> fine, 1, f"lowered_{lane}") + product

        return added


class ScaledSums:
    """Times ``factor``, 1 at most in ``factor_width - 1`` fraction bits, to nearest, halves up; three cycles."""

    LOOP = 6
    LAG = 0

    def __init__(self, *, factor_width: int, sum_width: int, target: str) -> None:
        if wide_multiply_latency(sum_width, factor_width) != self.LOOP - 3:
            raise ValueError(f"sums of {sum_width} bits times {factor_width} do not take {self.LOOP - 3} cycles")
        self.places = factor_width - 1
        self.target = target
        self.fields: Mapping[str, int] = {"factor": factor_width}

    def adder(self, m: Module, entry: data.View) -> Adder:
        """As that of :class:`ShiftedSums`."""
        factor = delayed(m, entry.factor, 1, "factor")

        def added(before: Value, product: Value, lane: int) -> Value:
            multiplier = WideMultiply(a_width=len(before), b_width=len(factor), target=self.target)
            m.submodules[f"rescale_{lane}"] = multiplier
            m.d.comb += [multiplier.a.eq(before), multiplier.b.eq(factor)]
            return rounded_sum(multiplier.p, self.places, product)

        return added


class RestartedSums(ScaledSums):
    """As :class:`ScaledSums`; where a sum ``begins`` is told with the factor, not with the key: to some rows it may be anew."""

    def __init__(self, *, factor_width: int, sum_width: int, target: str) -> None:
        super().__init__(factor_width=factor_width, sum_width=sum_width, target=target)
        self.fields = {**self.fields, "begins": 1}


class PlainSums:
    """Not at all: what the weights of a row refer to is known before the first of them."""

    LOOP = 3
    LAG = 2

    def __init__(self) -> None:
        self.fields: Mapping[str, int] = {}

    def adder(self, m: Module, entry: data.View) -> Adder:
        """As that of :class:`ShiftedSums`."""
        return lambda before, product, lane: before + product


Rescale = ShiftedSums | ScaledSums | PlainSums


def rounded_sum(product: Value, places: int, added: Value) -> Value:
    """``((product + 2**(places - 1)) >> places) + added``, signed: the rounding is a carry into the sum's own chain."""
    carry = Cat(product[places - 1], added)
    return (Cat(Const(1, 1), product[places:]).as_signed() + (carry.as_signed() if added.shape().signed else carry)) >> 1
