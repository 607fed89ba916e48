"""Softmax below a maximum: the exponentials are of ``maximum - score``, so they stay in (0, 1].

The exponential of a distance t >= 0 (``fraction`` = f bits behind the point): ``y = (t * 94548 + 2**15) >> 16``,
``n = y >> f``, ``v`` = falling table of ``2**-(y mod 1)``, interpolated, and ``e = (v << guard_bits) >> n``.

- :func:`softmax_three_pass` knows the maximum before the first exponential.
- :func:`softmax_online` carries a running maximum from tile to tile of ``tile_beats`` beats; the last tile of a frame may be
  shorter. A tile that raises the maximum by d makes of the sum so far ``total * v(d) / 2**(n(d) + mantissa_bits)``, rounded
  half up or truncated, and adds its own exponentials, which are below the raised maximum. The order within a tile does not
  matter; that of the tiles does. Tiles of one beat give the algorithm as published.
- :func:`softmax_unified` starts from a constant, ``center``, and the sum does not depend on any order; a frame with
  a score outside of ``center + [low, high]`` is computed by :func:`softmax_three_pass`.

One reciprocal per frame, ``r = floor(2**(mantissa_bits + guard_bits + 16) / total)``, then
``p = (v * r) >> (n + mantissa_bits + 16 - out_bits)``, at most ``2**out_bits - 1``.

Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Hong et al., "FlashDecoding++",
2023 (the constant maximum); Sarkar et al., "Edge-MoE", 2023 (truncation).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.frames import as_beats, floor_reciprocal, frames

LOG2E = 94548  # round(log2(e) * 2**16)
RECIPROCAL_BITS = 17


def falling_exponential(
    distance: NDArray[np.int64], *, fraction: int, table: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(v, n)`` with ``exp(-distance) = v * 2**-n`` in units of the table's first entry."""
    entries = np.asarray(table, np.int64)
    lower_bits = fraction - (len(table) - 1).bit_length() + 1
    y = (distance * LOG2E + (1 << 15)) >> 16
    whole = y >> fraction
    rest = y - (whole << fraction)
    index, low = rest >> lower_bits, rest & (1 << lower_bits) - 1
    return entries[index] - ((entries[index] - entries[index + 1]) * low >> lower_bits), whole


