"""Narrow floating-point codes from and to binary32 bits, rounded once to nearest even.

Bits are unsigned integers in int64; no float takes part. A number is sign, biased exponent, mantissa;
exponent 0 holds zero and the subnormals. The formats differ in what they reserve above the largest
finite code:

- ``bf16``: infinity 7f80, quiet NaN 7fc0.
- ``e5m2``: infinity 7c, quiet NaN 7e.
- ``e4m3``: one NaN, 7f; no infinity.
- ``e2m1``: neither (the element of MXFP4).

Sources: Micikevicius et al., "FP8 Formats for Deep Learning", 2022; OCP Microscaling Formats (MX)
Specification v1.0, 2023, section 5.3; Kalamkar et al., "A Study of BFLOAT16 for Deep Learning
Training", 2019.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOAT32_MANTISSA = 23
FLOAT32_BIAS = 127
FLOAT32_INFINITY = 0x7F800000
FLOAT32_NAN = 0x7FC00000


@dataclass(frozen=True)
class FloatFormat:
    """Field widths and reserved codes (sign bit clear); ``None`` where the format has no such code."""

    exponent_bits: int
    mantissa_bits: int
    max_code: int
    infinity_code: int | None
    nan_code: int | None

    @property
    def width(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        return (1 << self.exponent_bits - 1) - 1


FORMATS = {
    "bf16": FloatFormat(8, 7, 0x7F7F, 0x7F80, 0x7FC0),
    "e5m2": FloatFormat(5, 2, 0x7B, 0x7C, 0x7E),
    "e4m3": FloatFormat(4, 3, 0x7E, None, 0x7F),
    "e2m1": FloatFormat(2, 1, 0x7, None, None),
}


def encode_float(bits: ArrayLike, *, form: str, saturate: bool = False) -> NDArray[np.int64]:
    """The code nearest to binary32 ``bits``, ties to even.

    Beyond the largest finite code after rounding the result is infinity, or NaN where the format has
    none, or the largest finite code where it has neither; with ``saturate`` always the largest finite
    code, for infinities too. A NaN becomes the format's quiet NaN of the same sign; a format without
    NaN refuses it with ValueError.
    """
    target = FORMATS[form]
    sign, exponent, significand, is_nan = unpack_float32(bits)
    if target.nan_code is None and bool(is_nan.any()):
        raise ValueError(f"{form} has no code for NaN")
    code = round_to_format(exponent, significand, target)
    overflow = target.max_code
    if not saturate:
        overflow = next(c for c in (target.infinity_code, target.nan_code, target.max_code) if c is not None)
    code = np.where(code > target.max_code, overflow, code)
    code = np.where(is_nan, target.nan_code or 0, code)
    return sign << target.width - 1 | code


def decode_float(codes: ArrayLike, *, form: str) -> NDArray[np.int64]:
    """binary32 bits of each code, exact. NaN becomes quiet NaN with the code's sign, bf16 keeps its payload."""
    source = FORMATS[form]
    code = np.asarray(codes).astype(np.int64)
    sign = code >> source.width - 1 & 1
    magnitude = code & (1 << source.width - 1) - 1
    if form == "bf16":
        return code << 16
    mantissa = magnitude & (1 << source.mantissa_bits) - 1
    field = magnitude >> source.mantissa_bits
    significand = np.where(field > 0, mantissa | 1 << source.mantissa_bits, mantissa)
    exponent = np.maximum(field, 1) - source.bias - source.mantissa_bits
    result = pack_float32(significand, exponent)
    if source.infinity_code is not None:
        result = np.where(magnitude == source.infinity_code, FLOAT32_INFINITY, result)
    if source.nan_code is not None:
        above = source.max_code if source.infinity_code is None else source.infinity_code
        result = np.where(magnitude > above, FLOAT32_NAN, result)
    return sign << 31 | result


def unpack_float32(
    bits: ArrayLike,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """``(sign, exponent, significand, is_nan)``; the magnitude is ``significand * 2**(exponent - 23)``.

    An infinity reads as 2**128, which every narrower format rounds beyond its largest finite code.
    """
    word = np.asarray(bits).astype(np.int64)
    field = word >> FLOAT32_MANTISSA & 0xFF
    mantissa = word & (1 << FLOAT32_MANTISSA) - 1
    significand = np.where(field > 0, mantissa | 1 << FLOAT32_MANTISSA, mantissa)
    is_nan = (field == 0xFF) & (mantissa != 0)
    return word >> 31 & 1, np.maximum(field, 1) - FLOAT32_BIAS, significand, is_nan


def round_to_format(
    exponent: NDArray[np.int64], significand: NDArray[np.int64], target: FloatFormat
) -> NDArray[np.int64]:
    """Magnitude code of ``significand * 2**(exponent - 23)``, to nearest even; beyond ``max_code`` if it overflows.

    Codes of one sign are consecutive integers in the order of their values, so a carry out of the
    mantissa steps into the next binade, and out of the largest one above ``max_code``.
    """
    lowest = 1 - target.bias
    length = bit_length(significand)
    significand = significand << FLOAT32_MANTISSA + 1 - length
    exponent = np.where(length == 0, lowest, exponent - (FLOAT32_MANTISSA + 1 - length))
    binade = np.maximum(exponent, lowest)
    # Past the last place every significand is below half a unit.
    shift = np.minimum(FLOAT32_MANTISSA - target.mantissa_bits + binade - exponent, FLOAT32_MANTISSA + 2)
    return (binade - lowest << target.mantissa_bits) + shift_right_half_even(significand, shift)


def shift_right_half_even(value: NDArray[np.int64], shift: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """``value / 2**shift`` to nearest, ties to even, for ``0 <= shift < 63``; floor division below zero."""
    places = np.asarray(shift).astype(np.int64)
    quotient = value >> places
    remainder = value - (quotient << places)
    half = np.int64(1) << np.maximum(places - 1, 0)
    up = (remainder > half) | ((remainder == half) & (quotient & 1 == 1))
    return quotient + (up & (places > 0))


def bit_length(magnitude: NDArray[np.int64]) -> NDArray[np.int64]:
    """``int.bit_length`` of each, for ``0 <= magnitude < 2**62``."""
    return np.searchsorted(1 << np.arange(62, dtype=np.int64), magnitude, side="right").astype(np.int64)


def pack_float32(significand: NDArray[np.int64], exponent: NDArray[np.int64]) -> NDArray[np.int64]:
    """binary32 magnitude bits of ``significand * 2**exponent``, for values that binary32 holds exactly.

    Zero stays zero; beyond the largest finite number the result is infinity. ``significand`` < 2**24.
    """
    length = bit_length(significand)
    top = exponent + length - 1
    # The last place of the result: 2**-149 throughout the subnormals.
    binade = np.maximum(top, 1 - FLOAT32_BIAS)
    mantissa = significand << np.maximum(exponent - binade + FLOAT32_MANTISSA, 0)
    if np.any((significand > 0) & (exponent - binade + FLOAT32_MANTISSA < 0)):
        raise ValueError("binary32 does not hold the value exactly")
    bits = (binade - 1 + FLOAT32_BIAS << FLOAT32_MANTISSA) + mantissa
    bits = np.where(bits >= FLOAT32_INFINITY, FLOAT32_INFINITY, bits)
    return np.where(significand == 0, 0, bits)
