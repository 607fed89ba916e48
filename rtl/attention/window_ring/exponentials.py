"""From the scores of all cores to their weights: cores share exponentials, each of which takes one core a cycle."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.attention.weights import MULTIPLIER_BITS, SCALED, Exponential
from tilewright.rtl.delay import delayed, delayed_in_memory
from tilewright.rtl.hierarchy import shared
from tilewright.rtl.requantize import Requantize, requantize_latency
from tilewright.rtl.units.lane_tree import larger, tree
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.softmax_exponent import EXPONENTIAL_LATENCY, clipped, octave_shape, whole_eights

WEIGHT_LATENCY = 3  # from an octave and the greatest one to the weight


@dataclass(frozen=True)
class WeightsTiming:
    """How cores share exponentials, and cycles from a query's scores on."""

    units: int       # exponentials
    share: int       # cores that take turns at one of them
    octaves_at: int  # to the octave of the first core
    wait: int        # from an octave to the use of the greatest one
    weights_at: int  # to the weight of the first core
    total_at: int    # to their sum


def weights_timing(*, cores: int, shared_by: int, score_width: int) -> WeightsTiming:
    """Of ``cores`` cores of which ``shared_by`` may share an exponential."""
    units = -(-cores // shared_by)
    share = -(-cores // units)
    levels = ceil_log2(units)
    scale = requantize_latency(acc_width=score_width, mode="rne", multiplier_bits=MULTIPLIER_BITS, split=False)
    octaves_at = 1 + scale + EXPONENTIAL_LATENCY
    wait = share + levels + 1
    weights_at = octaves_at + wait + WEIGHT_LATENCY
    return WeightsTiming(units, share, octaves_at, wait, weights_at, weights_at + share + levels)


class SharedExponential(wiring.Component):
    """The exponentials of ``share`` cores, one core a cycle, and their weights once the query's greatest octave is known.

    ``valid`` takes the cores' ``scores`` and which of them have a key (``held``), ``share`` cycles apart at least. ``share``
    cycles after the first of them has its octave ``highest`` is the greatest of those held. ``top`` must be that of all cores
    from ``wait`` cycles after the first octave on, ``share`` cycles long. WEIGHT_LATENCY cycles after that bit k of ``offer``
    tells that ``weight`` is core k's, 0 where it holds no key, core by core; the cycle behind the last of them ``total`` is
    their sum.
    """

    def __init__(self, *, share: int, wait: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int,
                 table: Sequence[int], target: str) -> None:
        self.share = share
        self.wait = wait
        self.score_width = score_width
        self.guard_bits = guard_bits
        self.octave = octave_shape(SCALED.width, fraction)
        self.weight_width = mantissa_bits + guard_bits + 1
        self.target = target
        self.exponential = Exponential(fraction=fraction, mantissa_bits=mantissa_bits, table=table, octave="below",
                                       target=target)
        super().__init__({
            "valid": In(1), "scores": In(data.ArrayLayout(signed(score_width), share)), "held": In(share),
            "multiplier": In(MULTIPLIER_BITS), "shift": In(6), "highest": Out(self.octave), "top": In(self.octave),
            "offer": Out(share), "weight": Out(self.weight_width), "total": Out(self.weight_width + ceil_log2(share))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.scale = scale = Requantize(acc_width=self.score_width, out_shape=SCALED, mode="rne", activation="none",
                                                multiplier_bits=MULTIPLIER_BITS, target=self.target)
        m.submodules.exponential = exponential = self.exponential
        scores = [Signal(signed(self.score_width), name=f"score_{k}", reset_less=True) for k in range(self.share)]
        held = Signal(self.share, reset_less=True)
        turn = Signal(self.share)  # one-hot: the core in front
        m.d.sync += [turn.eq(turn << 1), held.eq(held >> 1)]
        m.d.sync += [score.eq(behind) for score, behind in pairwise(scores)]
        with m.If(self.valid):
            m.d.sync += [turn.eq(1), held.eq(self.held), *(score.eq(self.scores[k]) for k, score in enumerate(scores))]
        m.d.comb += [scale.acc.eq(scores[0]), scale.multiplier.eq(self.multiplier), scale.shift.eq(self.shift),
                     exponential.score.eq(scale.result)]
        latency = scale.latency + EXPONENTIAL_LATENCY
        first, holds = delayed(m, turn[0], latency, "first", reset=True), delayed(m, held[0], latency, "holds")
        lowest = Const(-(1 << self.octave.width - 1), self.octave)
        candidate = Mux(holds, exponential.octave, lowest)
        m.d.sync += self.highest.eq(Mux(first, candidate, larger(self.highest, candidate)))
        # Each core once more, when all octaves are known.
        kept = exponential.mantissa & holds.replicate(len(exponential.mantissa))
        late = delayed_in_memory(m, Cat(kept, exponential.octave), self.wait, "late")
        mantissa, octave = late[:len(kept)], late[len(kept):].as_signed()
        weight = self._weight(m, mantissa, octave)
        offer, behind = Signal(self.share), Signal(self.share)
        m.d.comb += offer.eq(behind << 1 | delayed(m, first, self.wait + WEIGHT_LATENCY, "first_late", reset=True))
        m.d.sync += [behind.eq(offer), self.total.eq(Mux(offer[0], 0, self.total) + weight)]
        m.d.comb += [self.offer.eq(offer), self.weight.eq(weight)]
        return m

    def _weight(self, m: Module, mantissa: Value, octave: Value) -> Value:
        """``(mantissa << guard_bits) >> (top - octave)``, shifted by eights first."""
        below = (self.top - octave).as_unsigned()  # of a core without a key any number: its mantissa is 0
        distance = delayed(m, clipped(below, self.weight_width), 1, "distance")
        raised = Cat(Const(0, self.guard_bits), delayed(m, mantissa, 1, "mantissa"))
        coarse = delayed(m, raised >> whole_eights(distance), 1, "by_eights")
        return delayed(m, coarse >> delayed(m, distance[:3], 1, "fine_distance"), 1, "weight")


class RingWeights(wiring.Component):
    """Scores of all cores to their weights; ``shared_by`` cores at most take turns at one exponential.

    ``valid`` takes ``scores`` of a query, and which of them count (``held``), ``shared_by`` cycles apart at least.
    Bit k of ``offer``, from ``weights_at`` cycles later on turn by turn, tells that ``weights[u]`` is that of core
    ``u * share + k``; ``total_at`` cycles after ``valid`` their sum is there and ``total_valid`` high.
    """

    def __init__(self, *, cores: int, shared_by: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int,
                 table: Sequence[int], total_width: int, target: str) -> None:
        self.cores = cores
        self.timing = weights_timing(cores=cores, shared_by=shared_by, score_width=score_width)
        self.units = self.timing.units
        self.share = self.timing.share
        self.score_width = score_width
        self.fraction = fraction
        self.mantissa_bits = mantissa_bits
        self.guard_bits = guard_bits
        self.table = tuple(table)
        self.target = target
        super().__init__({
            "valid": In(1), "scores": In(data.ArrayLayout(signed(score_width), cores)), "held": In(cores),
            "multiplier": In(MULTIPLIER_BITS), "shift": In(6), "offer": Out(self.share),
            "weights": Out(data.ArrayLayout(mantissa_bits + guard_bits + 1, self.units)), "total": Out(total_width),
            "total_valid": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        multiplier, shift = (Signal.like(member, name=f"query_{name}", reset_less=True)
                             for name, member in (("multiplier", self.multiplier), ("shift", self.shift)))
        with m.If(self.valid):
            m.d.sync += [multiplier.eq(self.multiplier), shift.eq(self.shift)]
        units = []
        for number in range(self.units):
            unit = shared(lambda: SharedExponential(
                share=self.share, wait=self.timing.wait, score_width=self.score_width, fraction=self.fraction,
                mantissa_bits=self.mantissa_bits, guard_bits=self.guard_bits, table=self.table, target=self.target),
                "shared_exponential")
            m.submodules[f"exponential_{number}"] = unit
            m.d.comb += [unit.valid.eq(self.valid), unit.multiplier.eq(multiplier), unit.shift.eq(shift),
                         self.weights[number].eq(unit.weight)]
            for turn in range(self.share):
                core = number * self.share + turn
                if core < self.cores:  # the last exponential may have fewer
                    m.d.comb += [unit.scores[turn].eq(self.scores[core]), unit.held[turn].eq(self.held[core])]
            units.append(unit)
        stages = Stages(m, Const(1, 1))
        top = Signal.like(units[0].highest, reset_less=True)
        highest = tree(stages, [unit.highest for unit in units], larger, "highest")
        with m.If(delayed(m, self.valid, self.timing.octaves_at + self.timing.wait - 1, "top_valid", reset=True)):
            m.d.sync += top.eq(highest)
        m.d.comb += [unit.top.eq(top) for unit in units]
        m.d.comb += [self.offer.eq(units[0].offer),
                     self.total.eq(tree(stages, [unit.total for unit in units], lambda a, b: a + b, "total")),
                     self.total_valid.eq(delayed(m, self.offer[-1], ceil_log2(self.units) + 1, "total_valid", reset=True))]
        return m
