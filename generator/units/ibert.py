"""The units ``i_exp`` and ``i_gelu``: I-BERT's polynomials, their coefficients from the input's step."""

import math
from collections.abc import Iterator, Mapping
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units.i_exp import IExp as IExpRtl
from tilewright.rtl.units.i_gelu import IGelu as IGeluRtl
from tilewright.rtl.units.i_gelu import i_gelu_width
from tilewright.sim.golden.units import activation, exponential
from tilewright.units.base import Elementwise, Error, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, sint, uint
from tilewright.units.stimulus import joined

SOURCE = "Kim et al., I-BERT: Integer-only BERT Quantization, ICML 2021"
DIGITS = 40

# The exponential as a * (x**2 + b / a * x + 1 / a), and ln 2 to the four digits of the paper's program.
EXP_A, EXP_B, LN2 = Decimal("0.35815147"), Decimal("0.96963238"), Decimal("0.6931")
EXP_OCTAVES = 30
MAX_RESULT_BITS = 62  # what 64-bit integers of HLS and golden model hold with room for a sign
# erf as a * ((min(x, -b) + b)**2 + 1 / a), and the square root of 2 to the same program's digits.
ERF_A, ERF_B, ROOT2 = Decimal("-0.2888"), Decimal("-1.769"), Decimal("1.4142")
ERF_BITS = 12  # what is left of erf by the derived shift


def _floor(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_FLOOR))


def step_of(reach: int, codes: int) -> Decimal:
    """What one code stands for, where ``codes`` of them stand for ``reach``."""
    with localcontext(prec=DIGITS):
        return Decimal(reach) / codes


def exponential_numbers(step: Decimal) -> dict[str, int]:
    """Coefficients of the exponential whose argument counts in ``step`` s; ln 2 is the floor of a negative number."""
    with localcontext(prec=DIGITS):
        return {"ln2": -_floor(-LN2 / step), "linear": _floor(EXP_B / EXP_A / step), "constant": _floor(1 / EXP_A / step**2)}


def exponential_refusals(reach: int, codes: int) -> Iterator[Refusal]:
    """Of the field ``reach``, where ``codes`` steps stand for it."""
    numbers = exponential_numbers(step_of(reach, codes))
    if numbers["ln2"] < 5:
        yield Refusal("reach", f"leaves ln 2 only {numbers['ln2']} steps, too few for a parabola",
                      -_floor(-LN2 * codes / 4) - 1)
    elif numbers["constant"].bit_length() + EXP_OCTAVES > MAX_RESULT_BITS:
        largest = (1 << MAX_RESULT_BITS - EXP_OCTAVES) - 1
        yield Refusal("reach", f"makes a result of more than {MAX_RESULT_BITS} bits from a step this small",
                      -_floor(-(1 / EXP_A / largest).sqrt() * codes))


