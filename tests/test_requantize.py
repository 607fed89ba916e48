"""Claims about requantization: golden model against exact rationals and against ONNX Runtime."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from tilewright.sim.golden.requantize import MODES, quantize_scale, requantize

SEED = 20260730


def round_to_float32(value: Fraction) -> Fraction:
    """``value`` to 24 significant bits, ties to even; no float in sight."""
    if value == 0:
        return value
    unit = Fraction(1)
    while abs(value) / unit >= 1 << 24:
        unit *= 2
    while abs(value) / unit < 1 << 23:
        unit /= 2
    return round(value / unit) * unit


def requantize_reference(
    acc: int, *, bias: int, multiplier: int, shift: int, zero_point: int, low: int, high: int, mode: str
) -> int:
    """One accumulator in exact rationals; `ort` by rounding to float32 where the kernel does."""
    scale = Fraction(multiplier, 1 << shift)
    total = Fraction(acc + bias)
    if mode == "rne":
        rounded = round(total * scale)
    elif mode == "half_up":
        rounded = (total * scale + Fraction(1, 2)) // 1 if shift else round(total * scale)
    else:
        rounded = round(round_to_float32(round_to_float32(total) * scale))
    return min(max(rounded + zero_point, low), high)


def scales_and_sums(rng: np.random.Generator, *, out_width: int, count: int) -> list[tuple[np.ndarray, ...]]:
    """Kinds of (acc, multiplier, shift) that lie on a decision, most of them with a result in range."""
    low = -(1 << out_width)
    odd = 2 * rng.integers(low // 2, -low // 2, count) + 1
    # A scale of 1 / (2 d) as people type it: odd multiples of d are ties for powers of two, and else
    # miss a tie by the error of the float32 alone.
    divisor = np.where(rng.random(count) < 0.5, 1 << rng.integers(0, 8, count), rng.integers(1, 1000, count))
    significand, exponent = np.frexp((1 / (2.0 * divisor)).astype(np.float32))
    typed = (odd * divisor, (significand * 2.0**24).astype(np.int64), 24 - exponent)
    # A sum of more than 24 bits, a few quarters of its last significant bit away from a tie.
    bits = rng.integers(26, 32, count)
    length = np.ceil(np.log2(np.abs(odd) + 0.5)).astype(np.int64)
    sums = (odd << bits - length) + (rng.integers(-4, 5, count) << bits - 26)
    long_sum = (sums, np.full(count, 1 << 23), 24 + bits - length)
    # A product half a unit of its 24 significant bits away from a tie; three divides every third of them.
    product = (odd << bits + 1 - length) + (rng.choice([-1, 1], count) << bits - 24)
    half_unit = (product // 3, np.full(count, 3 << 22), 24 + bits - length)
    return [typed, long_sum, half_unit]


def corner_cases(
    rng: np.random.Generator, *, acc_width: int, out_width: int, signed: bool, count: int
) -> dict[str, np.ndarray]:
    """Extremes, exact ties and their neighbours, no shift and the longest; then random."""
    low = -(1 << out_width - 1) if signed else 0
    high = low + (1 << out_width) - 1
    span = 1 << acc_width - 1
    bias = rng.choice([-(1 << 31), -1, 0, 1, (1 << 31) - 1], count)
    bias = np.where(rng.random(count) < 0.5, 0, bias)
    multiplier = rng.choice([0, 1, 3, 1 << 23, (1 << 23) + 1, (1 << 24) - 1, 0xC00000], count)
    multiplier = np.where(rng.random(count) < 0.6, rng.integers(1 << 23, 1 << 24, count), multiplier)
    shift = np.where(rng.random(count) < 0.1, rng.choice([0, 1, 62, 63], count), rng.integers(0, 64, count))
    # An accumulator near (k + 1/2) / scale lies on or beside a tie.
    quotient = rng.integers(-(1 << out_width), 1 << out_width, count) + 0.5
    near = np.floor(quotient * 2.0**shift / np.maximum(multiplier, 1)) + rng.integers(-1, 3, count)
    near = np.clip(near, -span, span - 1).astype(np.int64)
    corners = rng.choice([-span, -span + 1, -1, 0, 1, span - 2, span - 1], count)
    spread = rng.integers(-span, span, count) >> rng.integers(0, acc_width, count)
    kind = rng.integers(0, 6, count)
    acc = np.choose(kind, [near, corners, spread, spread, spread, spread])
    for index, (sums, *scale) in enumerate(scales_and_sums(rng, out_width=out_width, count=count), start=3):
        chosen = (kind == index) & (abs(sums) < span)
        acc, bias = np.where(chosen, sums, acc), np.where(chosen, 0, bias)
        multiplier, shift = np.where(chosen, scale[0], multiplier), np.where(chosen, scale[1], shift)
    zero_point = rng.choice([low, low + 1, 0, high - 1, high, -(1 << out_width), (1 << out_width) - 1], count)
    zero_point = np.where(rng.random(count) < 0.5, rng.integers(low, high + 1, count), zero_point)
    bounds = np.sort(rng.integers(low, high + 1, (2, count)), axis=0)
    full = rng.random(count) < 0.6
    return {
        "acc": acc,
        "bias": bias,
        "multiplier": multiplier,
        "shift": shift,
        "zero_point": zero_point,
        "low": np.where(full, low, bounds[0]),
        "high": np.where(full, high, bounds[1]),
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("acc_width", "out_width", "signed"), [(8, 2, True), (32, 8, True), (32, 8, False), (48, 16, True)]
)
def test_golden_equals_exact_rationals(mode: str, acc_width: int, out_width: int, signed: bool) -> None:
    rng = np.random.default_rng(SEED)
    case = corner_cases(rng, acc_width=acc_width, out_width=out_width, signed=signed, count=6000)
    seen = requantize(**case, mode=mode)
    columns = {name: values.tolist() for name, values in case.items()}
    expected = [
        requantize_reference(**dict(zip(columns, row, strict=True)), mode=mode)
        for row in zip(*columns.values(), strict=True)
    ]
    np.testing.assert_array_equal(seen, expected)


def test_scale_of_24_bits_is_the_float32_scale_exactly() -> None:
    rng = np.random.default_rng(SEED)
    scales = np.exp2(rng.uniform(-40, 24, 2000)).astype(np.float32)
    for scale in [*scales, np.float32(2.0**-40), np.nextafter(np.float32(2.0**24), np.float32(0)), 1.0, 0.05]:
        multiplier, shift = quantize_scale(scale)
        assert Fraction(multiplier, 1 << shift) == Fraction(float(np.float32(scale)))
        assert 1 << 23 <= multiplier < 1 << 24 and 0 <= shift <= 63


@pytest.mark.parametrize("bits", [1, 8, 16, 23])
def test_scale_of_fewer_bits_is_the_nearest_one(bits: int) -> None:
    rng = np.random.default_rng(SEED)
    for scale in np.exp2(rng.uniform(-30, 0, 500)).astype(np.float32):
        multiplier, shift = quantize_scale(scale, multiplier_bits=bits)
        assert multiplier.bit_length() == bits
        # Rounding up to the next power of two halves the multiplier and leaves a unit twice as large.
        assert abs(Fraction(multiplier, 1 << shift) - Fraction(float(scale))) <= Fraction(1, 2 << shift)


@pytest.mark.parametrize(
    ("scale", "bits", "text"),
    [
        (0.0, 24, "scale must be positive and finite in float32, not 0.0"),
        (float("nan"), 24, "scale must be positive and finite in float32, not nan"),
        (1e39, 24, "scale must be positive and finite in float32, not 1e+39"),
        (2.0**-41, 24, "needs a shift of 64 with a 24-bit multiplier; shifts are 0..63, so the scale"),
        (2.0**24, 24, "needs a shift of -1 with a 24-bit multiplier"),
        (0.5, 25, "multiplier_bits must be 1..24, not 25"),
    ],
)
def test_unrepresentable_scale_is_refused_with_the_limits(scale: float, bits: int, text: str) -> None:
    with pytest.raises(ValueError, match="^.*" + text.replace("+", r"\+")):
        quantize_scale(scale, multiplier_bits=bits)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"mode": "nearest"}, "mode must be one of rne, ort, half_up, not 'nearest'"),
        ({"shift": 64}, "shift must be 0..63, not 64..64"),
        ({"multiplier": 1 << 24}, "multiplier must be 0..16777215, not 16777216..16777216"),
    ],
)
def test_golden_refuses_parameters_the_hardware_has_no_bits_for(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        requantize(1, **{"multiplier": 1, "shift": 0, "low": -128, "high": 127, **wrong})


class OnnxRuntime:
    """ONNX Runtime's own kernel: a 1 x 1 QLinearConv of zeros whose int32 bias is the accumulator."""

    def __init__(self, out: str, channels: int) -> None:
        reason = "ONNX Runtime is the oracle of mode ort: pip install onnx onnxruntime"
        onnx = pytest.importorskip("onnx", reason=reason)
        runtime = pytest.importorskip("onnxruntime", reason=reason)
        kinds, helper = onnx.TensorProto, onnx.helper
        code = {"int8": kinds.INT8, "uint8": kinds.UINT8}[out]
        self.dtype = np.dtype(out)
        self.channels = channels
        inputs = {
            "x": (code, [1, 1, 1, 1]),
            "x_scale": (kinds.FLOAT, []),
            "x_zero_point": (code, []),
            "w": (kinds.INT8, [channels, 1, 1, 1]),
            "w_scale": (kinds.FLOAT, [channels]),
            "w_zero_point": (kinds.INT8, []),
            "y_scale": (kinds.FLOAT, []),
            "y_zero_point": (code, []),
            "bias": (kinds.INT32, [channels]),
        }
        graph = helper.make_graph(
            [helper.make_node("QLinearConv", list(inputs), ["y"], kernel_shape=[1, 1])],
            "requantize",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info("y", code, [1, channels, 1, 1])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        self.session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def requantize(
        self, acc: np.ndarray, *, x_scale: float, w_scale: np.ndarray, y_scale: float, zero_point: int
    ) -> np.ndarray:
        feed = {
            "x": np.zeros((1, 1, 1, 1), self.dtype),
            "x_scale": np.array(x_scale, np.float32),
            "x_zero_point": np.array(0, self.dtype),
            "w": np.zeros((self.channels, 1, 1, 1), np.int8),
            "w_scale": w_scale.astype(np.float32),
            "w_zero_point": np.array(0, np.int8),
            "y_scale": np.array(y_scale, np.float32),
            "y_zero_point": np.array(zero_point, self.dtype),
            "bias": acc.astype(np.int32),
        }
        (y,) = self.session.run(None, feed)
        return np.asarray(y).ravel()


def onnx_runtime_case(rng: np.random.Generator, *, count: int, decimal: bool) -> dict[str, Any]:
    """Accumulators whose results are mostly in range; their scales as floats and as integers."""
    if decimal:
        x_scale = rng.choice([0.05, 0.1, 0.02, 0.5, 1.0, 0.003])
        y_scale = rng.choice([0.5, 0.1, 0.25, 0.75, 1.0])
        typed = rng.integers(1, 1000, 64) / rng.choice([1000.0, 128.0, 300.0], 64)
        w_scale = np.repeat(typed, -(-count // 64))[:count]
    else:
        x_scale, y_scale = 1.0, 1.0
        w_scale = np.exp2(rng.uniform(-24, 2, count))
    w_scale = w_scale.astype(np.float32)
    scale = np.float32(x_scale) * w_scale / np.float32(y_scale)
    span = np.minimum(300 / scale.astype(np.float64), 2**31 - 1)
    acc = np.rint(rng.uniform(-1, 1, count) * span).astype(np.int64)
    significand, exponent = np.frexp(scale)
    return {
        "acc": acc,
        "scales": {"x_scale": x_scale, "w_scale": w_scale, "y_scale": y_scale},
        "integers": {
            "multiplier": (significand * 2.0**24).astype(np.int64),
            "shift": 24 - exponent.astype(np.int64),
        },
    }


@pytest.mark.parametrize("out", ["int8", "uint8"])
def test_ort_mode_equals_onnx_runtime_on_eight_million_accumulators(out: str) -> None:
    count, rng = 500_000, np.random.default_rng(SEED)
    oracle = OnnxRuntime(out, count)
    bounds = {"low": int(np.iinfo(out).min), "high": int(np.iinfo(out).max)}
    compared = unlike_rne = clamped = 0
    for zero_point in [bounds["low"], bounds["low"] + 1, 0, 5, 17, 99, bounds["high"] - 1, bounds["high"]]:
        for decimal in (False, True):
            case = onnx_runtime_case(rng, count=count, decimal=decimal)
            expected = oracle.requantize(case["acc"], **case["scales"], zero_point=zero_point)
            parameters = {**case["integers"], **bounds, "zero_point": zero_point}
            np.testing.assert_array_equal(requantize(case["acc"], **parameters, mode="ort"), expected)
            unlike_rne += np.count_nonzero(requantize(case["acc"], **parameters, mode="rne") != expected)
            clamped += np.count_nonzero((expected == bounds["low"]) | (expected == bounds["high"]))
            compared += count
    assert compared == 8_000_000
    assert unlike_rne > 100, "the cases never reached ONNX Runtime's second rounding"
    assert clamped < compared * 0.8


def test_scale_helper_agrees_with_the_scales_onnx_runtime_multiplies() -> None:
    case = onnx_runtime_case(np.random.default_rng(SEED), count=512, decimal=True)
    scales = case["scales"]
    scale = np.float32(scales["x_scale"]) * scales["w_scale"] / np.float32(scales["y_scale"])
    pairs = np.array([quantize_scale(value) for value in scale])
    np.testing.assert_array_equal(pairs, np.stack(list(case["integers"].values()), axis=1))
