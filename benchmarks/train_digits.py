"""Train the demo's digit classifier and write sim/workloads/digits_mlp.npz.

An MLP 64 -> 32 -> 10 with ReLU on scikit-learn's bundled digits (1797 images of 8x8, values 0..16):
1437 images to train on, 360 held out. Everything is seeded: the same NumPy and BLAS write the same file, and
another BLAS changes last bits of the weights at most.

    python benchmarks/train_digits.py            # prints accuracies, writes the file
    python benchmarks/train_digits.py --check    # prints accuracies, writes nothing
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

SEED = 2
HELD_OUT = 360
HIDDEN = 32
EPOCHS = 60
BATCH = 32
LEARNING_RATE = 5e-3  # this and the decay: best of a 4-fold cross validation on the training images
WEIGHT_DECAY = 0.1
OUTPUT = Path(__file__).parent.parent / "sim" / "workloads" / "digits_mlp.npz"

FloatArray = NDArray[np.float64]


def split(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training images and of the held-out ones, both ascending."""
    order = np.random.default_rng(SEED).permutation(count)
    return np.sort(order[HELD_OUT:]), np.sort(order[:HELD_OUT])


def forward(parameters: list[FloatArray], x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Hidden activations and logits of images ``x`` (pixels already divided by 16)."""
    hidden_weight, hidden_bias, output_weight, output_bias = parameters
    hidden = np.maximum(x @ hidden_weight + hidden_bias, 0)
    return hidden, hidden @ output_weight + output_bias


def train(x: FloatArray, labels: NDArray[np.int64]) -> list[FloatArray]:
    """Cross entropy, Adam with decoupled weight decay, cosine learning rate."""
    rng = np.random.default_rng(SEED)
    parameters = [
        rng.normal(0, np.sqrt(2 / 64), (64, HIDDEN)),
        np.zeros(HIDDEN),
        rng.normal(0, np.sqrt(1 / HIDDEN), (HIDDEN, 10)),
        np.zeros(10),
    ]
    first = [np.zeros_like(p) for p in parameters]
    second = [np.zeros_like(p) for p in parameters]
    targets = np.eye(10)[labels]
    steps = EPOCHS * -(-len(x) // BATCH)
    step = 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(x))
        for start in range(0, len(x), BATCH):
            step += 1
            chosen = order[start : start + BATCH]
            hidden, logits = forward(parameters, x[chosen])
            exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
            error = (exponent / exponent.sum(axis=1, keepdims=True) - targets[chosen]) / len(chosen)
            back = (error @ parameters[2].T) * (hidden > 0)
            gradients = [x[chosen].T @ back, back.sum(axis=0), hidden.T @ error, error.sum(axis=0)]
            rate = LEARNING_RATE * (0.5 + 0.5 * np.cos(np.pi * step / steps))
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                mean, square = m / (1 - 0.9**step), v / (1 - 0.999**step)
                p -= rate * (mean / (np.sqrt(square) + 1e-8) + (WEIGHT_DECAY * p if p.ndim == 2 else 0))
    return parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    digits = load_digits()
    pixels, labels = digits.data.astype(np.uint8), digits.target.astype(np.int64)
    train_index, held_out_index = split(len(pixels))
    x = pixels / 16
    parameters = train(x[train_index], labels[train_index])
    # The file holds float32: ranges and accuracies are those of the rounded weights.
    parameters = [p.astype(np.float32).astype(np.float64) for p in parameters]
    hidden, logits = forward(parameters, x[train_index])
    held_out_logits = forward(parameters, x[held_out_index])[1]
    results = ("train", logits, train_index), ("held out", held_out_logits, held_out_index)
    for name, scores, index in results:
        right = int((scores.argmax(axis=1) == labels[index]).sum())
        print(f"{name:9} {right}/{len(index)} = {right / len(index):.4f}")
    if check:
        return
    np.savez(
        OUTPUT,
        allow_pickle=False,
        hidden_weight=parameters[0].astype(np.float32),
        hidden_bias=parameters[1].astype(np.float32),
        output_weight=parameters[2].astype(np.float32),
        output_bias=parameters[3].astype(np.float32),
        hidden_range=np.float32(hidden.max()),
        logit_range=np.float32(np.abs(logits).max()),
        held_out_index=held_out_index.astype(np.int16),
        images=pixels[held_out_index],
        labels=labels[held_out_index].astype(np.uint8),
    )
    print(f"wrote {OUTPUT.name}, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
