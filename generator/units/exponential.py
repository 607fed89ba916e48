"""The units ``exp``, ``exp_parts`` and ``log2``: a table, a line, a shift."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from tilewright.rtl.units import exp as rtl
from tilewright.rtl.units.log2 import Log2 as Log2Rtl
from tilewright.rtl.units.log2 import log2_latency
from tilewright.sim.golden.units import exponential as golden
from tilewright.units import tables
from tilewright.units.base import Elementwise, Error, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, sint, uint
from tilewright.units.stimulus import joined

INTEGER_BITS = 12  # of x in exp_parts, sign included


class ExpParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.exp.Exp`."""

    width: int = Field(default=16, ge=2, le=24, description="bits of t")
    fraction_bits: int = Field(default=10, ge=2, le=20, description="fraction bits of t")
    octave_bits: int = Field(default=16, ge=2, le=24, description="fraction bits of t in octaves")
    table_bits: int = Field(default=7, ge=1, le=10, description="leading fraction bits that address the table")
    value_bits: int = Field(default=16, ge=4, le=24, description="fraction bits of the table")
    guard_bits: int = Field(default=8, ge=0, le=16, description="fraction bits of e beyond those of the table")

    def refusals(self) -> Iterator[Refusal]:
        if self.table_bits >= self.octave_bits:
            yield Refusal("table_bits", f"leaves nothing of {self.octave_bits} octave bits to interpolate in",
                          self.octave_bits - 1)
        if self.octave_bits > rtl.LOG2E_BITS + self.fraction_bits - 1:
            yield Refusal("octave_bits", f"exceeds what a product with {self.fraction_bits + rtl.LOG2E_BITS} "
                          "fraction bits can be rounded to", rtl.LOG2E_BITS + self.fraction_bits - 1)

    @property
    def table(self) -> tuple[int, ...]:
        """Values at the ends of the intervals."""
        return tables.exp2_falling(self.value_bits, self.table_bits)

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share beside the table."""
        return {"fraction_bits": self.fraction_bits, "octave_bits": self.octave_bits, "table_bits": self.table_bits,
                "value_bits": self.value_bits, "guard_bits": self.guard_bits}


class Exp(Elementwise[ExpParameters]):
    """To octaves by a constant product, then table and linear interpolation in the fraction, shift by the integer part."""

    name = "exp"
    title = "e to the power of -t: constant product, table, linear interpolation, shift"
    source = "Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; the fixed-point form is our own"
    parameters_type = ExpParameters
    variants: ClassVar[tuple[ExpParameters, ...]] = (
        ExpParameters(octave_bits=10, table_bits=5, value_bits=15),
        ExpParameters(fraction_bits=8, octave_bits=8, table_bits=5, value_bits=8, guard_bits=0),
        ExpParameters(width=18, fraction_bits=12, octave_bits=12, table_bits=6, value_bits=15),
    )
    # Measured over every t: the largest |error| of the defaults and of the variants.
    figures: ClassVar[dict[ExpParameters, float]] = dict(zip(
        (ExpParameters(), *variants), (2.56e-5, 3.99e-4, 5.61e-3, 1.19e-4), strict=True))

    def input_fields(self, p: ExpParameters) -> Fields:
        return {"t": uint(p.width)}

    def output_fields(self, p: ExpParameters) -> Fields:
        return {"e": uint(p.value_bits + p.guard_bits + 1)}

    def component(self, p: ExpParameters, target: str = "generic") -> rtl.Exp:
        return rtl.Exp(table=p.table, width=p.width, **p.numbers, target=target)

    def golden(self, p: ExpParameters, beats: Beats) -> Beats:
        return {"e": golden.exp(beats["t"], table=p.table, **p.numbers)}

    def hls_context(self, p: ExpParameters) -> Mapping[str, Any]:
        drop = rtl.LOG2E_BITS + p.fraction_bits - p.octave_bits
        return {**p.numbers, "table": list(p.table), "log2e": rtl.LOG2E, "drop": drop, "half": 1 << drop - 1,
                "n_width": rtl.exponent_width(p.width, p.fraction_bits)}

    def timing(self, p: ExpParameters) -> Timing:
        return Timing(rtl.Exp.LATENCY)

    def stimulus(self, p: ExpParameters, rng: np.random.Generator, count: int) -> Beats:
        """Half of it where the result is not 0 yet."""
        end = int((p.value_bits + p.guard_bits) * math.log(2) * (1 << p.fraction_bits)) + 1
        visible = rng.integers(0, min(end, (1 << p.width) - 1), max(count // 2, 1), dtype=np.int64, endpoint=True)
        return joined([super().stimulus(p, rng, max(count - len(visible), 1)), {"t": visible}])

    def error(self, p: ExpParameters) -> Error:
        """That of ``exp2``, and half a step of the octaves and of the constant, both of them relative to e."""
        constant = abs(rtl.LOG2E / (1 << rtl.LOG2E_BITS) - math.log2(math.e)) * math.log(2) / math.e
        bound = ((math.log(2) / (1 << p.table_bits)) ** 2 / 8 + 1.5 / (1 << p.value_bits)
                 + 2.0 ** -(p.value_bits + p.guard_bits) + math.log(2) / (2 << p.octave_bits) + constant)
        one = float(1 << p.value_bits + p.guard_bits)

        def deviation(beats: Beats, results: Beats) -> tuple[np.ndarray, np.ndarray]:
            t = beats["t"] / float(1 << p.fraction_bits)
            return t, results["e"] / one - np.exp(-t)

        return Error(self.figures.get(p, bound), f"e / 2^{p.value_bits + p.guard_bits} - exp(-t)", "t", deviation,
                     bound=p not in self.figures)


class ExpPartsParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.exp.ExpParts`."""

    width: int = Field(default=16, ge=2, le=24, description="bits of x")
    fraction_bits: int = Field(default=10, ge=2, le=20, description="fraction bits of x")
    table_bits: int = Field(default=5, ge=1, le=10, description="leading fraction bits that address the table")
    value_bits: int = Field(default=15, ge=4, le=24, description="fraction bits of the mantissa")

    def refusals(self) -> Iterator[Refusal]:
        if self.table_bits >= self.fraction_bits:
            yield Refusal("table_bits", f"leaves nothing of {self.fraction_bits} fraction bits to interpolate in",
                          self.fraction_bits - 1)
        if self.width <= self.fraction_bits:
            yield Refusal("width", f"leaves no integer part beside {self.fraction_bits} fraction bits",
                          self.fraction_bits + 1)
        if self.width > self.fraction_bits + INTEGER_BITS:
            yield Refusal("width", f"lets x exceed 2**{INTEGER_BITS - 1}, where 16 fraction bits of log2(e) are a percent off",
                          self.fraction_bits + INTEGER_BITS)
        if self.value_bits < self.table_bits:
            yield Refusal("value_bits", f"makes neighbours of a table of 2**{self.table_bits} intervals equal", self.table_bits)

    @property
    def table(self) -> tuple[int, ...]:
        """Values at the ends of the intervals."""
        return tables.exp2_rising(self.value_bits, self.table_bits)


