"""Two's-complement fixed point: from and to binary32, between formats, packed into words.

A code ``q`` of ``frac`` fraction bits stands for ``q / 2**frac``. Every function names its rounding and
what happens out of range.

Source: the ``ap_fixed`` modes that hardware synthesis tools define (here ``trunc``, ``rhu``, ``rhe`` and ``wrap``,
``sat``); binary32 as IEEE 754-2019.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.codecs_float import bit_length, shift_right_half_even, unpack_float32

ROUNDINGS = ("trunc", "rhu", "rhe")
OVERFLOWS = ("wrap", "sat")


def fixed_convert(
    codes: ArrayLike, *, in_frac: int, out_width: int, out_frac: int, rounding: str = "rhe", overflow: str = "sat"
) -> NDArray[np.int64]:
    """Codes of ``in_frac`` fraction bits as signed codes of ``out_width`` bits, ``out_frac`` of them fraction.

    ``trunc`` rounds toward minus infinity, ``rhu`` to nearest with ties up, ``rhe`` with ties to even; then
    ``sat`` clamps to the range of the format and ``wrap`` keeps the low bits.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")
    if overflow not in OVERFLOWS:
        raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
    value = np.asarray(codes).astype(np.int64)
    places = in_frac - out_frac
    if places <= 0:
        rounded = value << -places
    elif rounding == "trunc":
        rounded = value >> places
    elif rounding == "rhu":
        rounded = (value >> places) + (value >> places - 1 & 1)
    else:
        rounded = shift_right_half_even(value, places)
    return saturate(rounded, out_width) if overflow == "sat" else wrap(rounded, out_width)


def fixed_encode(bits: ArrayLike, *, width: int, frac: int) -> NDArray[np.int64]:
    """The signed ``width``-bit code nearest to binary32 ``bits``, ties to even, saturated; 0 for NaN.

    For ``2 <= width <= 32`` and ``-126 <= frac <= 126``.
    """
    sign, exponent, significand, is_nan = unpack_float32(bits)
    shift = exponent - 23 + frac
    # 2**32 exceeds every format, and a significand shifted right by 25 is below half a unit.
    left = significand << np.clip(shift, 0, 33)
    right = shift_right_half_even(significand, np.clip(-shift, 0, 25))
    magnitude = np.where(shift >= 0, left, right)
    return np.where(is_nan, 0, saturate(np.where(sign == 1, -magnitude, magnitude), width))


def fixed_decode(codes: ArrayLike, *, frac: int, mantissa_bits: int = 23) -> NDArray[np.int64]:
    """``codes / 2**frac`` as floating point with an 8-bit exponent, to nearest even: binary32 or bf16 bits.

    ``mantissa_bits`` is 23 for binary32, 7 for bf16. For codes within 32 bits and ``-94 <= frac <= 126``, where
    every nonzero result is a normal number.
    """
    code = np.asarray(codes).astype(np.int64)
    magnitude = np.abs(code)
    length = bit_length(magnitude)
    # The significand, hidden bit included, has mantissa_bits + 1 bits.
    excess = length - (mantissa_bits + 1)
    significand = np.where(
        excess > 0,
        shift_right_half_even(magnitude, np.maximum(excess, 0)),
        magnitude << np.maximum(-excess, 0),
    )
    # A significand that rounds up to a power of two carries into the exponent.
    bits = (length - 1 - frac + 126 << mantissa_bits) + significand
    return np.where(code == 0, 0, (code < 0).astype(np.int64) << mantissa_bits + 8 | bits)


def int_pack(values: ArrayLike, *, width: int, signed: bool = True) -> NDArray[np.int64]:
    """Bytes (last axis) of the values along the last axis, saturated to ``width`` bits each.

    The first value has the lowest bits of the first byte; unused bits of the final byte are 0.
    """
    value = np.asarray(values).astype(np.int64)
    high = (1 << width - signed) - 1
    low = -high - 1 if signed else 0
    field = np.clip(value, low, high)
    bits = field[..., None] >> np.arange(width, dtype=np.int64) & 1
    flat = bits.reshape(*bits.shape[:-2], -1).astype(np.uint8)
    return np.packbits(flat, axis=-1, bitorder="little").astype(np.int64)


def int_unpack(packed: ArrayLike, *, lanes: int, width: int, signed: bool = True) -> NDArray[np.int64]:
    """The ``lanes`` values of ``width`` bits in the bytes along the last axis, the lowest first."""
    octets = np.asarray(packed).astype(np.uint8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little")[..., :lanes * width]
    field = (bits.reshape(*bits.shape[:-1], lanes, width).astype(np.int64) << np.arange(width)).sum(axis=-1)
    return wrap(field, width) if signed else field


def saturate(value: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Clamp to the range of signed ``width`` bits."""
    high = (1 << width - 1) - 1
    return np.clip(value, -high - 1, high)


def wrap(value: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """The low ``width`` bits, read as two's complement."""
    half = 1 << width - 1
    return (value + half & (1 << width) - 1) - half
