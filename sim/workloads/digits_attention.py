"""Handwritten digits on the attention engine: a transformer of one block and four heads, quantized after training.

An 8 x 8 image is 16 patches of 2 x 2 pixels. One block turns them into ten logits, without layer normalisation::

    tokens (16, 20) -> embedding (16, 64) -> query, key, value (4, 16, 16 each) -> attention -> projection -> + residual
    -> expansion, ReLU, contraction -> + residual -> mean over tokens -> classifier (10)

A token is its four pixels and a one-hot vector of its place, so that the embedding's last 16 rows are the positional
embedding. The float weights come from ``digits_attention.npz``, written by ``benchmarks/train_digits_attention.py``; the
held-out images are those of :mod:`tilewright.sim.workloads.digits`.

Everything is int8, as in that module: weights symmetric with one scale per output channel, activations symmetric with
one scale per tensor, what a ReLU leaves with zero point -128. Attention is left to whoever runs the jobs of
:func:`attention_jobs`; the rest is integer NumPy:

- A residual is brought to the scale of the sum, then added to a layer's result in that scale, then saturated.
- Scores need no scale of their own: ``score_multiplier / 2**score_shift`` is that of q times that of k over the root of
  the head's size, with the engine's fraction bits.
- The scale of attention's results is that of the values divided by ``out_scale``, exactly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tilewright.sim.golden.requantize import quantize_scale, requantize
from tilewright.sim.workloads import digits
from tilewright.sim.workloads.digits import HIGH, LOW, PIXEL_SCALE, DenseLayer

IntArray = NDArray[np.int64]
FloatArray = NDArray[Any]  # float64, or float32 in training

HEADS, HEAD_DIM = 4, 16
WIDTH = HEADS * HEAD_DIM
PLACES = 16               # tokens of an image
TOKEN = 4 + PLACES        # elements of a token
ONE = round(1 / PIXEL_SCALE)
OUT_SCALE_ONE = 1 << 12   # the engine's out_scale of 1.0

# The jobs of some images to their results, (heads, tokens, head_dim) each.
RunAttention = Callable[[Sequence[dict[str, Any]]], Sequence[IntArray]]


@dataclass(frozen=True)
class Transformer:
    """The float network and the images it has never seen.

    ``images`` (360, 64) holds 0..16, ``labels`` (360,) the digits drawn. ``weights`` are float, by the names of
    :func:`activations`; ``ranges`` are the largest magnitudes of its results on the training images.
    """

    images: NDArray[np.uint8]
    labels: IntArray
    weights: dict[str, FloatArray]
    ranges: dict[str, float]

    def float_logits(self) -> FloatArray:
        """What the network says before quantization, (360, 10)."""
        return activations(self.weights, tokens(self.images) * PIXEL_SCALE)["logits"]


@dataclass(frozen=True)
class QuantizedTransformer:
    """The network as integers: its dense layers, the scales of a job, and ``(multiplier, shift)`` of what changes scale.

    ``attention`` holds score_multiplier, score_shift and out_scale. ``rescale`` brings the embedding to the scale of the
    first sum ("embedded"), that sum to the scale of the second ("attended"), and a sum over tokens to the mean's ("pooled").
    """

    layers: dict[str, DenseLayer]
    attention: dict[str, int]
    rescale: dict[str, tuple[int, int]]


def load() -> Transformer:
    """The committed network, and the committed images of the MLP."""
    with files("tilewright.sim.workloads").joinpath("digits_attention.npz").open("rb") as file:
        stored = {name: value.astype(np.float64) for name, value in np.load(file, allow_pickle=False).items()}
    shared = digits.load()
    ranges = {name.removeprefix("range_"): float(value) for name, value in stored.items() if name.startswith("range_")}
    weights = {name: value for name, value in stored.items() if not name.startswith("range_")}
    return Transformer(shared.images, shared.labels, weights, ranges)


def tokens(images: NDArray[Any]) -> IntArray:
    """Images (images, 64) as tokens (images, 16, 20) in units of a pixel's step: four pixels, then 16 at the token's place.

    Patches go from left to right, then down; so do the pixels of a patch.
    """
    patches = images.astype(np.int64).reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, PLACES, 4)
    places = np.broadcast_to(ONE * np.eye(PLACES, dtype=np.int64), (len(patches), PLACES, PLACES))
    return np.concatenate([patches, places], axis=2)


def split_heads(rows: NDArray[Any]) -> NDArray[Any]:
    """(images, tokens, 64) to (images, heads, tokens, head_dim)."""
    return rows.reshape(*rows.shape[:2], HEADS, HEAD_DIM).swapaxes(1, 2)


def merge_heads(heads: NDArray[Any]) -> NDArray[Any]:
    """(images, heads, tokens, head_dim) to (images, tokens, 64)."""
    return heads.swapaxes(1, 2).reshape(heads.shape[0], heads.shape[2], WIDTH)


def activations(weights: Mapping[str, FloatArray], inputs: FloatArray) -> dict[str, FloatArray]:
    """The network in floating point on tokens (images, 16, 20), and everything on its way.

    ``embedded``, ``mixed``, ``attended``, ``refined`` are (images, 16, 64): embedding, attention, and the two sums;
    ``query``, ``key``, ``value`` (images, heads, 16, 16); ``probability`` (images, heads, 16 queries, 16 keys); ``hidden``
    (images, 16, 64); ``pooled`` (images, 64); ``logits`` (images, 10).
    """
    embedded = inputs @ weights["embedding"]
    query, key, value = (split_heads(embedded @ weights[name]) for name in ("query", "key", "value"))
    scores = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(HEAD_DIM))
    exponent = np.exp(scores - scores.max(axis=3, keepdims=True))
    probability = exponent / exponent.sum(axis=3, keepdims=True)
    mixed = merge_heads(probability @ value)
    attended = embedded + mixed @ weights["projection"]
    hidden = np.maximum(attended @ weights["expansion"] + weights["expansion_bias"], 0)
    refined = attended + hidden @ weights["contraction"]
    pooled = refined.mean(axis=1)
    return {
        "embedded": embedded, "query": query, "key": key, "value": value, "probability": probability, "mixed": mixed,
        "attended": attended, "hidden": hidden, "refined": refined, "pooled": pooled,
        "logits": pooled @ weights["classifier"] + weights["classifier_bias"]}


def quantize(network: Transformer, *, fraction: int = 10) -> QuantizedTransformer:
    """The network as integers, for an engine whose scores have ``fraction`` bits behind the point."""
    scale = {name: largest / HIGH for name, largest in network.ranges.items()}
    scale["hidden"] = network.ranges["hidden"] / (HIGH - LOW)
    out_scale = round(OUT_SCALE_ONE * scale["value"] / scale["mixed"])
    scale["mixed"] = scale["value"] * OUT_SCALE_ONE / out_scale
    score_multiplier, score_shift = quantize_scale(scale["query"] * scale["key"] / np.sqrt(HEAD_DIM) * (1 << fraction))

    def layer(name: str, scale_in: float, to: str, *, zero_in: int = 0, zero_out: int = 0) -> DenseLayer:
        weight = network.weights[name]
        bias = network.weights.get(f"{name}_bias", np.zeros(weight.shape[1]))
        step = np.abs(weight).max(axis=0) / HIGH
        codes = np.rint(weight / step).astype(np.int64)
        bias_codes = np.rint(bias / (scale_in * step)).astype(np.int64)
        factors = np.array([quantize_scale(ratio) for ratio in scale_in * step / scale[to]], np.int64)
        return DenseLayer(
            name=name, weight=codes, bias=bias_codes - zero_in * codes.sum(axis=0), multiplier=factors[:, 0],
            shift=factors[:, 1], zero_point=np.full(len(factors), zero_out, np.int64), scale=scale[to])

    layers = [
        layer("embedding", PIXEL_SCALE, "embedded"),
        *(layer(name, scale["embedded"], name) for name in ("query", "key", "value")),
        layer("projection", scale["mixed"], "attended"),
        layer("expansion", scale["attended"], "hidden", zero_out=LOW),
        layer("contraction", scale["hidden"], "refined", zero_in=LOW),
        layer("classifier", scale["pooled"], "logits"),
    ]
    return QuantizedTransformer(
        layers={layer.name: layer for layer in layers},
        attention={"score_multiplier": score_multiplier, "score_shift": score_shift, "out_scale": out_scale},
        rescale={"embedded": quantize_scale(scale["embedded"] / scale["attended"]),
                 "attended": quantize_scale(scale["attended"] / scale["refined"]),
                 "pooled": quantize_scale(scale["refined"] / PLACES / scale["pooled"])})


def attention_jobs(network: QuantizedTransformer, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The attention of ``images`` (images, 64) as jobs of the driver, one each: q, k and v (4, 16, 16) int8, and the scales."""
    embedded = _dense(network, "embedding", tokens(images))
    query, key, value = (split_heads(_dense(network, name, embedded)) for name in ("query", "key", "value"))
    return [{"q": q, "k": k, "v": v, **network.attention} for q, k, v in zip(query, key, value, strict=True)]