class ExpParts(Elementwise[ExpPartsParameters]):
    """To octaves by a constant product, then table and linear interpolation in the fraction; no shift."""

    name = "exp_parts"
    title = "e to the power of x, of any size, as mantissa and exponent"
    source = "Dukhan and Ablavatski, The Two-Pass Softmax Algorithm, 2020; the integer form is our own"
    parameters_type = ExpPartsParameters
    variants: ClassVar[tuple[ExpPartsParameters, ...]] = (
        ExpPartsParameters(fraction_bits=8, value_bits=8),
        ExpPartsParameters(fraction_bits=12, table_bits=6),
    )
    # Measured over every x: the largest relative error of the defaults and of the variants.
    figures: ClassVar[dict[ExpPartsParameters, float]] = dict(zip(
        (ExpPartsParameters(), *variants), (5.44e-4, 5.90e-3, 1.46e-4), strict=True))

    def input_fields(self, p: ExpPartsParameters) -> Fields:
        return {"x": sint(p.width)}

    def output_fields(self, p: ExpPartsParameters) -> Fields:
        return {"mantissa": uint(p.value_bits + 1), "exponent": sint(rtl.exponent_width(p.width, p.fraction_bits))}

    def component(self, p: ExpPartsParameters, target: str = "generic") -> rtl.ExpParts:
        return rtl.ExpParts(table=p.table, **p.model_dump(), target=target)

    def golden(self, p: ExpPartsParameters, beats: Beats) -> Beats:
        mantissa, exponent = golden.exp_parts(
            beats["x"], table=p.table, fraction_bits=p.fraction_bits, table_bits=p.table_bits)
        return {"mantissa": mantissa, "exponent": exponent}

    def hls_context(self, p: ExpPartsParameters) -> Mapping[str, Any]:
        return {**p.model_dump(), "table": list(p.table), "log2e": rtl.LOG2E, "drop": rtl.LOG2E_BITS,
                "half": 1 << rtl.LOG2E_BITS - 1}

    def timing(self, p: ExpPartsParameters) -> Timing:
        return Timing(rtl.ExpParts.LATENCY)

    def error(self, p: ExpPartsParameters) -> Error:
        """Half a step of the octaves, the constant's error at the largest x, the line's and a unit and a half of the table."""
        constant = abs(rtl.LOG2E / (1 << rtl.LOG2E_BITS) - math.log2(math.e)) * math.log(2)
        bound = math.expm1(
            math.log(2) / (2 << p.fraction_bits) + constant * (1 << p.width - 1 - p.fraction_bits)
            + (math.log(2) / (1 << p.table_bits)) ** 2 / 8 + 1.5 / (1 << p.value_bits))

        def deviation(beats: Beats, results: Beats) -> tuple[np.ndarray, np.ndarray]:
            x = beats["x"] / float(1 << p.fraction_bits)
            octaves = results["exponent"] - p.value_bits - x * math.log2(math.e)
            return x, results["mantissa"] * np.exp2(octaves) - 1

        return Error(self.figures.get(p, bound), f"mantissa * 2^(exponent - {p.value_bits}) / exp(x) - 1", "x", deviation,
                     bound=p not in self.figures)


