"""Frames in a stream of beats: where they begin and end, and how a reciprocal of their sum is taken."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray


def frames(last: ArrayLike, max_beats: int) -> Iterator[slice]:
    """The beats of each complete frame, in order.

    A frame ends at the beat with ``last``, and at its ``max_beats``-th beat if none came before. Beats after the end
    of the last frame belong to none.
    """
    start = 0
    for beat, flag in enumerate(np.asarray(last).astype(bool).tolist()):
        if flag or beat - start + 1 == max_beats:
            yield slice(start, beat + 1)
            start = beat + 1


def frame_ends(last: ArrayLike, max_beats: int) -> NDArray[np.int64]:
    """``last`` of the results: 1 at the end of every frame, also of one cut at ``max_beats``."""
    ends = np.zeros(len(np.asarray(last)), np.int64)
    for frame in frames(last, max_beats):
        ends[frame.stop - 1] = 1
    return ends


def floor_reciprocal(total: int, dividend_bits: int, quotient_bits: int) -> int:
    """``floor(2**dividend_bits / total)``; all ones of ``quotient_bits`` where ``total`` is 0."""
    if total == 0:
        return (1 << quotient_bits) - 1
    return (1 << dividend_bits) // total


def as_beats(scores: ArrayLike, keep: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Scores and mask as arrays ``[beat, lane]``; one lane may be given as a plain vector."""
    values = np.asarray(scores).astype(np.int64)
    mask = np.asarray(keep).astype(bool)
    if values.ndim == 1:
        values, mask = values[:, None], mask.reshape(-1, 1)
    if values.shape != mask.shape:
        raise ValueError(f"scores are {values.shape}, their mask {mask.shape}")
    return values, mask
