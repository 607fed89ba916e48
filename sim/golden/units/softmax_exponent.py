"""Softmax without a multiplier between the passes: every exponential is a mantissa and a whole power of two.

First pass, per score x (``fraction`` = f bits behind the binary point): ``y = (x * 94548 + 2**15) >> 16`` is
``x * log2(e)``, and ``exp(x) = mantissa / 2**mantissa_bits * 2**octave``:

- ``below`` (two-pass softmax): ``octave = y >> f``, mantissa in [1, 2) from a rising table;
- ``above`` (online softmax with the maximum rounded up to whole octaves): ``octave = -(-y >> f)``, mantissa in
  (1/2, 1] from a falling table.

Per beat, in order: ``top`` = greatest octave of the kept lanes so far, ``level`` = ``top`` rounded up to a multiple of
``octave_step`` s, and ``total = (total >> (level' - level)) + sum((mantissa << (guard_bits + s - 1)) >> (level' - octave))``.
All lanes are aligned to the beat's own level, so their order does not matter; that of the beats does. The sum moves by whole
steps alone: with s = 8 that is a choice of five places instead of any. Per frame
``divisor = (total << (level - top)) >> (s - 1)`` and one reciprocal,
``r = floor(2**(mantissa_bits + guard_bits + 16 or 15) / divisor)``, at most ``2**16``. Second pass:
``p = (mantissa * r) >> (top - octave + mantissa_bits + 16 or 15 - out_bits)``, at most ``2**out_bits - 1``.

Sources: Dukhan and Ablavatski, "Two-Pass Softmax Algorithm", 2020, there in float32; Milakov and Gimelshein, "Online
normalizer calculation for softmax", 2018, whose rescale factors become powers of two here.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.units.frames import as_beats, floor_reciprocal, frames

LOG2E = 94548  # round(log2(e) * 2**16)
RECIPROCAL_BITS = 17


def mantissa_and_octave(
    scores: NDArray[np.int64], *, fraction: int, table: tuple[int, ...], octave: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """``exp`` of each score: linear interpolation between ``2**table_bits + 1`` entries."""
    entries = np.asarray(table, np.int64)
    lower_bits = fraction - (len(table) - 1).bit_length() + 1
    y = (scores * LOG2E + (1 << 15)) >> 16
    if octave == "above":
        y = -y
    whole = y >> fraction
    rest = y - (whole << fraction)
    index, low = rest >> lower_bits, rest & (1 << lower_bits) - 1
    step = entries[index + 1] - entries[index]
    if octave == "above":
        return entries[index] - (-step * low >> lower_bits), -whole
    return entries[index] + (step * low >> lower_bits), whole


def softmax_exponent(
    scores: ArrayLike, keep: ArrayLike, last: ArrayLike, *,
    fraction: int, mantissa_bits: int, guard_bits: int, table: tuple[int, ...], octave: str, out_bits: int,
    max_beats: int, octave_step: int = 1,
) -> NDArray[np.int64]:
    """Probabilities ``[beat, lane]`` in units of ``2**-out_bits``; lanes not kept are 0."""
    values, mask = as_beats(scores, keep)
    mantissa, octaves = mantissa_and_octave(values, fraction=fraction, table=table, octave=octave)
    scale_bits = 16 if octave == "below" else 15
    lowest = int(octaves.min(initial=0))
    masked = np.where(mask, octaves, lowest)
    tops = masked.max(axis=1)
    result = np.zeros(values.shape, np.int64)
    for frame in frames(last, max_beats):
        running = np.maximum.accumulate(tops[frame])
        top = int(running[-1])
        level = -(-running // octave_step) * octave_step
        shifted = np.minimum(level[:, None] - masked[frame], 62)
        added = np.where(mask[frame], (mantissa[frame] << guard_bits + octave_step - 1) >> shifted, 0).sum(axis=1)
        total = 0
        for step, value in zip(np.diff(level, prepend=level[0]).tolist(), added.tolist(), strict=True):
            total = (total >> step) + value
        total = total << int(level[-1]) - top >> octave_step - 1
        reciprocal = floor_reciprocal(total, mantissa_bits + guard_bits + scale_bits, RECIPROCAL_BITS)
        shift = top - masked[frame] + mantissa_bits + scale_bits - out_bits
        product = mantissa[frame] * reciprocal >> np.minimum(shift, 62)
        result[frame] = np.where(mask[frame], np.minimum(product, (1 << out_bits) - 1), 0)
    return result
