"""The unit ``argmax``."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from tilewright.rtl.units import argmax as rtl
from tilewright.sim.golden.units import argmax as golden
from tilewright.units.base import Parameters, Reduction, Timing
from tilewright.units.fields import Beats, Fields, flag, sint, uint
from tilewright.units.stimulus import frame_ends, frame_lengths, frame_slices, random_values


class ArgMaxParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.argmax.ArgMax`."""

    width: int = Field(default=16, ge=2, le=32, description="bits of x")
    index_bits: int = Field(default=10, ge=1, le=16, description="bits of the index")


class ArgMax(Reduction[ArgMaxParameters]):
    """Index and value of a frame's largest value; ties keep the lower index."""

    name = "argmax"
    title = "place and value of the largest of a frame, ties keep the lower index"
    source = "the rule for ties of NumPy and ONNX (ArgMax with select_last_index = 0)"
    parameters_type = ArgMaxParameters
    variants: ClassVar[tuple[ArgMaxParameters, ...]] = (ArgMaxParameters(width=8, index_bits=3),)

    def input_fields(self, p: ArgMaxParameters) -> Fields:
        return {"x": sint(p.width), "last": flag}

    def output_fields(self, p: ArgMaxParameters) -> Fields:
        return {"index": uint(p.index_bits), "value": sint(p.width), "overflow": flag}

    def component(self, p: ArgMaxParameters, target: str = "generic") -> rtl.ArgMax:
        return rtl.ArgMax(width=p.width, index_bits=p.index_bits)

    def golden(self, p: ArgMaxParameters, beats: Beats) -> Beats:
        index, value, overflow = golden.argmax(beats["x"], beats["last"], index_bits=p.index_bits)
        return {"index": index, "value": value, "overflow": overflow}

    def hls_context(self, p: ArgMaxParameters) -> Mapping[str, Any]:
        return {"index_bits": p.index_bits, "width": p.width}

    def timing(self, p: ArgMaxParameters) -> Timing:
        return Timing(rtl.ArgMax.LATENCY, note="from the last beat of a frame")

    def stimulus(self, p: ArgMaxParameters, rng: np.random.Generator, count: int) -> Beats:
        """Frames of one value, of few values (ties), rising, falling and random; some longer than the index reaches."""
        lengths = [1 << p.index_bits, (1 << p.index_bits) + 1, *frame_lengths(rng, count, min(64, 3 << p.index_bits))]
        last = frame_ends(lengths)
        number = sint(p.width)
        x = random_values(number, rng, len(last))
        for place, frame in enumerate(frame_slices(last)):
            length = frame.stop - frame.start
            match place % 5:
                case 0:
                    x[frame] = rng.choice([number.low, -1, 0, number.high])
                case 1:
                    x[frame] = rng.integers(number.low, number.low + 2, length)
                case 2:
                    x[frame] = np.sort(x[frame])
                case 3:
                    x[frame] = np.sort(x[frame])[::-1]
        return {"x": x, "last": last}
