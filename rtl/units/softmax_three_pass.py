"""Softmax in three passes: the maximum, the sum of the exponentials below it, the division."""

from collections.abc import Sequence

from amaranth.hdl import Module, Shape, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.distance_exponential import DistanceExponential
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameMaximum, FrameSum
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.pipeline import Pipelined
from tilewright.rtl.units.softmax_exponent import RECIPROCAL_BITS, ExponentScale
from tilewright.rtl.units.softmax_table import LaneMaximum


class ThreePasses(wiring.Component):
    """The maximum of a frame, the sum of its exponentials, the division: scores wait for the one, exponentials for the other.

    ``distance`` takes scores and their maximum; of its results ``total`` goes into the sum, the others wait for the
    reciprocal of ``divide`` and enter ``scale`` with it. One score per lane per cycle; two buffers of ``2 * max_beats``.

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, score: Shape, max_beats: int, distance: Pipelined, divide: FrameReciprocal, scale: Pipelined
    ) -> None:
        self.lanes = lanes
        self.score = score
        self.max_beats = max_beats
        self.front = LaneMaximum(lanes=lanes, score=score)
        self.distance = distance
        self.divide = divide
        self.scale = scale
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        scores = {"score": data.ArrayLayout(self.score, self.lanes), "keep": self.lanes}
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = front = self.front
        m.submodules.maximum = maximum = FrameMaximum(item=scores, value=self.score)
        m.submodules.scores = waiting_scores = FrameBuffer(
            item=scores, token={"maximum": self.score}, depth=2 * self.max_beats)
        m.submodules.distance = distance = self.distance
        members = distance.o.payload.shape().members
        item = {name: shape for name, shape in members.items() if name not in ("total", "last")}
        m.submodules.divide = divide = self.divide
        m.submodules.total = total = FrameSum(
            item=item, values={"total": members["total"]}, sums={"total": divide.divisor_width})
        m.submodules.buffer = buffer = FrameBuffer(
            item=item, token=divide.o.payload.shape().members, depth=2 * self.max_beats)
        m.submodules.scale = scale = self.scale
        link(m, wiring.flipped(self.i), limit.i)
        for source, sink in (
            (limit, front), (front, maximum), (maximum, waiting_scores), (waiting_scores, distance), (distance, total),
            (total, buffer), (buffer, scale),
        ):
            link(m, source.o, sink.i)
        link(m, maximum.token, waiting_scores.token)
        link(m, divide.o, buffer.token)
        link(m, scale.o, wiring.flipped(self.o))
        m.d.comb += [
            divide.i.valid.eq(total.token.valid), divide.i.payload.divisor.eq(total.token.payload.total),
            total.token.ready.eq(divide.i.ready),
        ]
        return m


class SoftmaxThreePass(ThreePasses):
    """Softmax of frames of scores: maximum, sum, division; the order of the scores does not matter.

    The arithmetic to the bit is ``softmax_three_pass`` of :mod:`tilewright.sim.golden.units.softmax_maximum`. One score
    per lane per cycle; two buffers of frames. Latency ``n + 45`` cycles from the last beat of a frame of ``n`` to
    its first result, 2 more for each doubling of the lanes. Frames of at least 19 beats stream back to back. A
    frame without ``last`` ends at its ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not count and get
    probability 0. A reset drops everything.

    Reference: the safe softmax that Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, start from.

    Parameters
    ----------
    lanes, score_width, fraction, mantissa_bits, guard_bits, out_bits, max_beats, target
        As :class:`tilewright.rtl.units.softmax_exponent.SoftmaxExponent`.
    table : Sequence[int]
        ``2**k + 1`` entries ``2**(mantissa_bits - i / 2**k)``, rounded.

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int, table: Sequence[int],
        out_bits: int, max_beats: int, target: str = "generic",
    ) -> None:
        self.mantissa_bits = mantissa_bits
        self.guard_bits = guard_bits
        unit_bits = mantissa_bits + guard_bits
        distance = DistanceExponential(
            lanes=lanes, score_width=score_width, fraction=fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits,
            table=table, target=target)
        super().__init__(
            lanes=lanes, score=signed(score_width), max_beats=max_beats, distance=distance,
            divide=FrameReciprocal(divisor_width=unit_bits + 1 + ceil_log2(lanes * max_beats), start_bits=unit_bits,
                                   quotient_bits=RECIPROCAL_BITS, side={}),
            scale=ExponentScale(
                lanes=lanes, mantissa_bits=mantissa_bits, octave=distance.octave, drop=mantissa_bits + 16 - out_bits,
                out_bits=out_bits, target=target))
