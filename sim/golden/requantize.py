"""Requantization: scale an integer accumulator to a narrow integer, exactly as the hardware does.

``s = acc + bias``; ``y = clamp(round(s * multiplier / 2**shift) + zero_point, low, high)``. The three
roundings:

- ``rne``: once, to nearest, ties to even.
- ``half_up``: once, to nearest, ties up: ``(p + 2**(shift - 1)) >> shift``.
- ``ort``: the bits of ONNX Runtime's CPU kernels, which compute in float32 and so round up to three
  times: ``s`` to 24 significant bits, the product to 24 significant bits, the result to an integer,
  each to nearest even.

Source: the integer-only scheme of Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2, with the float32 significand of
the scale as multiplier. The double rounding of ``ort`` as a window around the tie is our own.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MODES = ("rne", "ort", "half_up")

# A float32 significand, hidden bit included.
SIGNIFICANT_BITS = 24
MAX_SHIFT = 63

# |s| * multiplier stays below 2**62 for any 24-bit multiplier while |s| is below this.
_ONE_LIMB = 1 << 38
_POWERS = 1 << np.arange(62, dtype=np.int64)


def requantize(
    acc: ArrayLike,
    *,
    bias: ArrayLike = 0,
    multiplier: ArrayLike,
    shift: ArrayLike,
    zero_point: ArrayLike = 0,
    low: ArrayLike,
    high: ArrayLike,
    mode: str = "rne",
) -> NDArray[np.int64]:
    """Requantized ``acc``; all arguments broadcast together (per-channel values along the last axis).

    Exact for ``|acc + bias| < 2**49``, ``0 <= multiplier < 2**24``, ``0 <= shift <= 63`` and bounds and zero
    point within 17 signed bits: beyond ``2**36`` a quotient is only known to be out of bounds.
    ``low`` may exceed ``high`` (a zero point above the bounds, with ``low`` the zero point): the result
    is then ``high``.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    total = np.asarray(acc).astype(np.int64) + np.asarray(bias).astype(np.int64)
    factor = np.asarray(multiplier).astype(np.int64)
    places = np.asarray(shift).astype(np.int64)
    _check_range("acc + bias", total, -(1 << 49), 1 << 49)
    _check_range("multiplier", factor, 0, (1 << SIGNIFICANT_BITS) - 1)
    _check_range("shift", places, 0, MAX_SHIFT)
    if mode == "ort":
        rounded = _round_as_float32(total, factor, places)
    else:
        rounded = _round_once(total, factor, places, mode)
    shifted = rounded + np.asarray(zero_point).astype(np.int64)
    bounds = np.asarray(low).astype(np.int64), np.asarray(high).astype(np.int64)
    return np.minimum(np.maximum(shifted, bounds[0]), bounds[1])


def quantize_scale(
    scale: float | np.floating[Any], *, multiplier_bits: int = SIGNIFICANT_BITS
) -> tuple[int, int]:
    """``(multiplier, shift)`` with ``scale = multiplier / 2**shift`` and a multiplier of that many bits.

    ``scale`` counts as float32 and 24 bits hold it exactly; with fewer bits it is rounded to nearest
    even. Raises ValueError where ``shift`` would leave 0..63 or the scale is not positive and finite.
    """
    if not 1 <= multiplier_bits <= SIGNIFICANT_BITS:
        raise ValueError(f"multiplier_bits must be 1..{SIGNIFICANT_BITS}, not {multiplier_bits!r}")
    with np.errstate(over="ignore", under="ignore"):
        value = float(np.float32(scale))
    if not 0 < value < float("inf"):
        raise ValueError(f"scale must be positive and finite in float32, not {scale!r}")
    numerator, denominator = value.as_integer_ratio()
    excess = numerator.bit_length() - multiplier_bits
    exponent = excess - (denominator.bit_length() - 1)
    if excess <= 0:
        multiplier = numerator << -excess
    else:
        half = 1 << excess - 1
        odd = numerator >> excess & 1
        multiplier = numerator + half - 1 + odd >> excess
    if multiplier >> multiplier_bits:
        multiplier, exponent = multiplier >> 1, exponent + 1
    if not 0 <= -exponent <= MAX_SHIFT:
        lowest = 2.0 ** (multiplier_bits - 1 - MAX_SHIFT)
        raise ValueError(
            f"scale {value!r} needs a shift of {-exponent} with a {multiplier_bits}-bit multiplier; "
            f"shifts are 0..{MAX_SHIFT}, so the scale must be at least {lowest!r} "
            f"and below {2.0**multiplier_bits!r}"
        )
    return multiplier, -exponent


