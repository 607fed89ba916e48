"""The units ``residual_add``, ``dyadic``, ``dyadic_add``, ``multiply``, ``reduce_mean`` and ``unary_table``."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from amaranth.hdl import signed
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import dyadic as dyadic_rtl
from tilewright.rtl.units import dyadic_add as dyadic_add_rtl
from tilewright.rtl.units import multiply as multiply_rtl
from tilewright.rtl.units import reduce_mean as reduce_mean_rtl
from tilewright.rtl.units import residual_add as residual_add_rtl
from tilewright.rtl.units.lookup import Lookup
from tilewright.sim.golden.units import elementwise as golden
from tilewright.units import tables
from tilewright.units.base import Elementwise, Error, Parameters, Reduction, Timing
from tilewright.units.fields import Beats, Fields, flag, sint, uint
from tilewright.units.stimulus import frame_ends, frame_lengths, frame_slices, joined, random_beats

SHIFT = uint(6)


class ScaleParameters(Parameters):
    """Widths of an operator that ends in multiplier, shift and zero point."""

    width: int = Field(default=8, ge=2, le=16, description="bits of an operand")
    multiplier_width: int = Field(default=24, ge=2, le=24, description="bits of a multiplier")
    out_width: int = Field(default=8, ge=2, le=16, description="bits of the result")


class ResidualAdd(Elementwise[ScaleParameters]):
    """Two products, one sum, one rounding."""

    name = "residual_add"
    title = "sum of two quantized tensors: aligned multipliers, rounded once"
    source = "QLinearAdd of ONNX Runtime; the integer form is our own"
    parameters_type = ScaleParameters
    variants: ClassVar[tuple[ScaleParameters, ...]] = (
        ScaleParameters(multiplier_width=16), ScaleParameters(width=16, out_width=16))

    def input_fields(self, p: ScaleParameters) -> Fields:
        operand, multiplier = sint(p.width), uint(p.multiplier_width)
        return {"a": operand, "b": operand, "a_zero": operand, "b_zero": operand, "a_multiplier": multiplier,
                "b_multiplier": multiplier, "shift": SHIFT, "zero_point": sint(p.out_width)}

    def output_fields(self, p: ScaleParameters) -> Fields:
        return {"y": sint(p.out_width)}

    def component(self, p: ScaleParameters, target: str = "generic") -> residual_add_rtl.ResidualAdd:
        return residual_add_rtl.ResidualAdd(**p.model_dump(), target=target)

    def golden(self, p: ScaleParameters, beats: Beats) -> Beats:
        return {"y": golden.residual_add(**beats, out_width=p.out_width)}

    def hls_context(self, p: ScaleParameters) -> Mapping[str, Any]:
        return {**p.model_dump(), "high": (1 << p.out_width - 1) - 1,
                "product_width": p.width + p.multiplier_width + 2}

    def timing(self, p: ScaleParameters) -> Timing:
        return Timing(residual_add_rtl.residual_add_latency(p.width, p.multiplier_width))

    def stimulus(self, p: ScaleParameters, rng: np.random.Generator, count: int) -> Beats:
        """Corners; then multipliers and shifts as scales have them, a third of them to a tie."""
        fields = self.input_fields(p)
        scaled = random_beats(fields, rng, count // 2)
        size = p.width + p.multiplier_width - p.out_width
        scaled["shift"] = _shifts(rng, count // 2, size)
        tie = rng.random(count // 2) < 1 / 3
        for name in ("a_multiplier", "b_multiplier"):
            power = np.int64(1) << np.minimum(np.maximum(scaled["shift"] - 1, 0), p.multiplier_width - 1)
            scaled[name] = np.where(tie, power, scaled[name] | 1 << p.multiplier_width - 1)
        return joined([super().stimulus(p, rng, count - count // 2), scaled])


class DyadicParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.dyadic.Dyadic`."""

    width: int = Field(default=32, ge=2, le=32, description="bits of z")
    multiplier_width: int = Field(default=32, ge=2, le=32, description="bits of the multiplier, which may be 2**31")
    out_width: int = Field(default=8, ge=2, le=16, description="bits of the result")


