"""Golden model of rotary position embedding: pairs of elements turned by an angle that grows with their position.

Elements 2i and 2i + 1 of a row are a pair. At position p, with a step ``F_i`` in turns of 2**-32 and 2**T angles:

- ``phase = p * F_i mod 2**32`` and ``a = (phase + 2**(31 - T)) >> (32 - T) mod 2**T``, the nearest angle of the table;
- ``c`` and ``s`` are the cosine and the sine of ``2 * pi * a / 2**T`` with 14 fraction bits, from a quarter of a wave;
- ``x' = clamp(round((x * c - y * s) / 2**14))`` and ``y' = clamp(round((x * s + y * c) / 2**14))``, to nearest even.

Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv:2104.09864, 2021. Fixed-point
phases and the table are our own.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.requantize import requantize

IntArray = NDArray[np.int64]

PHASE_BITS = 32
WAVE_BITS = 14


def rotated(rows: ArrayLike, position: ArrayLike, *, steps: tuple[int, ...], wave: tuple[int, ...], low: int, high: int,
            ) -> IntArray:
    """``rows`` (heads, count, head_dim), whose row i stands at ``position[i]``, turned; int64.

    Parameters
    ----------
    steps : head_dim / 2 integers below 2**32
        What the phase of each pair grows by from one position to the next.
    wave : 2**(T - 2) + 1 integers
        A quarter of the sine, from 0 to 2**14.
    low, high : bounds of an element
    """
    x, p = np.asarray(rows).astype(np.int64), np.asarray(position).astype(np.int64)
    if x.ndim != 3 or p.shape != x.shape[1:2] or x.shape[2] != 2 * len(steps):
        raise ValueError(f"shapes {x.shape} and {p.shape} are not (heads, count, {2 * len(steps)}) and (count,)")
    cosine, sine = _turn(p[:, None] * np.array(steps, np.int64), np.array(wave, np.int64))
    even, odd = x[:, :, ::2], x[:, :, 1::2]
    turned = np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)
    return requantize(turned, multiplier=1, shift=WAVE_BITS, low=low, high=high).reshape(x.shape)


def _turn(phase: IntArray, wave: IntArray) -> tuple[IntArray, IntArray]:
    """Cosine and sine of phases: what lies beyond a quarter of a turn is a mirror image."""
    quarter = len(wave) - 1
    spread = (1 << PHASE_BITS) // (4 * quarter)  # phases that share an angle
    angle = (phase + spread // 2) // spread
    return _sine(angle + quarter, wave), _sine(angle, wave)


def _sine(angle: IntArray, wave: IntArray) -> IntArray:
    quarter = len(wave) - 1
    quadrant, within = angle // quarter % 4, angle % quarter
    value = wave[np.where(quadrant % 2, quarter - within, within)]
    return np.where(quadrant < 2, value, -value)


def rotated_reference(rows: ArrayLike, position: ArrayLike, *, steps: tuple[int, ...], cosines: list[int], sines: list[int],
                      low: int, high: int) -> list[list[list[int]]]:
    """:func:`rotated` once more on Python integers of any size, from tables of the whole turn.

    AssertionError where a number does not fit the width that the engine gives it.
    """
    bits = (len(cosines) - 1).bit_length()

    def nearest(numerator: int) -> int:
        whole, rest = divmod(numerator, 1 << WAVE_BITS)
        up = 2 * rest > 1 << WAVE_BITS or (2 * rest == 1 << WAVE_BITS and whole % 2)
        return max(low, min(high, whole + bool(up)))

    result = np.asarray(rows).tolist()
    for head in result:
        for row, place in zip(head, np.asarray(position).tolist(), strict=True):
            for pair, step in enumerate(steps):
                assert 0 <= step < 1 << PHASE_BITS and place >= 0
                phase = place * step % 2**PHASE_BITS
                angle = (phase + 2 ** (PHASE_BITS - 1 - bits)) // 2 ** (PHASE_BITS - bits) % 2**bits
                c, s, x, y = cosines[angle], sines[angle], row[2 * pair], row[2 * pair + 1]
                assert max(abs(c), abs(s)) <= 1 << WAVE_BITS
                row[2 * pair:2 * pair + 2] = nearest(x * c - y * s), nearest(x * s + y * c)
    return result


def float_rotated(rows: ArrayLike, position: ArrayLike, *, base: float) -> NDArray[np.float64]:
    """``rows`` (heads, count, head_dim) turned in float64: pair i by ``position * base**(-2 * i / head_dim)``."""
    x = np.asarray(rows).astype(np.float64)
    frequency = base ** (-np.arange(0, x.shape[2], 2) / x.shape[2])
    turn = np.exp(1j * np.asarray(position)[:, None] * frequency)
    pairs = (x[:, :, ::2] + 1j * x[:, :, 1::2]) * turn
    return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)
