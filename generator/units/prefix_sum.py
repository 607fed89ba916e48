"""The unit ``prefix_sum``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from tilewright.rtl.units import prefix_sum as rtl
from tilewright.sim.golden.units import selection as golden
from tilewright.units.base import Elementwise, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, Lanes, flag, uint
from tilewright.units.stimulus import frame_ends, frame_lengths, frame_slices, random_beats


class PrefixSumParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.prefix_sum.PrefixSum`."""

    lanes: int = Field(default=8, ge=1, le=32, description="values of a beat")
    width: int = Field(default=8, ge=1, le=24, description="bits of x, unsigned")
    sum_width: int = Field(default=16, ge=2, le=32, description="bits of the sums, unsigned")
    inclusive: bool = Field(default=True, description="whether a sum counts its own value")

    def refusals(self) -> Iterator[Refusal]:
        least = (self.lanes * ((1 << self.width) - 1)).bit_length()
        if self.sum_width < least:
            yield Refusal("sum_width", f"does not hold the sum of one beat of {self.lanes} values of {self.width} bits", least)


class PrefixSum(Elementwise[PrefixSumParameters]):
    """Kogge-Stone over the lanes, an adder from beat to beat."""

    name = "prefix_sum"
    title = "running sum of a frame over lanes and beats"
    source = "Kogge and Stone, A parallel algorithm for the efficient solution of a general class of recurrence equations, 1973"
    parameters_type = PrefixSumParameters
    variants: ClassVar[tuple[PrefixSumParameters, ...]] = (
        PrefixSumParameters(lanes=1, width=8, sum_width=12), PrefixSumParameters(lanes=5, width=1, sum_width=6),
        PrefixSumParameters(inclusive=False), PrefixSumParameters(lanes=16, width=12, sum_width=24, inclusive=False),
    )

    def input_fields(self, p: PrefixSumParameters) -> Fields:
        return {"x": Lanes(uint(p.width), p.lanes), "last": flag}

    def output_fields(self, p: PrefixSumParameters) -> Fields:
        return {"sum": Lanes(uint(p.sum_width), p.lanes), "last": flag}

    def component(self, p: PrefixSumParameters, target: str = "generic") -> rtl.PrefixSum:
        return rtl.PrefixSum(lanes=p.lanes, width=p.width, sum_width=p.sum_width, inclusive=p.inclusive)

    def golden(self, p: PrefixSumParameters, beats: Beats) -> Beats:
        sums = golden.prefix_sum(beats["x"], beats["last"], sum_width=p.sum_width, inclusive=p.inclusive)
        return {"sum": sums, "last": beats["last"]}

    def hls_context(self, p: PrefixSumParameters) -> Mapping[str, Any]:
        return {"lanes": p.lanes, "sum_width": p.sum_width, "inclusive": p.inclusive}

    def timing(self, p: PrefixSumParameters) -> Timing:
        return Timing(rtl.prefix_sum_latency(p.lanes))

    def domain(self, p: PrefixSumParameters) -> int | None:
        return None  # a sum depends on the beats before

    def stimulus(self, p: PrefixSumParameters, rng: np.random.Generator, count: int) -> Beats:
        """Random frames; some of all ones and long enough to wrap."""
        wraps = min((1 << p.sum_width) // (p.lanes * ((1 << p.width) - 1)) + 2, 2 + count // 4)
        lengths = [wraps, *frame_lengths(rng, count - wraps, 40)]
        last = frame_ends(lengths)
        x = random_beats({"x": self.input_fields(p)["x"]}, rng, len(last))["x"]
        for place, frame in enumerate(frame_slices(last)):
            if place % 4 == 0:
                x[frame] = (1 << p.width) - 1
            elif place % 4 == 1:
                x[frame] = rng.integers(0, 2, x[frame].shape)
        return {"x": x, "last": last}
