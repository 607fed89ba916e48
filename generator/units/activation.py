"""The units ``sigmoid``, ``tanh``, ``silu`` and ``gelu``: a table and lines."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import sigmoid as rtl
from tilewright.rtl.units.gelu import Gelu as GeluRtl
from tilewright.sim.golden.units import activation as golden
from tilewright.units import tables
from tilewright.units.base import Elementwise, Error, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, sint, uint


class CurveParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.sigmoid.Sigmoid`, of its table and what follows from it."""

    width: int = Field(default=16, ge=4, le=24, description="bits of x")
    fraction_bits: int = Field(default=12, ge=2, le=20, description="fraction bits of x")
    value_bits: int = Field(default=15, ge=4, le=24, description="fraction bits of the table")
    steps: int = Field(default=32, ge=2, le=1024, description="intervals per unit of x, a power of two")
    reach: int = Field(default=12, ge=2, le=32, description="the curve is constant beyond this x")

    def refusals(self) -> Iterator[Refusal]:
        if self.width <= self.fraction_bits:
            yield Refusal("width", f"leaves no integer part beside {self.fraction_bits} fraction bits",
                          self.fraction_bits + 1)
        if self.steps & self.steps - 1:
            yield Refusal("steps", "is no power of two", 1 << self.steps.bit_length() - 1)
        elif self.step_bits < 1:
            yield Refusal("steps", f"leaves nothing of {self.fraction_bits} fraction bits to interpolate in",
                          1 << self.fraction_bits - 1)
        elif self.reach * self.steps > 4096:
            yield Refusal("reach", f"makes a table of more than 4096 intervals with {self.steps} to the unit",
                          4096 // self.steps)

    @property
    def step_bits(self) -> int:
        """Bits of x within an interval."""
        return self.fraction_bits - self.steps.bit_length() + 1

    @property
    def table(self) -> tuple[int, ...]:
        """The sigmoid at the ends of the intervals."""
        return tables.sigmoid(self.value_bits, self.steps, self.reach)

    @property
    def numbers(self) -> dict[str, int]:
        """What the RTL and the golden model share beside the table."""
        return {"step_bits": self.step_bits, "value_bits": self.value_bits}

    @property
    def sigmoid_bound(self) -> float:
        """The line off the curve (whose curvature is below 0.0963), a unit of the table, and what lies beyond its end."""
        beyond = math.exp(-self.reach) if self.reach < 1 << self.width - 1 - self.fraction_bits else 0.0
        return 0.0963 / self.steps**2 / 8 + 1.01 / (1 << self.value_bits) + beyond


ROW_VARIANTS = (
    CurveParameters(fraction_bits=8, value_bits=8, steps=8, reach=8),
    CurveParameters(fraction_bits=10, value_bits=12, steps=16, reach=8),
)
TABLE_SOURCE = ("Amin, Curtis and Hayes-Gill, Piecewise linear approximation applied to nonlinear function of a neural "
                "network, 1997")
Reference = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class _Curve(Elementwise[CurveParameters]):
    """What the units with the sigmoid's table have in common."""

    parameters_type = CurveParameters
    variants: ClassVar[tuple[CurveParameters, ...]] = ROW_VARIANTS
    figures: ClassVar[dict[CurveParameters, float]]  # measured over every x: the largest |error|

    def input_fields(self, p: CurveParameters) -> Fields:
        return {"x": sint(p.width)}

    def hls_context(self, p: CurveParameters) -> Mapping[str, Any]:
        return {**p.numbers, "table": list(p.table), "end": len(p.table) - 1 << p.step_bits}

    def _error(self, p: CurveParameters, bound: float, one: float, label: str, exact: Reference) -> Error:
        def deviation(beats: Beats, results: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            x = beats["x"] / float(1 << p.fraction_bits)
            return x, results["y"] / one - exact(x)

        return Error(self.figures.get(p, bound), label, "x", deviation, bound=p not in self.figures)


class Sigmoid(_Curve):
    """Half the curve in a table, linear in between, the other half by symmetry."""

    name = "sigmoid"
    title = "sigmoid: table, linear interpolation, symmetry"
    source = TABLE_SOURCE
    figures: ClassVar[dict[CurveParameters, float]] = dict(zip(
        (CurveParameters(), *ROW_VARIANTS), (3.81e-5, 3.56e-3, 2.57e-4), strict=True))

    def output_fields(self, p: CurveParameters) -> Fields:
        return {"y": uint(p.value_bits + 1)}

    def component(self, p: CurveParameters, target: str = "generic") -> wiring.Component:
        return rtl.Sigmoid(table=p.table, width=p.width, **p.numbers, target=target)

    def golden(self, p: CurveParameters, beats: Beats) -> Beats:
        return {"y": golden.sigmoid(beats["x"], table=p.table, **p.numbers)}

    def timing(self, p: CurveParameters) -> Timing:
        return Timing(rtl.Sigmoid.LATENCY)

    def error(self, p: CurveParameters) -> Error:
        return self._error(p, p.sigmoid_bound, float(1 << p.value_bits), f"y / 2^{p.value_bits} - sigmoid(x)", _sigmoid)


class Tanh(_Curve):
    """Twice the sigmoid of twice x, less one."""

    name = "tanh"
    title = "hyperbolic tangent from the sigmoid's table"
    source = TABLE_SOURCE
    figures: ClassVar[dict[CurveParameters, float]] = dict(zip(
        (CurveParameters(), *ROW_VARIANTS), (7.4e-5, 6.91e-3, 5.02e-4), strict=True))

    def output_fields(self, p: CurveParameters) -> Fields:
        return {"y": sint(p.value_bits + 2)}

    def component(self, p: CurveParameters, target: str = "generic") -> wiring.Component:
        return rtl.Tanh(table=p.table, width=p.width, **p.numbers, target=target)

    def golden(self, p: CurveParameters, beats: Beats) -> Beats:
        return {"y": golden.tanh(beats["x"], table=p.table, **p.numbers)}

    def timing(self, p: CurveParameters) -> Timing:
        return Timing(rtl.Tanh.LATENCY)

    def error(self, p: CurveParameters) -> Error:
        bound = 2 * (p.sigmoid_bound + math.exp(-p.reach))
        return self._error(p, bound, float(1 << p.value_bits), f"y / 2^{p.value_bits} - tanh(x)", np.tanh)


class Silu(_Curve):
    """x times its sigmoid."""

    name = "silu"
    title = "SiLU, x * sigmoid(x), from the sigmoid's table"
    source = "Elfwing, Uchibe and Doya, Sigmoid-weighted linear units, 2018; the table as in the sigmoid"
    figures: ClassVar[dict[CurveParameters, float]] = dict(zip(
        (CurveParameters(), *ROW_VARIANTS), (2.79e-4, 1.27e-2, 7.81e-3), strict=True))

    def output_fields(self, p: CurveParameters) -> Fields:
        return {"y": sint(p.width)}

    def component(self, p: CurveParameters, target: str = "generic") -> wiring.Component:
        return rtl.Silu(table=p.table, width=p.width, **p.numbers, target=target)

    def golden(self, p: CurveParameters, beats: Beats) -> Beats:
        return {"y": golden.silu(beats["x"], table=p.table, **p.numbers)}

    def timing(self, p: CurveParameters) -> Timing:
        return Timing(rtl.Silu.LATENCY)

    def error(self, p: CurveParameters) -> Error:
        largest = 1 << p.width - 1 - p.fraction_bits
        bound = largest * p.sigmoid_bound + 0.5 / (1 << p.fraction_bits)
        return self._error(p, bound, float(1 << p.fraction_bits), f"y / 2^{p.fraction_bits} - x * sigmoid(x)",
                           lambda x: x * _sigmoid(x))


class GeluParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.gelu.Gelu` and of its table."""

    width: int = Field(default=32, ge=4, le=32, description="bits of x")
    fraction_bits: int = Field(default=22, ge=2, le=24, description="fraction bits of x and of the result")
    steps: int = Field(default=32, ge=2, le=256, description="intervals per unit of x, a power of two")
    entries: int = Field(default=177, ge=3, le=2048, description="entries of the table, the last one 0")

    def refusals(self) -> Iterator[Refusal]:
        if self.steps & self.steps - 1:
            yield Refusal("steps", "is no power of two", 1 << self.steps.bit_length() - 1)
        elif self.step_bits < 1:
            yield Refusal("steps", f"leaves nothing of {self.fraction_bits} fraction bits to interpolate in",
                          1 << self.fraction_bits - 1)
        elif self.entries > 8 * self.steps + 1:
            yield Refusal("entries", "continue where the correction is nothing, beyond x = 8", 8 * self.steps + 1)
        elif self.entries < 2 * self.steps + 1:
            yield Refusal("entries", "end before x = 2, where the correction is 5 % of x", 2 * self.steps + 1)

    @property
    def step_bits(self) -> int:
        """Bits of x within an interval."""
        return self.fraction_bits - self.steps.bit_length() + 1

    @property
    def table(self) -> tuple[int, ...]:
        """What ReLU exceeds GELU by, at the ends of the intervals."""
        return tables.gelu(self.fraction_bits, self.steps, self.entries)


class Gelu(Elementwise[GeluParameters]):
    """ReLU less a small even correction, that in a table with lines."""

    name = "gelu"
    title = "GELU as ReLU less a correction: table, linear interpolation"
    source = "Sarkar et al., Edge-MoE, ICCAD 2023; Hendrycks and Gimpel, Gaussian Error Linear Units, 2016"
    parameters_type = GeluParameters
    variants: ClassVar[tuple[GeluParameters, ...]] = (
        GeluParameters(width=16, fraction_bits=12), GeluParameters(width=12, fraction_bits=8, steps=16, entries=89))
    # Measured over every x, for 32 bits a million of them, half within the table; the largest |error|.
    figures: ClassVar[dict[GeluParameters, float]] = dict(zip(
        (GeluParameters(), *variants), (9.76e-5, 3.87e-4, 5.37e-3), strict=True))

    def input_fields(self, p: GeluParameters) -> Fields:
        return {"x": sint(p.width)}

    def output_fields(self, p: GeluParameters) -> Fields:
        return {"y": sint(p.width)}

    def component(self, p: GeluParameters, target: str = "generic") -> GeluRtl:
        return GeluRtl(table=p.table, width=p.width, step_bits=p.step_bits, target=target)

    def golden(self, p: GeluParameters, beats: Beats) -> Beats:
        return {"y": golden.gelu(beats["x"], table=p.table, step_bits=p.step_bits)}

    def hls_context(self, p: GeluParameters) -> Mapping[str, Any]:
        return {"step_bits": p.step_bits, "table": list(p.table), "last": len(p.table) - 1,
                "value_width": max(p.table).bit_length() + 1}

    def timing(self, p: GeluParameters) -> Timing:
        return Timing(GeluRtl.LATENCY)

    def stimulus(self, p: GeluParameters, rng: np.random.Generator, count: int) -> Beats:
        """Half of it where the table is, to a bit beyond its end, both signs; its ends exactly."""
        end = len(p.table) - 1 << p.step_bits
        limit = 1 << p.width - 1
        inside = rng.integers(-end - (end >> 4), end + (end >> 4), max(count // 2, 1), dtype=np.int64, endpoint=True)
        inside[:6] = [-end - 1, -end, -end + 1, end - 1, end, end + 1][:len(inside)]
        rest = super().stimulus(p, rng, max(count - len(inside), 1))["x"]
        return {"x": np.clip(np.concatenate([inside, rest]), -limit, limit - 1)}

    def error(self, p: GeluParameters) -> Error:
        """The line off the curve (whose curvature is 0.8 at 0), a unit of the table and what lies beyond its end."""
        end = (p.entries - 1) / p.steps
        bound = 0.8 / p.steps**2 / 8 + 2 / (1 << p.fraction_bits) + end * 0.5 * math.erfc(end / math.sqrt(2))

        def deviation(beats: Beats, results: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            one = float(1 << p.fraction_bits)
            near = np.abs(beats["x"]) <= 8 * one
            x = beats["x"][near] / one
            return x, results["y"][near] / one - x * _normal(x)

        return Error(self.figures.get(p, bound), f"y / 2^{p.fraction_bits} - x * Phi(x)", "x", deviation,
                     bound=p not in self.figures)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def _normal(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal distribution, by libm's erfc."""
    unique, places = np.unique(x, return_inverse=True)
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in unique.tolist()])[places]
