"""From a key's scores to its weights: one row after the other through one scale, one exponential, one running state."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Array, Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.attention.rescale import Rescale, ShiftedSums
from tilewright.rtl.delay import delayed
from tilewright.rtl.requantize import Requantize, requantize_latency
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.softmax_exponent import EXPONENTIAL_LATENCY, clipped, exponential, octave_shape, whole_eights

SCALED = signed(16)
MULTIPLIER_BITS = 24
STATE_LATENCY = 5
BIAS_LATENCY = 2


OCTAVE_LATENCY = EXPONENTIAL_LATENCY + STATE_LATENCY


def scale_latency(score_width: int) -> int:
    """Cycles from a row's turn to its scaled score."""
    return requantize_latency(acc_width=score_width, mode="rne", multiplier_bits=MULTIPLIER_BITS, split=False)


def weights_latency(*, score_width: int, weigh_latency: int, biased: bool) -> int:
    """Cycles from the cycle in which a key's scores are there to that in which its first row's weight is offered."""
    return 1 + scale_latency(score_width) + (BIAS_LATENCY if biased else 0) + weigh_latency


@dataclass(frozen=True)
class RunningTop:
    """What :func:`running_top` tells a cycle after a row came by; ``above`` means nothing where ``fresh``."""

    valid: Value
    row: Value
    visible: Value
    fresh: Value  # the row has seen nothing before
    above: Value  # how far the level is above the row's top


def running_top(m: Module, *, rows: int, valid: Value, row: Value, visible: Value, first: Value, level: Value) -> RunningTop:
    """Keep of each row the greatest ``level`` that was ``visible`` to it since ``first``; again after 2 cycles."""
    tops = Array(Signal(level.shape(), name=f"top_{k}", reset_less=True) for k in range(rows))
    seen = Array(Signal(name=f"seen_{k}", reset_less=True) for k in range(rows))
    above = delayed(m, level - tops[row], 1, "above")
    fresh_1, visible_1, level_1, first_1, row_1 = (delayed(m, value, 1, name) for value, name in (
        (first | ~seen[row], "fresh"), (visible, "visible"), (level, "level"), (first, "first"), (row, "row")))
    valid_1 = delayed(m, valid, 1, "valid", reset=True)
    with m.If(valid_1 & visible_1):
        m.d.sync += seen[row_1].eq(1)
        with m.If(fresh_1 | ~above[-1]):
            m.d.sync += tops[row_1].eq(level_1)
    with m.Elif(valid_1 & first_1):
        m.d.sync += seen[row_1].eq(0)
    return RunningTop(valid=valid_1, row=row_1, visible=visible_1, fresh=fresh_1, above=above)


