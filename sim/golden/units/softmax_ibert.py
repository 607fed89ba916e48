"""Softmax of I-BERT: a polynomial exponential, sums of 16-bit integers, one division per frame.

With the scores' scale S: ``q0 = floor(-0.6931 / S)``, ``qb = floor((b / a) / S)``, ``qc = floor((1 / a) / S**2)``,
a = 0.35815147, b = 0.96963238. Per score: ``x = max(score - maximum, 30 * q0)``, ``z = x // q0`` (both negative),
``r = x - q0 * z``, ``e = max(r * (r + qb) + qc, 0) * 2**-z`` in units of ``a * S**2``; then to 16 bits,
``e16 = floor(e / 2**k)`` with the fixed ``k`` that brings ``qc``, the exponential of 0, below ``2**15``: I-BERT's
requantization with a power of two for its scale. ``F = floor(2**32 / sum(e16))``,
``p = floor(e16 * F / 2**(32 - out_bits))``, at most ``2**out_bits - 1``.

Source: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, section 3.5, with the constants of its published
program.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.frames import as_beats, frames

A, B = 0.35815147, 0.96963238
LN2 = 0.6931
STEPS = 30  # halvings after which an exponential counts as smallest


@dataclass(frozen=True)
class IBertConstants:
    """Integers that follow from the scores' scale."""

    q0: int
    qb: int
    qc: int

    @staticmethod
    def of(scale: float) -> "IBertConstants":
        """Of scores in units of ``scale``; ValueError where ``q0`` would be 0."""
        constants = IBertConstants(math.floor(-LN2 / scale), math.floor(B / A / scale), math.floor(1 / A / scale**2))
        if not scale > 0 or constants.q0 >= 0:
            raise ValueError(f"scale must be positive and below {LN2}, not {scale!r}")
        return constants


def polynomial_exponential(
    distance: NDArray[np.int64], constants: IBertConstants
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``(value, z)``: ``exp(-distance * scale)`` is ``value * 2**-z`` in units of ``a * scale**2``."""
    q0 = -constants.q0
    x = np.minimum(distance, STEPS * q0)
    z = x // q0
    r = -(x - q0 * z)
    return np.maximum(r * (r + constants.qb) + constants.qc, 0), z


def softmax_ibert(
    scores: ArrayLike, keep: ArrayLike, last: ArrayLike, *, scale: float, out_bits: int, max_beats: int,
) -> NDArray[np.int64]:
    """Probabilities ``[beat, lane]`` in units of ``2**-out_bits``; lanes not kept are 0."""
    values, mask = as_beats(scores, keep)
    constants = IBertConstants.of(scale)
    # The largest exponential, of distance 0, becomes 2**15 or a little less.
    shift = max(constants.qc.bit_length() - 15, 0)
    result = np.zeros(values.shape, np.int64)
    for frame in frames(last, max_beats):
        kept = mask[frame]
        if not kept.any():
            continue
        value, z = polynomial_exponential(np.where(kept, values[frame][kept].max() - values[frame], 0), constants)
        e16 = np.where(kept, value >> np.minimum(z + shift, 62), 0)
        total = int(e16.sum())
        factor = (1 << 32) // total
        result[frame] = np.minimum(e16 * factor >> 32 - out_bits, (1 << out_bits) - 1)
    return result
