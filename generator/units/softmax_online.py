"""The unit ``softmax_online``."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import softmax_online as rtl
from tilewright.rtl.units.softmax_exponent import RECIPROCAL_BITS
from tilewright.rtl.units.softmax_table import front_latency
from tilewright.sim.golden.units import frames as golden_frames
from tilewright.sim.golden.units import softmax_maximum as golden
from tilewright.units import softmax
from tilewright.units.base import Timing
from tilewright.units.fields import Beats
from tilewright.units.frame_schedule import Pass, frame_schedule
from tilewright.units.softmax import FixedPointSoftmaxParameters
from tilewright.units.softmax_distance import DistanceSoftmax, frame_total_width


class OnlineSoftmaxParameters(FixedPointSoftmaxParameters):
    """Of :class:`tilewright.rtl.units.softmax_online.SoftmaxOnline`."""

    tile_beats: Literal[8, 16, 32] = Field(default=8, description="beats between two rescalings of the sum")
    rounding: Literal["half_up", "truncate"] = Field(default="half_up", description="of a rescaled sum")


class SoftmaxOnline(DistanceSoftmax[OnlineSoftmaxParameters]):
    """A sum below the maximum so far."""

    name = "softmax_online"
    title = "softmax below the maximum so far: a tile that raises it multiplies the sum down"
    source = ("Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; tiles as in Dao et al., "
              "FlashAttention, 2022; the fixed-point form is our own")
    parameters_type = OnlineSoftmaxParameters
    variants: ClassVar[tuple[OnlineSoftmaxParameters, ...]] = (
        OnlineSoftmaxParameters(lanes=4, max_beats=256, tile_beats=16, rounding="truncate"),
        OnlineSoftmaxParameters(lanes=8, score_width=18, fraction=12, table_bits=6, max_beats=128),
        OnlineSoftmaxParameters(lanes=16, mantissa_bits=16, max_beats=64),
        OnlineSoftmaxParameters(max_beats=2),
        OnlineSoftmaxParameters(score_width=12, fraction=8, mantissa_bits=8, tile_beats=32),
        OnlineSoftmaxParameters(score_width=12, fraction=8, mantissa_bits=8, guard_bits=0),
        OnlineSoftmaxParameters(score_width=12, fraction=8, mantissa_bits=8, guard_bits=0, rounding="truncate"),
    )
    figures: ClassVar[Mapping[tuple[object, ...], float]] = {
        (10, 15, 5, 8, 16, 1, "half_up"): 7.99e-5, (10, 15, 5, 8, 16, 4, "truncate"): 9.38e-5,
        (12, 15, 6, 8, 16, 8, "half_up"): 3.73e-5, (10, 16, 5, 8, 16, 16, "half_up"): 9.38e-5,
        (8, 8, 5, 8, 16, 1, "half_up"): 1.32e-3, (8, 8, 5, 0, 16, 1, "half_up"): 3.3e-2,
        (8, 8, 5, 0, 16, 1, "truncate"): 3.3e-2}

    def component(self, p: OnlineSoftmaxParameters, target: str = "generic") -> rtl.SoftmaxOnline:
        return rtl.SoftmaxOnline(lanes=p.lanes, score_width=p.score_width, target=target, **self.numbers(p))

    def golden(self, p: OnlineSoftmaxParameters, beats: Beats) -> Beats:
        probability = golden.softmax_online(
            beats["score"], softmax.kept_lanes(p.lanes, beats), beats["last"], **self.numbers(p))
        return softmax.softmax_results(p, beats, probability)

    def numbers(self, p: OnlineSoftmaxParameters) -> dict[str, Any]:
        return {**super().numbers(p), "tile_beats": p.tile_beats, "rounding": p.rounding}

    def precision(self, p: OnlineSoftmaxParameters) -> tuple[object, ...]:
        return *p.precision, p.lanes, p.rounding

    def hls_context(self, p: OnlineSoftmaxParameters) -> Mapping[str, Any]:
        return {**super().hls_context(p), "half": int(p.rounding == "half_up")}

    def timing(self, p: OnlineSoftmaxParameters) -> Timing:
        return Timing(int(self._schedule(p, np.ones(1, np.int64))[0]), note=(
            f"of a frame of one beat; a longer one's first result comes up to {p.tile_beats - 2} cycles later. "
            f"Frames shorter than {RECIPROCAL_BITS + 2} beats wait for the division"))

    def schedule(self, p: OnlineSoftmaxParameters, beats: Beats) -> NDArray[np.int64]:
        return self._schedule(p, softmax.cut_ends(p.max_beats, beats))

    @staticmethod
    def _schedule(p: OnlineSoftmaxParameters, ends: NDArray[np.int64]) -> NDArray[np.int64]:
        passes = [
            Pass(rtl.TileMaximum.LATENCY, (), 2 * p.tile_beats, ends=golden_frames.frame_ends(ends, p.tile_beats)),
            Pass(rtl.sum_latency(frame_total_width(p), p.mantissa_bits), (RECIPROCAL_BITS,), 2 * p.max_beats)]
        pipelines = [front_latency(p.lanes), rtl.tile_latency(p.lanes), rtl.second_latency(p.lanes)]
        return frame_schedule(ends, pipelines, passes)