class _Arithmetic:
    """What the three share: one frame's exponentials, their sum, and the division at its end."""

    def __init__(
        self, *, fraction: int, mantissa_bits: int, guard_bits: int, table: tuple[int, ...], out_bits: int
    ) -> None:
        self.fraction = fraction
        self.table = table
        self.unit_bits = mantissa_bits + guard_bits
        self.mantissa_bits = mantissa_bits
        self.guard_bits = guard_bits
        self.out_bits = out_bits

    def exponential(self, distance: NDArray[np.int64]) -> NDArray[np.int64]:
        v, n = falling_exponential(distance, fraction=self.fraction, table=self.table)
        return (v << self.guard_bits) >> np.minimum(n, 62)

    def divide(
        self, values: NDArray[np.int64], mask: NDArray[np.bool_], maximum: int, total: int
    ) -> NDArray[np.int64]:
        reciprocal = floor_reciprocal(total, self.unit_bits + 16, RECIPROCAL_BITS)
        v, n = falling_exponential(
            np.where(mask, maximum - values, 0), fraction=self.fraction, table=self.table)
        product = v * reciprocal >> np.minimum(n + self.mantissa_bits + 16 - self.out_bits, 62)
        return np.where(mask, np.minimum(product, (1 << self.out_bits) - 1), 0)

    def below_maximum(self, values: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        if not mask.any():
            return np.zeros(values.shape, np.int64)
        maximum = int(values[mask].max())
        total = int(np.where(mask, self.exponential(np.where(mask, maximum - values, 0)), 0).sum())
        return self.divide(values, mask, maximum, total)


def softmax_three_pass(
    scores: ArrayLike, keep: ArrayLike, last: ArrayLike, *,
    fraction: int, mantissa_bits: int, guard_bits: int, table: tuple[int, ...], out_bits: int, max_beats: int,
) -> NDArray[np.int64]:
    """Probabilities ``[beat, lane]`` in units of ``2**-out_bits``; lanes not kept are 0."""
    values, mask = as_beats(scores, keep)
    arithmetic = _Arithmetic(fraction=fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits, table=table,
                             out_bits=out_bits)
    result = np.zeros(values.shape, np.int64)
    for frame in frames(last, max_beats):
        result[frame] = arithmetic.below_maximum(values[frame], mask[frame])
    return result


def softmax_online(
    scores: ArrayLike, keep: ArrayLike, last: ArrayLike, *,
    fraction: int, mantissa_bits: int, guard_bits: int, table: tuple[int, ...], out_bits: int, max_beats: int,
    tile_beats: int = 1, rounding: str = "half_up",
) -> NDArray[np.int64]:
    """As :func:`softmax_three_pass`; ``rounding`` is what a rescale does: "half_up" or "truncate"."""
    values, mask = as_beats(scores, keep)
    arithmetic = _Arithmetic(fraction=fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits, table=table,
                             out_bits=out_bits)
    result = np.zeros(values.shape, np.int64)
    lowest = int(values.min(initial=0))
    for frame in frames(last, max_beats):
        score, kept = values[frame], mask[frame]
        starts = np.arange(0, len(score), tile_beats)
        tops = np.maximum.reduceat(np.where(kept, score, lowest).max(axis=1), starts)
        running = np.maximum.accumulate(tops)
        distance = np.repeat(running, tile_beats)[:len(score), None] - score
        terms = np.where(kept, arithmetic.exponential(np.where(kept, distance, 0)), 0).sum(axis=1)
        factors, places = falling_exponential(np.diff(running, prepend=running[0]), fraction=fraction, table=table)
        total = 0
        for factor, place, added in zip(
                factors.tolist(), places.tolist(), np.add.reduceat(terms, starts).tolist(), strict=True):
            rescaled = total * factor >> place + mantissa_bits - 1
            total = (rescaled + (rounding == "half_up") >> 1) + added
        result[frame] = arithmetic.divide(score, kept, int(running[-1]), total)
    return result


def softmax_unified(
    scores: ArrayLike, keep: ArrayLike, last: ArrayLike, *,
    fraction: int, mantissa_bits: int, guard_bits: int, table: tuple[int, ...], out_bits: int, max_beats: int,
    center: int, low: int, high: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(probabilities, fallback)``: the second is 1 at every beat of a frame that left the window.

    Inside the window: ``e = (v << guard_bits) >> n`` with n negative above ``center``; the sum is normalised to
    ``total * 2**z`` in ``[2**w, 2**(w + 1))`` with ``w = mantissa_bits + guard_bits``, ``r = floor(2**(w + 16) / that)``, and
    ``p = (v * r) >> (n - z + mantissa_bits + 16 - out_bits)``.
    """
    values, mask = as_beats(scores, keep)
    arithmetic = _Arithmetic(fraction=fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits, table=table,
                             out_bits=out_bits)
    result = np.zeros(values.shape, np.int64)
    fallback = np.zeros(len(values), np.int64)
    unit = arithmetic.unit_bits
    for frame in frames(last, max_beats):
        offset, kept = values[frame] - center, mask[frame]
        if (kept & ((offset < low) | (offset > high))).any():
            fallback[frame] = 1
            result[frame] = arithmetic.below_maximum(values[frame], kept)
            continue
        v, n = falling_exponential(np.where(kept, -offset, 0), fraction=fraction, table=table)
        widened = v << guard_bits + np.maximum(-n, 0)
        total = int(np.where(kept, widened >> np.clip(n, 0, 62), 0).sum())
        if total == 0:
            continue
        z = unit + 1 - total.bit_length()
        normal = total << z if z >= 0 else total >> -z
        reciprocal = floor_reciprocal(normal, unit + 16, RECIPROCAL_BITS)
        shift = n - z + mantissa_bits + 16 - out_bits
        product = np.where(shift >= 0, v * reciprocal >> np.clip(shift, 0, 62), v * reciprocal << np.clip(-shift, 0, 8))
        result[frame] = np.where(kept, np.minimum(product, (1 << out_bits) - 1), 0)
    return result, fallback
