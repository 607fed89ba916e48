"""The unit ``softmax_unified``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import softmax_unified as rtl
from tilewright.rtl.units.softmax_exponent import RECIPROCAL_BITS
from tilewright.sim.golden.units import softmax_maximum as golden
from tilewright.units import softmax
from tilewright.units.base import Refusal, Timing
from tilewright.units.fields import Beats, Fields, flag, sint
from tilewright.units.frame_schedule import ReplayPass, frame_schedule
from tilewright.units.softmax import FixedPointSoftmaxParameters
from tilewright.units.softmax_distance import DistanceSoftmax, frame_total_width
from tilewright.units.stimulus import frame_slices

WIDEST_SUM = 63  # the HLS types have 64 bits, and the division needs one more than the sum


class UnifiedSoftmaxParameters(FixedPointSoftmaxParameters):
    """Of :class:`tilewright.rtl.units.softmax_unified.SoftmaxUnified`; window and center are in steps of a score."""

    center: int = Field(default=0, description="what stands for every frame's maximum")
    low: int = Field(default=-8192, le=0, description="lower end of the window, from the center")
    high: int = Field(default=8192, ge=0, description="upper end of the window, from the center")

    def refusals(self) -> Iterator[Refusal]:
        yield from super().refusals()
        score = sint(self.score_width)
        if not score.low <= self.center <= score.high:
            yield Refusal("center", f"is not a score of {self.score_width} bits",
                          min(max(self.center, score.low), score.high))
        vanishing = self.mantissa_bits + self.guard_bits  # octaves below the center
        if self.octaves(self.low) < 1 - vanishing:
            nearest = -(((vanishing << self.fraction + 16) - (1 << 15) - 1) // golden.LOG2E)
            yield Refusal("low", f"is {-self.octaves(self.low)} octaves below the center, where nothing is left of "
                                 f"{vanishing} bits behind the point", nearest)
        if self.sum_width > WIDEST_SUM:
            octaves = self.rise_octaves - (self.sum_width - WIDEST_SUM)
            yield Refusal("high", f"makes a sum of {self.sum_width} bits, more than {WIDEST_SUM}",
                          ((octaves << self.fraction + 16) + (1 << 15)) // golden.LOG2E)

    def octaves(self, offset: int) -> int:
        """Whole powers of two of ``exp(offset)``, rounded up: minus the golden model's n."""
        return -(((-offset * golden.LOG2E + (1 << 15)) >> 16) >> self.fraction)

    @property
    def rise_octaves(self) -> int:
        """Of the upper end of the window."""
        return self.octaves(self.high)

    @property
    def sum_width(self) -> int:
        """Of the sum below the center."""
        return frame_total_width(self) + self.rise_octaves


