"""Microscaling blocks: MXFP4 and MXINT8 elements that share one power-of-two scale.

A block of bf16 numbers becomes the scale code E8M0 (``2**(code - 127)``, 255 is NaN) and one element code
each. The scale is the largest power of two not above the largest magnitude, divided by the largest
power of two that the element format holds: 4 for E2M1, 1 for INT8. Elements are ``x / scale`` to nearest,
ties to even, saturated. INT8 elements are two's complement with 6 fraction bits; -128 is never written,
so that the format is symmetric.

A block that holds a NaN or an infinity gets the scale NaN and elements 0. Subnormal bf16 numbers are
numbers like any other. Scales below 2**-127 are held there.

Source: OCP Microscaling Formats (MX) Specification v1.0, 2023, sections 5 and 6.3; Rouhani et al.,
"Microscaling Data Formats for Deep Learning", 2023. What the specification leaves open (blocks with
NaN, -128) is our choice.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.codecs_float import (
    FORMATS,
    pack_float32,
    round_to_format,
    shift_right_half_even,
    unpack_float32,
)

ELEMENTS = ("e2m1", "int8")
NAN_SCALE = 255
BFLOAT16_NAN = 0x7FC0
# log2 of the largest power of two that the element format holds.
EMAX = {"e2m1": 2, "int8": 0}
INT8_FRACTION = 6


def mx_encode(blocks: ArrayLike, *, element: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(scale codes, element codes)`` of bf16 codes whose last axis is the block.

    E2M1 codes are 0..15, INT8 codes are -127..127.
    """
    code = np.asarray(blocks).astype(np.int64)
    field = code >> 7 & 0xFF
    largest = field.max(axis=-1)
    special = largest == 0xFF
    scale = np.maximum(largest - EMAX[element], 0)
    sign, exponent, significand, _ = unpack_float32(code << 16)
    scaled = exponent - (scale[..., None] - 127)
    if element == "e2m1":
        magnitude = round_to_format(scaled, significand, FORMATS["e2m1"])
        elements = sign << 3 | np.minimum(magnitude, FORMATS["e2m1"].max_code)
    else:
        shift = np.clip(23 - INT8_FRACTION - scaled, 0, 25)
        magnitude = np.minimum(shift_right_half_even(significand, shift), 127)
        elements = np.where(sign == 1, -magnitude, magnitude)
    return np.where(special, NAN_SCALE, scale), np.where(special[..., None], 0, elements)


def mx_decode(scales: ArrayLike, elements: ArrayLike, *, element: str) -> NDArray[np.int64]:
    """bf16 codes of ``element * scale``, exact; infinity beyond the largest finite one, NaN for the scale NaN."""
    scale = np.asarray(scales).astype(np.int64)[..., None]
    code = np.asarray(elements).astype(np.int64)
    if element == "e2m1":
        sign = code >> 3 & 1
        field, mantissa = code >> 1 & 3, code & 1
        significand = np.where(field > 0, 2 + mantissa, mantissa)
        exponent = np.maximum(field, 1) - 2
    else:
        sign = (code < 0).astype(np.int64)
        significand = np.abs(code)
        exponent = np.full_like(code, -INT8_FRACTION)
    bits = pack_float32(significand, exponent + scale - 127) >> 16
    return np.where(scale == NAN_SCALE, BFLOAT16_NAN, sign << 15 | bits)
