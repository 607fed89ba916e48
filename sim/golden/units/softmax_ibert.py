"""Softmax of I-BERT: a polynomial exponential, sums of 16-bit integers, one division per frame.

``e`` is :func:`tilewright.sim.golden.units.exponential.i_exp` of ``maximum - score``, with the scores' scale S in units of
``a * S**2 / 2**30``; then I-BERT's requantization to 16 bits (one is the sign) with a power of two for its scale:
``e16 = floor(e / 2**k)`` with the ``k`` that brings the exponential of 0, ``constant * 2**30``, into ``[2**14, 2**15)``.
``F = floor(2**32 / sum(e16))``, ``p = floor(e16 * F / 2**(32 - out_bits))``, at most ``2**out_bits - 1``.

Source: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, section 3.5.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.exponential import i_exp
from tilewright.sim.golden.units.frames import as_beats, frames


def softmax_ibert(
    scores: ArrayLike, keep: ArrayLike, last: ArrayLike, *,
    ln2: int, linear: int, constant: int, out_bits: int, max_beats: int,
) -> NDArray[np.int64]:
    """Probabilities ``[beat, lane]`` in units of ``2**-out_bits``; lanes not kept are 0."""
    values, mask = as_beats(scores, keep)
    result = np.zeros(values.shape, np.int64)
    for frame in frames(last, max_beats):
        kept = mask[frame]
        if not kept.any():
            continue
        distance = np.where(kept, values[frame][kept].max() - values[frame], 0)
        e = i_exp(distance, ln2=ln2, linear=linear, constant=constant)
        e16 = np.where(kept, e >> (constant << 30).bit_length() - 15, 0)
        factor = (1 << 32) // int(e16.sum())
        result[frame] = np.minimum(e16 * factor >> 32 - out_bits, (1 << out_bits) - 1)
    return result
