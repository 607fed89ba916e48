"""The units ``softmax_two_pass`` and ``softmax_online_shift``: one component, two readings of an octave."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import softmax_exponent as rtl
from tilewright.sim.golden.units import softmax_exponent as golden
from tilewright.units import softmax, tables
from tilewright.units.base import Error, Timing, Unit
from tilewright.units.fields import Beats, Fields
from tilewright.units.frame_schedule import Pass, frame_schedule


class ExponentSoftmaxParameters(softmax.FixedPointSoftmaxParameters):
    """Widths of :class:`tilewright.rtl.units.softmax_exponent.SoftmaxExponent`."""

    octave_step: Literal[1, 2, 4, 8] = Field(default=8, description="octaves by which the sum's reference moves")

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share beside the table."""
        return {"fraction": self.fraction, "mantissa_bits": self.mantissa_bits, "guard_bits": self.guard_bits,
                "out_bits": self.out_bits, "max_beats": self.max_beats, "octave_step": self.octave_step}


class _ExponentSoftmax(Unit[ExponentSoftmaxParameters]):
    """Softmax of a stream of frames, exponentials as mantissa and octave."""

    octave: ClassVar[str]
    figures: ClassVar[Mapping[tuple[int, int, int, int, int], float]]
    parameters_type = ExponentSoftmaxParameters
    variants: ClassVar[tuple[ExponentSoftmaxParameters, ...]] = (
        ExponentSoftmaxParameters(lanes=4, max_beats=256),
        ExponentSoftmaxParameters(lanes=8, score_width=18, fraction=12, table_bits=6, octave_step=4, max_beats=128),
        ExponentSoftmaxParameters(lanes=16, max_beats=64),
        ExponentSoftmaxParameters(octave_step=1, max_beats=16),
        ExponentSoftmaxParameters(score_width=12, fraction=8, mantissa_bits=8, octave_step=1),
        ExponentSoftmaxParameters(score_width=12, fraction=8, mantissa_bits=8, guard_bits=0, octave_step=1),
    )

    @abstractmethod
    def table(self, p: ExponentSoftmaxParameters) -> tuple[int, ...]:
        """Mantissas at the ends of the intervals."""

    def input_fields(self, p: ExponentSoftmaxParameters) -> Fields:
        return softmax.softmax_inputs(p)

    def output_fields(self, p: ExponentSoftmaxParameters) -> Fields:
        return softmax.softmax_outputs(p)

    def component(self, p: ExponentSoftmaxParameters, target: str = "generic") -> rtl.SoftmaxExponent:
        return rtl.SoftmaxExponent(lanes=p.lanes, score_width=p.score_width, table=self.table(p), octave=self.octave,
                                   target=target, **p.numbers)

    def golden(self, p: ExponentSoftmaxParameters, beats: Beats) -> Beats:
        probability = golden.softmax_exponent(beats["score"], softmax.kept_lanes(p.lanes, beats), beats["last"],
                                              table=self.table(p), octave=self.octave, **p.numbers)
        return softmax.softmax_results(p, beats, probability)

    def hls_context(self, p: ExponentSoftmaxParameters) -> Mapping[str, Any]:
        rising = self.octave == "below"
        scale_bits = 16 if rising else 15
        sums = ceil_log2(p.lanes * p.max_beats)
        return {
            **p.numbers, "lanes": p.lanes, "score_width": p.score_width, "table_bits": p.table_bits,
            "table": list(self.table(p)), "rising": rising,
            "log2e": golden.LOG2E if rising else -golden.LOG2E,
            "half": (1 << 15) - (not rising),
            "lowest": -(1 << rtl.octave_shape(p.score_width, p.fraction).width - 1),
            "total_width": p.mantissa_bits + 1 + p.guard_bits + p.octave_step - 1 + sums,
            "start": 1 << p.mantissa_bits + p.guard_bits + scale_bits - 16,
            "drop": p.mantissa_bits + scale_bits - p.out_bits, "highest": (1 << p.out_bits) - 1,
        }

    def timing(self, p: ExponentSoftmaxParameters) -> Timing:
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; a longer frame's first result comes after its last beat. "
            f"Frames shorter than {rtl.RECIPROCAL_BITS + 2} beats wait for the division"))

    def schedule(self, p: ExponentSoftmaxParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, softmax.cut_ends(p.max_beats, beats))

    @staticmethod
    def _schedule(p: ExponentSoftmaxParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        between = Pass(rtl.sum_latency(p.lanes), (rtl.RECIPROCAL_BITS,), 2 * p.max_beats)
        return frame_schedule(ends, [rtl.front_latency(p.lanes), rtl.SCALE_LATENCY], [between])

    def stimulus(self, p: ExponentSoftmaxParameters, rng: np.random.Generator, count: int) -> Beats:
        return softmax.softmax_stimulus(p, rng, count, p.fraction)

    def error(self, p: ExponentSoftmaxParameters) -> Error | None:
        figure = self.figures.get(p.precision) if softmax.is_measurable(p) else None
        return None if figure is None else softmax.softmax_error(p, p.fraction, figure)


class SoftmaxTwoPass(_ExponentSoftmax):
    """Mantissas in [1, 2)."""

    name = "softmax_two_pass"
    title = "softmax without a maximum pass: exponentials as mantissa and exponent, a sum rescaled by shifts"
    source = "Dukhan and Ablavatski, The Two-Pass Softmax Algorithm, 2020; the fixed-point form is our own"
    octave = "below"
    figures: ClassVar[Mapping[tuple[int, int, int, int, int], float]] = {
        (10, 15, 5, 8, 16): 1.19e-4, (12, 15, 6, 8, 16): 5.36e-5, (8, 8, 5, 8, 16): 6.56e-4, (8, 8, 5, 0, 16): 2.32e-2}

    def table(self, p: ExponentSoftmaxParameters) -> tuple[int, ...]:
        return tables.exp2_rising(p.mantissa_bits, p.table_bits)


class SoftmaxOnlineShift(_ExponentSoftmax):
    """Mantissas in (1/2, 1]."""

    name = "softmax_online_shift"
    title = "softmax below the maximum so far, rounded up to whole octaves: rescaled by shifts"
    source = "Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; the octaves are our own"
    octave = "above"
    figures: ClassVar[Mapping[tuple[int, int, int, int, int], float]] = {
        (10, 15, 5, 8, 16): 1.19e-4, (12, 15, 6, 8, 16): 4.57e-5, (8, 8, 5, 8, 16): 1.66e-3, (8, 8, 5, 0, 16): 4.1e-2}

    def table(self, p: ExponentSoftmaxParameters) -> tuple[int, ...]:
        return tables.exp2_falling(p.mantissa_bits, p.table_bits)