def _check_range(name: str, value: NDArray[np.int64], low: int, high: int) -> None:
    if value.size and (value.min() < low or value.max() > high):
        raise ValueError(f"{name} must be {low}..{high}, not {value.min()}..{value.max()}")


def _round_once(
    total: NDArray[np.int64], factor: NDArray[np.int64], places: NDArray[np.int64], mode: str
) -> NDArray[np.int64]:
    """``total * factor / 2**places`` rounded once; exact up to 2**36, beyond that still as large."""
    if total.size and max(-int(total.min()), int(total.max())) >= _ONE_LIMB:
        product, places = _fold(total, factor, places)
    else:
        product = total * factor
    quotient = product >> places
    half = _half(places)
    remainder = product - (quotient << places)
    if mode == "half_up":
        up = remainder >= half
    else:
        up = (remainder > half) | ((remainder == half) & (quotient & 1 == 1))
    return quotient + (up & (places > 0))


def _fold(
    total: NDArray[np.int64], factor: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A product and a shift that fit 64 bits and round like ``total * factor`` shifted by ``places``.

    The product is formed as ``high * 2**24 + low`` with ``0 <= low < 2**24``. Shifts above 24 discard ``low``
    entirely, so one bit may stand for it; the other shifts keep it, and a ``high`` of 2**37 already
    exceeds every bound.
    """
    mask = (1 << 24) - 1
    low_product = (total & mask) * factor
    high = (total >> 24) * factor + (low_product >> 24)
    low = low_product & mask
    limit = 1 << 37
    whole = (np.clip(high, -limit, limit) << 24) + low
    folded = high * 2 + (low != 0)
    deep = places > 24
    return np.where(deep, folded, whole), np.where(deep, places - 23, places)


def _round_as_float32(
    total: NDArray[np.int64], factor: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.int64]:
    """What float32 arithmetic makes of ``total * (factor * 2**-places)``, then to nearest even.

    On magnitudes: rounding the product to 24 significant bits turns every remainder within half a unit
    in the last place of ``half`` into an exact tie, and changes no other decision. Holds for quotients
    below 2**22; larger ones are off by at most 2, far outside every bound.
    """
    magnitude, exponent = _to_significant_bits(np.abs(total))
    product = magnitude * factor
    # magnitude >= 2**23 wherever exponent > 0, so 14 places to the left exceed every bound.
    product = product << np.clip(exponent - places, 0, 14)
    places = np.maximum(places - exponent, 0)
    quotient = product >> places
    half = _half(places)
    remainder = product - (quotient << places)
    bits = np.searchsorted(_POWERS, quotient, side="right")
    bits = np.where((quotient == 0) & (remainder < half), -1, bits)
    discarded = np.minimum(places + bits - SIGNIFICANT_BITS, 62)
    window = np.where(discarded > 0, _half(discarded), 0)
    tie = np.abs(remainder - half) <= window
    up = np.where(tie, quotient & 1 == 1, remainder > half) & (places > 0)
    return np.where(total < 0, -1, 1) * (quotient + up)


def _half(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """``2**(places - 1)``, and 1 where nothing is shifted out."""
    return np.int64(1) << np.maximum(places - 1, 0)


def _to_significant_bits(magnitude: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(m, x)`` with ``m * 2**x`` = ``magnitude`` to 24 significant bits, ties to even; x = 0 if exact."""
    if not magnitude.size or int(magnitude.max()) < 1 << SIGNIFICANT_BITS:
        return magnitude, np.zeros_like(magnitude)
    exponent = np.maximum(np.searchsorted(_POWERS, magnitude, side="right") - SIGNIFICANT_BITS, 0)
    quotient = magnitude >> exponent
    half = _half(exponent)
    remainder = magnitude - (quotient << exponent)
    up = (remainder > half) | ((remainder == half) & (quotient & 1 == 1))
    return quotient + (up & (exponent > 0)), exponent
