"""The unit ``softmax_ibert``."""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import softmax_ibert as rtl
from tilewright.rtl.units import softmax_table
from tilewright.rtl.units.frame_fold import FrameMaximum, FrameSum
from tilewright.sim.golden.units import softmax_ibert as golden
from tilewright.units import softmax
from tilewright.units.base import Error, Refusal, Timing, Unit
from tilewright.units.fields import Beats, Fields
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.ibert import EXP_OCTAVES, SOURCE, exponential_numbers, exponential_refusals, step_of
from tilewright.units.softmax import SoftmaxParameters


class IBertSoftmaxParameters(SoftmaxParameters):
    """Of :class:`tilewright.rtl.units.softmax_ibert.SoftmaxIBert`."""

    out_bits: int = Field(default=8, ge=2, le=16, description="a probability is in units of 2**-out_bits")
    reach: int = Field(default=32, ge=1, le=64, description="the largest score, that of the largest code")

    def refusals(self) -> Iterator[Refusal]:
        yield from super().refusals()
        yield from exponential_refusals(self.reach, self._codes)

    @property
    def _codes(self) -> int:
        return (1 << self.score_width - 1) - 1

    @property
    def step(self) -> Decimal:
        """What one step of a score stands for."""
        return step_of(self.reach, self._codes)

    @property
    def fraction(self) -> float:
        """Of a score in octaves, not a whole number: its bits behind the point."""
        return -math.log2(self.step)

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share."""
        return {**exponential_numbers(self.step), "out_bits": self.out_bits, "max_beats": self.max_beats}


class SoftmaxIBert(Unit[IBertSoftmaxParameters]):
    """Maximum, parabolas and their sum, division."""

    name = "softmax_ibert"
    title = "I-BERT's softmax: integers alone, exponentials by a parabola, one reciprocal"
    source = SOURCE
    parameters_type = IBertSoftmaxParameters
    variants: ClassVar[tuple[IBertSoftmaxParameters, ...]] = (
        IBertSoftmaxParameters(lanes=4, out_bits=16, max_beats=256),
        IBertSoftmaxParameters(lanes=8, score_width=8, reach=16, max_beats=128),
        IBertSoftmaxParameters(lanes=16, score_width=18, reach=16, out_bits=16, max_beats=64),
    )
    figures: ClassVar[Mapping[tuple[int, int, int], float]] = {  # score_width, reach, out_bits
        (16, 32, 8): 4.17e-3, (16, 32, 16): 1.26e-3, (8, 16, 8): 6.62e-2, (18, 16, 16): 1.53e-3}

    def input_fields(self, p: IBertSoftmaxParameters) -> Fields:
        return softmax.softmax_inputs(p)

    def output_fields(self, p: IBertSoftmaxParameters) -> Fields:
        return softmax.softmax_outputs(p)

    def component(self, p: IBertSoftmaxParameters, target: str = "generic") -> rtl.SoftmaxIBert:
        return rtl.SoftmaxIBert(lanes=p.lanes, score_width=p.score_width, target=target, **p.numbers)

    def golden(self, p: IBertSoftmaxParameters, beats: Beats) -> Beats:
        probability = golden.softmax_ibert(
            beats["score"], softmax.kept_lanes(p.lanes, beats), beats["last"], **p.numbers)
        return softmax.softmax_results(p, beats, probability)

    def hls_context(self, p: IBertSoftmaxParameters) -> Mapping[str, Any]:
        constant_bits = p.numbers["constant"].bit_length()
        return {
            **p.numbers, "lanes": p.lanes, "lowest": -(1 << p.score_width - 1), "limit": EXP_OCTAVES * p.numbers["ln2"],
            "constant_bits": constant_bits, "drop": constant_bits + EXP_OCTAVES - rtl.EXPONENTIAL_BITS,
            "highest": (1 << p.out_bits) - 1,
        }

    def timing(self, p: IBertSoftmaxParameters) -> Timing:
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; each of the two buffers holds a frame until its last beat has come. "
            f"Frames shorter than {rtl.FACTOR_BITS + 2} beats wait for the division"))

    def schedule(self, p: IBertSoftmaxParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, softmax.cut_ends(p.max_beats, beats))

    @staticmethod
    def _schedule(p: IBertSoftmaxParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        passes = [Pass(FrameMaximum.LATENCY, (), 2 * p.max_beats), Pass(FrameSum.LATENCY, (rtl.FACTOR_BITS,), 2 * p.max_beats)]
        pipelines = [softmax_table.front_latency(p.lanes), rtl.distance_latency(p.lanes), rtl.SCALE_LATENCY]
        return frame_schedule(ends, pipelines, passes)

    def stimulus(self, p: IBertSoftmaxParameters, rng: np.random.Generator, count: int) -> Beats:
        return softmax.softmax_stimulus(p, rng, count, p.fraction)

    def error(self, p: IBertSoftmaxParameters) -> Error | None:
        figure = self.figures.get((p.score_width, p.reach, p.out_bits)) if softmax.is_measurable(p) else None
        return None if figure is None else softmax.softmax_error(p, p.fraction, figure)