class Dyadic(Elementwise[DyadicParameters]):
    """One product, one rounding."""

    name = "dyadic"
    title = "I-BERT's requantization: multiplier of 31 bits, shift, to nearest even"
    source = "Kim et al., I-BERT, ICML 2021; Yao et al., HAWQ-V3: Dyadic Neural Network Quantization, ICML 2021"
    parameters_type = DyadicParameters
    variants: ClassVar[tuple[DyadicParameters, ...]] = (
        DyadicParameters(out_width=16), DyadicParameters(width=22, multiplier_width=17, out_width=4))

    def input_fields(self, p: DyadicParameters) -> Fields:
        return {"z": sint(p.width), "multiplier": uint(p.multiplier_width), "shift": SHIFT}

    def output_fields(self, p: DyadicParameters) -> Fields:
        return {"y": sint(p.out_width)}

    def component(self, p: DyadicParameters, target: str = "generic") -> dyadic_rtl.Dyadic:
        return dyadic_rtl.Dyadic(**p.model_dump(), target=target)

    def golden(self, p: DyadicParameters, beats: Beats) -> Beats:
        return {"y": golden.dyadic(**beats, out_width=p.out_width)}

    def hls_context(self, p: DyadicParameters) -> Mapping[str, Any]:
        return {"out_width": p.out_width, "high": (1 << p.out_width - 1) - 1,
                "product_width": p.width + p.multiplier_width}

    def timing(self, p: DyadicParameters) -> Timing:
        return Timing(dyadic_rtl.scaled_latency(p.width, p.multiplier_width))

    def stimulus(self, p: DyadicParameters, rng: np.random.Generator, count: int) -> Beats:
        """Corners; then multipliers and shifts as scales have them, a third of them to a tie."""
        scaled = random_beats(self.input_fields(p), rng, count // 2)
        highest = 1 << p.multiplier_width - 1
        scaled["shift"] = _shifts(rng, count // 2, p.width + p.multiplier_width - p.out_width)
        odd = (scaled["z"] >> rng.integers(0, p.width, count // 2)) | 1
        places = np.minimum(np.maximum(scaled["shift"] - 1, 0), p.multiplier_width - 1)
        tie = rng.random(count // 2) < 1 / 3
        scaled["multiplier"] = np.where(tie, np.int64(1) << places, scaled["multiplier"] | highest)
        scaled["z"] = np.where(tie, odd, scaled["z"])
        return joined([super().stimulus(p, rng, count - count // 2), scaled])


class DyadicAddParameters(Parameters):
    """Widths of :class:`tilewright.rtl.units.dyadic_add.DyadicAdd`."""

    width: int = Field(default=22, ge=2, le=29, description="bits of an operand")
    multiplier_width: int = Field(default=32, ge=2, le=32, description="bits of a multiplier, which may be 2**31")
    out_width: int = Field(default=22, ge=2, le=22, description="bits of the result")


class DyadicAdd(Elementwise[DyadicAddParameters]):
    """Two products, two roundings, one sum."""

    name = "dyadic_add"
    title = "I-BERT's residual sum: each operand requantized by itself"
    source = "Kim et al., I-BERT: Integer-only BERT Quantization, ICML 2021"
    parameters_type = DyadicAddParameters
    variants: ClassVar[tuple[DyadicAddParameters, ...]] = (DyadicAddParameters(width=16, multiplier_width=17, out_width=8),)

    def input_fields(self, p: DyadicAddParameters) -> Fields:
        operand, multiplier = sint(p.width), uint(p.multiplier_width)
        return {"a": operand, "a_multiplier": multiplier, "a_shift": SHIFT,
                "b": operand, "b_multiplier": multiplier, "b_shift": SHIFT}

    def output_fields(self, p: DyadicAddParameters) -> Fields:
        return {"y": sint(p.out_width)}

    def component(self, p: DyadicAddParameters, target: str = "generic") -> dyadic_add_rtl.DyadicAdd:
        return dyadic_add_rtl.DyadicAdd(**p.model_dump(), target=target)

    def golden(self, p: DyadicAddParameters, beats: Beats) -> Beats:
        return {"y": golden.dyadic_add(**beats, out_width=p.out_width)}

    def hls_context(self, p: DyadicAddParameters) -> Mapping[str, Any]:
        return {"out_width": p.out_width, "high": (1 << p.out_width - 1) - 1,
                "product_width": p.width + p.multiplier_width + 1}

    def timing(self, p: DyadicAddParameters) -> Timing:
        return Timing(dyadic_add_rtl.dyadic_add_latency(p.width, p.multiplier_width))

    def stimulus(self, p: DyadicAddParameters, rng: np.random.Generator, count: int) -> Beats:
        """Corners; then multipliers and shifts as scales have them, a third of them to a tie."""
        scaled = random_beats(self.input_fields(p), rng, count // 2)
        for operand in ("a", "b"):
            shift = _shifts(rng, count // 2, p.width + p.multiplier_width - p.out_width)
            places = np.minimum(np.maximum(shift - 1, 0), p.multiplier_width - 1)
            tie = rng.random(count // 2) < 1 / 3
            scaled[f"{operand}_shift"] = shift
            scaled[f"{operand}_multiplier"] = np.where(
                tie, np.int64(1) << places, scaled[f"{operand}_multiplier"] | 1 << p.multiplier_width - 1)
        return joined([super().stimulus(p, rng, count - count // 2), scaled])


class Multiply(Elementwise[ScaleParameters]):
    """Two products, one rounding."""

    name = "multiply"
    title = "product of two quantized tensors, requantized"
    source = "QLinearMul of ONNX Runtime; Jacob et al., CVPR 2018"
    parameters_type = ScaleParameters
    variants: ClassVar[tuple[ScaleParameters, ...]] = (
        ScaleParameters(multiplier_width=16), ScaleParameters(width=12, out_width=16))

    def input_fields(self, p: ScaleParameters) -> Fields:
        operand = sint(p.width)
        return {"a": operand, "b": operand, "a_zero": operand, "b_zero": operand,
                "multiplier": uint(p.multiplier_width), "shift": SHIFT, "zero_point": sint(p.out_width)}

    def output_fields(self, p: ScaleParameters) -> Fields:
        return {"y": sint(p.out_width)}

    def component(self, p: ScaleParameters, target: str = "generic") -> multiply_rtl.Multiply:
        return multiply_rtl.Multiply(**p.model_dump(), target=target)

    def golden(self, p: ScaleParameters, beats: Beats) -> Beats:
        return {"y": golden.multiply(**beats, out_width=p.out_width)}

    def hls_context(self, p: ScaleParameters) -> Mapping[str, Any]:
        return {**p.model_dump(), "high": (1 << p.out_width - 1) - 1,
                "product_width": 2 * p.width + 2 + p.multiplier_width}

    def timing(self, p: ScaleParameters) -> Timing:
        return Timing(multiply_rtl.multiply_latency(p.width, p.multiplier_width))

    def stimulus(self, p: ScaleParameters, rng: np.random.Generator, count: int) -> Beats:
        """Corners; then multipliers and shifts as scales have them, a third of them to a tie."""
        scaled = random_beats(self.input_fields(p), rng, count // 2)
        scaled["shift"] = _shifts(rng, count // 2, 2 * p.width + p.multiplier_width - p.out_width)
        places = np.minimum(np.maximum(scaled["shift"] - 1, 0), p.multiplier_width - 1)
        tie = rng.random(count // 2) < 1 / 3
        scaled["multiplier"] = np.where(
            tie, np.int64(1) << places, scaled["multiplier"] | 1 << p.multiplier_width - 1)
        return joined([super().stimulus(p, rng, count - count // 2), scaled])


class ReduceMeanParameters(ScaleParameters):
    """Widths of :class:`tilewright.rtl.units.reduce_mean.ReduceMean`."""

    length_bits: int = Field(default=10, ge=1, le=16, description="a frame has at most 2**length_bits beats")


class ReduceMean(Reduction[ReduceMeanParameters]):
    """A running sum, one product, one rounding."""

    name = "reduce_mean"
    title = "mean of a frame, requantized; the multiplier holds 1 / length"
    source = "ReduceMean of ONNX; Jacob et al., CVPR 2018"
    parameters_type = ReduceMeanParameters
    variants: ClassVar[tuple[ReduceMeanParameters, ...]] = (
        ReduceMeanParameters(multiplier_width=16, length_bits=4), ReduceMeanParameters(width=16, out_width=16))

    def input_fields(self, p: ReduceMeanParameters) -> Fields:
        operand = sint(p.width)
        return {"x": operand, "zero": operand, "multiplier": uint(p.multiplier_width), "shift": SHIFT,
                "zero_point": sint(p.out_width), "last": flag}

    def output_fields(self, p: ReduceMeanParameters) -> Fields:
        return {"y": sint(p.out_width)}

    def component(self, p: ReduceMeanParameters, target: str = "generic") -> reduce_mean_rtl.ReduceMean:
        return reduce_mean_rtl.ReduceMean(**p.model_dump(), target=target)

    def golden(self, p: ReduceMeanParameters, beats: Beats) -> Beats:
        return {"y": golden.reduce_mean(**beats, out_width=p.out_width)}

    def hls_context(self, p: ReduceMeanParameters) -> Mapping[str, Any]:
        width = reduce_mean_rtl.sum_width(p.width, p.length_bits)
        return {**p.model_dump(), "high": (1 << p.out_width - 1) - 1, "sum_width": width,
                "product_width": width + p.multiplier_width}

    def timing(self, p: ReduceMeanParameters) -> Timing:
        return Timing(reduce_mean_rtl.reduce_mean_latency(p.width, p.length_bits, p.multiplier_width),
                      note="from the last beat of a frame")

    def stimulus(self, p: ReduceMeanParameters, rng: np.random.Generator, count: int) -> Beats:
        """Frames up to the longest, some of them extreme throughout, with multipliers of the size of 1 / length."""
        longest = 1 << p.length_bits
        lengths = [longest, longest, *frame_lengths(rng, count, min(longest, 48))]
        last = frame_ends(lengths)
        beats = {**random_beats(self.input_fields(p), rng, len(last)), "last": last}
        number = sint(p.width)
        beats["zero"] = np.repeat(rng.integers(number.low, number.high, len(lengths), endpoint=True), lengths)
        shifts = rng.integers(0, 64, len(lengths))
        for place, frame in enumerate(frame_slices(last)):
            if place % 4 < 2:
                beats["x"][frame] = (number.low, number.high)[place % 2]
                beats["zero"][frame] = (number.high, number.low)[place % 2]
            if place % 4:
                length = math.ceil(math.log2(frame.stop - frame.start + 1))
                shifts[place] = min(p.multiplier_width + length + p.width - p.out_width + int(rng.integers(-2, 3)), 63)
                beats["multiplier"][frame] |= 1 << p.multiplier_width - 1
        beats["shift"] = np.repeat(np.maximum(shifts, 0), lengths)
        return beats


class UnaryTableParameters(Parameters):
    """Function and formats of the table that :class:`tilewright.rtl.units.lookup.Lookup` holds."""

    function: Literal["exp", "gelu", "sigmoid", "silu", "tanh"] = Field(default="gelu", description="what y is of x")
    x_width: int = Field(default=8, ge=2, le=12, description="bits of x, signed")
    x_fraction_bits: int = Field(default=5, ge=0, le=11, description="fraction bits of x")
    y_width: int = Field(default=8, ge=2, le=16, description="bits of y, signed")
    y_fraction_bits: int = Field(default=5, ge=0, le=15, description="fraction bits of y")

    @property
    def table(self) -> tuple[int, ...]:
        """Every result, by x read unsigned."""
        return tables.unary(self.function, self.x_width, self.x_fraction_bits, self.y_width, self.y_fraction_bits)


class UnaryTable(Elementwise[UnaryTableParameters]):
    """A table of every value: whatever the function, as exact as its result's format."""

    name = "unary_table"
    title = "any function of a few bits, as the table of all its values"
    source = "the 8-bit lookup kernels of TensorFlow Lite and ONNX Runtime"
    parameters_type = UnaryTableParameters
    variants: ClassVar[tuple[UnaryTableParameters, ...]] = (
        UnaryTableParameters(function="sigmoid", x_fraction_bits=4, y_fraction_bits=7),
        UnaryTableParameters(function="tanh", x_width=10, x_fraction_bits=7, y_width=12, y_fraction_bits=11),
        UnaryTableParameters(function="silu"), UnaryTableParameters(function="exp"),
    )

    def input_fields(self, p: UnaryTableParameters) -> Fields:
        return {"x": sint(p.x_width)}

    def output_fields(self, p: UnaryTableParameters) -> Fields:
        return {"y": sint(p.y_width)}

    def component(self, p: UnaryTableParameters, target: str = "generic") -> Lookup:
        return Lookup(table=p.table, x_shape=signed(p.x_width), y_shape=signed(p.y_width))

    def golden(self, p: UnaryTableParameters, beats: Beats) -> Beats:
        return {"y": golden.lookup(beats["x"], table=p.table)}

    def hls_context(self, p: UnaryTableParameters) -> Mapping[str, Any]:
        return {"table": list(p.table), "function": p.function}

    def timing(self, p: UnaryTableParameters) -> Timing:
        return Timing(Lookup.LATENCY)

    def error(self, p: UnaryTableParameters) -> Error:
        """Half a unit, where the result's format holds it."""
        unit = 1.0 / (1 << p.y_fraction_bits)
        limit = float(1 << p.y_width - 1) * unit

        def deviation(beats: Beats, results: Beats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            x = beats["x"] / float(1 << p.x_fraction_bits)
            exact = np.clip(FLOAT_FUNCTIONS[p.function](x), -limit, limit - unit)
            return x, results["y"].astype(np.float64) * unit - exact

        return Error(0.5 * unit, f"y / 2^{p.y_fraction_bits} - {p.function}(x)", "x", deviation, bound=True)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


FLOAT_FUNCTIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "exp": np.exp, "sigmoid": _sigmoid, "tanh": np.tanh, "silu": lambda x: x * _sigmoid(x),
    "gelu": lambda x: x * np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x.tolist()]),
}


def _shifts(rng: np.random.Generator, count: int, size: int) -> NDArray[np.int64]:
    """Shifts that leave results of about the result's width, of values ``size`` bits wider."""
    return np.clip(size + rng.integers(-6, 4, count), 0, SHIFT.high)