def classify(network: QuantizedTransformer, images: NDArray[np.uint8], results: Sequence[IntArray]) -> IntArray:
    """Logits (images, 10) as int8 codes, from ``images`` (images, 64) and what their attention came to, (4, 16, 16) each."""
    embedded = _dense(network, "embedding", tokens(images))
    projected = _dense(network, "projection", merge_heads(np.stack(results)))
    attended = _saturate(_rescale(network, "embedded", embedded) + projected)
    contracted = _dense(network, "contraction", _dense(network, "expansion", attended))
    refined = _saturate(_rescale(network, "attended", attended) + contracted)
    return _dense(network, "classifier", _rescale(network, "pooled", refined.sum(axis=1)))


def infer(network: QuantizedTransformer, images: NDArray[np.uint8], run: RunAttention) -> IntArray:
    """Logits (images, 10) as int8 codes; ``run`` executes all jobs of attention, one after the other."""
    return classify(network, images, run(attention_jobs(network, images)))


def _dense(network: QuantizedTransformer, name: str, codes: IntArray) -> IntArray:
    """A layer on the last axis of ``codes``."""
    layer = network.layers[name]
    (rows,) = digits.run_golden(layer, [codes.reshape(-1, codes.shape[-1])])
    return rows.reshape(*codes.shape[:-1], rows.shape[1])


def _rescale(network: QuantizedTransformer, name: str, codes: IntArray) -> IntArray:
    multiplier, shift = network.rescale[name]
    return requantize(codes, multiplier=multiplier, shift=shift, low=LOW, high=HIGH)


def _saturate(codes: IntArray) -> IntArray:
    return np.clip(codes, LOW, HIGH)
