"""Weights below a constant; a tile with a row that sees a score too far from it comes once more, below its running maximum."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.online_weights import MAXIMUM_LATENCY, RowMaximum, RowTotal, total_latency
from tilewright.rtl.attention.rescale import RestartedSums
from tilewright.rtl.attention.weights import BIAS_LATENCY, SCALED, KeyWeights, row_index, scale_latency
from tilewright.rtl.delay import delayed
from tilewright.rtl.units.distance_exponential import TERM_LATENCY, term
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.softmax_exponent import EXPONENTIAL_LATENCY, exponential

DISTANCE = signed(SCALED.width + 2)
FLAG_LATENCY = 2


def unified_latency(*, factor_width: int, total_width: int) -> int:
    """Cycles from a row's scaled score to its weight."""
    return MAXIMUM_LATENCY + SignedExponential.LATENCY + total_latency(weight_width=factor_width, total_width=total_width)


def verdict_latency(*, rows: int, score_width: int, biased: bool) -> int:
    """Cycles from the cycle in which a key's scores are there to that in which it is known whether its tile has a flag."""
    return rows + scale_latency(score_width) + (BIAS_LATENCY if biased else 0) + FLAG_LATENCY


class SignedExponential(wiring.Component):
    """``exp(-distance / 2**fraction)`` with ``unit_bits`` fraction bits, LATENCY cycles later.

    Up to ``rise_octaves`` octaves above 1 for a distance below 0; what is further above has no meaning. The arithmetic is
    that of ``exp`` of ``tilewright.rtl.units.exp``, shifts to the left where octaves are negative.
    """

    LATENCY = EXPONENTIAL_LATENCY + TERM_LATENCY

    def __init__(self, *, fraction: int, mantissa_bits: int, guard_bits: int, table: Sequence[int], rise_octaves: int,
                 target: str) -> None:
        self.fraction = fraction
        self.mantissa_bits = mantissa_bits
        self.guard_bits = guard_bits
        self.table = tuple(table)
        self.rise_octaves = rise_octaves
        self.target = target
        super().__init__({"distance": In(DISTANCE), "value": Out(mantissa_bits + guard_bits + 1 + rise_octaves)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stages = Stages(m, Const(1, 1))
        mantissa, whole = exponential(stages, self.distance, sign=1, fraction=self.fraction, table=self.table, name="",
                                      target=self.target)
        m.d.comb += self.value.eq(term(
            stages, mantissa, whole + self.rise_octaves, whole < self.mantissa_bits + self.guard_bits,
            self.guard_bits + self.rise_octaves, ""))
        return m


class UnifiedWeights(KeyWeights):
    """A row's weight is the exponential of how far its score lies above or below ``phi``.

    A row that sees a score outside of ``window`` above ``phi`` is flagged; scores, ``phi`` and ``window`` are in steps of
    ``2**-fraction``. ``decided`` is high ``verdict_latency(...)`` cycles after a key that ``asks``, the last of its tile, and
    ``repeat`` then tells whether a row is flagged. If so, all keys of the tile come again, with ``second``: to flagged rows
    they do what they do in ``OnlineWeights``, beginning anew; of the others the sums stay as they are.

    Reference: Hong et al., "FlashDecoding++", 2023.
    """

    def __init__(self, *, rows: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int,
                 table: Sequence[int], total_width: int, value_width: int, phi: int, window: tuple[int, int],
                 rise_octaves: int, target: str, biased: bool = False) -> None:
        factor_width = mantissa_bits + guard_bits + 1
        self.phi = phi
        self.window = window
        self.maximum = RowMaximum(rows=rows)
        self.exponential = SignedExponential(fraction=fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits,
                                             table=table, rise_octaves=rise_octaves, target=target)
        self.state = RowTotal(rows=rows, weight_width=factor_width + rise_octaves, factor_width=factor_width,
                              total_width=total_width, target=target)
        super().__init__(
            rows=rows, score_width=score_width, weight_width=factor_width + rise_octaves, total_width=total_width,
            rescale=RestartedSums(factor_width=factor_width, sum_width=total_width + value_width, target=target),
            weigh_latency=unified_latency(factor_width=factor_width, total_width=total_width), biased=biased, target=target,
            passes=2, asks=True)

    def weigh(self, m: Module, score: Value, turn: Value, visible: Value, first: Value, second: Value) -> Mapping[str, Value]:
        m.submodules.maximum = maximum = self.maximum
        m.submodules.exponential = exponential = self.exponential
        m.submodules.row_state = state = self.state
        flagged = self._flags(m, score, turn, visible, first, second)
        latency = MAXIMUM_LATENCY + exponential.LATENCY
        turn_late = delayed(m, turn, latency, "turn_late", reset=True)
        second_2, second_late = delayed(m, second, MAXIMUM_LATENCY, "second"), delayed(m, second, latency, "second_late")
        counts = ~second | flagged
        distance = delayed(m, Const(self.phi, DISTANCE) - score, MAXIMUM_LATENCY, "distance")
        begins = delayed(m, first & counts, latency, "begins")
        fresh = delayed(m, maximum.fresh, exponential.LATENCY, "fresh")
        counts_late = delayed(m, counts, latency, "counts")
        m.d.comb += [
            maximum.valid.eq(turn.any() & second), maximum.row.eq(row_index(turn)), maximum.visible.eq(visible),
            maximum.first.eq(first), maximum.score.eq(score), exponential.distance.eq(Mux(second_2, maximum.fall, distance)),
            state.valid.eq(turn_late.any()), state.row.eq(row_index(turn_late)),
            state.visible.eq(delayed(m, visible & counts, latency, "visible_late")),
            state.rises.eq(delayed(m, maximum.rises, exponential.LATENCY, "rises") & second_late),
            state.fresh.eq(Mux(second_late, fresh & counts_late, begins)), state.value.eq(exponential.value)]
        total = total_latency(weight_width=state.factor_width, total_width=state.total_width)
        return {"weight": state.weight, "factor": state.factor, "begins": delayed(m, begins, total, "begins_late"),
                "total": state.total}

    def _flags(self, m: Module, score: Value, turn: Value, visible: Value, first: Value, second: Value) -> Value:
        """Keeps which rows are flagged; returns whether the row whose turn it is."""
        flags = Signal(self.rows, reset_less=True)
        low, high = (self.phi + end for end in self.window)
        outside = delayed(m, ((score < low) | (score > high)) & visible, 1, "outside")
        first_1, turn_1 = delayed(m, first, 1, "first"), delayed(m, Mux(second, 0, turn), 1, "first_turn", reset=True)
        for k in range(self.rows):
            with m.If(turn_1[k]):
                m.d.sync += flags[k].eq((flags[k] & ~first_1) | outside)
        m.d.comb += [self.decided.eq(delayed(m, turn[-1] & self.asks_scaled, FLAG_LATENCY, "decided", reset=True)),
                     self.repeat.eq(flags.any())]
        return (flags & turn).any()
