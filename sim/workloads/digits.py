"""Handwritten digits on the GEMM engine: an MLP 64 -> 32 -> 10, quantized to int8 after training.

The weights and the 360 held-out images come from ``digits_mlp.npz``, written by
``benchmarks/train_digits.py``. Quantization follows Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, with one scale per output channel:

- Pixels 0..16 are int8 codes as they are: scale 1/16, zero point 0, nothing is rounded.
- Weights are symmetric, the largest magnitude of a channel becomes 127.
- Hidden activations span int8 with zero point -128, so that saturation at the low end *is* the ReLU.
- The second layer means ``a + 128`` where it reads ``a``. As ``(a + 128) @ b = a @ b + 128 * sum(b)``, the
  correction is a constant per channel and lives in its bias: the engine needs no zero point of its own.
- Logits are symmetric int8, one scale for all ten.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tilewright.sim.golden.gemm import gemm
from tilewright.sim.golden.requantize import quantize_scale

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

LOW, HIGH = -128, 127
PIXEL_SCALE = 1 / 16
BATCH = 128


@dataclass(frozen=True)
class Digits:
    """The float network and the images it has never seen.

    ``images`` (360, 64) holds 0..16, ``labels`` (360,) the digits drawn, ``index`` (360,) their places in
    scikit-learn's ``load_digits()``. ``weights`` and ``biases`` are float, per layer (K, N) and (N,).
    ``ranges`` are the largest hidden activation and the largest logit magnitude on the training images.
    """

    images: NDArray[np.uint8]
    labels: IntArray
    index: IntArray
    weights: tuple[FloatArray, FloatArray]
    biases: tuple[FloatArray, FloatArray]
    ranges: tuple[float, float]

    def float_logits(self) -> FloatArray:
        """What the network says before quantization, (360, 10)."""
        hidden = np.maximum(self.images * PIXEL_SCALE @ self.weights[0] + self.biases[0], 0)
        return hidden @ self.weights[1] + self.biases[1]


@dataclass(frozen=True)
class DenseLayer:
    """One layer as the engine takes it: ``weight`` (K, N) int8, the rest (N,); ``scale`` is the result's."""

    name: str
    weight: IntArray
    bias: IntArray
    multiplier: IntArray
    shift: IntArray
    zero_point: IntArray
    scale: float


# A layer and its batches of operands, (M, K) each, to the results, (M, N) each.
RunLayer = Callable[[DenseLayer, Sequence[IntArray]], Sequence[IntArray]]


def load() -> Digits:
    """The committed network and images."""
    with files("tilewright.sim.workloads").joinpath("digits_mlp.npz").open("rb") as file:
        stored = dict(np.load(file, allow_pickle=False))
    wide = {name: value.astype(np.float64) for name, value in stored.items() if value.dtype == np.float32}
    return Digits(
        images=stored["images"],
        labels=stored["labels"].astype(np.int64),
        index=stored["held_out_index"].astype(np.int64),
        weights=(wide["hidden_weight"], wide["output_weight"]),
        biases=(wide["hidden_bias"], wide["output_bias"]),
        ranges=(float(wide["hidden_range"]), float(wide["logit_range"])),
    )


def quantize(digits: Digits, *, multiplier_bits: int = 24) -> tuple[DenseLayer, DenseLayer]:
    """Both layers as integers, for an engine whose requantizer has multipliers of that many bits."""
    hidden = _quantize_layer(
        "hidden",
        digits.weights[0],
        digits.biases[0],
        multiplier_bits=multiplier_bits,
        scale_in=PIXEL_SCALE,
        zero_in=0,
        scale_out=digits.ranges[0] / (HIGH - LOW),
        zero_out=LOW,
    )
    output = _quantize_layer(
        "output",
        digits.weights[1],
        digits.biases[1],
        multiplier_bits=multiplier_bits,
        scale_in=hidden.scale,
        zero_in=LOW,
        scale_out=digits.ranges[1] / HIGH,
        zero_out=0,
    )
    return hidden, output


def _quantize_layer(
    name: str,
    weight: FloatArray,
    bias: FloatArray,
    *,
    multiplier_bits: int,
    scale_in: float,
    zero_in: int,
    scale_out: float,
    zero_out: int,
) -> DenseLayer:
    weight_scale = np.abs(weight).max(axis=0) / HIGH
    codes = np.rint(weight / weight_scale).astype(np.int64)
    bias_codes = np.rint(bias / (scale_in * weight_scale)).astype(np.int64)
    ratios = scale_in * weight_scale / scale_out
    factors = [quantize_scale(ratio, multiplier_bits=multiplier_bits) for ratio in ratios]
    return DenseLayer(
        name=name,
        weight=codes,
        bias=bias_codes - zero_in * codes.sum(axis=0),
        multiplier=np.array([multiplier for multiplier, _ in factors], np.int64),
        shift=np.array([shift for _, shift in factors], np.int64),
        zero_point=np.full(len(factors), zero_out, np.int64),
        scale=scale_out,
    )


def run_golden(layer: DenseLayer, batches: Sequence[IntArray], *, mode: str = "rne") -> list[IntArray]:
    """A layer on the golden model, in rounding mode ``mode``."""
    return [
        gemm(
            batch,
            layer.weight,
            bias=layer.bias,
            multiplier=layer.multiplier,
            shift=layer.shift,
            zero_point=layer.zero_point,
            low=LOW,
            high=HIGH,
            mode=mode,
        )
        for batch in batches
    ]


def layer_jobs(layer: DenseLayer, batches: Sequence[IntArray]) -> list[dict[str, Any]]:
    """A layer as jobs of the driver: the weights travel with the first batch and stay for the others."""
    first = {
        "a": batches[0],
        "b": layer.weight,
        "bias": layer.bias,
        "multiplier": layer.multiplier,
        "shift": layer.shift,
        "zero_point": layer.zero_point,
    }
    return [first, *({"a": batch, "reuse_weights": True} for batch in batches[1:])]


def infer(
    layers: Sequence[DenseLayer], images: NDArray[np.uint8], run: RunLayer = run_golden, *, batch: int = BATCH
) -> IntArray:
    """Logits (images, 10) as int8 codes, the images taken ``batch`` at a time through layer after layer.

    ``run`` executes one layer on all batches: the weights stay the same from the first to the last.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch!r}")
    values = [images[start : start + batch].astype(np.int64) for start in range(0, len(images), batch)]
    for layer in layers:
        values = list(run(layer, values))
    return np.concatenate(values)


def accuracy(logits: FloatArray | IntArray, labels: IntArray) -> float:
    """Share of images whose largest logit is the right one; of equal logits the first counts."""
    return float((logits.argmax(axis=1) == labels).mean())
