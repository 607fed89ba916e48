"""The unit ``compact``."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from amaranth.utils import ceil_log2
from pydantic import Field
from tilewright.rtl.units import compaction as rtl
from tilewright.sim.golden.units import selection as golden
from tilewright.units.base import Elementwise, Parameters, Specification, Timing
from tilewright.units.fields import Beats, Fields, Lanes, sint, uint
from tilewright.units.stimulus import joined, random_beats


class CompactParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.compaction.Compact`."""

    lanes: int = Field(default=8, ge=2, le=32, description="values of a beat")
    width: int = Field(default=8, ge=2, le=32, description="bits of a value")


class Compact(Elementwise[CompactParameters]):
    """A prefix sum of the gaps, then moves by powers of two."""

    name = "compact"
    title = "kept lanes of a beat moved together in their order (zero eliminator)"
    source = "Kogge and Stone, 1973, for the prefix sum; the moving network as in Warren, Hacker's Delight, 2002, section 7"
    parameters_type = CompactParameters
    variants: ClassVar[tuple[CompactParameters, ...]] = (
        CompactParameters(lanes=2, width=4), CompactParameters(lanes=5, width=3), CompactParameters(lanes=16, width=8),
    )

    def input_fields(self, p: CompactParameters) -> Fields:
        return {"x": Lanes(sint(p.width), p.lanes), "keep": uint(p.lanes)}

    def output_fields(self, p: CompactParameters) -> Fields:
        return {"value": Lanes(sint(p.width), p.lanes), "index": Lanes(uint(ceil_log2(p.lanes)), p.lanes),
                "count": uint(ceil_log2(p.lanes + 1))}

    def component(self, p: CompactParameters, target: str = "generic") -> rtl.Compact:
        return rtl.Compact(lanes=p.lanes, width=p.width)

    def golden(self, p: CompactParameters, beats: Beats) -> Beats:
        keep = beats["keep"][:, None] >> np.arange(p.lanes) & 1
        value, index, count = golden.compact(beats["x"], keep)
        return {"value": value, "index": index, "count": count}

    def hls_context(self, p: CompactParameters) -> Mapping[str, Any]:
        return {"lanes": p.lanes, "width": p.width}

    def timing(self, p: CompactParameters) -> Timing:
        return Timing(rtl.compaction_latency(p.lanes))

    def specification(self, p: CompactParameters) -> Specification:
        return Specification({"index_width": ceil_log2(p.lanes)})

    def stimulus(self, p: CompactParameters, rng: np.random.Generator, count: int) -> Beats:
        """Every mask with distinct values where that fits ``count``, then masks of every density."""
        fields = self.input_fields(p)
        masks = min(1 << p.lanes, max(count // 2, 1))
        every = random_beats(fields, rng, masks)
        every["keep"] = (np.arange(masks, dtype=np.int64) * max((1 << p.lanes) // masks, 1)) % (1 << p.lanes)
        rest = random_beats(fields, rng, max(count - masks, 1))
        dense = rng.random((len(rest["keep"]), p.lanes)) < rng.random((len(rest["keep"]), 1))
        rest["keep"] = (dense << np.arange(p.lanes)).sum(axis=1).astype(np.int64)
        return joined([every, rest])
