"""The unit ``softmax_table``."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import softmax_table as rtl
from tilewright.rtl.units.frame_fold import FrameMaximum, FrameSum
from tilewright.sim.golden.units import softmax_table as golden
from tilewright.units import tables
from tilewright.units.base import Parameters, Refusal, Timing, Unit
from tilewright.units.fields import Beats, Fields, IntFormat, Lanes, flag, shape_of, uint
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.softmax import cut_ends, frames_of_scores, kept_lanes

TABLE_BITS = 24  # the largest exponential is 2**24


class SoftmaxTableParameters(Parameters):
    """Of :class:`tilewright.rtl.units.softmax_table.SoftmaxTable`."""

    lanes: Literal[1, 4, 8, 16] = Field(default=1, description="scores per beat")
    signed: bool = Field(default=False, description="codes are int8, not uint8")
    x_scale: float = Field(default=0.0625, gt=0, le=16, description="value of one step of a score")
    levels: int = Field(default=256, ge=2, le=256, description="steps of a probability of 1: floor(1 / y_scale)")
    zero_point: int = Field(default=0, ge=-128, le=255, description="code of probability 0")
    max_beats: int = Field(default=512, ge=2, le=4096, description="beats of the longest frame; longer ones are cut")

    def refusals(self) -> Iterator[Refusal]:
        if self.max_beats & self.max_beats - 1:
            yield Refusal("max_beats", "is not a power of two, which the ring of waiting beats needs",
                          1 << self.max_beats.bit_length() - 1)
        if not self.code.low <= self.zero_point <= self.code.high:
            yield Refusal("zero_point", f"is no {self.code}", min(max(self.zero_point, self.code.low), self.code.high))

    @property
    def code(self) -> IntFormat:
        """Of scores and probabilities."""
        return IntFormat(8, self.signed)

    @property
    def table(self) -> tuple[int, ...]:
        """``round(2**24 * exp(-k * x_scale))``."""
        return tables.exp_falling(TABLE_BITS, float(np.float32(self.x_scale)), 256)


class SoftmaxTable(Unit[SoftmaxTableParameters]):
    """QLinearSoftmax, code for code."""

    name = "softmax_table"
    title = "softmax of 8-bit codes by a table, equal to ONNX Runtime's QLinearSoftmax"
    source = "ONNX Runtime 1.32, contrib operator QLinearSoftmax"
    parameters_type = SoftmaxTableParameters
    variants: ClassVar[tuple[SoftmaxTableParameters, ...]] = (
        SoftmaxTableParameters(lanes=4, signed=True, zero_point=-128, max_beats=128),
        SoftmaxTableParameters(lanes=8, levels=254, x_scale=0.1, max_beats=64),
        SoftmaxTableParameters(lanes=16, levels=127, signed=True, x_scale=0.5, max_beats=16),
    )

    def input_fields(self, p: SoftmaxTableParameters) -> Fields:
        return {"score": Lanes(p.code, p.lanes), "keep": uint(p.lanes), "last": flag}

    def output_fields(self, p: SoftmaxTableParameters) -> Fields:
        return {"probability": Lanes(p.code, p.lanes), "last": flag}

    def component(self, p: SoftmaxTableParameters, target: str = "generic") -> rtl.SoftmaxTable:
        return rtl.SoftmaxTable(lanes=p.lanes, max_beats=p.max_beats, code=shape_of(p.code), table=p.table, levels=p.levels,
                                zero_point=p.zero_point)

    def golden(self, p: SoftmaxTableParameters, beats: Beats) -> Beats:
        probability = golden.softmax_table(
            beats["score"], kept_lanes(p.lanes, beats), beats["last"], table=p.table, levels=p.levels,
            zero_point=p.zero_point, highest=p.code.high, max_beats=p.max_beats)
        return {"probability": probability, "last": cut_ends(p.max_beats, beats)}

    def hls_context(self, p: SoftmaxTableParameters) -> Mapping[str, Any]:
        entry_width = max(p.table).bit_length()
        return {
            "lanes": p.lanes, "max_beats": p.max_beats, "table": list(p.table), "levels": p.levels,
            "zero_point": p.zero_point, "lowest": p.code.low, "highest": p.code.high, "entry_width": entry_width,
            "total_width": entry_width + ceil_log2(p.lanes * p.max_beats), "quotient_bits": p.levels.bit_length(),
        }

    def timing(self, p: SoftmaxTableParameters) -> Timing:
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; each of the two buffers holds a frame until its last beat has come"))

    def schedule(self, p: SoftmaxTableParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, cut_ends(p.max_beats, beats))

    @staticmethod
    def _schedule(p: SoftmaxTableParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        passes = [Pass(fold, (), 2 * p.max_beats) for fold in (FrameMaximum.LATENCY, FrameSum.LATENCY)]
        return frame_schedule(
            ends, [rtl.front_latency(p.lanes), rtl.lookup_latency(p.lanes), rtl.divide_latency(p.levels)], passes)

    def stimulus(self, p: SoftmaxTableParameters, rng: np.random.Generator, count: int) -> Beats:
        spread = max(1, math.ceil(3 / p.x_scale))
        return frames_of_scores(p.code, p.lanes, p.max_beats, rng, count, spread)
