"""Softmax of 8-bit codes, equal to ONNX Runtime's QLinearSoftmax: a table of exponentials, a sum, exact divisions."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameMaximum, FrameSum
from tilewright.rtl.units.lane_tree import larger, tree
from tilewright.rtl.units.pipeline import Pipelined, Stages

CODE_WIDTH = 8


def front_latency(lanes: int) -> int:
    """Of :class:`LaneMaximum`."""
    return 1 + ceil_log2(lanes)


def lookup_latency(lanes: int) -> int:
    """Of :class:`TableLookup`."""
    return 4 + ceil_log2(lanes)


def divide_latency(levels: int) -> int:
    """Of :class:`LaneDivide`."""
    return 4 + levels.bit_length()


class LaneMaximum(Pipelined):
    """The greatest kept score of a beat beside the beat; latency 1 cycle and one per level of the tree."""

    def __init__(self, *, lanes: int, score: Shape) -> None:
        self.lanes = lanes
        self.score = Shape.cast(score)
        fields = {"score": data.ArrayLayout(score, lanes), "keep": lanes}
        super().__init__(inputs={**fields, "last": 1}, outputs={**fields, "value": score, "last": 1},
                         latency=front_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        lowest = Const(-(1 << self.score.width - 1) if self.score.signed else 0, self.score)
        candidates = [stages.stage(Mux(i.keep[k], i.score[k], lowest), f"candidate_{k}", shape=self.score)
                      for k in range(self.lanes)]
        return {
            "score": Cat(*(stages.stage(i.score[k], f"score_{k}", cycles=self.latency) for k in range(self.lanes))),
            "keep": stages.stage(i.keep, "keep", cycles=self.latency),
            "last": stages.stage(i.last, "last", cycles=self.latency),
            "value": tree(stages, candidates, larger, "maximum"),
        }


class TableLookup(Pipelined):
    """``distance = maximum - score`` of each lane, and the sum of ``table[distance]`` over the kept lanes.

    Latency 4 cycles and one per level of the tree; a ROM of 256 words per lane.
    """

    def __init__(self, *, lanes: int, score: Shape, table: Sequence[int], sum_width: int) -> None:
        self.lanes = lanes
        self.table = tuple(table)
        self.sum_width = sum_width
        super().__init__(
            inputs={"score": data.ArrayLayout(score, lanes), "keep": lanes, "maximum": score, "last": 1},
            outputs={"distance": data.ArrayLayout(CODE_WIDTH, lanes), "keep": lanes, "total": sum_width, "last": 1},
            latency=lookup_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        distances = [stages.stage((i.maximum - i.score[k])[:CODE_WIDTH], f"distance_{k}") for k in range(self.lanes)]
        keep = stages.stage(i.keep, "keep")
        kept = stages.stage(keep, "kept", cycles=2)
        width = max(self.table).bit_length()
        exponentials = []
        for k, distance in enumerate(distances):
            word = stages.stage(stages.table(self.table, distance, f"table_{k}", shape=width), f"word_{k}")
            exponentials.append(stages.stage(Mux(kept[k], word, 0), f"exponential_{k}"))
        later = self.latency - 1
        return {
            "distance": Cat(*(stages.stage(distance, f"distance_{k}_out", cycles=later)
                              for k, distance in enumerate(distances))),
            "keep": stages.stage(keep, "keep_out", cycles=later),
            "last": stages.stage(i.last, "last", cycles=self.latency),
            "total": tree(stages, exponentials, lambda a, b: a + b, "total"),
        }


class LaneDivide(Pipelined):
    """``min(floor((2 * table[distance] * levels + total) / (2 * total)) + zero_point, highest)`` per lane, exact.

    A ROM of ``table * levels`` and one stage of restoring division per bit of the quotient. Latency 4 cycles and one
    per bit of ``levels``; 1 beat per cycle.
    """

    def __init__(
        self, *, lanes: int, table: Sequence[int], levels: int, total_width: int, result: Shape, zero_point: int
    ) -> None:
        self.lanes = lanes
        self.table = tuple(entry * levels for entry in table)
        self.levels = levels
        self.total_width = total_width
        self.result = Shape.cast(result)
        self.zero_point = zero_point
        super().__init__(
            inputs={"distance": data.ArrayLayout(CODE_WIDTH, lanes), "keep": lanes, "total": total_width, "last": 1},
            outputs={"probability": data.ArrayLayout(result, lanes), "last": 1}, latency=divide_latency(levels))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        bits = self.levels.bit_length()
        total = stages.stage(i.total, "total", cycles=2)
        keep = stages.stage(i.keep, "keep", cycles=2 + bits + 1)
        width = max(self.table).bit_length()
        remainders = []
        for k in range(self.lanes):
            word = stages.stage(stages.table(self.table, i.distance[k], f"table_{k}", shape=width), f"word_{k}")
            remainders.append(stages.stage((word << 1) + total, f"numerator_{k}"))
        divisor = stages.stage(total, "divisor")
        quotients: list[Value] = [Const(0, 0)] * self.lanes
        for bit in reversed(range(bits)):
            for k, remainder in enumerate(remainders):
                name = f"{k}_{bit}"
                compared = remainder[bit:][:self.total_width + 2]
                difference = Signal(self.total_width + 3, name=f"difference_{name}")
                stages.m.d.comb += difference.eq(compared - (divisor << 1))
                fits = ~difference[-1]
                remainders[k] = stages.stage(
                    Cat(remainder[:bit], Mux(fits, difference[:self.total_width + 2], compared)), f"remainder_{name}")
                quotients[k] = stages.stage(Cat(fits, quotients[k]), f"quotient_{name}")
            divisor = stages.stage(divisor, f"divisor_{bit}")
        return {
            "probability": Cat(*(self._code(stages, keep[k], quotient, k) for k, quotient in enumerate(quotients))),
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }

    def _code(self, stages: Stages, kept: Value, quotient: Value, k: int) -> Value:
        highest = (1 << self.result.width - self.result.signed) - 1
        shifted = quotient + self.zero_point
        code = Mux(kept, Mux(shifted > highest, highest, shifted), self.zero_point)
        return stages.stage(code, f"probability_{k}", shape=self.result)


class SoftmaxTable(wiring.Component):
    """Softmax of frames of 8-bit codes, as ONNX Runtime computes QLinearSoftmax.

    ``e = table[maximum - score]``; ``probability = min(floor((2 * e * levels + total) / (2 * total)) + zero_point,
    highest)`` with ``total`` the sum of e: the division is exact, a bit per pipeline stage, so that no code
    differs. Three passes over the frame: the maximum, the sum, the division; one score per lane per cycle, two
    buffers of frames. Latency ``n + 23`` cycles from the last beat of a frame of ``n`` to its first result, at 256
    levels; 2 more for each doubling of the lanes. A frame without ``last`` ends at its ``max_beats``-th beat. Lanes
    whose ``keep`` bit is 0 do not count and get ``zero_point``. No multiplier. A reset drops everything.

    Parameters
    ----------
    lanes, max_beats : int
        Scores per beat; beats of the longest frame, a power of two.
    code : Shape
        Of scores and probabilities: 8 bits, signed or unsigned.
    table : Sequence[int]
        256 exponentials, falling.
    levels : int
        Steps of a probability of 1: ``1 / y_scale``, 1..256.
    zero_point : int
        The code of probability 0.

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, max_beats: int, code: Shape, table: Sequence[int], levels: int, zero_point: int
    ) -> None:
        self.lanes = lanes
        self.max_beats = max_beats
        self.code = Shape.cast(code)
        self.table = tuple(table)
        self.levels = levels
        self.zero_point = zero_point
        entry_width = max(table).bit_length()
        self.sum_width = entry_width + ceil_log2(lanes)
        self.total_width = entry_width + ceil_log2(lanes * max_beats)
        self.front = LaneMaximum(lanes=lanes, score=self.code)
        self.divide = LaneDivide(lanes=lanes, table=table, levels=levels, total_width=self.total_width, result=self.code,
                                 zero_point=zero_point)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.divide.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = front = self.front
        scores = {"score": data.ArrayLayout(self.code, self.lanes), "keep": self.lanes}
        m.submodules.maximum = maximum = FrameMaximum(item=scores, value=self.code)
        m.submodules.scores = waiting_scores = FrameBuffer(
            item=scores, token={"maximum": self.code}, depth=2 * self.max_beats)
        m.submodules.lookup = lookup = TableLookup(
            lanes=self.lanes, score=self.code, table=self.table, sum_width=self.sum_width)
        distances = {"distance": data.ArrayLayout(CODE_WIDTH, self.lanes), "keep": self.lanes}
        m.submodules.total = total = FrameSum(
            item=distances, values={"total": self.sum_width}, sums={"total": self.total_width})
        m.submodules.distances = waiting_distances = FrameBuffer(
            item=distances, token={"total": self.total_width}, depth=2 * self.max_beats)
        m.submodules.divide = divide = self.divide
        link(m, wiring.flipped(self.i), limit.i)
        for source, sink in (
            (limit, front), (front, maximum), (maximum, waiting_scores), (waiting_scores, lookup), (lookup, total),
            (total, waiting_distances), (waiting_distances, divide),
        ):
            link(m, source.o, sink.i)
        link(m, maximum.token, waiting_scores.token)
        link(m, total.token, waiting_distances.token)
        link(m, divide.o, wiring.flipped(self.o))
        return m