class SoftmaxUnified(DistanceSoftmax[UnifiedSoftmaxParameters]):
    """A sum below a constant."""

    name = "softmax_unified"
    title = "softmax below one constant for all frames; a frame outside of its window is summed below its own maximum"
    source = "Hong et al., FlashDecoding++, 2023; the fixed-point form is our own"
    parameters_type = UnifiedSoftmaxParameters
    variants: ClassVar[tuple[UnifiedSoftmaxParameters, ...]] = (
        UnifiedSoftmaxParameters(lanes=4, center=-3000, low=-7000, high=9000, max_beats=256),
        UnifiedSoftmaxParameters(lanes=8, score_width=18, fraction=12, table_bits=6, low=-32768, high=40000, max_beats=128),
        UnifiedSoftmaxParameters(lanes=16, mantissa_bits=16, max_beats=64, high=0, center=6000, low=-12000),
        UnifiedSoftmaxParameters(max_beats=16, out_bits=12),
        UnifiedSoftmaxParameters(max_beats=2, center=32767, low=-16000, high=100),
        UnifiedSoftmaxParameters(score_width=12, fraction=8, mantissa_bits=8, guard_bits=0, low=-1000, high=1000),
    )
    figures: ClassVar[Mapping[tuple[object, ...], float]] = {
        (10, 15, 5, 8, 16, 1, 0, -8192, 8192): 9.48e-5, (10, 15, 5, 8, 16, 4, -3000, -7000, 9000): 9.7e-5,
        (12, 15, 6, 8, 16, 8, 0, -32768, 40000): 3.59e-5, (10, 16, 5, 8, 16, 16, 6000, -12000, 0): 7.96e-5,
        (8, 8, 5, 0, 16, 1, 0, -1000, 1000): 3.7e-2}

    def output_fields(self, p: UnifiedSoftmaxParameters) -> Fields:
        fields = softmax.softmax_outputs(p)
        return {"probability": fields["probability"], "fallback": flag, "last": fields["last"]}

    def component(self, p: UnifiedSoftmaxParameters, target: str = "generic") -> rtl.SoftmaxUnified:
        return rtl.SoftmaxUnified(lanes=p.lanes, score_width=p.score_width, rise_octaves=p.rise_octaves, target=target,
                                  **self.numbers(p))

    def golden(self, p: UnifiedSoftmaxParameters, beats: Beats) -> Beats:
        probability, fallback = golden.softmax_unified(
            beats["score"], softmax.kept_lanes(p.lanes, beats), beats["last"], **self.numbers(p))
        results = softmax.softmax_results(p, beats, probability)
        return {"probability": probability, "fallback": fallback, "last": results["last"]}

    def numbers(self, p: UnifiedSoftmaxParameters) -> dict[str, Any]:
        return {**super().numbers(p), "center": p.center, "low": p.low, "high": p.high}

    def precision(self, p: UnifiedSoftmaxParameters) -> tuple[object, ...]:
        return *p.precision, p.lanes, p.center, p.low, p.high

    def hls_context(self, p: UnifiedSoftmaxParameters) -> Mapping[str, Any]:
        return {**super().hls_context(p), "rise_octaves": p.rise_octaves, "total_width": p.sum_width}

    def timing(self, p: UnifiedSoftmaxParameters) -> Timing:
        return Timing(int(self._cycles(p, np.ones(1, np.int64), [False])[0]), note=(
            "of a frame of one beat within the window; a longer frame's first result comes as long after its last beat. A "
            f"frame of n beats outside of it takes n + {rtl.again_latency(p.lanes)} cycles more. Frames shorter than "
            f"{RECIPROCAL_BITS + 2} beats wait for the division"))

    def schedule(self, p: UnifiedSoftmaxParameters, beats: Beats) -> NDArray[np.int64]:
        results = self.golden(p, beats)
        return self._cycles(p, results["last"], results["fallback"][results["last"] == 1].astype(bool).tolist())

    @staticmethod
    def _cycles(p: UnifiedSoftmaxParameters, ends: NDArray[np.int64], twice: list[bool]) -> NDArray[np.int64]:
        ring = ReplayPass(rtl.fold_latency(p.sum_width), (RECIPROCAL_BITS,), 2 * p.max_beats,
                          twice=twice, again=rtl.again_latency(p.lanes))
        return frame_schedule(ends, [rtl.first_latency(p.lanes), rtl.second_latency(p.lanes)], [ring])

    def stimulus(self, p: UnifiedSoftmaxParameters, rng: np.random.Generator, count: int) -> Beats:
        """Every second frame is brought into the window, some of those to its ends."""
        beats = super().stimulus(p, rng, count)
        number = sint(p.score_width)
        low, high = max(p.center + p.low, number.low), min(p.center + p.high, number.high)
        score = beats["score"]
        for place, frame in enumerate(frame_slices(beats["last"])):
            if place % 2:
                score[frame] = low + (score[frame] - low) % (high - low + 1)
            if place % 14 == 1:
                score[frame].flat[-1] = high if place % 28 == 1 else low
        return beats
