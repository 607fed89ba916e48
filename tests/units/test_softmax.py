"""Softmax: codes equal to ONNX Runtime's, the shape of the rescale path, what the golden models promise."""

import re

import numpy as np
import onnxruntime
import pytest
from amaranth.back import rtlil
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tilewright.rtl.units.softmax_exponent import ExponentSum, octave_shape
from tilewright.sim.golden.units.softmax_exponent import softmax_exponent
from tilewright.sim.golden.units.softmax_maximum import softmax_online, softmax_three_pass, softmax_unified
from tilewright.sim.golden.units.softmax_table import softmax_table
from tilewright.units import tables
from tilewright.units.softmax_exponent import ExponentSoftmaxParameters, SoftmaxOnlineShift, SoftmaxTwoPass
from tilewright.units.softmax_table import SoftmaxTableParameters

FIXED = {"fraction": 10, "mantissa_bits": 15, "guard_bits": 8, "out_bits": 16, "max_beats": 4096}


def ends(length: int, frames: int = 1) -> NDArray[np.int64]:
    last = np.zeros(length * frames, np.int64)
    last[length - 1::length] = 1
    return last


def onnx_softmax(x: NDArray[np.int64], x_scale: float, y_scale: float, zero_point: int, signed: bool) -> NDArray[np.int64]:
    """QLinearSoftmax of every row of ``x``."""
    kind = TensorProto.INT8 if signed else TensorProto.UINT8
    node = helper.make_node("QLinearSoftmax", ["x", "xs", "xz", "ys", "yz"], ["y"], domain="com.microsoft", axis=-1, opset=13)
    constants = [
        helper.make_tensor("xs", TensorProto.FLOAT, [], [x_scale]), helper.make_tensor("xz", kind, [], [0]),
        helper.make_tensor("ys", TensorProto.FLOAT, [], [y_scale]), helper.make_tensor("yz", kind, [], [zero_point])]
    graph = helper.make_graph([node], "softmax", [helper.make_tensor_value_info("x", kind, list(x.shape))],
                              [helper.make_tensor_value_info("y", kind, list(x.shape))], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.astype(np.int8 if signed else np.uint8)})[0].astype(np.int64)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("y_scale", [1 / 256, 1 / 255, 1 / 127])
def test_table_softmax_equals_onnx_runtime_code_for_code(signed: bool, y_scale: float) -> None:
    rng = np.random.default_rng(11)
    low = -128 if signed else 0
    zero_point = low if y_scale < 1 / 200 else 0
    for x_scale in (0.003, 0.02, 0.0625, 0.1, 0.7):
        p = SoftmaxTableParameters(signed=signed, x_scale=x_scale, zero_point=zero_point,
                                   levels=int(np.floor(np.float32(1) / np.float32(y_scale))))
        for length in (1, 2, 3, 17, 64, 197, 512):
            x = rng.integers(low, low + 256, (40, length))
            x[:20] = np.clip(np.rint(rng.normal(low + 128, 10, (20, length))), low, low + 255)
            codes = softmax_table(x.ravel(), np.ones(x.size), ends(length, 40), table=p.table, levels=p.levels,
                                  zero_point=zero_point, highest=p.code.high, max_beats=512)
            np.testing.assert_array_equal(codes.reshape(x.shape), onnx_softmax(x, x_scale, y_scale, zero_point, signed))


def test_the_rescale_path_of_the_two_pass_softmax_has_no_multiplier() -> None:
    rescale = ExponentSum(lanes=4, mantissa_bits=15, guard_bits=8, octave=octave_shape(16, 10), octave_step=8, divisor_width=34)
    text = rtlil.convert(rescale)
    assert re.search(r"cell \$shr ", text)
    assert not re.search(r"cell \$(mul|div|mod)\w* ", text)


@pytest.mark.parametrize("unit", [SoftmaxTwoPass(), SoftmaxOnlineShift()], ids=lambda unit: unit.name)
def test_equal_scores_get_equal_shares_and_a_single_score_the_highest_code(unit: SoftmaxTwoPass) -> None:
    p = ExponentSoftmaxParameters()
    for score in (-32768, -1, 0, 5, 32767):
        for length in (1, 2, 64, 1024):
            beats = {"score": np.full((length, 1), score), "keep": np.ones(length, np.int64), "last": ends(length)}
            probability = unit.golden(p, beats)["probability"]
            assert len(np.unique(probability)) == 1
            # The reciprocal of the sum is rounded down to 16 bits, and so is the share: two codes at most.
            assert min(65536 // length, 65535) - 2 <= probability[0, 0] <= min(65536 // length, 65535)


def test_a_common_offset_changes_the_two_pass_softmax_by_no_more_than_its_error() -> None:
    rng = np.random.default_rng(3)
    score = np.rint(rng.normal(0, 3, 256) * 1024).astype(np.int64)
    table = tables.exp2_rising(15, 5)
    wanted = softmax_three_pass(score, np.ones(256), ends(256), table=tables.exp2_falling(15, 5), **FIXED)
    for offset in (-15000, -1, 7, 15000):
        got = softmax_exponent(score + offset, np.ones(256), ends(256), table=table, octave="below", octave_step=8, **FIXED)
        assert np.abs(got - wanted).max() <= 2 * 1.2e-4 * 65536


def test_the_online_softmax_depends_on_the_order_and_the_three_pass_softmax_does_not() -> None:
    rng = np.random.default_rng(5)
    score = np.rint(rng.normal(0, 3, 256) * 256).astype(np.int64)
    coarse = {**FIXED, "fraction": 8, "mantissa_bits": 8, "guard_bits": 8, "table": tables.exp2_falling(8, 5)}
    order = np.argsort(score)
    three = [softmax_three_pass(score[o], np.ones(256), ends(256), **coarse) for o in (np.arange(256), order)]
    np.testing.assert_array_equal(three[0][order], three[1])
    online = [softmax_online(score[o], np.ones(256), ends(256), **coarse) for o in (np.arange(256), order)]
    assert (online[0][order] != online[1]).any()


def test_a_frame_outside_of_the_window_falls_back_to_the_three_pass_softmax() -> None:
    rng = np.random.default_rng(9)
    score = np.rint(rng.normal(0, 2, 128) * 1024).astype(np.int64)
    score[0] = 9000
    table = tables.exp2_falling(15, 5)
    window = {"center": 0, "low": -8192, "high": 8192}
    got, fallback = softmax_unified(score, np.ones(128), ends(64, 2), table=table, **window, **FIXED)
    np.testing.assert_array_equal(fallback, np.repeat([1, 0], 64))
    exact = softmax_three_pass(score, np.ones(128), ends(64, 2), table=table, **FIXED)
    np.testing.assert_array_equal(got[:64], exact[:64])
    assert np.abs(got[64:] - exact[64:]).max() <= 2 * 1.2e-4 * 65536


def test_lanes_left_out_count_for_nothing() -> None:
    rng = np.random.default_rng(2)
    score = rng.integers(-3000, 3000, (32, 4))
    keep = rng.random((32, 4)) < 0.5
    other = np.where(keep, score, rng.integers(-32768, 32767, score.shape))
    for octave, table in (("below", tables.exp2_rising(15, 5)), ("above", tables.exp2_falling(15, 5))):
        got = [softmax_exponent(s, keep, ends(32), table=table, octave=octave, octave_step=8, **FIXED) for s in (score, other)]
        np.testing.assert_array_equal(got[0], got[1])
        assert not got[0][~keep].any()
