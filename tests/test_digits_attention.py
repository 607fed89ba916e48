"""Claims about the transformer that reads digits: its training, its integers, its attention on the generated RTL."""

import importlib.util
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gemm_designs import ROOT, TEST_BUILD
from tilewright.design import load_design
from tilewright.driver import Run, open_driver
from tilewright.sim.workloads import digits, digits_attention
from tilewright.sim.workloads.digits_attention import QuantizedTransformer, Transformer

EXAMPLE = ROOT / "examples" / "attention_digits.yaml"
FLOAT_RIGHT, QUANTIZED_RIGHT = 350, 349  # of 360


@pytest.fixture(scope="module")
def network() -> Transformer:
    return digits_attention.load()


@pytest.fixture(scope="module")
def quantized(network: Transformer) -> QuantizedTransformer:
    return digits_attention.quantize(network)


@pytest.fixture(scope="module")
def jobs(network: Transformer, quantized: QuantizedTransformer) -> list[dict[str, Any]]:
    return digits_attention.attention_jobs(quantized, network.images)


@pytest.fixture(scope="module")
def golden(jobs: list[dict[str, Any]]) -> Run:
    """The 360 jobs on the golden model of the example."""
    return open_driver(load_design(EXAMPLE)).run(jobs)


def right(network: Transformer, logits: Any) -> int:
    return int((logits.argmax(axis=1) == network.labels).sum())


