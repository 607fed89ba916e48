"""The unit ``layer_norm_ibert``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import layer_norm_ibert as rtl
from tilewright.rtl.units.frame_fold import FrameSum
from tilewright.rtl.units.normalization import Widths
from tilewright.sim.golden.units import normalization as golden
from tilewright.units.base import Error, Refusal, Timing, Unit
from tilewright.units.fields import Beats, Fields, Lanes, flag, sint
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.ibert import SOURCE
from tilewright.units.normalization import ValueParameters, values_error, values_input, values_stimulus
from tilewright.units.softmax import cut_ends, kept_lanes

SQUARED_BITS = 18  # what a multiplier takes
RESULT_FRACTION = 30


class IBertLayerNormParameters(ValueParameters):
    """Of :class:`tilewright.rtl.units.layer_norm_ibert.LayerNormIBert`."""

    width: int = Field(default=16, ge=4, le=22, description="bits of a value, signed")
    shift: int = Field(default=3, ge=0, le=20, description="places by which a value is shorter before it is squared")

    def refusals(self) -> Iterator[Refusal]:
        yield from super().refusals()
        if self.shift < self.width + 1 - SQUARED_BITS:
            yield Refusal("shift", f"leaves more than the {SQUARED_BITS} bits that a multiplier squares",
                          self.width + 1 - SQUARED_BITS)
        if self.shift > self.width - 2:
            yield Refusal("shift", f"leaves nothing to square of {self.width} bits", self.width - 2)

    @property
    def root_bits(self) -> int:
        """Of the root of a frame's squares."""
        return rtl.root_width(width=self.width, shift=self.shift, lanes=self.lanes, max_beats=self.max_beats)

    @property
    def widths(self) -> Widths:
        """Of the sum and the count."""
        return Widths(width=self.width, lanes=self.lanes, max_beats=self.max_beats, epsilon=0)


class LayerNormIBert(Unit[IBertLayerNormParameters]):
    """Mean, squares of what is left, product."""

    name = "layer_norm_ibert"
    title = "I-BERT's LayerNorm of a frame, without gains: the factor has the bits that the deviation leaves it"
    source = SOURCE
    parameters_type = IBertLayerNormParameters
    variants: ClassVar[tuple[IBertLayerNormParameters, ...]] = (
        IBertLayerNormParameters(lanes=4, width=8, shift=0, max_beats=256),
        IBertLayerNormParameters(lanes=8, width=22, shift=9, max_beats=128),
        IBertLayerNormParameters(lanes=16, max_beats=64),
        IBertLayerNormParameters(width=4, shift=1, max_beats=2),
    )
    figures: ClassVar[Mapping[tuple[int, int], float]] = {  # width, shift
        (16, 3): 3.47e-4, (8, 0): 1.47e-2, (22, 9): 2.25e-2}

    def input_fields(self, p: IBertLayerNormParameters) -> Fields:
        return values_input(p)

    def output_fields(self, p: IBertLayerNormParameters) -> Fields:
        return {"o": Lanes(sint(rtl.OUT_BITS), p.lanes), "last": flag}

    def component(self, p: IBertLayerNormParameters, target: str = "generic") -> rtl.LayerNormIBert:
        return rtl.LayerNormIBert(lanes=p.lanes, width=p.width, shift=p.shift, max_beats=p.max_beats, target=target)

    def golden(self, p: IBertLayerNormParameters, beats: Beats) -> Beats:
        o = golden.layer_norm_ibert(
            beats["x"], kept_lanes(p.lanes, beats), beats["last"], shift=p.shift, max_beats=p.max_beats)
        return {"o": o, "last": cut_ends(p.max_beats, beats)}

    def hls_context(self, p: IBertLayerNormParameters) -> Mapping[str, Any]:
        return {"lanes": p.lanes, "width": p.width, "shift": p.shift, "max_beats": p.max_beats,
                "total_width": p.widths.total.width, "root_bits": p.root_bits, "factor_bits": rtl.FACTOR_BITS - p.shift}

    def timing(self, p: IBertLayerNormParameters) -> Timing:
        slowest = max(serial for part in self._passes(p) for serial in part.serials)
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            "of a frame of one beat; each of the two buffers holds a frame until its last beat has come. "
            f"Frames shorter than {slowest + 2} beats wait for the mean, the root or the division"))

    def schedule(self, p: IBertLayerNormParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, cut_ends(p.max_beats, beats))

    @staticmethod
    def _passes(p: IBertLayerNormParameters) -> list[Pass]:
        return [Pass(FrameSum.LATENCY, (p.widths.total.width + 1,), 2 * p.max_beats),
                Pass(FrameSum.LATENCY, (p.root_bits, rtl.FACTOR_BITS - p.shift), 2 * p.max_beats)]

    def _schedule(self, p: IBertLayerNormParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        pipelines = [rtl.totals_latency(p.lanes), rtl.spread_latency(p.lanes), rtl.scale_latency(p.width, p.shift)]
        return frame_schedule(ends, pipelines, self._passes(p))

    def stimulus(self, p: IBertLayerNormParameters, rng: np.random.Generator, count: int) -> Beats:
        return values_stimulus(p, rng, count)

    def error(self, p: IBertLayerNormParameters) -> Error | None:
        return values_error(p, self.figures.get((p.width, p.shift)), centered=True, out_fraction=RESULT_FRACTION)