class Log2Parameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.log2.Log2`."""

    width: int = Field(default=32, ge=4, le=48, description="bits of d")
    table_bits: int = Field(default=6, ge=1, le=10, description="bits behind the leading one that address the table")
    mantissa_bits: int = Field(default=16, ge=2, le=24, description="bits behind the leading one that count")
    value_bits: int = Field(default=16, ge=4, le=24, description="fraction bits of the result")

    def refusals(self) -> Iterator[Refusal]:
        if self.table_bits >= self.mantissa_bits:
            yield Refusal("table_bits", f"leaves nothing of {self.mantissa_bits} mantissa bits to interpolate in",
                          self.mantissa_bits - 1)

    @property
    def table(self) -> tuple[int, ...]:
        """Values at the ends of the intervals."""
        return tables.log2(self.value_bits, self.table_bits)


class Log2(Elementwise[Log2Parameters]):
    """The place of the leading one, and table and linear interpolation in what follows."""

    name = "log2"
    title = "logarithm to base 2: place of the leading one, table, linear interpolation"
    source = "Mitchell, Computer Multiplication and Division Using Binary Logarithms, 1962, with a table for its line"
    parameters_type = Log2Parameters
    variants: ClassVar[tuple[Log2Parameters, ...]] = (
        Log2Parameters(width=16, table_bits=4, mantissa_bits=15),
        Log2Parameters(width=20, mantissa_bits=20),
    )
    # Measured: every d below 2**20 or 2**16, for 32 bits a million of them; the largest |error|.
    figures: ClassVar[dict[Log2Parameters, float]] = dict(zip(
        (Log2Parameters(), *variants), (8.13e-5, 6.78e-4, 6.09e-5), strict=True))

    def input_fields(self, p: Log2Parameters) -> Fields:
        return {"d": uint(p.width)}

    def output_fields(self, p: Log2Parameters) -> Fields:
        return {"y": uint((p.width - 1).bit_length() + p.value_bits)}

    def component(self, p: Log2Parameters, target: str = "generic") -> Log2Rtl:
        return Log2Rtl(table=p.table, **p.model_dump(), target=target)

    def golden(self, p: Log2Parameters, beats: Beats) -> Beats:
        return {"y": golden.log2(beats["d"], table=p.table, table_bits=p.table_bits, mantissa_bits=p.mantissa_bits)}

    def hls_context(self, p: Log2Parameters) -> Mapping[str, Any]:
        return {**p.model_dump(), "table": list(p.table)}

    def timing(self, p: Log2Parameters) -> Timing:
        return Timing(log2_latency(p.width))

    def stimulus(self, p: Log2Parameters, rng: np.random.Generator, count: int) -> Beats:
        """Every power of two and its neighbours too."""
        powers = np.int64(1) << np.arange(p.width, dtype=np.int64)
        near = (powers[:, None] + np.arange(-1, 2)).ravel() & (1 << p.width) - 1
        return joined([{"d": near}, super().stimulus(p, rng, count)])

    def error(self, p: Log2Parameters) -> Error:
        """The line below the curve, what is dropped behind the mantissa, and a unit and a half of the result."""
        bound = math.log2(math.e) * ((1 / (1 << p.table_bits)) ** 2 / 8 + 2.0 ** -p.mantissa_bits) + 1.5 / (1 << p.value_bits)

        def deviation(beats: Beats, results: Beats) -> tuple[np.ndarray, np.ndarray]:
            exact = np.log2(np.maximum(beats["d"], 1))
            return exact, results["y"] / float(1 << p.value_bits) - exact

        return Error(self.figures.get(p, bound), f"y / 2^{p.value_bits} - log2(d)", "log2(d)", deviation,
                     bound=p not in self.figures)