# ---- the float network -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location(
        "train_digits_attention", ROOT / "benchmarks" / "train_digits_attention.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_token_is_its_four_pixels_and_its_place(network: Transformer) -> None:
    found = digits_attention.tokens(network.images)
    image = network.images[7].reshape(8, 8)
    assert found.shape == (360, 16, 20)
    for place in range(16):
        row, column = 2 * (place // 4), 2 * (place % 4)
        assert found[7, place, :4].tolist() == image[row : row + 2, column : column + 2].ravel().tolist()
        assert found[7, place, 4:].tolist() == [16 * (other == place) for other in range(16)]


def test_gradients_are_those_of_the_loss(script: ModuleType, network: Transformer) -> None:
    weights = {name: value.copy() for name, value in network.weights.items()}
    inputs = digits_attention.tokens(network.images[:5]) / 16
    targets = np.eye(10)[[3, 1, 4, 1, 5]]
    found = script.gradients(weights, inputs, targets)
    assert set(found) == set(weights)

    def loss() -> float:
        logits = digits_attention.activations(weights, inputs)["logits"]
        return float((np.log(np.exp(logits).sum(axis=1)) - (logits * targets).sum(axis=1)).mean())

    rng = np.random.default_rng(0)
    for name, weight in weights.items():
        direction = rng.normal(size=weight.shape)
        step = 1e-6
        weight += step * direction
        above = loss()
        weight -= 2 * step * direction
        slope = (above - loss()) / (2 * step)
        weight += step * direction
        assert slope == pytest.approx(float((found[name] * direction).sum()), rel=1e-5, abs=1e-7), name


def test_images_move_by_a_pixel_at_most_and_some_stay(script: ModuleType, network: Transformer) -> None:
    moved = script.move(network.images, np.random.default_rng(0))
    padded = np.pad(network.images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    shifts = [padded[:, row : row + 8, column : column + 8].reshape(-1, 64) for row in range(3) for column in range(3)]
    equal = np.array([(moved == shifted).all(axis=1) for shifted in shifts])
    assert equal.any(axis=0).all() and equal.any(axis=1).all()
    assert 0.2 < equal[4].mean() < 0.55


def test_training_learns_and_repeats_itself(script: ModuleType) -> None:
    bundled = pytest.importorskip("sklearn.datasets").load_digits()
    index = np.setdiff1d(np.arange(1797), digits.load().index)[:320]
    first, again = (script.train(bundled.data[index], bundled.target[index], epochs=8) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    logits = digits_attention.activations(first, digits_attention.tokens(bundled.data[index]) / 16)["logits"]
    assert digits.accuracy(logits, bundled.target[index]) > 0.5


def test_the_float_network_reads_the_held_out_images(network: Transformer) -> None:
    assert network.images.shape == (360, 64)
    assert right(network, network.float_logits()) == FLOAT_RIGHT


# ---- its integers ----------------------------------------------------------------------------------


def test_every_quantized_value_fits(quantized: QuantizedTransformer, jobs: list[dict[str, Any]]) -> None:
    for layer in quantized.layers.values():
        assert np.abs(layer.weight).max(axis=0).tolist() == [127] * layer.weight.shape[1]
        assert np.abs(layer.bias).max() < 1 << 31
        assert layer.multiplier.min() >= 1 << 23 and layer.multiplier.max() < 1 << 24
        assert layer.shift.min() >= 0 and layer.shift.max() < 64
    assert len(jobs) == 360
    for job in jobs:
        for name in ("q", "k", "v"):
            assert job[name].shape == (4, 16, 16) and job[name].min() >= -128 and job[name].max() <= 127
        assert 1 << 23 <= job["score_multiplier"] < 1 << 24 and 0 <= job["score_shift"] < 64 and 0 < job["out_scale"] < 1 << 16


def test_a_job_says_what_the_float_network_does(
    network: Transformer, quantized: QuantizedTransformer, golden: Run,
) -> None:
    """The scales of a job: its results, in their scale, are the float network's."""
    step = quantized.layers["value"].scale * 4096 / quantized.attention["out_scale"]
    found = step * digits_attention.merge_heads(np.stack(golden.outputs))
    at = digits_attention.activations(network.weights, digits_attention.tokens(network.images) / 16)
    error = np.abs(found - at["mixed"])
    assert error.mean() < step / 2 and error.max() < 5 * step


@pytest.mark.parametrize("algorithm", ["two_pass", "online_shift"])
def test_either_exponential_keeps_the_accuracy_within_a_point_of_float(
    network: Transformer, quantized: QuantizedTransformer, algorithm: str,
) -> None:
    driver = open_driver(load_design(EXAMPLE, overrides=[f"softmax.algorithm={algorithm}"]))
    logits = digits_attention.infer(quantized, network.images, lambda jobs: driver.run(jobs).outputs)
    assert right(network, logits) == QUANTIZED_RIGHT >= FLOAT_RIGHT - 3.6


def test_with_the_attention_of_another_image_the_network_guesses(
    network: Transformer, quantized: QuantizedTransformer, golden: Run,
) -> None:
    """So an accuracy says something about attention."""
    others = [*golden.outputs[1:], golden.outputs[0]]
    assert right(network, digits_attention.classify(quantized, network.images, others)) == 24


# ---- on the generated RTL --------------------------------------------------------------------------


def test_attention_on_the_rtl_reads_the_digits_as_golden_does(
    network: Transformer, quantized: QuantizedTransformer, golden: Run,
) -> None:
    driver = open_driver(load_design(EXAMPLE), "sim", root=TEST_BUILD)
    runs: list[Run] = []

    def run(jobs: Sequence[dict[str, Any]]) -> Sequence[Any]:
        runs.append(driver.run(jobs))  # all back to back, from one reset
        return runs[-1].outputs

    logits = digits_attention.infer(quantized, network.images, run)
    assert len(runs) == 1 and runs[0].measured and runs[0].cycles == golden.cycles
    assert len(runs[0].outputs) == len(golden.outputs) == 360
    for image, (output, wanted) in enumerate(zip(runs[0].outputs, golden.outputs, strict=True)):
        np.testing.assert_array_equal(output, wanted, err_msg=f"image {image}")
    np.testing.assert_array_equal(logits, digits_attention.classify(quantized, network.images, golden.outputs))
    assert right(network, logits) == QUANTIZED_RIGHT
    assert (logits.argmax(axis=1) == network.float_logits().argmax(axis=1)).sum() >= 358
