"""Exponentials and logarithms of integers, bit for bit as the hardware computes them.

Tables come from the caller. Every ``>>`` is a floor.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

# log2(e) with 16 fraction bits, rounded.
LOG2E = 94548
LOG2E_BITS = 16


def exp(
    t: ArrayLike, *, table: ArrayLike, fraction_bits: int, octave_bits: int, table_bits: int, value_bits: int,
    guard_bits: int,
) -> NDArray[np.int64]:
    """``exp(-t / 2**fraction_bits)`` with ``value_bits + guard_bits`` fraction bits, for ``t >= 0``.

    ``LOG2E`` takes ``t`` to octaves with ``octave_bits`` fraction bits, rounded half up. In their fraction
    ``table[i] = round(2**(value_bits - i / 2**table_bits))``, one entry more than intervals, is interpolated; by their
    integer part the result is shifted right. The guard bits keep what that shift would drop from a sum of many small
    exponentials.
    """
    octaves = _octaves(t, LOG2E_BITS + fraction_bits - octave_bits)
    shift = octaves >> octave_bits
    fraction = octaves - (shift << octave_bits)
    values = np.asarray(table).astype(np.int64)
    lower_bits = octave_bits - table_bits
    index, rest = fraction >> lower_bits, fraction & (1 << lower_bits) - 1
    value = values[index] - ((values[index] - values[index + 1]) * rest >> lower_bits)
    return np.where(shift >= value_bits + guard_bits, 0, (value << guard_bits) >> np.minimum(shift, 62))


def exp_parts(
    x: ArrayLike, *, table: ArrayLike, fraction_bits: int, table_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(m, n)`` with ``exp(x / 2**fraction_bits) = m * 2**(n - value_bits)`` and ``2**value_bits <= m < 2**(value_bits + 1)``.

    ``table[i] = round(2**(value_bits + i / 2**table_bits))``, one entry more than intervals. No maximum is needed to
    keep the result in range: ``n`` takes any size.
    """
    octaves = _octaves(x, LOG2E_BITS)
    exponent = octaves >> fraction_bits
    fraction = octaves - (exponent << fraction_bits)
    values = np.asarray(table).astype(np.int64)
    lower_bits = fraction_bits - table_bits
    index, rest = fraction >> lower_bits, fraction & (1 << lower_bits) - 1
    return values[index] + ((values[index + 1] - values[index]) * rest >> lower_bits), exponent


def i_exp(
    t: ArrayLike, *, ln2: int, linear: int, constant: int, shift_bits: int = 30
) -> NDArray[np.int64]:
    """I-BERT's exponential of ``-t``, ``t >= 0``: a parabola on ``(-ln 2, 0]``, shifted by whole octaves.

    ``ln2``, ``linear`` and ``constant`` are ln 2 and the polynomial's coefficients in steps of the input (all
    positive); the result counts in ``a * step**2 / 2**shift_bits``, with ``a`` the polynomial's leading coefficient.
    """
    clipped = np.minimum(np.asarray(t).astype(np.int64), shift_bits * ln2)
    octave = clipped // ln2
    rest = clipped - octave * ln2
    polynomial = rest * (rest - linear) + constant
    return np.maximum(polynomial << shift_bits - octave, 0)


def log2(d: ArrayLike, *, table: ArrayLike, table_bits: int, mantissa_bits: int) -> NDArray[np.int64]:
    """``log2(d)`` in the fraction bits of ``table``, for ``d >= 1``; 0 counts as 1.

    The leading one is the integer part; the ``mantissa_bits`` below it, the rest dropped, interpolate
    ``table[i] = round(2**bits * log2(1 + i / 2**table_bits))``.
    """
    values = np.asarray(table).astype(np.int64)
    whole = np.maximum(np.asarray(d).astype(np.int64), 1)
    exponent = np.searchsorted(np.int64(1) << np.arange(63, dtype=np.int64), whole, side="right") - 1
    mantissa = np.where(
        exponent >= mantissa_bits, whole >> np.maximum(exponent - mantissa_bits, 0),
        whole << np.maximum(mantissa_bits - exponent, 0)) & (1 << mantissa_bits) - 1
    lower_bits = mantissa_bits - table_bits
    index, rest = mantissa >> lower_bits, mantissa & (1 << lower_bits) - 1
    return exponent * values[-1] + values[index] + ((values[index + 1] - values[index]) * rest >> lower_bits)


def _octaves(x: ArrayLike, places: int) -> NDArray[np.int64]:
    return np.asarray(x).astype(np.int64) * LOG2E + (1 << places - 1) >> places
