"""Elementwise integer operators of quantized networks, bit for bit as the hardware computes them."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.requantize import requantize


def round_shift(value: ArrayLike, places: ArrayLike) -> NDArray[np.int64]:
    """``value / 2**places`` to the nearest integer, ties to even; ``places`` from 0 to 62."""
    whole, shift = _whole(value), _whole(places)
    quotient = whole >> shift
    rest = whole - (quotient << shift)
    half = np.int64(1) << np.maximum(shift - 1, 0)
    return quotient + ((shift > 0) & ((rest > half) | ((rest == half) & (quotient & 1 == 1))))


def clamp(value: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Saturated to ``width`` bits, two's complement."""
    return np.clip(value, -(1 << width - 1), (1 << width - 1) - 1)


def aligned_multipliers(*factors: float, bits: int = 24) -> tuple[tuple[int, ...], int]:
    """``(multipliers, shift)``: each factor in steps of ``2**-shift``, to nearest, the largest with ``bits`` bits.

    What a sum of scaled integers needs: rounding once, after the sum. ValueError where ``shift`` would leave 0..63.
    """
    shift = bits - math.frexp(max(factors))[1]
    if round(math.ldexp(max(factors), shift)) >> bits:  # rounded up to the next power of two
        shift -= 1
    if min(factors) < 0 or not 0 <= shift <= 63:
        lowest, highest = math.ldexp(1.0, bits - 64), math.ldexp(1.0, bits)
        raise ValueError(f"factors must be positive and the largest {lowest!r}..{highest!r}, not {factors}")
    return tuple(round(math.ldexp(factor, shift)) for factor in factors), shift


def dyadic_number(factor: float) -> tuple[int, int]:
    """I-BERT's ``(multiplier, shift)`` for a positive factor: 31 bits of it, rounded half up, so at most ``2**31``."""
    significand, exponent = math.frexp(factor)
    if not 0 < factor < math.inf or not 0 <= 31 - exponent <= 63:
        raise ValueError(f"factor must be positive and {2.0**-33!r}..{2.0**31!r}, not {factor!r}")
    return math.floor(significand * (1 << 31) + 0.5), 31 - exponent


def residual_add(
    a: ArrayLike, b: ArrayLike, *, a_zero: ArrayLike, b_zero: ArrayLike, a_multiplier: ArrayLike,
    b_multiplier: ArrayLike, shift: ArrayLike, zero_point: ArrayLike, out_width: int,
) -> NDArray[np.int64]:
    """``clamp(rne(((a - a_zero) * a_multiplier + (b - b_zero) * b_multiplier) / 2**shift) + zero_point)``: rounded once."""
    a_part = (_whole(a) - _whole(a_zero)) * _whole(a_multiplier)
    b_part = (_whole(b) - _whole(b_zero)) * _whole(b_multiplier)
    return clamp(round_shift(a_part + b_part, shift) + _whole(zero_point), out_width)


def dyadic(z: ArrayLike, *, multiplier: ArrayLike, shift: ArrayLike, out_width: int) -> NDArray[np.int64]:
    """I-BERT's requantization: ``clamp(rne(z * multiplier / 2**shift))``, with a multiplier of at most ``2**31``."""
    product = _whole(z) * _whole(multiplier)
    return clamp(round_shift(product, shift), out_width)


def dyadic_add(
    a: ArrayLike, a_multiplier: ArrayLike, a_shift: ArrayLike, b: ArrayLike, b_multiplier: ArrayLike, b_shift: ArrayLike,
    *, out_width: int,
) -> NDArray[np.int64]:
    """I-BERT's residual sum: each operand scaled and rounded by itself, then the sum saturated.

    Products of less than ``2**62``.
    """
    a_scaled = round_shift(_whole(a) * _whole(a_multiplier), a_shift)
    b_scaled = round_shift(_whole(b) * _whole(b_multiplier), b_shift)
    return clamp(a_scaled + b_scaled, out_width)


def multiply(
    a: ArrayLike, b: ArrayLike, *, a_zero: ArrayLike, b_zero: ArrayLike, multiplier: ArrayLike, shift: ArrayLike,
    zero_point: ArrayLike, out_width: int,
) -> NDArray[np.int64]:
    """``clamp(rne((a - a_zero) * (b - b_zero) * multiplier / 2**shift) + zero_point)``."""
    product = (_whole(a) - _whole(a_zero)) * (_whole(b) - _whole(b_zero))
    return requantize(
        product, multiplier=multiplier, shift=shift, zero_point=zero_point,
        low=-(1 << out_width - 1), high=(1 << out_width - 1) - 1)


def reduce_mean(
    x: ArrayLike, last: ArrayLike, *, zero: ArrayLike, multiplier: ArrayLike, shift: ArrayLike, zero_point: ArrayLike,
    out_width: int,
) -> NDArray[np.int64]:
    """One result per frame: ``clamp(rne(sum(x - zero) * multiplier / 2**shift) + zero_point)``.

    A frame ends with the beat whose ``last`` is set. ``zero`` counts for its own beat; the other parameters are those of
    the last beat. The multiplier holds the division by the length.
    """
    ends = np.flatnonzero(np.asarray(last))
    running = np.cumsum(_whole(x) - _whole(zero))
    sums = np.diff(running[ends], prepend=0)
    multipliers, shifts, zero_points = (
        np.broadcast_to(_whole(p), running.shape)[ends] for p in (multiplier, shift, zero_point))
    return requantize(
        sums, multiplier=multipliers, shift=shifts, zero_point=zero_points,
        low=-(1 << out_width - 1), high=(1 << out_width - 1) - 1)


def lookup(x: ArrayLike, *, table: ArrayLike) -> NDArray[np.int64]:
    """``table[x]``; a negative ``x`` counts from the end of the table, as its bits read unsigned."""
    values = _whole(table)
    return values[_whole(x) & len(values) - 1]


def _whole(values: ArrayLike) -> NDArray[np.int64]:
    return np.asarray(values).astype(np.int64)
