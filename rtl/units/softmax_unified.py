"""Softmax below one constant for all frames; a frame that leaves the window around it is summed again below its maximum."""

from collections.abc import Mapping, Sequence
from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.distance_exponential import DistanceExponential, distance_latency
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameFold, FrameSum, registered_flag
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.normalize import normalize_latency, normalized
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.softmax_exponent import RECIPROCAL_BITS, SCALE_LATENCY, ExponentScale
from tilewright.rtl.units.softmax_online import join
from tilewright.rtl.units.softmax_table import LaneMaximum, front_latency

WINDOW_LATENCY = 2


def first_latency(lanes: int) -> int:
    """From the input to the first sum."""
    return front_latency(lanes) + distance_latency(lanes)


def fold_latency(sum_width: int) -> int:
    """Of :class:`WindowSum`."""
    return 2 + max(normalize_latency(sum_width), WINDOW_LATENCY)


def again_latency(lanes: int) -> int:
    """From the last beat of the extra pass to its reciprocal at the ring."""
    return distance_latency(lanes) + FrameSum.LATENCY + RECIPROCAL_BITS + 2


def second_latency(lanes: int) -> int:
    """From the ring to the result."""
    return distance_latency(lanes) + SCALE_LATENCY


class WindowSum(FrameFold):
    """A frame's sum, normalised, its maximum, and whether a kept score lies outside of ``bounds``; the beats pass on.

    ``divisor`` has ``unit_bits + 1`` bits, the highest set; ``sum = divisor * 2**(place - unit_bits)``, rounded down. The
    latency is 2 and the stages of the normalisation, 2 at least.

    i : item, added, value, last    o : item, last    token : divisor, place, maximum, outside
    """

    def __init__(
        self, *, lanes: int, score: Shape, bounds: tuple[int, int], added_width: int, sum_width: int, unit_bits: int
    ) -> None:
        self.lanes = lanes
        self.bounds = bounds
        self.sum_width = sum_width
        self.unit_bits = unit_bits
        super().__init__(
            item={"score": data.ArrayLayout(score, lanes), "keep": lanes}, folded={"added": added_width, "value": score},
            token={"divisor": unit_bits + 1, "place": ceil_log2(sum_width), "maximum": score, "outside": 1},
            latency=fold_latency(sum_width))

    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> Mapping[str, Value]:
        i = self.i.payload
        later = self.latency - 2
        total = Signal(self.sum_width, reset_less=True)
        maximum = Signal(i.value.shape(), reset_less=True)
        with m.If(go):
            m.d.sync += total.eq(Mux(fresh, 0, total) + i.added)
        with m.If(go & (fresh | (maximum < i.value))):
            m.d.sync += maximum.eq(i.value)

        low, high = self.bounds
        beyond = [stages.stage(i.keep[k] & ((i.score[k] < low) | (i.score[k] > high)), f"beyond_{k}")
                  for k in range(self.lanes)]
        any_beyond = stages.stage(Cat(*beyond).any(), "any_beyond")
        first, valid = stages.stage(fresh, "first", cycles=WINDOW_LATENCY), go
        for cycle in range(WINDOW_LATENCY):
            valid = registered_flag(m, valid, f"valid_{cycle + 1}")
        outside = Signal(reset_less=True)
        with m.If(valid):
            m.d.sync += outside.eq(any_beyond | (outside & ~first))

        shifted, place = normalized(stages, total, "total")
        behind = later - normalize_latency(self.sum_width)
        return {
            "divisor": stages.stage(shifted[self.sum_width - 1 - self.unit_bits:], "divisor", cycles=behind),
            "place": stages.stage(place, "place", cycles=behind),
            "maximum": stages.stage(maximum, "maximum_late", cycles=later),
            "outside": stages.stage(outside, "outside_late", cycles=later - WINDOW_LATENCY),
        }


