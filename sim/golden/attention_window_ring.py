"""Golden model of window attention on a ring of cores: every key that a query sees at once, none before the other.

A query at position i sees at most ``cores`` keys, all of which are there: the ``window`` keys up to its own and the
``lookahead`` behind that, and with mask "lambda" the first ``sink``. Over them, with scores ``x`` and
``exp(x / 2**fraction) = m * 2**n`` as in :mod:`tilewright.sim.golden.attention` with the octave below:

- ``E = max(n)``, ``w = (m << guard_bits) >> (E - n)``;
- ``l = sum(w)`` and, for each element, ``O = sum(w * v)``.

Both sums are exact, so their order does not matter. Behind them the division of that model, with the width of l that
``cores`` weights need.

Sources: Bai et al., "SWAT: Scalable and Efficient Window Attention-based Transformers Acceleration on FPGAs", DAC 2024, in
half-precision floats; exponentials as integers, relative to a whole octave, as in Dukhan and Ablavatski, "Two-Pass Softmax
Algorithm", 2020.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.attention import LOWEST, SCORE_HIGH, checked_shape, normalised
from tilewright.sim.golden.attention_mask import Mask
from tilewright.sim.golden.attention_weights import MAX_SHIFT
from tilewright.sim.golden.requantize import requantize
from tilewright.sim.golden.units.softmax_exponent import LOG2E, mantissa_and_octave

IntArray = NDArray[np.int64]

BLOCK_ELEMENTS = 1 << 22  # of keys that are gathered at once


def ring_keys(mask: Mask, position: ArrayLike, length: int) -> tuple[IntArray, NDArray[np.bool_]]:
    """(positions, cores): of ``length`` keys, that in each core for the query at each position, and whether it has one."""
    at = np.asarray(position, np.int64)[:, None]
    sinks = mask.sink if mask.kind == "lambda" else 0
    fixed = np.broadcast_to(np.arange(sinks), (at.shape[0], sinks))
    band = at + np.arange(1 - mask.window, mask.lookahead + 1)
    keys = np.concatenate([fixed, band], axis=1)
    held = np.concatenate([fixed <= at + mask.lookahead, band >= sinks], axis=1) & (keys < length)
    return np.where(held, keys, 0), held


def window_ring_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_multiplier: int, score_shift: int, out_scale: int,
    fraction: int, guard_bits: int, table: tuple[int, ...], total_width: int, value_width: int, low: int, high: int,
) -> IntArray:
    """Attention of one job, (heads, queries, head_dim), int64.

    q is (heads, queries, head_dim), k and v are (kv_heads, keys, head_dim), as for
    :func:`~tilewright.sim.golden.attention.attention`; ``mask`` is of kind window or lambda, ``table`` rises, and
    ``total_width`` is that of a sum of as many weights as there are cores.
    """
    queries, keys, values = (np.asarray(array).astype(np.int64) for array in (q, k, v))
    heads, count, head_dim = checked_shape(queries, keys, values)
    kv_heads, length = keys.shape[:2]
    if mask.kind not in ("window", "lambda"):
        raise ValueError(f"mask must be window or lambda, not {mask.kind!r}")
    if count > length:
        raise ValueError(f"{count} queries, but {length} keys")
    grouped = queries.reshape(kv_heads, heads // kv_heads, count, head_dim)
    result = np.empty_like(grouped)
    block = max(1, BLOCK_ELEMENTS // (heads * head_dim * (mask.window + mask.lookahead + mask.sink)))
    for start in range(0, count, block):
        rows = slice(start, min(start + block, count))
        key, held = ring_keys(mask, np.arange(rows.start, rows.stop) + length - count, length)
        # h kv head, g head of its group, p position, c core, d element; sums of products stay below 2**53.
        dots = np.einsum("hgpd,hpcd->hgpc", grouped[:, :, rows].astype(np.float64), keys[:, key].astype(np.float64))
        scaled = requantize(dots.astype(np.int64), multiplier=score_multiplier, shift=score_shift, low=-SCORE_HIGH - 1,
                            high=SCORE_HIGH)
        mantissa, octave = mantissa_and_octave(scaled, fraction=fraction, table=table, octave="below")
        top = np.where(held, octave, LOWEST).max(axis=-1, keepdims=True)
        weight = np.where(held, mantissa << guard_bits >> np.clip(top - octave, 0, MAX_SHIFT), 0)
        sums = np.einsum("hgpc,hpcd->hgpd", weight, values[:, key])
        result[:, :, rows] = normalised(weight.sum(axis=-1), sums, out_scale=out_scale, total_width=total_width,
                                        value_width=value_width, low=low, high=high)
    return result.reshape(heads, count, head_dim)


def window_ring_reference(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_multiplier: int, score_shift: int, out_scale: int,
    fraction: int, guard_bits: int, table: tuple[int, ...], total_width: int, value_width: int, low: int, high: int,
) -> list[list[list[int]]]:
    """:func:`window_ring_attention` once more on Python integers of any size, with cores that keep what they hold.

    AssertionError where a number does not fit the width that the engine gives it.
    """
    queries, keys, values = (np.asarray(array).tolist() for array in (q, k, v))
    group, count, length = len(queries) // len(keys), len(queries[0]), len(keys[0])
    sinks = mask.sink if mask.kind == "lambda" else 0
    result = [[[0] * len(row) for row in head] for head in queries]

    def nearest(numerator: int, places: int, least: int, most: int) -> int:
        whole, rest = divmod(numerator, 1 << places)
        up = 2 * rest > 1 << places or (2 * rest == 1 << places and whole % 2)
        return max(least, min(most, whole + bool(up)))

    def exponential(score: int) -> tuple[int, int]:
        one, intervals = 1 << fraction, len(table) - 1
        octave, rest = divmod((score * LOG2E + 32768) // 65536, one)
        index, behind = divmod(rest, one // intervals)
        return table[index] + (table[index + 1] - table[index]) * behind // (one // intervals), octave

    def attend(query: list[int], held: list[tuple[list[int], list[int]]]) -> list[int]:
        dots = [sum(a * b for a, b in zip(query, key, strict=True)) for key, _ in held]
        parts = [exponential(nearest(dot * score_multiplier, score_shift, -32768, 32767)) for dot in dots]
        top = max(octave for _, octave in parts)
        weights = [mantissa * 2**guard_bits // 2 ** (top - octave) for mantissa, octave in parts]
        total = sum(weights)
        assert 0 < total < 1 << total_width
        zeros = total_width - total.bit_length()
        factor = out_scale * 2**total_width // (total << zeros)
        assert factor < 1 << 17
        row = []
        for column in zip(*(value for _, value in held), strict=True):
            mean = (sum(weight * one for weight, one in zip(weights, column, strict=True)) << zeros) // 2 ** (total_width - 10)
            assert -(1 << value_width + 9) <= mean < 1 << value_width + 9
            row.append(nearest(mean * factor, 22, low, high))
        return row

    for kv_head, (head_keys, head_values) in enumerate(zip(keys, values, strict=True)):
        fixed: list[tuple[list[int], list[int]]] = []
        ring: list[tuple[list[int], list[int]]] = []  # the latest pair is the last
        pairs = enumerate(zip(head_keys, head_values, strict=True))
        come = 0
        for position in range(length):
            while come < min(position + mask.lookahead + 1, length):
                come += 1
                number, pair = next(pairs)
                (fixed if number < sinks else ring).append(pair)
            while len(ring) > mask.window + come - 1 - position:
                ring.pop(0)
            row = position - (length - count)
            for member in range(group if row >= 0 else 0):
                head = kv_head * group + member
                result[head][row] = attend(queries[head][row], [*fixed, *ring])
    return result
