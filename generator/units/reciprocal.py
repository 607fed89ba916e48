"""The units ``reciprocal``, ``reciprocal_exact``, ``divide``, ``isqrt`` and ``rsqrt_degree``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field
from tilewright.rtl.units import divide as divide_rtl
from tilewright.rtl.units.isqrt import Isqrt as IsqrtRtl
from tilewright.rtl.units.lookup import Lookup
from tilewright.rtl.units.reciprocal import Reciprocal as ReciprocalRtl
from tilewright.rtl.units.reciprocal import reciprocal_latency
from tilewright.sim.golden.units import elementwise
from tilewright.sim.golden.units import reciprocal as golden
from tilewright.units import tables
from tilewright.units.base import Elementwise, Error, Parameters, Refusal, Specification, Timing
from tilewright.units.fields import Beats, Fields, sint, uint
from tilewright.units.stimulus import joined

SIGNIFICAND_BITS = 16
PROVED_ROOT_WIDTH = 16  # of a radicand up to which the proof of equality takes seconds


class ReciprocalParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.reciprocal.Reciprocal`."""

    width: int = Field(default=32, ge=16, le=48, description="bits of d")
    table_bits: int = Field(default=7, ge=7, le=10, description="bits behind the leading one that address the table")

    @property
    def table(self) -> tuple[int, ...]:
        """First approximations."""
        return tables.reciprocal(SIGNIFICAND_BITS, self.table_bits)


class Reciprocal(Elementwise[ReciprocalParameters]):
    """Normalize, table, one Newton step."""

    name = "reciprocal"
    title = "1 / d as significand and shift: table and one Newton step"
    source = "Newton's iteration as in Ercegovac and Lang, Digital Arithmetic, 2004, chapter 7"
    parameters_type = ReciprocalParameters
    variants: ClassVar[tuple[ReciprocalParameters, ...]] = (
        ReciprocalParameters(width=16), ReciprocalParameters(width=20, table_bits=9))
    # Measured: every d below 2**20 or 2**16, for 32 bits a million of them; the largest relative error.
    figures: ClassVar[dict[ReciprocalParameters, float]] = dict(zip(
        (ReciprocalParameters(), *variants), (3.39e-5, 3.39e-5, 3.06e-5), strict=True))

    def input_fields(self, p: ReciprocalParameters) -> Fields:
        return {"d": uint(p.width)}

    def output_fields(self, p: ReciprocalParameters) -> Fields:
        return {"r": uint(SIGNIFICAND_BITS), "shift": sint((p.width - 1).bit_length() + 1)}

    def component(self, p: ReciprocalParameters, target: str = "generic") -> ReciprocalRtl:
        return ReciprocalRtl(table=p.table, **p.model_dump(), target=target)

    def golden(self, p: ReciprocalParameters, beats: Beats) -> Beats:
        r, shift = golden.reciprocal(beats["d"], table=p.table, table_bits=p.table_bits)
        return {"r": r, "shift": shift}

    def hls_context(self, p: ReciprocalParameters) -> Mapping[str, Any]:
        return {**p.model_dump(), "table": list(p.table)}

    def timing(self, p: ReciprocalParameters) -> Timing:
        return Timing(reciprocal_latency(p.width))

    def stimulus(self, p: ReciprocalParameters, rng: np.random.Generator, count: int) -> Beats:
        return joined([_near_powers("d", p.width), super().stimulus(p, rng, count)])

    def error(self, p: ReciprocalParameters) -> Error:
        """A unit of a significand of 16 bits for the floor of the result, one for what falls off d, and Newton's square."""
        bound = 2.0**-15 + (2.0**-15 if p.width > SIGNIFICAND_BITS else 0) + 4.0 ** -(p.table_bits + 1) * 1.1

        def deviation(beats: Beats, results: Beats) -> tuple[np.ndarray, np.ndarray]:
            d = np.maximum(beats["d"], 1).astype(np.float64)
            return np.log2(d), results["r"] * np.exp2(-31.0 - results["shift"]) * d - 1

        return Error(self.figures.get(p, bound), "r / 2^(31 + shift) * d - 1", "log2(d)", deviation,
                     bound=p not in self.figures)


class ReciprocalExactParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.divide.ReciprocalExact`."""

    width: int = Field(default=32, ge=2, le=48, description="bits of d")
    power: int = Field(default=32, ge=2, le=48, description="the result is floor(2**power / d)")


class ReciprocalExact(Elementwise[ReciprocalExactParameters]):
    """Restoring division of a power of two."""

    name = "reciprocal_exact"
    title = "floor(2^k / d), a bit per cycle"
    source = "the factor of Kim et al., I-BERT: Integer-only BERT Quantization, ICML 2021"
    parameters_type = ReciprocalExactParameters
    variants: ClassVar[tuple[ReciprocalExactParameters, ...]] = (
        ReciprocalExactParameters(width=16, power=31), ReciprocalExactParameters(width=12, power=24))

    def input_fields(self, p: ReciprocalExactParameters) -> Fields:
        return {"d": uint(p.width)}

    def output_fields(self, p: ReciprocalExactParameters) -> Fields:
        return {"q": uint(p.power + 1)}

    def component(self, p: ReciprocalExactParameters, target: str = "generic") -> divide_rtl.ReciprocalExact:
        return divide_rtl.ReciprocalExact(**p.model_dump())

    def golden(self, p: ReciprocalExactParameters, beats: Beats) -> Beats:
        return {"q": golden.reciprocal_exact(beats["d"], power=p.power)}

    def hls_context(self, p: ReciprocalExactParameters) -> Mapping[str, Any]:
        return p.model_dump()

    def timing(self, p: ReciprocalExactParameters) -> Timing:
        return Timing(p.power + 1, p.power + 1)

    def stimulus(self, p: ReciprocalExactParameters, rng: np.random.Generator, count: int) -> Beats:
        return joined([_near_powers("d", p.width), super().stimulus(p, rng, count)])


class DivideParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.divide.Divide`."""

    numerator_width: int = Field(default=16, ge=1, le=40, description="bits of the numerator")
    denominator_width: int = Field(default=16, ge=1, le=40, description="bits of the denominator")
    fraction_bits: int = Field(default=16, ge=0, le=40, description="fraction bits of the quotient")

    def refusals(self) -> Iterator[Refusal]:
        if self.numerator_width + self.fraction_bits > 62:
            yield Refusal("fraction_bits", f"makes a quotient of more than 62 bits with {self.numerator_width} of the "
                          "numerator", 62 - self.numerator_width)
        if self.numerator_width + self.fraction_bits < 2:
            yield Refusal("fraction_bits", "leaves a quotient of a single bit", 1)


class Divide(Elementwise[DivideParameters]):
    """Restoring division."""

    name = "divide"
    title = "fixed-point quotient, exact floor, a bit per cycle"
    source = "restoring division as in Ercegovac and Lang, Digital Arithmetic, 2004, chapter 5"
    parameters_type = DivideParameters
    variants: ClassVar[tuple[DivideParameters, ...]] = (
        DivideParameters(numerator_width=8, denominator_width=8, fraction_bits=0),
        DivideParameters(numerator_width=10, denominator_width=6, fraction_bits=20),
    )

    def input_fields(self, p: DivideParameters) -> Fields:
        return {"numerator": uint(p.numerator_width), "denominator": uint(p.denominator_width)}

    def output_fields(self, p: DivideParameters) -> Fields:
        return {"q": uint(p.numerator_width + p.fraction_bits)}

    def component(self, p: DivideParameters, target: str = "generic") -> divide_rtl.Divide:
        return divide_rtl.Divide(**p.model_dump())

    def golden(self, p: DivideParameters, beats: Beats) -> Beats:
        return {"q": golden.divide(beats["numerator"], beats["denominator"], numerator_width=p.numerator_width,
                                   fraction_bits=p.fraction_bits)}

    def hls_context(self, p: DivideParameters) -> Mapping[str, Any]:
        return p.model_dump()

    def timing(self, p: DivideParameters) -> Timing:
        cycles = p.numerator_width + p.fraction_bits + 1
        return Timing(cycles, cycles)


class IsqrtParameters(Parameters):
    """Width of :class:`tilewright.rtl.units.isqrt.Isqrt`."""

    width: int = Field(default=32, ge=2, le=62, description="bits of n, even")

    def refusals(self) -> Iterator[Refusal]:
        if self.width % 2:
            yield Refusal("width", "is odd: a digit of the root takes two bits", self.width + 1)


class Isqrt(Elementwise[IsqrtParameters]):
    """Digit recurrence, two bits of the radicand per cycle."""

    name = "isqrt"
    title = "floor(sqrt(n)), exact, a bit of the root per cycle"
    source = "digit recurrence as in Ercegovac and Lang, Digital Arithmetic, 2004, chapter 6"
    parameters_type = IsqrtParameters
    variants: ClassVar[tuple[IsqrtParameters, ...]] = (IsqrtParameters(width=16), IsqrtParameters(width=48))

    def input_fields(self, p: IsqrtParameters) -> Fields:
        return {"n": uint(p.width)}

    def output_fields(self, p: IsqrtParameters) -> Fields:
        return {"root": uint(p.width // 2)}

    def component(self, p: IsqrtParameters, target: str = "generic") -> IsqrtRtl:
        return IsqrtRtl(width=p.width)

    def golden(self, p: IsqrtParameters, beats: Beats) -> Beats:
        return {"root": golden.isqrt(beats["n"], width=p.width)}

    def hls_context(self, p: IsqrtParameters) -> Mapping[str, Any]:
        return {"width": p.width, "root_width": p.width // 2}

    def timing(self, p: IsqrtParameters) -> Timing:
        return Timing(p.width // 2 + 1, p.width // 2 + 1)

    def specification(self, p: IsqrtParameters) -> Specification | None:
        """Squares of wide numbers are hard for a solver."""
        return Specification() if p.width <= PROVED_ROOT_WIDTH else None

    def stimulus(self, p: IsqrtParameters, rng: np.random.Generator, count: int) -> Beats:
        """Squares and their neighbours, where the root changes, for half of it."""
        roots = rng.integers(1, 1 << p.width // 2, max(count // 8, 1), dtype=np.int64) >> rng.integers(
            0, p.width // 2, max(count // 8, 1))
        near = (roots[:, None] ** 2 + np.arange(-1, 2)).ravel() & (1 << p.width) - 1
        return joined([{"n": near}, _near_powers("n", p.width), super().stimulus(p, rng, count)])


class RsqrtDegreeParameters(Parameters):
    """Widths of the table."""

    width: int = Field(default=10, ge=1, le=12, description="bits of the degree")
    value_bits: int = Field(default=16, ge=4, le=24, description="fraction bits of the result")

    @property
    def table(self) -> tuple[int, ...]:
        """Every result."""
        return tables.rsqrt(self.value_bits, 1 << self.width)


class RsqrtDegree(Elementwise[RsqrtDegreeParameters]):
    """A table of every degree: correctly rounded, no multiplier."""

    name = "rsqrt_degree"
    title = "1 / sqrt(1 + degree) of a graph's node, from a table"
    source = "the symmetric normalization of Kipf and Welling, Semi-Supervised Classification with GCNs, ICLR 2017"
    parameters_type = RsqrtDegreeParameters
    variants: ClassVar[tuple[RsqrtDegreeParameters, ...]] = (RsqrtDegreeParameters(width=6, value_bits=12),)

    def input_fields(self, p: RsqrtDegreeParameters) -> Fields:
        return {"x": uint(p.width)}

    def output_fields(self, p: RsqrtDegreeParameters) -> Fields:
        return {"y": uint(p.value_bits + 1)}

    def component(self, p: RsqrtDegreeParameters, target: str = "generic") -> Lookup:
        return Lookup(table=p.table, x_shape=p.width, y_shape=p.value_bits + 1)

    def golden(self, p: RsqrtDegreeParameters, beats: Beats) -> Beats:
        return {"y": elementwise.lookup(beats["x"], table=p.table)}

    def hls_context(self, p: RsqrtDegreeParameters) -> Mapping[str, Any]:
        return {"table": list(p.table)}

    def timing(self, p: RsqrtDegreeParameters) -> Timing:
        return Timing(Lookup.LATENCY)

    def error(self, p: RsqrtDegreeParameters) -> Error:
        """Half a unit: the table is rounded to nearest, and nothing follows."""
        def deviation(beats: Beats, results: Beats) -> tuple[np.ndarray, np.ndarray]:
            degree = beats["x"].astype(np.float64)
            return degree, results["y"] / float(1 << p.value_bits) - 1 / np.sqrt(degree + 1)

        return Error(0.5 / (1 << p.value_bits), f"y / 2^{p.value_bits} - 1 / sqrt(1 + degree)", "degree", deviation,
                     bound=True)


def _near_powers(field: str, width: int) -> Beats:
    """Every power of two and its neighbours, 0 among them."""
    powers = np.int64(1) << np.arange(width, dtype=np.int64)
    return {field: (powers[:, None] + np.arange(-1, 2)).ravel() & (1 << width) - 1}
