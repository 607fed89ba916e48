"""Golden model of the attention engine: softmax(scale * Q K^T + mask) V on integers, one key after the other.

For a query at position i that sees key j, with score ``x = round(q . k * score_multiplier / 2**score_shift)``, to nearest
even and saturated to 16 bits, with a bias of reach D ``x = clamp(x + bias[h][clamp(j - i, -D, D) + D])`` to 16 bits again,
and before the first key l and O are 0, either with the greatest octave as the reference, where
``exp(x / 2**fraction) = m * 2**n`` (:func:`mantissa_and_octave`):

- ``E' = max(E, n)``, ``D = E' - E`` and ``w = (m << guard_bits) >> (E' - n)``; D counts as 0 for the first key;
- ``l = (l >> D) + w`` and, for each element, ``O = (O >> D) + w * v``;

or with the greatest score itself, where :func:`~tilewright.sim.golden.units.exponential.exp` has S fraction bits:

- ``E' = max(E, x)``, ``c = exp(E' - E)`` and ``w = exp(E' - x)``;
- ``l = rhu(l * c) + w`` and ``O = rhu(O * c) + w * v`` with ``rhu(a) = (a + 2**(S - 1)) >> S``.

or, after a pass over all keys that finds the greatest score E among those that are seen, with that:

- ``w = exp(E - x)``, or with a parabola ``w = floor(p * 2**(15 - n - octave))``, p and octave those of
  :func:`~tilewright.sim.golden.units.exponential.i_exp` at ``E - x`` and n the bits of its constant;
- ``l = l + w`` and ``O = O + w * v``.

Keys come in ascending order; one that is not seen changes nothing. Behind the last one, with ``l' = l << z`` so that its
highest of ``total_width`` = W bits is 1: ``u = clamp((O << z) >> (W - 10))`` to 10 bits more than a value has,
``r = floor(out_scale * 2**W / l')`` and ``y = clamp(round(u * r / 2**22))``, to nearest even: 10 fraction bits of u and 12 of
out_scale. A query that saw no key gives 0.

Sources: the recurrence is that of Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, in its
first form with powers of two for rescale factors, as in Dukhan and Ablavatski, "Two-Pass Softmax Algorithm", 2020; tiles of
queries outside, keys inside, and one division at the end as in Dao, "FlashAttention-2", 2023; the parabola is that of Kim et
al., "I-BERT", 2021, whose softmax divides the weights and not what they sum; a bias by clipped distance as in Raffel et al.,
"Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020. Floor shifts of ``O`` and what ``c``
is rounded to are our own.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.attention_mask import Mask, visible
from tilewright.sim.golden.attention_weights import BelowMaximum, ByOctaves, ByScores, Form, Parabola
from tilewright.sim.golden.requantize import requantize

IntArray = NDArray[np.int64]

SCORE_HIGH = (1 << 15) - 1
VALUE_FRACTION_BITS = 10
OUT_SCALE_BITS = 12
LOWEST = -(1 << 20)      # below every octave and score
BLOCK_SCORES = 1 << 22   # scores that are formed at once


def attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_multiplier: int, score_shift: int, out_scale: int,
    fraction: int, guard_bits: int, table: tuple[int, ...], octave: str, total_width: int, value_width: int, low: int,
    high: int, passes: int = 1, parabola: tuple[int, int, int] | None = None, bias: ArrayLike | None = None,
    scores_of: "Callable[..., Scores] | None" = None,
) -> IntArray:
    """Attention of one job, (heads, queries, head_dim), int64.

    Parameters
    ----------
    q : integers, (heads, queries, head_dim)
        Query ``i`` stands at position ``i + keys - queries`` of the key axis.
    k, v : integers, (kv_heads, keys, head_dim)
        Head ``h`` of q attends to head ``h * kv_heads // heads``.
    mask : which keys a query sees
    score_multiplier, score_shift : scale of the scores, 24 and 6 bits, unsigned
    out_scale : scale of the results, 16 bits unsigned, 12 of them behind the binary point
    fraction, guard_bits, table, octave : the exponential: fraction bits of a score, bits behind the mantissa, mantissas at
        the ends of its intervals, and which octave is the reference, "below" (rising table) or "above" (falling table);
        "none": the greatest score (falling table)
    total_width : bits of a query's sum of weights, which must fit
    value_width : bits of an element of v
    low, high : bounds of the results
    passes : 2: the greatest score of all keys is known before the first weight; with ``octave`` "none"
    parabola : with 2 passes, in place of the table: ln 2, linear and constant coefficient of I-BERT's exponential in steps of
        a scaled score
    bias : integers of 16 bits, (heads, 2 * D + 1), or (1, 2 * D + 1) for all heads alike
        What joins a scaled score, by the distance from the query to the key, from -D or less to D or more.
    scores_of : what makes the scores of the operands, :class:`Scores` unless given
    """
    scores = (scores_of or Scores)(q, k, v, mask=mask, score_multiplier=score_multiplier, score_shift=score_shift, bias=bias)
    count, heads, head_dim = scores.shape
    level = np.full((count, heads), LOWEST)
    total = np.zeros((count, heads), np.int64)
    sums = np.zeros((count, heads, head_dim), np.int64)
    if passes == 2:
        for _, scaled, seen in scores.blocks():
            level = np.maximum(level, np.where(seen[:, None], scaled, LOWEST).max(axis=2))
    for start, scaled, seen in scores.blocks():
        form = _form(scaled, fraction=fraction, guard_bits=guard_bits, table=table, octave=octave, passes=passes,
                     parabola=parabola)
        for key, run in runs(seen):
            above = np.maximum(level[run], form.levels[run, :, key])
            weight = form.weight(above, run, key)
            value = scores.value(start + key, run)
            total[run] = form.lowered(total[run], above - level[run]) + weight
            sums[run] = form.lowered(sums[run], (above - level[run])[:, :, None]) + weight[:, :, None] * value
            level[run] = above
    return normalised(total, sums, out_scale=out_scale, total_width=total_width, value_width=value_width, low=low,
                      high=high).transpose(1, 0, 2)


class Scores:
    """The scaled scores of a job, as many keys at once as do not take too much memory."""

    def __init__(self, q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_multiplier: int, score_shift: int,
                 bias: ArrayLike | None = None) -> None:
        self.queries, self.keys, self.values = (np.asarray(array).astype(np.int64) for array in (q, k, v))
        heads, count, head_dim = checked_shape(self.queries, self.keys, self.values)
        self.mask = mask
        self.score_multiplier = score_multiplier
        self.score_shift = score_shift
        self.bias = bias
        self.shape = count, heads, head_dim
        self.group = heads // self.keys.shape[0]
        self.length = self.keys.shape[1]

    def blocks(self) -> Iterator[tuple[int, IntArray, NDArray[np.bool_]]]:
        """First key of a block, its scores (queries, heads, keys), and which queries see which keys, (queries, keys)."""
        count, heads, _ = self.shape
        position = np.arange(count) + self.length - count
        for start, stop in _blocks(self.length, count * heads):
            scores = _scores(self.queries, self.keys[:, start:stop], self.group)
            scaled = self.scaled(scores, position[:, None], np.arange(start, stop))
            yield start, scaled, visible(self.mask, position[:, None], np.arange(start, stop))

    def scaled(self, scores: IntArray, position: IntArray, key: IntArray) -> IntArray:
        """Dot products (queries, heads, keys) scaled and biased, of queries at ``position`` and ``key``, (queries, keys)."""
        scaled = requantize(scores, multiplier=self.score_multiplier, shift=self.score_shift, low=-SCORE_HIGH - 1,
                            high=SCORE_HIGH)
        if self.bias is None:
            return scaled
        added = bias_of(self.bias, position, key, self.shape[1]).transpose(1, 0, 2)
        return np.clip(scaled + added.astype(np.int64), -SCORE_HIGH - 1, SCORE_HIGH)

    def value(self, key: int, run: slice) -> IntArray:
        """What the values of ``key`` are to each query head of a run of queries, as (queries or 1, heads, head_dim)."""
        return np.repeat(self.values[:, key], self.group, axis=0)[None]


def runs(seen: NDArray[np.bool_]) -> Iterator[tuple[int, slice]]:
    """Each key that is seen, of (queries, keys), and the queries that see it: one run of positions, whatever the mask."""
    for key in range(seen.shape[1]):
        rows = np.flatnonzero(seen[:, key])
        if rows.size:
            yield key, slice(int(rows[0]), int(rows[-1]) + 1)


def _form(
    scaled: IntArray, *, fraction: int, guard_bits: int, table: tuple[int, ...], octave: str, passes: int,
    parabola: tuple[int, int, int] | None,
) -> Form:
    if octave != "none":
        return ByOctaves(scaled, fraction=fraction, guard_bits=guard_bits, table=table, octave=octave)
    if parabola is not None:
        return Parabola(scaled, parabola=parabola)
    return (BelowMaximum if passes == 2 else ByScores)(scaled, fraction=fraction, guard_bits=guard_bits, table=table)


def bias_of(table: ArrayLike, position: ArrayLike, key: ArrayLike, heads: int) -> NDArray[Any]:
    """The entries of ``table`` for queries at ``position`` and ``key``, which broadcast together, of each of its heads."""
    entries = np.asarray(table)
    if entries.ndim != 2 or entries.shape[0] not in (1, heads) or entries.shape[1] % 2 == 0:
        raise ValueError(f"bias has shape {entries.shape}, not ({heads} or 1, 2 * reach + 1)")
    reach = entries.shape[1] // 2
    distance = np.asarray(key, np.int64) - np.asarray(position, np.int64)
    return entries[:, np.clip(distance, -reach, reach) + reach]


def checked_shape(queries: IntArray, keys: IntArray, values: IntArray) -> tuple[int, int, int]:
    """Heads, queries and head_dim, of operands whose shapes fit together."""
    fits = (queries.ndim == keys.ndim == 3 and keys.shape == values.shape and queries.shape[2] == keys.shape[2]
            and all(queries.shape) and all(keys.shape) and queries.shape[0] % keys.shape[0] == 0)
    if not fits:
        raise ValueError(f"shapes {queries.shape}, {keys.shape} and {values.shape} are not (heads, queries, head_dim) and "
                         "twice (kv_heads, keys, head_dim)")
    heads, count, head_dim = queries.shape
    return heads, count, head_dim


def _blocks(length: int, rows: int) -> Iterator[tuple[int, int]]:
    step = max(1, BLOCK_SCORES // rows)
    for start in range(0, length, step):
        yield start, min(start + step, length)


def _scores(queries: IntArray, keys: IntArray, group: int) -> IntArray:
    """Dot products, (queries, heads, keys). Sums stay below 2**53, so that float64 holds each exactly."""
    left = queries.reshape(-1, group, *queries.shape[1:]).astype(np.float64)
    products = left @ keys[:, None].astype(np.float64).swapaxes(2, 3)
    return products.reshape(queries.shape[0], queries.shape[1], -1).transpose(1, 0, 2).astype(np.int64)


def normalised(total: IntArray, sums: IntArray, *, out_scale: int, total_width: int, value_width: int, low: int, high: int,
               ) -> IntArray:
    """Sums (..., head_dim) over their totals (...), scaled and rounded; 0 where a total is."""
    if int(total.max()) >> total_width:
        raise ValueError(f"a sum of weights needs {int(total.max()).bit_length()} bits; total_width is {total_width}")
    some = np.maximum(total, 1)
    places = total_width - np.frexp(some.astype(np.float64))[1]  # exact: sums of weights have fewer bits than a significand
    factor = (np.int64(out_scale) << total_width) // (some << places)
    limit = 1 << value_width - 1 + VALUE_FRACTION_BITS
    mean = np.clip((sums << places[..., None]) >> (total_width - VALUE_FRACTION_BITS), -limit, limit - 1)
    result = requantize(mean * factor[..., None], multiplier=1, shift=VALUE_FRACTION_BITS + OUT_SCALE_BITS, low=low, high=high)
    return np.where(total[..., None] > 0, result, 0)


def float_attention(q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_scale: float, out_scale: float,
                    bias: ArrayLike | None = None) -> NDArray[np.float64]:
    """``out_scale * softmax(score_scale * Q K^T + bias) V`` in float64, (heads, queries, head_dim); 0 where no key is seen.

    ``bias`` as for :func:`attention`, in natural logarithms.
    """
    queries, keys, values = (np.asarray(array).astype(np.float64) for array in (q, k, v))
    group = queries.shape[0] // keys.shape[0]
    keys, values = np.repeat(keys, group, axis=0), np.repeat(values, group, axis=0)
    count, length = queries.shape[1], keys.shape[1]
    position = (np.arange(count) + length - count)[:, None]
    seen = visible(mask, position, np.arange(length))
    logits = score_scale * (queries @ keys.swapaxes(1, 2))
    if bias is not None:
        logits = logits + bias_of(bias, position, np.arange(length), len(queries))
    scores = np.where(seen, logits, -np.inf)
    highest = np.maximum(scores.max(axis=2, keepdims=True), -1e300)
    weights = np.exp(scores - highest)
    total = weights.sum(axis=2, keepdims=True)
    return out_scale * (weights @ values) / np.where(total > 0, total, 1)
