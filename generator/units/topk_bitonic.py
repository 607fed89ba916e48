"""The unit ``topk_bitonic``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from amaranth.utils import ceil_log2
from pydantic import Field
from tilewright.rtl.units import topk_bitonic as rtl
from tilewright.sim.golden.units import selection as golden
from tilewright.units.base import Elementwise, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, Lanes, sint, uint
from tilewright.units.stimulus import joined, random_beats


class TopKBitonicParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.topk_bitonic.TopKBitonic`."""

    lanes: int = Field(default=16, ge=2, le=64, description="values of a beat, a power of two")
    k: int = Field(default=4, ge=1, le=64, description="how many values are kept")
    width: int = Field(default=16, ge=2, le=32, description="bits of x")

    def refusals(self) -> Iterator[Refusal]:
        if self.lanes & self.lanes - 1:
            upper = 1 << ceil_log2(self.lanes)
            nearest = upper if upper - self.lanes <= self.lanes - upper // 2 else upper // 2
            yield Refusal("lanes", "is no power of two", nearest)
        elif self.k > self.lanes:
            yield Refusal("k", f"is above the {self.lanes} lanes", self.lanes)


class TopKBitonic(Elementwise[TopKBitonicParameters]):
    """Sorted groups, merged in pairs of which the greater half goes on."""

    name = "topk_bitonic"
    title = "the k largest lanes of a beat, largest first, ties keep the lower index: bitonic merging"
    source = "Batcher, Sorting networks and their applications, 1968; the rule for ties of ONNX TopK"
    parameters_type = TopKBitonicParameters
    variants: ClassVar[tuple[TopKBitonicParameters, ...]] = (
        TopKBitonicParameters(lanes=2, k=1, width=4), TopKBitonicParameters(lanes=8, k=8, width=6),
        TopKBitonicParameters(lanes=8, k=3, width=2), TopKBitonicParameters(lanes=4, k=2, width=5),
    )

    def input_fields(self, p: TopKBitonicParameters) -> Fields:
        return {"x": Lanes(sint(p.width), p.lanes)}

    def output_fields(self, p: TopKBitonicParameters) -> Fields:
        return {"index": Lanes(uint(ceil_log2(p.lanes)), p.k), "value": Lanes(sint(p.width), p.k)}

    def component(self, p: TopKBitonicParameters, target: str = "generic") -> rtl.TopKBitonic:
        return rtl.TopKBitonic(lanes=p.lanes, k=p.k, width=p.width)

    def golden(self, p: TopKBitonicParameters, beats: Beats) -> Beats:
        value, index = golden.topk_lanes(beats["x"], k=p.k)
        return {"index": index, "value": value}

    def hls_context(self, p: TopKBitonicParameters) -> Mapping[str, Any]:
        columns = [{"pairs": [list(pair) for pair in pairs]} for pairs, _ in rtl.bitonic_columns(p.lanes, p.k)]
        order = rtl.bitonic_columns(p.lanes, p.k)[-1][1][:p.k]
        return {"lanes": p.lanes, "k": p.k, "width": p.width, "index_width": ceil_log2(p.lanes),
                "columns": columns, "order": order}

    def timing(self, p: TopKBitonicParameters) -> Timing:
        return Timing(rtl.bitonic_latency(p.lanes, p.k))

    def stimulus(self, p: TopKBitonicParameters, rng: np.random.Generator, count: int) -> Beats:
        """Beats of two values in every arrangement (the 0-1 principle, as far as ``count`` reaches), few values, any."""
        low, high = sint(p.width).low, sint(p.width).high
        if 1 << p.lanes <= max(count // 2, 1):
            bits = np.arange(1 << p.lanes, dtype=np.int64)[:, None] >> np.arange(p.lanes) & 1
        else:
            bits = rng.integers(0, 2, (max(count // 2, 1), p.lanes))
        ties = rng.integers(max(low, -2), min(high, 1), (max(count // 4, 1), p.lanes), endpoint=True)
        return joined([{"x": np.where(bits, high, low)}, {"x": ties},
                       random_beats(self.input_fields(p), rng, max(count // 4, 1))])
