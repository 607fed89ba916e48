"""Weights below the greatest score of all keys that a row sees, which a pass over the keys has found before."""

from collections.abc import Mapping
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.online_weights import Exponential
from tilewright.rtl.attention.rescale import PlainSums
from tilewright.rtl.attention.weights import SCALED, KeyWeights, row_index, running_top
from tilewright.rtl.delay import delayed
from tilewright.rtl.units.i_exp import OCTAVE_LATENCY, PARABOLA_LATENCY, parabola
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.softmax_exponent import whole_eights

PARABOLA_BITS = 15  # of I-BERT's exponentials: 16 with a sign
DISTANCE_LATENCY = 2
SUM_LATENCY = 2


def maximum_first_latency(*, exponential_latency: int) -> int:
    """Cycles from a row's scaled score to its weight."""
    return DISTANCE_LATENCY + exponential_latency + SUM_LATENCY


class ParabolaExponential(wiring.Component):
    """``floor(polynomial * 2**(15 - n - octave))``, n the bits of ``constant``, LATENCY cycles after ``fall``.

    Polynomial and octave are those of :func:`tilewright.rtl.units.i_exp.parabola`. One multiplier.

    Reference: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, algorithm 3; its requantization to 16 bits, of
    which one is the sign, with a power of two for its scale.
    """

    LATENCY = PARABOLA_LATENCY + 2

    def __init__(self, *, ln2: int, linear: int, constant: int, target: str) -> None:
        self.ln2 = ln2
        self.linear = linear
        self.constant = constant
        self.target = target
        super().__init__({"fall": In(SCALED.width), "value": Out(PARABOLA_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stages = Stages(m, Const(1, 1))
        polynomial, octave = parabola(stages, self.fall, ln2=self.ln2, linear=self.linear, constant=self.constant,
                                      target=self.target)
        places = stages.stage(octave, "places", cycles=PARABOLA_LATENCY - OCTAVE_LATENCY)
        leading = polynomial[self.constant.bit_length() - PARABOLA_BITS:]
        coarse = stages.stage(leading >> whole_eights(places), "by_eights")
        m.d.comb += self.value.eq(stages.stage(coarse >> stages.stage(places[:3], "fine"), "value"))
        return m


class RowDistance(wiring.Component):
    """Of each row the greatest score so far, and how far the row's next score lies below it.

    A row comes by with ``valid`` and its ``row`` number, again at the earliest after 2 cycles; ``first`` begins a row.
    DISTANCE_LATENCY cycles later ``fall`` is the distance, if the maximum is not below the score. Where the score is not
    ``visible`` the maximum stays.
    """

    def __init__(self, *, rows: int) -> None:
        self.rows = rows
        super().__init__({
            "valid": In(1), "row": In(range(rows)), "visible": In(1), "first": In(1), "score": In(SCALED),
            "fall": Out(SCALED.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        top = running_top(m, rows=self.rows, valid=self.valid, row=self.row, visible=self.visible, first=self.first,
                          level=self.score)
        m.d.comb += self.fall.eq(delayed(m, (-top.above)[:SCALED.width], 1, "fall"))
        return m


class RowSum(wiring.Component):
    """Of each row the sum of its weights.

    A row comes by with ``valid``, its ``row`` number and a ``value``, again at the earliest after 2 cycles. Where it is
    ``visible`` the value is its weight, else 0 is. SUM_LATENCY cycles later ``weight`` and ``total`` are there; ``first``
    begins a total.
    """

    def __init__(self, *, rows: int, weight_width: int, total_width: int) -> None:
        self.rows = rows
        self.weight_width = weight_width
        self.total_width = total_width
        super().__init__({
            "valid": In(1), "row": In(range(rows)), "visible": In(1), "first": In(1), "value": In(weight_width),
            "weight": Out(weight_width), "total": Out(total_width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        totals = Array(Signal(self.total_width, name=f"total_{k}", reset_less=True) for k in range(self.rows))
        of_rows = [total & ((self.row == k) & ~self.first).replicate(self.total_width) for k, total in enumerate(totals)]
        before = delayed(m, reduce(or_, of_rows), 1, "before")
        weight = delayed(m, Mux(self.visible, self.value, 0), 1, "weight")
        row, valid = delayed(m, self.row, 1, "row"), delayed(m, self.valid, 1, "valid", reset=True)
        total = Signal(self.total_width)
        m.d.comb += total.eq(before + weight)
        with m.If(valid):
            m.d.sync += totals[row].eq(total)
        m.d.comb += [self.weight.eq(delayed(m, weight, 1, "weight_out")), self.total.eq(delayed(m, total, 1, "total_out"))]
        return m


class MaximumFirstWeights(KeyWeights):
    """A row's weight is the exponential of how far its score lies below the greatest one of its tile's keys.

    The first time a key only raises the maximum; its second time follows behind the first times of all others in the same
    pipe, so the maximum is whole by then, and no cycle lies between the two passes.
    """

    def __init__(self, *, rows: int, score_width: int, exponential: Exponential | ParabolaExponential, total_width: int,
                 target: str, biased: bool = False) -> None:
        self.maximum = RowDistance(rows=rows)
        self.exponential = exponential
        weight_width = len(exponential.value)
        self.state = RowSum(rows=rows, weight_width=weight_width, total_width=total_width)
        super().__init__(
            rows=rows, score_width=score_width, weight_width=weight_width, total_width=total_width, rescale=PlainSums(),
            weigh_latency=maximum_first_latency(exponential_latency=exponential.LATENCY), biased=biased, target=target,
            passes=2)

    def weigh(self, m: Module, score: Value, turn: Value, visible: Value, first: Value, second: Value) -> Mapping[str, Value]:
        m.submodules.maximum = maximum = self.maximum
        m.submodules.exponential = exponential = self.exponential
        m.submodules.row_state = state = self.state
        latency = DISTANCE_LATENCY + exponential.LATENCY
        turn_late = delayed(m, turn & second.replicate(len(turn)), latency, "turn_late", reset=True)
        m.d.comb += [
            maximum.valid.eq(turn.any()), maximum.row.eq(row_index(turn)), maximum.visible.eq(visible),
            maximum.first.eq(first & ~second), maximum.score.eq(score), exponential.fall.eq(maximum.fall),
            state.valid.eq(turn_late.any()), state.row.eq(row_index(turn_late)),
            state.visible.eq(delayed(m, visible, latency, "visible_late")),
            state.first.eq(delayed(m, first, latency, "first_late")), state.value.eq(exponential.value)]
        return {"weight": state.weight, "total": state.total}
