"""Reciprocals, quotients and roots of integers, bit for bit as the hardware computes them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def reciprocal(d: ArrayLike, *, table: ArrayLike, table_bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(r, shift)`` with ``1 / d`` close to ``r / 2**(31 + shift)``, for ``d >= 1``; 0 counts as 1.

    ``d`` is shifted until its leading one is bit 15, what falls off dropped; the ``table_bits`` below it choose
    ``table[i] = round(2**16 / (1 + (i + 0.5) / 2**table_bits))``, and one Newton step doubles the correct bits.
    """
    values = np.asarray(table).astype(np.int64)
    whole = np.maximum(np.asarray(d).astype(np.int64), 1)
    shift = _bit_length(whole) - 16
    x = np.where(shift >= 0, whole >> np.maximum(shift, 0), whole << np.maximum(-shift, 0))
    r = values[(x >> 15 - table_bits) - (1 << table_bits)]
    return r * ((1 << 32) - x * r) >> 31, shift


def divide(numerator: ArrayLike, denominator: ArrayLike, *, numerator_width: int, fraction_bits: int) -> NDArray[np.int64]:
    """``floor(numerator * 2**fraction_bits / denominator)``, and all ones for a denominator of 0."""
    shifted = np.asarray(numerator).astype(np.int64) << fraction_bits
    divisor = np.asarray(denominator).astype(np.int64)
    return np.where(divisor == 0, (1 << numerator_width + fraction_bits) - 1, shifted // np.maximum(divisor, 1))


def reciprocal_exact(d: ArrayLike, *, power: int) -> NDArray[np.int64]:
    """``floor(2**power / d)``; ``2**(power + 1) - 1`` for 0."""
    divisor = np.asarray(d).astype(np.int64)
    return np.where(divisor == 0, (2 << power) - 1, (1 << power) // np.maximum(divisor, 1))


def isqrt(n: ArrayLike, *, width: int) -> NDArray[np.int64]:
    """``floor(sqrt(n))`` of ``n`` below ``2**width``, digit by digit from the highest; ``width`` is even, at most 62."""
    radicand = np.asarray(n).astype(np.int64)
    remainder, root = np.zeros_like(radicand), np.zeros_like(radicand)
    for place in range(width - 2, -1, -2):
        remainder = remainder << 2 | radicand >> place & 3
        trial = root << 2 | 1
        fits = remainder >= trial
        remainder = remainder - np.where(fits, trial, 0)
        root = root << 1 | fits
    return root


def _bit_length(whole: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.searchsorted(np.int64(1) << np.arange(63, dtype=np.int64), whole, side="right").astype(np.int64)
