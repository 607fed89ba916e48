"""The unit ``exp2``."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from tilewright.rtl.units import exp2 as rtl
from tilewright.sim.golden.units import exp2 as golden
from tilewright.units import tables
from tilewright.units.base import Elementwise, Error, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, uint


class Exp2Parameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.exp2.Exp2`."""

    width: int = Field(default=16, ge=2, le=24, description="bits of t")
    fraction_bits: int = Field(default=10, ge=2, le=20, description="fraction bits of t")
    table_bits: int = Field(default=5, ge=1, le=10, description="leading fraction bits that address the table")
    value_bits: int = Field(default=15, ge=4, le=24, description="fraction bits of the table")
    guard_bits: int = Field(default=8, ge=0, le=16, description="fraction bits of e beyond those of the table")

    def refusals(self) -> Iterator[Refusal]:
        if self.width <= self.fraction_bits:
            yield Refusal("width", f"leaves no integer part beside {self.fraction_bits} fraction bits",
                          self.fraction_bits + 1)
        if self.table_bits >= self.fraction_bits:
            yield Refusal("table_bits", f"leaves nothing of {self.fraction_bits} fraction bits to interpolate in",
                          self.fraction_bits - 1)

    @property
    def table(self) -> tuple[int, ...]:
        """Values at the ends of the intervals."""
        return tables.exp2_falling(self.value_bits, self.table_bits)

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share beside the table."""
        return {"fraction_bits": self.fraction_bits, "table_bits": self.table_bits,
                "value_bits": self.value_bits, "guard_bits": self.guard_bits}


class Exp2(Elementwise[Exp2Parameters]):
    """Table and linear interpolation in the fraction, shift by the integer part."""

    name = "exp2"
    title = "2 to the power of -t: table, linear interpolation, shift"
    source = "Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; the fixed-point form is our own"
    parameters_type = Exp2Parameters
    variants: ClassVar[tuple[Exp2Parameters, ...]] = (
        Exp2Parameters(fraction_bits=8, value_bits=8, guard_bits=0),
        Exp2Parameters(width=20, fraction_bits=12, table_bits=6),
    )
    # Measured over every t: the largest |error| of the defaults and of the variants.
    figures: ClassVar[dict[Exp2Parameters, float]] = dict(zip(
        (Exp2Parameters(), *variants), (9.24e-5, 5.05e-3, 5.36e-5), strict=True))

    def input_fields(self, p: Exp2Parameters) -> Fields:
        return {"t": uint(p.width)}

    def output_fields(self, p: Exp2Parameters) -> Fields:
        return {"e": uint(p.value_bits + p.guard_bits + 1)}

    def component(self, p: Exp2Parameters, target: str = "generic") -> rtl.Exp2:
        return rtl.Exp2(table=p.table, width=p.width, target=target, **p.numbers)

    def golden(self, p: Exp2Parameters, beats: Beats) -> Beats:
        return {"e": golden.exp2(beats["t"], table=p.table, **p.numbers)}

    def hls_context(self, p: Exp2Parameters) -> Mapping[str, Any]:
        return {**p.numbers, "table": list(p.table)}

    def timing(self, p: Exp2Parameters) -> Timing:
        return Timing(rtl.Exp2.LATENCY)

    def error(self, p: Exp2Parameters) -> Error:
        """Line above curve at most ``(ln 2 / 2**table_bits)**2 / 8``, a table entry half, a floor one unit of the table."""
        bound = (math.log(2) / (1 << p.table_bits)) ** 2 / 8 + 1.5 / (1 << p.value_bits) + 2.0 ** -(p.value_bits + p.guard_bits)
        one = float(1 << p.value_bits + p.guard_bits)

        def deviation(beats: Beats, results: Beats) -> tuple[np.ndarray, np.ndarray]:
            t = beats["t"] / float(1 << p.fraction_bits)
            return t, results["e"] / one - np.exp2(-t)

        return Error(self.figures.get(p, bound), f"e / 2^{p.value_bits + p.guard_bits} - 2^-t", "t", deviation,
                     bound=p not in self.figures)
