"""LayerNorm and RMSNorm: a frame's values divided by the root of the sum of their squares.

Per frame of n kept values x (LayerNorm): ``mean = rhe(sum(x) / n)``, to nearest, ties to even; ``y = x - mean``; RMSNorm:
``y = x``. Then ``V = sum(y**2) + epsilon``, found as ``sum(x**2) + mean * (n * mean - 2 * sum(x)) + epsilon`` in one pass.
``V`` is shifted by an even number of places, ``2 * e``, to ``N = V * 2**(30 - 2 * e)`` in ``[2**30, 2**32)`` (floor),
``root = isqrt(N)``, ``factor = floor(2**31 / root)``, in ``[2**15, 2**16]``, and
``o = (y * factor << (out_fraction - 16)) >> e``: ``y / sqrt(V)`` in units of ``2**-out_fraction``. LayerNorm's ``y / sigma`` is
``o * sqrt(n)``: the square root of the length is a constant that belongs into the scale of what follows, as do the gains.
V = 0 gives ``o = 0``.

:func:`layer_norm_ibert` is the paper's own LayerNorm: the variance of shortened values, and a factor of as many bits as the
standard deviation leaves.

Source: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, section 3.6; the normalising shift, which keeps the
factor's precision whatever the variance, is our own.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.frames import as_beats, frames


def normalize(
    x: ArrayLike, keep: ArrayLike, last: ArrayLike, *,
    centered: bool, epsilon: int, out_fraction: int, max_beats: int,
) -> NDArray[np.int64]:
    """``[beat, lane]``; LayerNorm where ``centered``, RMSNorm where not; lanes not kept are 0."""
    values, mask = as_beats(x, keep)
    result = np.zeros(values.shape, np.int64)
    for frame in frames(last, max_beats):
        kept = mask[frame]
        part = np.where(kept, values[frame], 0)
        mean = round_half_even(int(part.sum()), int(kept.sum())) if centered else 0
        y = np.where(kept, part - mean, 0)
        total = int((y * y).sum()) + epsilon
        if total == 0:
            continue
        factor, e = root_factor(total)
        result[frame] = (y * factor << out_fraction - 16) >> e
    return result


def layer_norm_ibert(x: ArrayLike, keep: ArrayLike, last: ArrayLike, *, shift: int, max_beats: int) -> NDArray[np.int64]:
    """``[beat, lane]`` in units of ``sqrt(n) / 2**30``; lanes not kept are 0.

    ``y = x - mean``, ``std = isqrt(sum(floor(y / 2**shift)**2)) << shift``, ``F = floor(2**31 / std)``,
    ``o = floor(y * F / 2)``. For a std of 0, F is ``2**(32 - shift) - 1``.
    """
    values, mask = as_beats(x, keep)
    result = np.zeros(values.shape, np.int64)
    for frame in frames(last, max_beats):
        y = _offsets(values[frame], mask[frame])
        std = math.isqrt(int(((y >> shift) ** 2).sum())) << shift
        factor = (1 << 31) // std if std else (1 << 32 - shift) - 1
        result[frame] = y * factor >> 1
    return result


def calibrated_shift(x: ArrayLike, keep: ArrayLike, last: ArrayLike, *, max_beats: int) -> int:
    """The smallest ``shift`` of :func:`layer_norm_ibert` with which no frame's sum of squares reaches ``2**32``."""
    values, mask = as_beats(x, keep)
    shift = 0
    for frame in frames(last, max_beats):
        y = _offsets(values[frame], mask[frame])
        while int(((y >> shift) ** 2).sum()) >= 1 << 32:
            shift += 1
    return shift


def _offsets(values: NDArray[np.int64], kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A frame's values less their mean, 0 where not kept."""
    mean = round_half_even(int(np.where(kept, values, 0).sum()), int(kept.sum()))
    return np.where(kept, values - mean, 0)


def round_half_even(total: int, count: int) -> int:
    """``total / count`` to nearest, ties to even; 0 for a count of 0."""
    if count == 0:
        return 0
    quotient, rest = divmod(total, count)
    return quotient + (2 * rest > count or (2 * rest == count and quotient & 1 == 1))


def root_factor(total: int) -> tuple[int, int]:
    """``(factor, e)`` with ``factor * 2**-(e + 16)`` close to ``1 / sqrt(total)``; total at least 1."""
    e = (total.bit_length() - 1) // 2
    normal = total << 30 - 2 * e if e <= 15 else total >> 2 * e - 30
    return (1 << 31) // math.isqrt(normal), e
