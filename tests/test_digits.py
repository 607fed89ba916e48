"""Claims about the digit classifier: its data, its quantization, its integers."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from tilewright.sim.golden.gemm import gemm_reference
from tilewright.sim.workloads import digits

TRAINING_SCRIPT = Path(__file__).parent.parent / "benchmarks" / "train_digits.py"


@pytest.fixture(scope="module")
def network() -> digits.Digits:
    return digits.load()


@pytest.fixture(scope="module")
def layers(network: digits.Digits) -> tuple[digits.DenseLayer, digits.DenseLayer]:
    return digits.quantize(network)


def training_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_digits", TRAINING_SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_committed_images_and_labels_are_scikit_learns_at_the_held_out_indices(network):
    bundled = pytest.importorskip("sklearn.datasets").load_digits()
    assert network.images.dtype == np.uint8 and network.images.shape == (360, 64)
    np.testing.assert_array_equal(network.images, bundled.data[network.index])
    np.testing.assert_array_equal(network.labels, bundled.target[network.index])


def test_the_held_out_images_are_360_different_ones_that_training_never_sees(network):
    pytest.importorskip("sklearn")
    train_index, held_out_index = training_script().split(1797)
    np.testing.assert_array_equal(held_out_index, network.index)
    assert len(train_index) == 1437 and len(held_out_index) == 360
    assert not set(train_index) & set(held_out_index)


def test_training_again_gives_the_committed_network_up_to_the_last_bits_of_blas(network):
    bundled = pytest.importorskip("sklearn.datasets").load_digits()
    script = training_script()
    index, _ = script.split(1797)
    parameters = script.train(bundled.data[index] / 16, bundled.target[index])
    again = script.forward(parameters, network.images / 16)[1].argmax(axis=1)
    # Another BLAS sums in another order, and 60 epochs amplify that: the answers agree, bits need not.
    assert (again == network.float_logits().argmax(axis=1)).sum() >= 352
    assert digits.accuracy(network.float_logits(), network.labels) == pytest.approx(347 / 360)


def test_every_quantized_value_fits_the_engine(layers):
    for layer in layers:
        assert np.abs(layer.weight).max(axis=0).tolist() == [127] * layer.weight.shape[1]
        assert np.abs(layer.bias).max() < 1 << 31
        assert layer.multiplier.min() >= 1 << 23 and layer.multiplier.max() < 1 << 24
        assert layer.shift.min() >= 0 and layer.shift.max() < 64
    assert [layer.zero_point.tolist() for layer in layers] == [[-128] * 32, [0] * 10]


def test_saturation_at_zero_point_minus_128_is_exactly_relu(network, layers):
    hidden, _ = layers
    codes = digits.run_golden(hidden, [network.images.astype(np.int64)])[0]
    real = (codes + 128) * hidden.scale
    expected = np.maximum(network.images / 16 @ network.weights[0] + network.biases[0], 0)
    # A weight is off by half a step at most, and 64 pixels of at most 1.0 multiply it; the code itself adds
    # half a step. Activations beyond the training images' range saturate.
    steps = np.abs(network.weights[0]).max(axis=0) / 127
    bound = 0.5 * steps * (network.images / 16).sum(axis=1, keepdims=True) + 0.5 * hidden.scale + steps / 32
    error = np.abs(real - np.minimum(expected, network.ranges[0]))
    assert (error <= bound).all()
    assert (codes == -128).mean() > 0.2 and (codes > -128).mean() > 0.2


def test_folding_the_zero_point_into_the_bias_changes_no_accumulator(network, layers):
    hidden, output = layers
    codes = digits.run_golden(hidden, [network.images[:20].astype(np.int64)])[0]
    plain_bias = output.bias - 128 * output.weight.sum(axis=0)
    subtracted = np.array(gemm_reference(codes, output.weight, act_zero_point=-128))
    folded = np.array(gemm_reference(codes, output.weight))
    np.testing.assert_array_equal(folded + output.bias, subtracted + plain_bias)


def test_int8_accuracy_is_within_one_point_of_float(network, layers):
    logits = digits.infer(layers, network.images)
    float_accuracy = digits.accuracy(network.float_logits(), network.labels)
    assert abs(digits.accuracy(logits, network.labels) - float_accuracy) <= 0.01
    assert (logits.argmax(axis=1) == network.float_logits().argmax(axis=1)).mean() >= 0.995


@pytest.mark.parametrize("mode", ["rne", "ort", "half_up"])
def test_rounding_modes_differ_by_one_code_at_most(network, layers, mode):
    def run(layer, batches):
        return digits.run_golden(layer, batches, mode=mode)

    difference = digits.infer(layers, network.images, run) - digits.infer(layers, network.images)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("batch", [1, 7, 128, 360, 1000])
def test_logits_do_not_depend_on_the_batch(network, layers, batch):
    few = network.images[:40]
    np.testing.assert_array_equal(
        digits.infer(layers, few, batch=batch), digits.infer(layers, network.images)[:40]
    )


def test_an_engine_gets_each_layer_once_with_batches_it_can_hold(network, layers):
    seen = []

    def run(layer, batches):
        seen.append((layer.name, [batch.shape for batch in batches]))
        return digits.run_golden(layer, batches)

    digits.infer(layers, network.images, run)
    assert seen == [
        ("hidden", [(128, 64), (128, 64), (104, 64)]),
        ("output", [(128, 32), (128, 32), (104, 32)]),
    ]


def test_weights_travel_with_the_first_batch_of_a_layer_only(network, layers):
    batches = [network.images[:128].astype(np.int64), network.images[128:200].astype(np.int64)]
    first, second = digits.layer_jobs(layers[0], batches)
    assert set(first) == {"a", "b", "bias", "multiplier", "shift", "zero_point"}
    assert first["b"].shape == (64, 32) and first["a"] is batches[0]
    assert set(second) == {"a", "reuse_weights"} and second["reuse_weights"] and second["a"] is batches[1]


def test_a_narrower_multiplier_is_honoured(network):
    layers = digits.quantize(network, multiplier_bits=12)
    assert max(int(layer.multiplier.max()) for layer in layers) < 1 << 12
    assert digits.accuracy(digits.infer(layers, network.images), network.labels) > 0.95


def test_a_batch_of_none_is_refused(network, layers):
    with pytest.raises(ValueError, match="batch must be at least 1, not 0"):
        digits.infer(layers, network.images, batch=0)
