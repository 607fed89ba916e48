"""Softmax as Edge-MoE accumulates it: per row a sum and the greatest score so far, truncated at every step.

Beat b of a frame belongs to row ``b mod rows``; every lane has rows of its own. Scores, exponentials, sums and
probabilities are in units of ``2**-fraction``. A row takes its scores in order: ``d = bias - score``; at the first score, and
where d < 0, ``total = floor(total * exp(d)) + 1``, ``bias = score``; otherwise ``total += exp(-d)``. Then
``probability = floor(exp(score - bias) * floor(1 / total))``. ``exp`` is :func:`tilewright.sim.golden.units.exponential.exp`
without guard bits.

Source: Sarkar et al., "Edge-MoE: Memory-Efficient Multi-Task Vision Transformer Architecture with Task-Level Sparsity via
Mixture-of-Experts", ICCAD 2023, and its published program.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.exponential import exp
from tilewright.sim.golden.units.frames import as_beats, frames


def softmax_edge_moe(
    scores: ArrayLike, keep: ArrayLike, last: ArrayLike, *,
    fraction: int, table: tuple[int, ...], rows: int, max_beats: int,
) -> NDArray[np.int64]:
    """Probabilities ``[beat, lane]`` in units of ``2**-fraction``; lanes not kept are 0."""
    values, mask = as_beats(scores, keep)
    one = 1 << fraction

    def falling(distance: NDArray[np.int64]) -> NDArray[np.int64]:
        return exp(distance, table=table, fraction_bits=fraction, octave_bits=fraction,
                   table_bits=(len(table) - 1).bit_length() - 1, value_bits=fraction, guard_bits=0)

    result = np.zeros(values.shape, np.int64)
    below_all = int(values.min(initial=0)) - 1
    for frame in frames(last, max_beats):
        count = frame.stop - frame.start
        padding = ((0, -count % rows), (0, 0))
        score: NDArray[np.int64] = np.pad(values[frame], padding).reshape(-1, rows, values.shape[1])
        kept: NDArray[np.bool_] = np.pad(mask[frame], padding).reshape(-1, rows, values.shape[1])
        bias = np.maximum.accumulate(np.where(kept, score, below_all), axis=0)
        before = np.concatenate([np.full_like(bias[:1], below_all), bias[:-1]])
        raises = kept & (score > before)
        e = falling(np.abs(before - score))
        total = np.zeros(score.shape[1:], np.int64)  # times anything stays 0 until the first score
        for exponential, rises, counts in zip(e, raises, kept, strict=True):
            total = np.where(rises, (total * exponential >> fraction) + one, total + np.where(counts, exponential, 0))
        reciprocal = (one * one) // np.maximum(total, 1)
        product = falling(np.where(kept, bias[-1] - score, 0)) * reciprocal >> fraction
        result[frame] = np.where(kept, product, 0).reshape(-1, values.shape[1])[:count]
    return result
