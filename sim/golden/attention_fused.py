"""Golden model of attention on one array of rows x columns: a tile of queries meets a tile of keys at a time.

What a query sees and its scores x are those of :mod:`tilewright.sim.golden.attention`. The keys that a tile of ``tile_q``
rows meets, in order, are cut into key tiles of ``cols``, the last of which may be shorter. For each row and key tile of
which it sees a key, over those keys, with l = O = 0 before the first, S bits behind the point of an exponential and
``rhu(a) = (a + 2**(S - 1)) >> S``:

- ``E' = max(E, max x)``, for the first key tile ``max x``; ``c = exp(E' - E)``, for the first 1; ``w = exp(E' - x)``;
- ``l = rhu(l * c) + sum w`` and, for each element, ``O = rhu(O * c) + sum w * v``.

A key tile of which a row sees no key changes nothing of it. Means follow as with weights below the greatest score there.

Source: the cascade of Nayak et al., "FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design",
MICRO 2024, in integers: one pass over the keys, one rescaling per key tile.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.attention import LOWEST, SCORE_HIGH, checked_shape, normalised
from tilewright.sim.golden.attention_mask import Mask, tile_keys, visible
from tilewright.sim.golden.requantize import requantize
from tilewright.sim.golden.units.exponential import LOG2E, exp

IntArray = NDArray[np.int64]


def attention_fused(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, tile_q: int, cols: int, score_multiplier: int,
    score_shift: int, out_scale: int, fraction: int, guard_bits: int, table: tuple[int, ...], total_width: int,
    value_width: int, low: int, high: int,
) -> IntArray:
    """Attention of one job, (heads, queries, head_dim), int64; parameters as those of ``attention``.

    ``tile_q`` rows of a kv head, (position, head of the group) pairs with heads inside, meet keys together, ``cols`` of
    them at a time. ``table`` falls.
    """
    queries, keys, values = (np.asarray(array).astype(np.int64) for array in (q, k, v))
    heads, count, head_dim = checked_shape(queries, keys, values)
    kv_heads, length = keys.shape[:2]
    group = heads // kv_heads
    rows = queries.reshape(kv_heads, group, count, head_dim).swapaxes(1, 2).reshape(kv_heads, -1, head_dim)
    position = np.arange(count * group) // group + length - count
    value_bits = table[0].bit_length() - 1
    places = value_bits + guard_bits

    def falling(t: IntArray) -> IntArray:
        return exp(t, table=table, fraction_bits=fraction, octave_bits=fraction, value_bits=value_bits,
                   table_bits=(len(table) - 1).bit_length() - 1, guard_bits=guard_bits)

    def lowered(sums: IntArray, factor: IntArray) -> IntArray:
        return sums * factor + (1 << places - 1) >> places

    total = np.zeros(rows.shape[:2], np.int64)
    sums = np.zeros(rows.shape, np.int64)
    for begin in range(0, count * group, tile_q):
        tile = slice(begin, min(begin + tile_q, count * group))
        met = np.array(tile_keys(mask, int(position[tile][0]), int(position[tile][-1]), length))
        level = np.full((kv_heads, tile.stop - begin), LOWEST)
        for start in range(0, len(met), cols):
            columns = met[start:start + cols]
            scores = requantize(rows[:, tile] @ keys[:, columns].swapaxes(1, 2), multiplier=score_multiplier,
                                shift=score_shift, low=-SCORE_HIGH - 1, high=SCORE_HIGH)
            seen = visible(mask, position[tile, None], columns)
            greatest = np.maximum(level, np.where(seen, scores, LOWEST).max(axis=2))
            weights = np.where(seen, falling(np.maximum(greatest[:, :, None] - scores, 0)), 0)
            factor = falling(np.where(level == LOWEST, 0, greatest - level))
            total[:, tile] = lowered(total[:, tile], factor) + weights.sum(axis=2)
            sums[:, tile] = lowered(sums[:, tile], factor[:, :, None]) + weights @ values[:, columns]
            level = greatest
    result = normalised(total, sums, out_scale=out_scale, total_width=total_width, value_width=value_width, low=low, high=high)
    return result.reshape(kv_heads, count, group, head_dim).swapaxes(1, 2).reshape(heads, count, head_dim)


def attention_fused_reference(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, tile_q: int, cols: int, score_multiplier: int,
    score_shift: int, out_scale: int, fraction: int, guard_bits: int, table: tuple[int, ...], total_width: int,
    value_width: int, low: int, high: int,
) -> list[list[list[int]]]:
    """:func:`attention_fused` once more, row by row on Python integers of any size.

    AssertionError where a number does not fit the width that the engine gives it: a row's sums of ``total_width`` and of
    ``value_width`` bits more, partial sums of a key tile, a reciprocal of 17.
    """
    queries, keys, values = (np.asarray(array).tolist() for array in (q, k, v))
    group, count, length = len(queries) // len(keys), len(queries[0]), len(keys[0])
    one = 1 << table[0].bit_length() - 1 + guard_bits
    interval = (1 << fraction) // (len(table) - 1)

    def nearest(numerator: int, denominator: int, least: int, most: int) -> int:
        whole, rest = divmod(numerator, denominator)
        return max(least, min(most, whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))))

    def falling(fall: int) -> int:
        octaves, rest = divmod((fall * LOG2E + 32768) // 65536, 1 << fraction)
        index, behind = divmod(rest, interval)
        mantissa = table[index] - (table[index] - table[index + 1]) * behind // interval
        return mantissa * 2**guard_bits // 2**octaves if 2**octaves < one else 0

    def times(value: int, factor: int) -> int:
        return (2 * value * factor + one) // (2 * one)

    def row_result(head: int, query: list[int], met: list[int], at: int) -> list[int]:
        elements = range(len(query))
        level, total, sums = None, 0, [0 for _ in elements]
        for start in range(0, len(met), cols):
            seen = [key for key in met[start:start + cols] if visible(mask, at, key)]
            if not seen:
                continue
            x = {key: nearest(sum(a * b for a, b in zip(query, keys[head][key], strict=True)) * score_multiplier,
                              2**score_shift, -32768, 32767) for key in seen}
            top = max([*x.values(), *([] if level is None else [level])])
            factor = one if level is None else falling(top - level)
            weight = {key: falling(top - x[key]) for key in seen}
            partial = [sum(weight[key] * values[head][key][f] for key in seen) for f in elements]
            total = times(total, factor) + sum(weight.values())
            sums = [times(old, factor) + new for old, new in zip(sums, partial, strict=True)]
            assert 0 < total < 1 << total_width
            assert all(-(1 << total_width + value_width - 1) <= old < 1 << total_width + value_width - 1 for old in sums)
            assert all(-cols * one << value_width - 1 <= new <= cols * one << value_width - 1 for new in partial)
            level = top
        zeros = total_width - total.bit_length()
        reciprocal = out_scale * 2**total_width // (total << zeros)
        assert reciprocal < 1 << 17
        bound = 1 << value_width + 9
        means = [max(-bound, min(bound - 1, (old << zeros) // 2 ** (total_width - 10))) for old in sums]
        return [nearest(mean * reciprocal, 1 << 22, low, high) for mean in means]

    result = [[[0] * len(row) for row in head] for head in queries]
    for kv_head in range(len(keys)):
        for tile in range(0, count * group, tile_q):
            rows = range(tile, min(tile + tile_q, count * group))
            positions = [row // group + length - count for row in rows]
            met = [key for key in range(length) if any(visible(mask, at, key) for at in positions)]
            for row, at in zip(rows, positions, strict=True):
                head = kv_head * group + row % group
                result[head][row // group] = row_result(kv_head, queries[head][row // group], met, at)
    return result
