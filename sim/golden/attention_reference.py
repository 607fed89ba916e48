"""Attention on Python integers of any size: what the golden models of attention are held against.

Written apart from them, one product after the other, with an assertion for every width that the engine gives a number.
"""

import numpy as np
from numpy.typing import ArrayLike
from tilewright.sim.golden.attention import OUT_SCALE_BITS, VALUE_FRACTION_BITS
from tilewright.sim.golden.attention_mask import Mask, tile_keys, visible
from tilewright.sim.golden.units.softmax_exponent import LOG2E


def attention_reference(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, tile_q: int, score_multiplier: int, score_shift: int,
    out_scale: int, fraction: int, guard_bits: int, table: tuple[int, ...], octave: str, total_width: int,
    value_width: int, low: int, high: int, passes: int = 1, parabola: tuple[int, int, int] | None = None,
    bias: ArrayLike | None = None,
) -> list[list[list[int]]]:
    """:func:`~tilewright.sim.golden.attention.attention` once more, tile by tile on Python integers of any size.

    AssertionError where a number does not fit the width that the engine gives it: sums of ``value_width`` bits more than
    ``total_width``, means of 10 more than ``value_width``, a reciprocal of 17. With ``octave`` "none" and one pass sums have
    one bit to spare, so that they and a factor make 64, and means need one more before they are clamped.
    """
    queries, keys, values = (np.asarray(array).tolist() for array in (q, k, v))
    kv_heads, group, count, length = len(keys), len(queries) // len(keys), len(queries[0]), len(keys[0])
    result = [[[0] * len(row) for row in head] for head in queries]
    biases = None if bias is None else np.asarray(bias).tolist()

    def exponential(score: int) -> tuple[int, int]:
        y = (score * LOG2E + 32768) // 65536
        one, interval = 1 << fraction, (1 << fraction) // (len(table) - 1)
        whole = y // one if octave == "below" else -(-y // one)
        index, behind = divmod(abs(y - whole * one), interval)
        slope = table[index + 1] - table[index]
        correction = abs(slope) * behind // interval
        return table[index] + (correction if slope >= 0 else -correction), whole

    places = table[0].bit_length() - 1 + guard_bits if table else 0
    clamps = octave == "none" and passes == 1

    def falling(fall: int) -> int:
        octaves, rest = divmod((fall * LOG2E + 32768) // 65536, 1 << fraction)
        index, behind = divmod(rest, (1 << fraction) // (len(table) - 1))
        drop = (table[index] - table[index + 1]) * behind // ((1 << fraction) // (len(table) - 1))
        return (table[index] - drop) * 2**guard_bits // 2**octaves if octaves < places else 0

    def parabolic(fall: int) -> int:
        ln2, linear, constant = parabola or (0, 0, 0)
        octaves, rest = divmod(min(fall, 30 * ln2), ln2)
        polynomial = max(rest * rest - linear * rest + constant, 0)
        return polynomial * 2**15 // 2 ** (constant.bit_length() + octaves)

    def fits(value: int, width: int) -> bool:
        return -(1 << width - 1) <= value < 1 << width - 1

    def times(value: int, factor: int) -> int:
        assert fits(value * factor, 64) and fits(value * factor + 2 ** (places - 1), 64)
        return (2 * value * factor + 2**places) // 2 ** (places + 1)

    for kv_head in range(kv_heads):
        for tile in range(0, count * group, tile_q):
            rows = range(tile, min(tile + tile_q, count * group))
            positions = [row // group + length - count for row in rows]
            state: dict[int, tuple[int, int, list[int]]] = {}
            greatest: dict[int, int] = {}
            met = tile_keys(mask, positions[0], positions[-1], length)
            for turn, key in [(turn, key) for turn in range(passes) for key in met]:
                for row, position in zip(rows, positions, strict=True):
                    if not visible(mask, position, key):
                        continue
                    head = kv_head * group + row % group
                    query = queries[head][row // group]
                    dot = sum(a * b for a, b in zip(query, keys[kv_head][key], strict=True))
                    score = _nearest(dot * score_multiplier, score_shift, -32768, 32767)
                    score = biased_score(score, biases, head, key - position)
                    added = values[kv_head][key]
                    if turn < passes - 1:
                        greatest[row] = max(greatest.get(row, score), score)
                        continue
                    if passes == 2:
                        top = greatest[row]
                        weight = parabolic(top - score) if parabola else falling(top - score)
                        _, total, sums = state.get(row, (top, 0, [0] * len(query)))
                        total += weight
                        sums = [old + weight * new for old, new in zip(sums, added, strict=True)]
                    elif octave == "none":
                        level, total, sums = state.get(row, (score, 0, [0] * len(query)))
                        top = max(level, score)
                        factor, weight = falling(top - level), falling(top - score)
                        total = times(total, factor) + weight
                        sums = [times(old, factor) + weight * new for old, new in zip(sums, added, strict=True)]
                        assert total >= 1 << places and all(fits(old, total_width + value_width - 1) for old in sums)
                    else:
                        mantissa, n = exponential(score)
                        level, total, sums = state.get(row, (n, 0, [0] * len(query)))
                        top = max(level, n)
                        weight = mantissa * 2**guard_bits // 2 ** (top - n)
                        fall = 2 ** (top - level)
                        total = total // fall + weight
                        sums = [old // fall + weight * new for old, new in zip(sums, added, strict=True)]
                    assert 0 <= total < 1 << total_width and all(fits(old, total_width + value_width) for old in sums)
                    state[row] = top, total, sums
            for row, (_, total, sums) in state.items():
                result[kv_head * group + row % group][row // group] = reference_result(
                    total, sums, out_scale=out_scale, total_width=total_width, value_width=value_width, low=low, high=high,
                    spare=int(clamps))
    return result


def reference_result(
    total: int, sums: list[int], *, out_scale: int, total_width: int, value_width: int, low: int, high: int, spare: int,
) -> list[int]:
    """The results of a query from its sums, on Python integers; a mean may need ``spare`` bits more before it is clamped."""
    zeros = total_width - total.bit_length()
    factor = out_scale * 2**total_width // (total << zeros)
    means = [(old << zeros) // 2 ** (total_width - VALUE_FRACTION_BITS) for old in sums]
    limit = 1 << value_width - 1 + VALUE_FRACTION_BITS
    assert factor < 1 << 17 and all(-(limit << spare) <= mean < limit << spare for mean in means)
    return [_nearest(max(-limit, min(limit - 1, mean)) * factor, VALUE_FRACTION_BITS + OUT_SCALE_BITS, low, high)
            for mean in means]


def _nearest(numerator: int, places: int, least: int, most: int) -> int:
    whole, rest = divmod(numerator, 1 << places)
    up = 2 * rest > 1 << places or (2 * rest == 1 << places and whole % 2)
    return max(least, min(most, whole + bool(up)))


def biased_score(score: int, biases: list[list[int]] | None, head: int, distance: int) -> int:
    """A scaled score with its bias, for references on Python integers."""
    if biases is None:
        return score
    of_head = biases[head] if len(biases) > 1 else biases[0]
    farthest = len(of_head) // 2
    entry = of_head[0] if distance < -farthest else of_head[-1] if distance > farthest else of_head[distance + farthest]
    return max(-32768, min(32767, score + entry))
