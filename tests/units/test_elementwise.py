"""Claims about quantized elementwise operators: exact rationals, and the kernels of ONNX Runtime."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from tilewright.sim.golden.requantize import quantize_scale
from tilewright.sim.golden.units import elementwise as golden
from tilewright.units import tables

SEED = 20260801


def clamped(value: int, low: int = -128, high: int = 127) -> int:
    return min(max(value, low), high)


def onnx_result(operator: str, domain: str, *operands: Any) -> np.ndarray:
    """What ONNX Runtime makes of a, a_scale, a_zero, b, ..., y_scale, y_zero."""
    helper = pytest.importorskip("onnx").helper
    runtime = pytest.importorskip("onnxruntime")
    kinds = {np.dtype(np.int8): 3, np.dtype(np.float32): 1}
    names = [f"x{i}" for i in range(len(operands))]
    node = helper.make_node(operator, names, ["y"], domain=domain)
    inputs = [helper.make_tensor_value_info(name, kinds[operand.dtype], operand.shape)
              for name, operand in zip(names, operands, strict=True)]
    graph = helper.make_graph([node], "one", inputs, [helper.make_tensor_value_info("y", 3, None)])
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, operands, strict=True)))[0]


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def zero(value: int) -> np.ndarray:
    return np.array(value, np.int8)


def test_residual_add_rounds_the_exact_sum_once() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(2000):
        a, b, a_zero, b_zero, zero_point = (int(v) for v in rng.integers(-128, 128, 5))
        multipliers, shift = golden.aligned_multipliers(*np.exp(rng.uniform(-8, 2, 2)).tolist())
        exact = Fraction((a - a_zero) * multipliers[0] + (b - b_zero) * multipliers[1], 1 << shift)
        result = golden.residual_add(
            a, b, a_zero=a_zero, b_zero=b_zero, a_multiplier=multipliers[0], b_multiplier=multipliers[1], shift=shift,
            zero_point=zero_point, out_width=8)
        assert result == clamped(round(exact) + zero_point)


def test_residual_add_agrees_with_onnx_runtime_but_for_one_unit_in_a_thousand() -> None:
    """Its kernel computes in float, so ties may go either way: 1 unit, in fewer than 1 of 1000 results."""
    rng = np.random.default_rng(SEED)
    codes = np.arange(-128, 128, dtype=np.int8)
    a, b = (grid.ravel() for grid in np.meshgrid(codes, codes))
    different = total = 0
    for _ in range(20):
        a_scale, b_scale, y_scale = np.exp(rng.uniform(-6, -2, 3)).astype(np.float32)
        a_zero, b_zero, y_zero = (int(v) for v in rng.integers(-20, 21, 3))
        theirs = onnx_result("QLinearAdd", "com.microsoft", a, scalar(a_scale), zero(a_zero), b, scalar(b_scale),
                             zero(b_zero), scalar(y_scale), zero(y_zero)).astype(np.int64)
        multipliers, shift = golden.aligned_multipliers(
            float(a_scale) / float(y_scale), float(b_scale) / float(y_scale))
        ours = golden.residual_add(
            a, b, a_zero=a_zero, b_zero=b_zero, a_multiplier=multipliers[0], b_multiplier=multipliers[1], shift=shift,
            zero_point=y_zero, out_width=8)
        assert np.abs(ours - theirs).max() <= 1
        different, total = different + int((ours != theirs).sum()), total + len(a)
    assert different <= total // 1000


def test_multiply_equals_onnx_runtime_for_every_pair_of_codes() -> None:
    rng = np.random.default_rng(SEED)
    codes = np.arange(-128, 128, dtype=np.int8)
    a, b = (grid.ravel() for grid in np.meshgrid(codes, codes))
    for _ in range(20):
        a_scale, b_scale = np.exp(rng.uniform(-6, -2, 2)).astype(np.float32)
        y_scale = np.float32(a_scale * b_scale * 150 * np.exp(rng.uniform(-1, 1)))
        a_zero, b_zero, y_zero = (int(v) for v in rng.integers(-20, 21, 3))
        theirs = onnx_result("QLinearMul", "com.microsoft", a, scalar(a_scale), zero(a_zero), b, scalar(b_scale),
                             zero(b_zero), scalar(y_scale), zero(y_zero))
        multiplier, shift = quantize_scale(np.float32(np.float32(a_scale * b_scale) / y_scale))
        ours = golden.multiply(a, b, a_zero=a_zero, b_zero=b_zero, multiplier=multiplier, shift=shift,
                               zero_point=y_zero, out_width=8)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("factor", [1.0, 0.75, 1 / 3, 2.5, 2.0**-20, 2.0**-30 / 3, 1 - 2.0**-40, 1000.1])
def test_dyadic_equals_its_definition_in_whole_numbers(factor: float) -> None:
    rng = np.random.default_rng(SEED)
    multiplier, shift = golden.dyadic_number(factor)
    assert 1 << 30 <= multiplier <= 1 << 31
    assert abs(Fraction(multiplier, 1 << shift) / Fraction(factor) - 1) <= Fraction(1, 1 << 31)
    z = np.concatenate([[-(1 << 31), -1, 0, 1, (1 << 31) - 1], rng.integers(-(1 << 31), 1 << 31, 500),
                        rng.integers(-(1 << 10), 1 << 10, 500)])
    for width in (4, 8, 16):
        y = golden.dyadic(z, multiplier=multiplier, shift=shift, out_width=width)
        high = (1 << width - 1) - 1
        assert y.tolist() == [clamped(round(Fraction(v * multiplier, 1 << shift)), -high - 1, high) for v in z.tolist()]


def test_dyadic_add_rounds_each_operand_and_saturates_only_the_sum() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(3000):
        a, b = (int(v) >> int(rng.integers(0, 22)) for v in rng.integers(-(1 << 21), 1 << 21, 2))
        (a_multiplier, a_shift), (b_multiplier, b_shift) = (
            golden.dyadic_number(factor) for factor in np.exp(rng.uniform(-6, 3, 2)).tolist())
        exact = round(Fraction(a * a_multiplier, 1 << a_shift)) + round(Fraction(b * b_multiplier, 1 << b_shift))
        y = golden.dyadic_add(a, a_multiplier, a_shift, b, b_multiplier, b_shift, out_width=16)
        assert y == clamped(exact, -(1 << 15), (1 << 15) - 1)
    # Each alone is far beyond the result's format, the sum is not.
    assert golden.dyadic_add(1 << 20, 1 << 31, 20, -(1 << 20) + 1, 1 << 31, 20, out_width=16) == 2048


def test_reduce_mean_rounds_the_exact_mean_once() -> None:
    rng = np.random.default_rng(SEED)
    lengths = [1, 2, 3, 7, 64, 197, 1000]
    x = rng.integers(-128, 128, sum(lengths))
    last = np.zeros(len(x), np.int64)
    last[np.cumsum(lengths) - 1] = 1
    multipliers, shifts = zip(*(quantize_scale(1 / length) for length in lengths), strict=True)
    y = golden.reduce_mean(x, last, zero=3, multiplier=np.repeat(multipliers, lengths), shift=np.repeat(shifts, lengths),
                           zero_point=-5, out_width=8)
    frames = np.split(x - 3, np.cumsum(lengths)[:-1])
    assert y.tolist() == [
        clamped(round(Fraction(int(frame.sum()) * multiplier, 1 << shift)) - 5)
        for frame, multiplier, shift in zip(frames, multipliers, shifts, strict=True)]


def test_unary_tables_are_rounded_from_the_real_function() -> None:
    table = tables.unary("sigmoid", 8, 4, 8, 7)
    for code in range(-128, 128):
        exact = 128 / (1 + np.exp(-code / 16))
        assert table[code & 255] == clamped(int(np.rint(exact)))


@pytest.mark.parametrize("factors, text", [
    ((2.0**30, 1.0), "factors must be positive and the largest"), ((-1.0, 1.0), "factors must be positive"),
    ((2.0**-50, 2.0**-60), "factors must be positive and the largest")])
def test_factors_that_no_shift_holds_are_refused(factors: tuple[float, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        golden.aligned_multipliers(*factors)


def test_a_dyadic_number_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="factor must be positive"):
        golden.dyadic_number(0.0)
    with pytest.raises(ValueError, match="factor must be positive"):
        golden.dyadic_number(2.0**40)