class IExpParameters(Parameters):
    """Width and scale of :class:`tilewright.rtl.units.i_exp.IExp`."""

    width: int = Field(default=17, ge=8, le=21, description="bits of t, a difference of two scores of width - 1 bits")
    reach: int = Field(default=16, ge=1, le=64, description="the largest score")

    def refusals(self) -> Iterator[Refusal]:
        yield from exponential_refusals(self.reach, (1 << self.width - 2) - 1)

    @property
    def step(self) -> Decimal:
        """What one step of t stands for."""
        return step_of(self.reach, (1 << self.width - 2) - 1)

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share."""
        return exponential_numbers(self.step)


class IExp(Elementwise[IExpParameters]):
    """A parabola on an octave, shifted by whole octaves."""

    name = "i_exp"
    title = "I-BERT's exponential: a parabola, shifted by whole octaves"
    source = SOURCE
    parameters_type = IExpParameters
    variants: ClassVar[tuple[IExpParameters, ...]] = (IExpParameters(width=9, reach=8), IExpParameters(width=17, reach=8))
    # Measured over every t: the largest |error| of the defaults and of the variants.
    figures: ClassVar[dict[IExpParameters, float]] = dict(zip(
        (IExpParameters(), *variants), (1.92e-3, 2.99e-2, 1.92e-3), strict=True))

    def input_fields(self, p: IExpParameters) -> Fields:
        return {"t": uint(p.width)}

    def output_fields(self, p: IExpParameters) -> Fields:
        return {"e": uint(p.numbers["constant"].bit_length() + EXP_OCTAVES)}

    def component(self, p: IExpParameters, target: str = "generic") -> IExpRtl:
        return IExpRtl(width=p.width, **p.numbers, target=target)

    def golden(self, p: IExpParameters, beats: Beats) -> Beats:
        return {"e": exponential.i_exp(beats["t"], **p.numbers)}

    def hls_context(self, p: IExpParameters) -> Mapping[str, Any]:
        limit = EXP_OCTAVES * p.numbers["ln2"]
        return {**p.numbers, "limit": limit, "clipped_width": max(limit.bit_length(), p.width)}

    def timing(self, p: IExpParameters) -> Timing:
        return Timing(IExpRtl.LATENCY)

    def stimulus(self, p: IExpParameters, rng: np.random.Generator, count: int) -> Beats:
        """Half of it below the limit, and the ends of every octave."""
        ln2 = p.numbers["ln2"]
        ends = (np.arange(EXP_OCTAVES + 1)[:, None] * ln2 + np.arange(-1, 2)).ravel()
        limit = min(EXP_OCTAVES * ln2, (1 << p.width) - 1)
        below = rng.integers(0, limit, max(count // 2 - len(ends), 1), dtype=np.int64, endpoint=True)
        hard = np.clip(np.concatenate([ends, below]), 0, (1 << p.width) - 1)
        return joined([super().stimulus(p, rng, max(count - len(hard), 1)), {"t": hard}])

    def error(self, p: IExpParameters) -> Error:
        """The parabola's own 1.9e-3, and a step for each of three coefficients."""
        with localcontext(prec=DIGITS):
            scale = float(EXP_A * p.step**2 / (1 << EXP_OCTAVES))

        def deviation(beats: Beats, results: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            t = beats["t"].astype(np.float64) * float(p.step)
            return t, results["e"].astype(np.float64) * scale - np.exp(-t)

        return Error(self.figures.get(p, 2e-3 + 3 * float(p.step)), "e * scale - exp(-t)", "t", deviation,
                     bound=p not in self.figures)


class IGeluParameters(Parameters):
    """Width and scale of :class:`tilewright.rtl.units.i_gelu.IGelu`."""

    width: int = Field(default=16, ge=6, le=22, description="bits of q")
    reach: int = Field(default=4, ge=2, le=64, description="the largest x, that of the largest q")

    def refusals(self) -> Iterator[Refusal]:
        if self.numbers["clip"] < 16:
            yield Refusal("reach", f"leaves the parabola only {self.numbers['clip']} steps",
                          int(-ERF_B * ROOT2 * ((1 << self.width - 1) - 1) / 16))

    @property
    def step(self) -> Decimal:
        """What one step of q stands for."""
        return step_of(self.reach, (1 << self.width - 1) - 1)

    @property
    def _erf_step(self) -> Decimal:
        """What one step of erf stands for before the shift; negative."""
        return ERF_A * (self.step / ROOT2) ** 2

    @property
    def scale(self) -> Decimal:
        """What one step of the result stands for."""
        with localcontext(prec=DIGITS):
            return self.step * self._erf_step * (1 << self.numbers["shift"]) / 2

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share; the shift leaves erf its 12 bits."""
        with localcontext(prec=DIGITS):
            inner = self.step / ROOT2
            steps = int(-1 / self._erf_step)
            shift = max(0, steps.bit_length() - 1 - ERF_BITS)
            return {"clip": -_floor(ERF_B / inner), "constant": _floor(1 / ERF_A / inner**2), "shift": shift,
                    "one": _floor(1 / (self._erf_step * (1 << shift)))}


class IGelu(Elementwise[IGeluParameters]):
    """A parabola for erf."""

    name = "i_gelu"
    title = "I-BERT's GELU: a parabola for erf, the shift derived from the input's step"
    source = SOURCE
    parameters_type = IGeluParameters
    variants: ClassVar[tuple[IGeluParameters, ...]] = (
        IGeluParameters(width=8), IGeluParameters(width=12), IGeluParameters(width=22))
    # Measured over every q, for 22 bits a million of them: the largest |error| of the defaults and of the variants.
    figures: ClassVar[dict[IGeluParameters, float]] = dict(zip(
        (IGeluParameters(), *variants), (1.834e-2, 1.726e-2, 1.833e-2, 1.844e-2), strict=True))

    def input_fields(self, p: IGeluParameters) -> Fields:
        return {"q": sint(p.width)}

    def output_fields(self, p: IGeluParameters) -> Fields:
        return {"y": sint(i_gelu_width(width=p.width, **p.numbers))}

    def component(self, p: IGeluParameters, target: str = "generic") -> IGeluRtl:
        return IGeluRtl(width=p.width, **p.numbers, target=target)

    def golden(self, p: IGeluParameters, beats: Beats) -> Beats:
        return {"y": activation.i_gelu(beats["q"], **p.numbers)}

    def hls_context(self, p: IGeluParameters) -> Mapping[str, Any]:
        clip, constant = p.numbers["clip"], p.numbers["constant"]
        return {**p.numbers, "width": p.width, "short_width": clip.bit_length() + 1,
                "polynomial_width": max(2 * clip.bit_length(), (-constant).bit_length()) + 2}

    def timing(self, p: IGeluParameters) -> Timing:
        return Timing(IGeluRtl.LATENCY)

    def error(self, p: IGeluParameters) -> Error:
        """The parabola's own 1.85e-2, and a few of the input's steps for its rounded coefficients."""
        def deviation(beats: Beats, results: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            x = beats["q"].astype(np.float64) * float(p.step)
            unique, places = np.unique(x, return_inverse=True)
            normal = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in unique.tolist()])[places]
            return x, results["y"] * float(p.scale) - x * normal

        return Error(self.figures.get(p, 1.85e-2 + 4 * float(p.step)), "y * scale - x * Phi(x)", "x", deviation,
                     bound=p not in self.figures)
