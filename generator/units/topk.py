"""The unit ``topk``."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import topk as rtl
from tilewright.sim.golden.units import selection as golden
from tilewright.units.base import Parameters, Timing, Unit
from tilewright.units.fields import Beats, Fields, flag, sint, uint
from tilewright.units.selection_stimulus import ranked_frames
from tilewright.units.stimulus import frame_slices


class TopKParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.topk.TopK`."""

    k: int = Field(default=8, ge=1, le=64, description="how many values are kept")
    width: int = Field(default=16, ge=2, le=32, description="bits of x")
    index_bits: int = Field(default=10, ge=1, le=16, description="bits of the index")


class TopK(Unit[TopKParameters]):
    """The k largest of a frame, sorted; a cell and a comparator for each, a beat per cycle whatever the frame."""

    name = "topk"
    title = "the k largest of a frame, largest first, ties keep the lower index: insertion chain"
    source = "insertion sort; the rule for ties of ONNX TopK"
    parameters_type = TopKParameters
    variants: ClassVar[tuple[TopKParameters, ...]] = (
        TopKParameters(k=1, width=8, index_bits=4), TopKParameters(k=5, width=4, index_bits=3),
        TopKParameters(k=32, width=12, index_bits=8),
    )

    def input_fields(self, p: TopKParameters) -> Fields:
        return {"x": sint(p.width), "last": flag}

    def output_fields(self, p: TopKParameters) -> Fields:
        return {"index": uint(p.index_bits), "value": sint(p.width), "overflow": flag, "last": flag}

    def component(self, p: TopKParameters, target: str = "generic") -> rtl.TopK:
        return rtl.TopK(k=p.k, width=p.width, index_bits=p.index_bits)

    def golden(self, p: TopKParameters, beats: Beats) -> Beats:
        columns = golden.topk(beats["x"], beats["last"], k=p.k, index_bits=p.index_bits)
        return dict(zip(self.output_fields(p), columns, strict=True))

    def hls_context(self, p: TopKParameters) -> Mapping[str, Any]:
        return {"k": p.k, "width": p.width, "index_bits": p.index_bits}

    def timing(self, p: TopKParameters) -> Timing:
        return Timing(rtl.TopK.LATENCY, note="from the last beat of a frame to its first result, then one per cycle")

    def schedule(self, p: TopKParameters, beats: Beats) -> NDArray[np.int64]:
        """Frames move to the output in the cycle after their end, or with the final result of the frame before."""
        taken: list[NDArray[np.int64]] = []
        start, free = 0, 0  # when the frame may begin, when the output has room
        for frame in frame_slices(beats["last"]):
            length = frame.stop - frame.start
            move = max(start + length, free)
            results = min(length, 1 << p.index_bits, p.k)
            taken.append(move + 1 + np.arange(results))
            start, free = move, move + results
        return np.concatenate(taken).astype(np.int64)

    def stimulus(self, p: TopKParameters, rng: np.random.Generator, count: int) -> Beats:
        return ranked_frames(rng, count, number=sint(p.width), k=p.k, index_bits=p.index_bits)
