"""The unit ``softmax_three_pass``."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray
from tilewright.rtl.units import softmax_exponent, softmax_table
from tilewright.rtl.units import softmax_three_pass as rtl
from tilewright.rtl.units.frame_fold import FrameMaximum, FrameSum
from tilewright.sim.golden.units import softmax_maximum as golden
from tilewright.units import softmax, tables
from tilewright.units.base import Error, Timing, Unit
from tilewright.units.fields import Beats, Fields
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.softmax import FixedPointSoftmaxParameters


class SoftmaxThreePass(Unit[FixedPointSoftmaxParameters]):
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
    figures: ClassVar[Mapping[tuple[int, int, int, int, int], float]] = {
        (10, 15, 5, 8, 16): 9.38e-5, (12, 15, 6, 8, 16): 3.73e-5, (8, 8, 5, 0, 16): 3.7e-2}

    def input_fields(self, p: FixedPointSoftmaxParameters) -> Fields:
        return softmax.softmax_inputs(p)

    def output_fields(self, p: FixedPointSoftmaxParameters) -> Fields:
        return softmax.softmax_outputs(p)

    @staticmethod
    def _numbers(p: FixedPointSoftmaxParameters) -> dict[str, int]:
        return {"fraction": p.fraction, "mantissa_bits": p.mantissa_bits, "guard_bits": p.guard_bits,
                "out_bits": p.out_bits, "max_beats": p.max_beats}

    def component(self, p: FixedPointSoftmaxParameters, target: str = "generic") -> rtl.SoftmaxThreePass:
        return rtl.SoftmaxThreePass(lanes=p.lanes, score_width=p.score_width, target=target,
                                    table=tables.exp2_falling(p.mantissa_bits, p.table_bits), **self._numbers(p))

    def golden(self, p: FixedPointSoftmaxParameters, beats: Beats) -> Beats:
        probability = golden.softmax_three_pass(
            beats["score"], softmax.kept_lanes(p.lanes, beats), beats["last"],
            table=tables.exp2_falling(p.mantissa_bits, p.table_bits), **self._numbers(p))
        return softmax.softmax_results(p, beats, probability)

    def hls_context(self, p: FixedPointSoftmaxParameters) -> Mapping[str, Any]:
        unit_bits = p.mantissa_bits + p.guard_bits
        return {
            **self._numbers(p), "lanes": p.lanes, "score_width": p.score_width, "table_bits": p.table_bits,
            "table": list(tables.exp2_falling(p.mantissa_bits, p.table_bits)), "log2e": golden.LOG2E,
            "lowest": -(1 << p.score_width - 1), "total_width": unit_bits + 1 + ceil_log2(p.lanes * p.max_beats),
            "start": 1 << unit_bits, "drop": p.mantissa_bits + 16 - p.out_bits, "highest": (1 << p.out_bits) - 1,
        }

    def timing(self, p: FixedPointSoftmaxParameters) -> Timing:
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; each of the two buffers holds a frame until its last beat has come. "
            f"Frames shorter than {softmax_exponent.RECIPROCAL_BITS + 2} beats wait for the division"))

    def schedule(self, p: FixedPointSoftmaxParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, softmax.cut_ends(p.max_beats, beats))

    @staticmethod
    def _schedule(p: FixedPointSoftmaxParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        passes = [Pass(FrameMaximum.LATENCY, (), 2 * p.max_beats),
                  Pass(FrameSum.LATENCY, (softmax_exponent.RECIPROCAL_BITS,), 2 * p.max_beats)]
        pipelines = [softmax_table.front_latency(p.lanes), rtl.distance_latency(p.lanes), softmax_exponent.SCALE_LATENCY]
        return frame_schedule(ends, pipelines, passes)

    def stimulus(self, p: FixedPointSoftmaxParameters, rng: np.random.Generator, count: int) -> Beats:
        return softmax.softmax_stimulus(p, rng, count, p.fraction)

    def error(self, p: FixedPointSoftmaxParameters) -> Error | None:
        figure = self.figures.get(p.precision) if softmax.is_measurable(p) else None
        return None if figure is None else softmax.softmax_error(p, p.fraction, figure)
