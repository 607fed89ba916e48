"""Attention below a constant in place of a greatest score: partial sums of keys add up in any order.

With phi and a window [low, high] in natural logarithms, a query that sees key j with the scaled score x, as in
:mod:`tilewright.sim.golden.attention`: ``t = phi * 2**fraction - x``, ``y = (t * LOG2E + 2**15) >> 16``, ``n = y >> fraction``
and ``w = (m << guard_bits) >> n``, to the left where n is negative, m from the falling table at the fraction of y; then
``l = l + w`` and ``O = O + w * v``. A query that sees a score outside of ``phi + [low, high]`` is flagged: all of it is
computed once more by :func:`~tilewright.sim.golden.attention.attention` with one pass below the greatest score so far, the
same ``total_width``. A tile of queries with a flagged one meets its keys and values once more.

Source: Hong et al., "FlashDecoding++: Faster Large Language Model Inference on GPUs", 2023.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.attention import Scores, attention, normalised, runs
from tilewright.sim.golden.attention_mask import Mask, visible
from tilewright.sim.golden.attention_reference import biased_score, reference_result
from tilewright.sim.golden.units.exponential import LOG2E
from tilewright.sim.golden.units.softmax_maximum import falling_exponential

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

MAX_SHIFT = 62


def unified_sums(scores: Scores, *, fraction: int, guard_bits: int, table: tuple[int, ...], phi: int, window: tuple[int, int],
                 ) -> tuple[IntArray, IntArray, BoolArray]:
    """Sums of weights (queries, heads), of weighted values (queries, heads, head_dim), and which rows are flagged."""
    count, heads, head_dim = scores.shape
    low, high = (phi + end << fraction for end in window)
    total = np.zeros((count, heads), np.int64)
    sums = np.zeros((count, heads, head_dim), np.int64)
    flagged = np.zeros((count, heads), bool)
    for start, scaled, seen in scores.blocks():
        flagged |= (seen[:, None] & ((scaled < low) | (scaled > high))).any(axis=2)
        within = np.clip(scaled, low, high)  # of a flagged row nothing is kept
        m, n = falling_exponential((phi << fraction) - within, fraction=fraction, table=table)
        weights = (m << guard_bits + np.maximum(-n, 0)) >> np.clip(n, 0, MAX_SHIFT)
        for key, run in runs(seen):
            total[run] += weights[run, :, key]
            sums[run] += weights[run, :, key, None] * scores.value(start + key, run)
    return total, sums, flagged


def attention_unified(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_multiplier: int, score_shift: int, out_scale: int,
    fraction: int, guard_bits: int, table: tuple[int, ...], total_width: int, value_width: int, low: int, high: int, phi: int,
    window: tuple[int, int], tile_q: int, bias: ArrayLike | None = None, scores_of: Callable[..., Scores] = Scores,
) -> tuple[IntArray, IntArray]:
    """Attention of one job, (heads, queries, head_dim), and which tiles come once more, (kv_heads, tiles), 0 or 1.

    ``table`` is a falling one, ``tile_q`` the rows of a tile; a row is a position and a head of the group, heads inside.
    The other parameters are those of :func:`~tilewright.sim.golden.attention.attention`.
    """
    scores = scores_of(q, k, v, mask=mask, score_multiplier=score_multiplier, score_shift=score_shift, bias=bias)
    total, sums, flagged = unified_sums(scores, fraction=fraction, guard_bits=guard_bits, table=table, phi=phi, window=window)
    result = normalised(total, sums, out_scale=out_scale, total_width=total_width, value_width=value_width, low=low,
                        high=high).transpose(1, 0, 2)
    if flagged.any():
        exact = attention(
            q, k, v, mask=mask, score_multiplier=score_multiplier, score_shift=score_shift, out_scale=out_scale,
            fraction=fraction, guard_bits=guard_bits, table=table, octave="none", total_width=total_width,
            value_width=value_width, low=low, high=high, bias=bias, scores_of=scores_of)
        result = np.where(flagged.T[:, :, None], exact, result)
    return result, tiles_again(flagged, kv_heads=np.shape(k)[0], tile_q=tile_q)


def tiles_again(flagged: BoolArray, *, kv_heads: int, tile_q: int) -> IntArray:
    """(kv_heads, tiles): whether a tile has a row among ``flagged``, (queries, heads)."""
    count, heads = flagged.shape
    rows = flagged.reshape(count, kv_heads, heads // kv_heads).transpose(1, 0, 2).reshape(kv_heads, -1)
    return np.logical_or.reduceat(rows, np.arange(0, rows.shape[1], tile_q), axis=1).astype(np.int64)


def unified_reference(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_multiplier: int, score_shift: int, out_scale: int,
    fraction: int, guard_bits: int, table: tuple[int, ...], total_width: int, value_width: int, low: int, high: int, phi: int,
    window: tuple[int, int], bias: ArrayLike | None = None,
) -> list[list[list[int] | None]]:
    """Results of each head and query on Python integers, None where it is flagged.

    AssertionError where a number does not fit the width that the engine gives it, or a weight is less than 1.
    """
    queries, keys, values = (np.asarray(array).tolist() for array in (q, k, v))
    group, count, length = len(queries) // len(keys), len(queries[0]), len(keys[0])
    intervals = len(table) - 1
    biases = None if bias is None else np.asarray(bias).tolist()

    def scaled(row: list[int], other: list[int]) -> int:
        whole, rest = divmod(score_multiplier * sum(a * b for a, b in zip(row, other, strict=True)), 1 << score_shift)
        up = 2 * rest > 1 << score_shift or (2 * rest == 1 << score_shift and whole % 2)
        return max(-32768, min(32767, whole + bool(up)))

    def weight(above: int) -> int:
        octaves, rest = divmod((-above * LOG2E + 32768) // 65536, 1 << fraction)
        index, behind = divmod(rest, (1 << fraction) // intervals)
        drop = (table[index] - table[index + 1]) * behind // ((1 << fraction) // intervals)
        return (table[index] - drop) * 2**guard_bits * 2 ** max(-octaves, 0) // 2 ** max(octaves, 0)

    def result(head: int, index: int) -> list[int] | None:
        total, sums = 0, [0] * len(queries[head][index])
        for key in range(length):
            if not visible(mask, index + length - count, key):
                continue
            score = scaled(queries[head][index], keys[head // group][key])
            above = biased_score(score, biases, head, key - (index + length - count)) - phi * 2**fraction
            if not window[0] * 2**fraction <= above <= window[1] * 2**fraction:
                return None
            added = weight(above)
            assert added >= 1
            total += added
            sums = [old + added * new for old, new in zip(sums, values[head // group][key], strict=True)]
            assert total < 1 << total_width
            assert all(-(1 << total_width + value_width - 1) <= old < 1 << total_width + value_width - 1 for old in sums)
        if not total:
            return sums
        return reference_result(total, sums, out_scale=out_scale, total_width=total_width, value_width=value_width, low=low,
                                high=high, spare=0)

    return [[result(head, index) for index in range(count)] for head in range(len(queries))]
