"""Weights below the greatest score of a row itself; where it rises, what was summed before is multiplied."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.attention.rescale import ScaledSums, rounded_sum
from tilewright.rtl.attention.weights import SCALED, KeyWeights, row_index, running_top
from tilewright.rtl.delay import delayed
from tilewright.rtl.units.exp import EXP_LATENCY, falling_exponential
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.wide_multiply import WideMultiply, wide_multiply_latency

MAXIMUM_LATENCY = 2


def total_latency(*, weight_width: int, total_width: int) -> int:
    """Of :class:`RowTotal`: selection, product and sum."""
    return 1 + wide_multiply_latency(total_width + 1, weight_width) + 1


def online_latency(*, weight_width: int, total_width: int) -> int:
    """Cycles from a row's scaled score to its weight."""
    return MAXIMUM_LATENCY + EXP_LATENCY + total_latency(weight_width=weight_width, total_width=total_width)


class RowMaximum(wiring.Component):
    """Of each row the greatest score so far, and how far it and the row's next score lie apart.

    A row comes by with ``valid`` and its ``row`` number, again at the earliest after 2 cycles; ``first`` begins a row. Two
    cycles later ``fall`` is the distance; ``rises`` tells that the score is the greatest now; ``fresh``, that it is the first
    one that the row sees, with a ``fall`` of 0. Where it is not ``visible`` the maximum stays.
    """

    def __init__(self, *, rows: int) -> None:
        self.rows = rows
        super().__init__({
            "valid": In(1), "row": In(range(rows)), "visible": In(1), "first": In(1), "score": In(SCALED),
            "fall": Out(SCALED.width), "rises": Out(1), "fresh": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        top = running_top(m, rows=self.rows, valid=self.valid, row=self.row, visible=self.visible, first=self.first,
                          level=self.score)
        rises = top.fresh | ~top.above[-1]
        fall = Mux(top.fresh, 0, Mux(rises, top.above, -top.above))
        m.d.comb += [self.fall.eq(delayed(m, fall[:SCALED.width], 1, "fall")), self.rises.eq(delayed(m, rises, 1, "rises")),
                     self.fresh.eq(delayed(m, top.fresh, 1, "fresh_too"))]
        return m


class Exponential(wiring.Component):
    """``exp(-fall / 2**fraction)`` with ``mantissa_bits + guard_bits`` fraction bits, LATENCY cycles later."""

    LATENCY = EXP_LATENCY

    def __init__(self, *, fraction: int, mantissa_bits: int, guard_bits: int, table: Sequence[int], target: str) -> None:
        self.fraction = fraction
        self.mantissa_bits = mantissa_bits
        self.guard_bits = guard_bits
        self.table = tuple(table)
        self.target = target
        super().__init__({"fall": In(SCALED.width), "value": Out(mantissa_bits + guard_bits + 1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.value.eq(falling_exponential(
            Stages(m, Const(1, 1)), self.fall, table=self.table, fraction_bits=self.fraction, octave_bits=self.fraction,
            table_bits=ceil_log2(len(self.table) - 1), value_bits=self.mantissa_bits, guard_bits=self.guard_bits,
            target=self.target))
        return m


class RowTotal(wiring.Component):
    """Of each row the sum of its weights.

    A row comes by with ``valid``, its ``row`` number and the exponential ``value`` of a distance, again at the earliest after
    4 cycles. Where it is ``visible`` and ``rises``, its weight is 1 and ``value`` the factor of what was summed before; where
    it does not rise, ``value`` is its weight and the factor 1. ``total_latency(...)`` cycles later ``weight``, ``factor`` and
    ``total``, now ``round(total * factor) + weight``, are there; ``fresh`` begins a total. A factor is 1 at most in
    ``factor_width`` bits, a weight that is no factor may be more, as many bits wider.
    """

    def __init__(self, *, rows: int, weight_width: int, factor_width: int, total_width: int, target: str) -> None:
        self.rows = rows
        self.weight_width = weight_width
        self.factor_width = factor_width
        self.total_width = total_width
        self.target = target
        super().__init__({
            "valid": In(1), "row": In(range(rows)), "visible": In(1), "rises": In(1), "fresh": In(1), "value": In(weight_width),
            "weight": Out(weight_width), "factor": Out(factor_width), "total": Out(total_width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = self.factor_width - 1
        totals = Array(Signal(self.total_width, name=f"total_{k}", reset_less=True) for k in range(self.rows))
        one = Const(1 << places, self.factor_width)
        weight = delayed(m, Mux(self.visible, Mux(self.rises, one, self.value), 0), 1, "weight")
        factor = delayed(m, Mux(self.visible & self.rises, self.value[:self.factor_width], one), 1, "factor")
        row, fresh = delayed(m, self.row, 1, "row"), delayed(m, self.fresh, 1, "fresh")
        m.submodules.rescale = rescale = WideMultiply(a_width=self.total_width + 1, b_width=self.factor_width,
                                                      target=self.target)
        product_latency = rescale.latency
        of_rows = [total & ((row == k) & ~fresh).replicate(self.total_width) for k, total in enumerate(totals)]
        late, row_late = delayed(m, weight, product_latency, "weight_late"), delayed(m, row, product_latency, "row_late")
        total = Signal(self.total_width)
        m.d.comb += [rescale.a.eq(Cat(reduce(or_, of_rows), Const(0, 1))), rescale.b.eq(factor),
                     total.eq(rounded_sum(rescale.p, places, late))]
        with m.If(delayed(m, self.valid, 1 + product_latency, "valid", reset=True)):
            m.d.sync += totals[row_late].eq(total)
        m.d.comb += [self.weight.eq(delayed(m, late, 1, "weight_out")),
                     self.factor.eq(delayed(m, factor, 1 + product_latency, "factor_out")),
                     self.total.eq(delayed(m, total, 1, "total_out"))]
        return m


class OnlineWeights(KeyWeights):
    """A row's weight is the exponential of how far its score lies below the greatest so far.

    Of the distance between the greatest score and the next one there is one exponential: where the next one is greater,
    it is the factor of what was summed before, and the weight is 1; else it is the weight, and the factor 1.
    """

    def __init__(self, *, rows: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int,
                 table: Sequence[int], total_width: int, value_width: int, target: str, biased: bool = False) -> None:
        weight_width = mantissa_bits + guard_bits + 1
        self.maximum = RowMaximum(rows=rows)
        self.exponential = Exponential(fraction=fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits, table=table,
                                       target=target)
        self.state = RowTotal(rows=rows, weight_width=weight_width, factor_width=weight_width, total_width=total_width,
                              target=target)
        super().__init__(
            rows=rows, score_width=score_width, weight_width=weight_width, total_width=total_width,
            rescale=ScaledSums(factor_width=weight_width, sum_width=total_width + value_width, target=target),
            weigh_latency=online_latency(weight_width=weight_width, total_width=total_width), biased=biased, target=target)

    def weigh(self, m: Module, score: Value, turn: Value, visible: Value, first: Value, second: Value) -> Mapping[str, Value]:
        m.submodules.maximum = maximum = self.maximum
        m.submodules.exponential = exponential = self.exponential
        m.submodules.row_state = state = self.state
        turn_late = delayed(m, turn, MAXIMUM_LATENCY + EXP_LATENCY, "turn_late", reset=True)
        m.d.comb += [
            maximum.valid.eq(turn.any()), maximum.row.eq(row_index(turn)), maximum.visible.eq(visible),
            maximum.first.eq(first), maximum.score.eq(score), exponential.fall.eq(maximum.fall),
            state.valid.eq(turn_late.any()), state.row.eq(row_index(turn_late)),
            state.visible.eq(delayed(m, visible, MAXIMUM_LATENCY + EXP_LATENCY, "visible_late")),
            state.rises.eq(delayed(m, maximum.rises, EXP_LATENCY, "rises")),
            state.fresh.eq(delayed(m, maximum.fresh, EXP_LATENCY, "fresh")), state.value.eq(exponential.value)]
        return {"weight": state.weight, "factor": state.factor, "total": state.total}
