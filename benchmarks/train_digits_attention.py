"""Train the attention engine's digit classifier and write sim/workloads/digits_attention.npz.

A transformer of one block and four heads (its forward pass: tilewright.sim.workloads.digits_attention) on the images that
train_digits.py trains the MLP on; the same 360 are held out. Seven in ten images are moved by up to one pixel each way,
anew in every epoch. Everything is seeded and one thread computes: the same NumPy and BLAS write the same file. Another
BLAS sums in another order, and its network may read an image or two differently. About ten seconds.

    python benchmarks/train_digits_attention.py            # prints accuracies, writes the file
    python benchmarks/train_digits_attention.py --check    # prints accuracies, writes nothing
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits
from tilewright.sim.workloads import digits
from tilewright.sim.workloads.digits_attention import (
    HEAD_DIM,
    PLACES,
    TOKEN,
    WIDTH,
    FloatArray,
    activations,
    merge_heads,
    split_heads,
    tokens,
)

SEED = 2
HIDDEN = 64
EPOCHS = 100  # this and the rest: best of a handful on three folds of the training images
BATCH = 32
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
MOVED = 0.7
RANGES = ("embedded", "query", "key", "value", "mixed", "attended", "hidden", "refined", "pooled", "logits")
OUTPUT = Path(__file__).parent.parent / "sim" / "workloads" / "digits_attention.npz"

Weights = dict[str, FloatArray]


def initial(rng: np.random.Generator) -> Weights:
    """Random weights, float32; their variance times the number of a layer's inputs is what the list says."""
    shapes = {
        "embedding": (TOKEN, WIDTH, 4), "query": (WIDTH, WIDTH, 0.5), "key": (WIDTH, WIDTH, 0.5), "value": (WIDTH, WIDTH, 1),
        "projection": (WIDTH, WIDTH, 0.25), "expansion": (WIDTH, HIDDEN, 2), "contraction": (HIDDEN, WIDTH, 0.25),
        "classifier": (WIDTH, 10, 1)}
    weights = {name: rng.normal(0, np.sqrt(gain / rows), (rows, columns)) for name, (rows, columns, gain) in shapes.items()}
    weights |= {"expansion_bias": np.zeros(HIDDEN), "classifier_bias": np.zeros(10)}
    return {name: value.astype(np.float32) for name, value in weights.items()}


def gradients(weights: Weights, inputs: FloatArray, targets: FloatArray) -> Weights:
    """Gradients of the mean cross entropy of tokens (images, 16, 20) with one-hot ``targets`` (images, 10)."""
    at = activations(weights, inputs)
    exponent = np.exp(at["logits"] - at["logits"].max(axis=1, keepdims=True))
    error = (exponent / exponent.sum(axis=1, keepdims=True) - targets) / len(inputs)
    refined = np.repeat((error @ weights["classifier"].T / PLACES)[:, None], PLACES, axis=1)
    hidden = (refined @ weights["contraction"].T) * (at["hidden"] > 0)
    attended = refined + hidden @ weights["expansion"].T
    mixed = split_heads(attended @ weights["projection"].T)
    probability = mixed @ at["value"].swapaxes(2, 3)
    mean = (probability * at["probability"]).sum(axis=3, keepdims=True)
    scores = at["probability"] * (probability - mean) / np.float32(np.sqrt(HEAD_DIM))
    projected = {
        "query": merge_heads(scores @ at["key"]), "key": merge_heads(scores.swapaxes(2, 3) @ at["query"]),
        "value": merge_heads(at["probability"].swapaxes(2, 3) @ mixed)}
    embedded = attended + sum(gradient @ weights[name].T for name, gradient in projected.items())
    return {
        "classifier": at["pooled"].T @ error, "classifier_bias": error.sum(axis=0),
        "contraction": _outer(at["hidden"], refined),
        "expansion": _outer(at["attended"], hidden), "expansion_bias": hidden.sum(axis=(0, 1)),
        "projection": _outer(at["mixed"], attended),
        **{name: _outer(at["embedded"], gradient) for name, gradient in projected.items()},
        "embedding": _outer(inputs, embedded)}


def _outer(left: FloatArray, right: FloatArray) -> FloatArray:
    return left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])


def move(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """MOVED of the images (images, 64), by -1 to 1 pixels down and to the right; what comes in is 0."""
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    which = rng.random(len(images)) < MOVED
    down, right = (np.where(which, rng.integers(0, 3, len(images)), 1)[:, None, None] for _ in range(2))
    image, pixel = np.arange(len(images))[:, None, None], np.arange(8)
    return padded[image, down + pixel[:, None], right + pixel].reshape(-1, 64)


@threadpool_limits.wrap(limits=1)  # sums in the same order, however many cores there are
def train(images: NDArray[Any], labels: NDArray[np.int64], epochs: int = EPOCHS) -> Weights:
    """Cross entropy, Adam with decoupled weight decay, cosine learning rate; images (images, 64) of 0..16."""
    rng = np.random.default_rng(SEED)
    weights = initial(rng)
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    targets = np.eye(10, dtype=np.float32)[labels]
    steps, step = epochs * -(-len(images) // BATCH), 0
    for _ in range(epochs):
        order = rng.permutation(len(images))
        inputs = (tokens(move(images, rng)) * digits.PIXEL_SCALE).astype(np.float32)
        for start in range(0, len(images), BATCH):
            step += 1
            chosen = order[start : start + BATCH]
            rate = np.float32(LEARNING_RATE * (0.5 + 0.5 * np.cos(np.pi * step / steps)))
            for name, gradient in gradients(weights, inputs[chosen], targets[chosen]).items():
                weight, mean, square = weights[name], first[name], second[name]
                mean += np.float32(0.1) * (gradient - mean)
                square += np.float32(0.01) * (gradient * gradient - square)
                deviation = np.sqrt(square / np.float32(1 - 0.99**step)) + np.float32(1e-8)
                change = mean / np.float32(1 - 0.9**step) / deviation
                weight -= rate * (change + (np.float32(WEIGHT_DECAY) * weight if weight.ndim == 2 else 0))
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    bundled = load_digits()
    images, labels = bundled.data.astype(np.uint8), bundled.target.astype(np.int64)
    held_out = digits.load().index
    others = np.setdiff1d(np.arange(len(images)), held_out)
    # The file holds float16: ranges and accuracies are those of the rounded weights.
    stored = {name: weight.astype(np.float16) for name, weight in train(images[others], labels[others]).items()}
    weights = {name: weight.astype(np.float64) for name, weight in stored.items()}
    seen = activations(weights, tokens(images[others]) * digits.PIXEL_SCALE)
    held_out_logits = activations(weights, tokens(images[held_out]) * digits.PIXEL_SCALE)["logits"]
    for name, logits, index in (("train", seen["logits"], others), ("held out", held_out_logits, held_out)):
        right = int((logits.argmax(axis=1) == labels[index]).sum())
        print(f"{name:9} {right}/{len(index)} = {right / len(index):.4f}")
    if check:
        return
    ranges = {f"range_{name}": np.float32(np.abs(seen[name]).max()) for name in RANGES}
    np.savez(OUTPUT, allow_pickle=False, **stored, **ranges)
    print(f"wrote {OUTPUT.name}, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