class SoftmaxUnified(wiring.Component):
    """Softmax of frames of scores below ``center``, with no maximum to wait for; the sum may be split in any way.

    The arithmetic to the bit is ``softmax_unified`` of :mod:`tilewright.sim.golden.units.softmax_maximum`. While a frame comes
    in, its exponentials below ``center`` are summed, its maximum found, and its scores compared with the window
    ``center + low`` .. ``center + high``. The frame waits in a ring. Within the window it leaves it for the division as soon
    as the sum's reciprocal is there. Otherwise it leaves it twice: first for the sum below its own maximum, then
    for the division; the result is that of softmax in three passes, ``fallback`` is 1.

    One score per lane per cycle; latency from a frame's last beat to its first result 61 cycles at one lane. Frames of at
    least 19 beats stream back to back. A frame of n beats that falls back costs n + 35 cycles more at one lane, in which no
    other leaves. A frame without ``last`` ends at its ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not
    count and get probability 0. Five multipliers per lane. A reset drops everything.

    Reference: Hong et al., "FlashDecoding++: Faster Large Language Model Inference on GPUs", 2023.

    Parameters
    ----------
    lanes, score_width, fraction, mantissa_bits, guard_bits, table, out_bits, max_beats, target
        As :class:`tilewright.rtl.units.softmax_three_pass.SoftmaxThreePass`.
    center, low, high : int
        In steps of a score; ``low <= 0 <= high``. The exponential of ``low`` is at least one unit of the sum.
    rise_octaves : int
        No less than ``high`` in octaves, rounded up.

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, fallback, last)))
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int, table: Sequence[int],
        out_bits: int, max_beats: int, center: int, low: int, high: int, rise_octaves: int, target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.score = signed(score_width)
        self.max_beats = max_beats
        self.center = center
        self.unit_bits = unit_bits = mantissa_bits + guard_bits
        sums = ceil_log2(lanes * max_beats)
        sum_width = unit_bits + 1 + rise_octaves + sums
        self.top = signed(ceil_log2(max(sum_width, unit_bits + 1)) + 2)
        scores = data.ArrayLayout(self.score, lanes)
        exponential = partial(
            DistanceExponential, lanes=lanes, score_width=score_width, fraction=fraction, mantissa_bits=mantissa_bits,
            guard_bits=guard_bits, table=table, rise_octaves=rise_octaves, target=target)
        self.front = LaneMaximum(lanes=lanes, score=self.score)
        self.first = exponential(side={"scores": scores, "value": self.score})
        added = self.first.o.payload.shape().members["total"]
        self.window = WindowSum(lanes=lanes, score=self.score, bounds=(center + low, center + high), added_width=added,
                                sum_width=sum_width, unit_bits=unit_bits)
        self.divide = FrameReciprocal(
            divisor_width=unit_bits + 1, start_bits=unit_bits, quotient_bits=RECIPROCAL_BITS,
            side={name: shape for name, shape in self.window.token.payload.shape().members.items() if name != "divisor"})
        side: dict[str, ShapeLike] = {"reciprocal": RECIPROCAL_BITS, "top": self.top, "fallback": 1, "again": 1}
        self.second = exponential(side=side)
        self.exact = FrameSum(item={}, values={"total": added}, sums={"total": unit_bits + 1 + sums})
        self.divide_exact = FrameReciprocal(
            divisor_width=unit_bits + 1 + sums, start_bits=unit_bits, quotient_bits=RECIPROCAL_BITS, side={})
        # An octave may be one above that of the normalised sum: one place is taken from the drop and put into ``top``.
        self.scale = ExponentScale(
            lanes=lanes, mantissa_bits=mantissa_bits, octave=self.second.octave, drop=mantissa_bits + 16 - out_bits - 1,
            out_bits=out_bits, top=self.top, side={"fallback": 1}, target=target)
        self.ring = FrameBuffer(item={"score": scores, "keep": lanes}, token={"maximum": self.score, **side},
                                depth=2 * max_beats, replays=True)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = front = self.front
        m.submodules.first = first = self.first
        m.submodules.window = window = self.window
        m.submodules.divide = divide = self.divide
        m.submodules.ring = ring = self.ring
        m.submodules.second = second = self.second
        m.submodules.exact = exact = self.exact
        m.submodules.divide_exact = divide_exact = self.divide_exact
        m.submodules.scale = scale = self.scale
        link(m, wiring.flipped(self.i), limit.i)
        link(m, limit.o, front.i)
        join(m, front.o, first.i, maximum=Const(self.center, self.score), scores=front.o.payload.score)
        join(m, first.o, window.i, score=first.o.payload.scores, added=first.o.payload.total)
        link(m, window.o, ring.i)
        link(m, window.token, divide.i)
        self._tokens(m, divide, divide_exact, ring)
        join(m, ring.o, second.i)

        beat, again = second.o.payload, second.o.payload.again
        for sink, chosen in ((exact.i, again), (scale.i, ~again)):
            for name in sink.payload.shape().members:
                m.d.comb += sink.payload[name].eq(beat[name])
            m.d.comb += sink.valid.eq(second.o.valid & chosen)
        m.d.comb += [
            second.o.ready.eq(Mux(again, exact.i.ready, scale.i.ready)),
            exact.o.ready.eq(1),
            divide_exact.i.valid.eq(exact.token.valid),
            divide_exact.i.payload.divisor.eq(exact.token.payload.total),
            exact.token.ready.eq(divide_exact.i.ready),
        ]
        link(m, scale.o, wiring.flipped(self.o))
        return m

    def _tokens(self, m: Module, divide: FrameReciprocal, divide_exact: FrameReciprocal, ring: FrameBuffer) -> None:
        """A frame within the window gets one token, another one two: its maximum, then the reciprocal of the sum below it."""
        replays = Signal()  # the second token comes next
        maximum = Signal(self.score, reset_less=True)
        found, token = divide.o.payload, ring.token.payload
        m.d.comb += [
            token.reciprocal.eq(Mux(replays, divide_exact.o.payload.reciprocal, found.reciprocal)),
            token.maximum.eq(Mux(replays, maximum, Mux(found.outside, found.maximum, self.center))),
            token.top.eq(Mux(replays, 1, found.place - (self.unit_bits - 1))),
            token.fallback.eq(replays | found.outside),
            token.again.eq(~replays & found.outside),
            ring.token.valid.eq(Mux(replays, divide_exact.o.valid, divide.o.valid)),
            divide.o.ready.eq(~replays & ring.token.ready),
            divide_exact.o.ready.eq(replays & ring.token.ready),
        ]
        with m.If(ring.token.valid & ring.token.ready):
            m.d.sync += [replays.eq(token.again), maximum.eq(found.maximum)]
