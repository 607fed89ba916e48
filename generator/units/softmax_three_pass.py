"""The unit ``softmax_three_pass``."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from tilewright.rtl.units import softmax_three_pass as rtl
from tilewright.rtl.units.distance_exponential import distance_latency
from tilewright.rtl.units.frame_fold import FrameMaximum, FrameSum
from tilewright.rtl.units.softmax_exponent import RECIPROCAL_BITS, SCALE_LATENCY
from tilewright.rtl.units.softmax_table import front_latency
from tilewright.sim.golden.units import softmax_maximum as golden
from tilewright.units import softmax
from tilewright.units.base import Timing
from tilewright.units.fields import Beats
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.softmax import FixedPointSoftmaxParameters
from tilewright.units.softmax_distance import DistanceSoftmax


class SoftmaxThreePass(DistanceSoftmax[FixedPointSoftmaxParameters]):
    """Maximum, sum, division."""

    name = "softmax_three_pass"
    title = "softmax in three passes: maximum, sum of exponentials, one reciprocal"
    source = "the safe softmax in Milakov and Gimelshein, Online normalizer calculation for softmax, 2018"
    parameters_type = FixedPointSoftmaxParameters
    variants: ClassVar[tuple[FixedPointSoftmaxParameters, ...]] = (
        FixedPointSoftmaxParameters(lanes=4, score_width=18, fraction=12, table_bits=6, max_beats=256),
        FixedPointSoftmaxParameters(lanes=16, max_beats=64),
        FixedPointSoftmaxParameters(score_width=12, fraction=8, mantissa_bits=8, guard_bits=0),
    )
    figures: ClassVar[Mapping[tuple[object, ...], float]] = {
        (10, 15, 5, 8, 16): 9.38e-5, (12, 15, 6, 8, 16): 3.73e-5, (8, 8, 5, 0, 16): 3.7e-2}

    def component(self, p: FixedPointSoftmaxParameters, target: str = "generic") -> rtl.SoftmaxThreePass:
        return rtl.SoftmaxThreePass(lanes=p.lanes, score_width=p.score_width, target=target, **self.numbers(p))

    def golden(self, p: FixedPointSoftmaxParameters, beats: Beats) -> Beats:
        probability = golden.softmax_three_pass(
            beats["score"], softmax.kept_lanes(p.lanes, beats), beats["last"], **self.numbers(p))
        return softmax.softmax_results(p, beats, probability)

    def timing(self, p: FixedPointSoftmaxParameters) -> Timing:
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; each of the two buffers holds a frame until its last beat has come. "
            f"Frames shorter than {RECIPROCAL_BITS + 2} beats wait for the division"))

    def schedule(self, p: FixedPointSoftmaxParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, softmax.cut_ends(p.max_beats, beats))

    @staticmethod
    def _schedule(p: FixedPointSoftmaxParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        passes = [Pass(FrameMaximum.LATENCY, (), 2 * p.max_beats),
                  Pass(FrameSum.LATENCY, (RECIPROCAL_BITS,), 2 * p.max_beats)]
        return frame_schedule(ends, [front_latency(p.lanes), distance_latency(p.lanes), SCALE_LATENCY], passes)