class Exponential(wiring.Component):
    """``exp`` of a scaled score as mantissa and octave, EXPONENTIAL_LATENCY cycles later; see ``exponential``."""

    def __init__(self, *, fraction: int, mantissa_bits: int, table: Sequence[int], octave: str, target: str) -> None:
        self.fraction = fraction
        self.table = tuple(table)
        self.sign = 1 if octave == "below" else -1
        self.target = target
        super().__init__({"score": In(SCALED), "mantissa": Out(mantissa_bits + 1),
                          "octave": Out(octave_shape(SCALED.width, fraction))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mantissa, whole = exponential(Stages(m, Const(1, 1)), self.score, sign=self.sign, fraction=self.fraction,
                                      table=self.table, name="", target=self.target)
        m.d.comb += [self.mantissa.eq(mantissa), self.octave.eq(whole if self.sign > 0 else -whole)]
        return m


class RowState(wiring.Component):
    """Of each row the greatest octave so far and the sum of its weights relative to it.

    A row comes by with ``valid`` and its ``row`` number, again at the earliest after 4 cycles. Where it is ``visible``, its
    weight ``(mantissa << guard_bits) >> (top - octave)`` joins ``total``, which first goes down by ``drop`` octaves if the
    top rises. ``first`` begins a row: what it saw before is forgotten. STATE_LATENCY cycles later ``weight``, ``drop`` and
    ``total`` are there; all ones in ``drop`` stand for every number from there on, ``drop_max`` or more.
    """

    def __init__(self, *, rows: int, mantissa_bits: int, guard_bits: int, octave: Shape, total_width: int,
                 drop_max: int) -> None:
        self.rows = rows
        self.guard_bits = guard_bits
        self.octave_shape = octave
        self.total_width = total_width
        self.weight_width = mantissa_bits + 1 + guard_bits
        self.drop_max = drop_max
        self.drop_width = ceil_log2(drop_max + 1)
        super().__init__({
            "valid": In(1), "row": In(range(rows)), "visible": In(1), "first": In(1), "mantissa": In(mantissa_bits + 1),
            "octave": In(octave), "weight": Out(self.weight_width), "drop": Out(self.drop_width), "total": Out(total_width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        totals = Array(Signal(self.total_width, name=f"total_{k}", reset_less=True) for k in range(self.rows))

        def stage(value: Value, name: str, cycles: int = 1) -> Value:
            return delayed(m, value, cycles, name)

        # 1, 2: how far the octave is above the top, and the new top.
        top = running_top(m, rows=self.rows, valid=self.valid, row=self.row, visible=self.visible, first=self.first,
                          level=self.octave)
        rises = ~top.above[-1]
        down = Mux(top.fresh | ~rises | ~top.visible, 0, top.above.as_unsigned())
        under = Mux(top.fresh | rises, 0, (-top.above).as_unsigned())
        drop = stage(clipped(down, self.drop_max), "drop")
        distance = stage(clipped(under, self.weight_width), "distance")
        visible_2 = stage(top.visible, "visible_too")
        mantissa = stage(self.mantissa, "mantissa", 2)
        row_2 = stage(top.row, "row_too")
        fresh_2 = stage(top.fresh, "fresh_too")
        # 3, 4: the weight, by eights and by ones; the total of the keys before, likewise.
        raised = Cat(Const(0, self.guard_bits), mantissa) & visible_2.replicate(self.weight_width)
        coarse = stage(raised >> whole_eights(distance), "weight_by_eights")
        weight = stage(coarse >> stage(distance[:3], "fine_distance"), "weight")
        before = totals[row_2] & (~fresh_2).replicate(self.total_width)
        lowered = stage(before >> whole_eights(drop), "total_by_eights")
        lowered = stage(lowered >> stage(drop[:3], "fine_drop"), "lowered")
        # 5: the new total.
        row_4 = stage(row_2, "row_late", 2)
        total = Signal(self.total_width)
        m.d.comb += total.eq(lowered + weight)
        with m.If(delayed(m, top.valid, 3, "valid_late", reset=True)):
            m.d.sync += totals[row_4].eq(total)
        m.d.comb += [self.weight.eq(stage(weight, "weight_out")), self.drop.eq(stage(drop, "drop_out", 3)),
                     self.total.eq(stage(total, "total_out"))]
        return m


class KeyWeights(wiring.Component):
    """Scores of a key, all rows at once, to weights, one row per cycle.

    While ``valid``, ``scores`` and what belongs to them are taken; what the key does to row k is at ``entry``
    ``weights_latency(...) + k`` cycles later, while bit k of ``offer`` is high: its weight, how the sums before it come down
    (``rescale``), and the total of the weights. Keys come at least as many cycles apart as there are rows. ``biased``
    scores are ``clamp(scaled + added)``, where row k's ``added`` comes ``1 + k + scale_latency(score_width)`` cycles after
    ``valid``.

    With 2 ``passes`` all keys of a tile come twice, ``second`` is high the second time, and only then is there an entry. If it
    ``asks``, keys have entries at both times, and whether there is a second one is asked with the last key of the first:
    ``decided`` and ``repeat`` answer.
    """

    def __init__(self, *, rows: int, score_width: int, weight_width: int, total_width: int, rescale: Rescale,
                 weigh_latency: int, biased: bool, target: str, passes: int = 1, asks: bool = False) -> None:
        self.rows = rows
        self.score_width = score_width
        self.rescale = rescale
        self.target = target
        self.weigh_latency = weigh_latency
        self.biased = biased
        self.passes = passes
        self.answers = asks
        super().__init__({
            **({"added": In(SCALED)} if biased else {}), **({"second": In(1)} if passes == 2 else {}),
            **({"asks": In(1), "decided": Out(1), "repeat": Out(1)} if asks else {}),
            "valid": In(1), "scores": In(data.ArrayLayout(signed(score_width), rows)), "visible": In(rows), "first": In(1),
            "multiplier": In(MULTIPLIER_BITS), "shift": In(6), "offer": Out(rows),
            "entry": Out(data.StructLayout({"weight": weight_width, **rescale.fields, "total": total_width}))})

    @abstractmethod
    def weigh(self, m: Module, score: Value, turn: Value, visible: Value, first: Value, second: Value) -> Mapping[str, Value]:
        """The fields of ``entry``, ``weigh_latency`` cycles after a row's scaled ``score``; ``turn`` has the row's bit set."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.scale = scale = Requantize(acc_width=self.score_width, out_shape=SCALED, mode="rne", activation="none",
                                                multiplier_bits=MULTIPLIER_BITS, target=self.target)
        scores = [Signal(signed(self.score_width), name=f"score_{k}", reset_less=True) for k in range(self.rows)]
        visible = Signal(self.rows, reset_less=True)
        turn = Signal(self.rows)  # one-hot: the row in front
        first, multiplier, shift = (Signal.like(member, reset_less=True, name=f"key_{name}") for name, member in (
            ("first", self.first), ("multiplier", self.multiplier), ("shift", self.shift)))
        m.d.sync += [turn.eq(turn << 1), visible.eq(visible >> 1)]
        m.d.sync += [score.eq(behind) for score, behind in pairwise(scores)]
        with m.If(self.valid):
            m.d.sync += [turn.eq(1), visible.eq(self.visible), first.eq(self.first), multiplier.eq(self.multiplier),
                         shift.eq(self.shift), *(score.eq(self.scores[k]) for k, score in enumerate(scores))]
        m.d.comb += [scale.acc.eq(scores[0]), scale.multiplier.eq(multiplier), scale.shift.eq(shift)]
        score, latency = scale.result, scale.latency
        if self.biased:
            score, latency = self._biased(m, score), latency + BIAS_LATENCY
        turn_scaled = delayed(m, turn, latency, "turn", reset=True)
        second: Value = Const(1, 1)
        offered = turn_scaled
        if self.passes == 2:
            kept = Signal(reset_less=True, name="key_second")
            with m.If(self.valid):
                m.d.sync += kept.eq(self.second)
            second = delayed(m, kept, latency, "second")
            if not self.answers:
                offered = turn_scaled & second.replicate(self.rows)
        if self.answers:
            asked = Signal(reset_less=True, name="key_asks")
            with m.If(self.valid):
                m.d.sync += asked.eq(self.asks)
            self.asks_scaled = delayed(m, asked, latency, "asks")
        fields = self.weigh(m, score, turn_scaled, delayed(m, visible[0], latency, "visible"),
                            delayed(m, first, latency, "first"), second)
        m.d.comb += [self.offer.eq(delayed(m, offered, self.weigh_latency, "offer", reset=True)),
                     *(self.entry[name].eq(value) for name, value in fields.items())]
        return m

    def _biased(self, m: Module, score: Value) -> Value:
        total = delayed(m, score + self.added, 1, "biased")
        bound = Cat((~total[-1]).replicate(SCALED.width - 1), total[-1])
        return delayed(m, Mux(total[-1] == total[-2], total[:-1], bound).as_signed(), 1, "saturated")


class OctaveWeights(KeyWeights):
    """A row's weight is a mantissa, shifted down by how many octaves its score lies below the greatest octave so far."""

    def __init__(self, *, rows: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int,
                 table: Sequence[int], octave: str, total_width: int, value_width: int, target: str, biased: bool = False,
                 ) -> None:
        self.exponential = Exponential(fraction=fraction, mantissa_bits=mantissa_bits, table=table, octave=octave,
                                       target=target)
        drop_max = total_width + value_width
        self.state = RowState(rows=rows, mantissa_bits=mantissa_bits, guard_bits=guard_bits,
                              octave=octave_shape(SCALED.width, fraction), total_width=total_width, drop_max=drop_max)
        super().__init__(
            rows=rows, score_width=score_width, weight_width=self.state.weight_width, total_width=total_width,
            rescale=ShiftedSums(drop_max=drop_max), weigh_latency=OCTAVE_LATENCY, biased=biased, target=target)

    def weigh(self, m: Module, score: Value, turn: Value, visible: Value, first: Value, second: Value) -> Mapping[str, Value]:
        m.submodules.exponential = exponential = self.exponential
        m.submodules.row_state = state = self.state
        turn_late = delayed(m, turn, EXPONENTIAL_LATENCY, "turn_late", reset=True)
        m.d.comb += [
            exponential.score.eq(score), state.valid.eq(turn_late.any()), state.row.eq(row_index(turn_late)),
            state.mantissa.eq(exponential.mantissa), state.octave.eq(exponential.octave),
            state.visible.eq(delayed(m, visible, EXPONENTIAL_LATENCY, "visible_late")),
            state.first.eq(delayed(m, first, EXPONENTIAL_LATENCY, "first_late"))]
        return {"weight": state.weight, "drop": state.drop, "total": state.total}


def row_index(one_hot: Value) -> Value:
    """Which bit is set."""
    width = len(one_hot)
    return Cat(Cat(one_hot[k] for k in range(width) if k >> bit & 1).any() for bit in range(max(ceil_log2(width), 1)))
