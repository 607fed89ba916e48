"""The place of the largest value of a frame."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def argmax(
    x: ArrayLike, last: ArrayLike, *, index_bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """``(index, value, overflow)`` of each frame; a frame ends with the beat whose ``last`` is 1.

    Of equal values the one with the lowest index counts. Only the first ``2**index_bits`` beats of a frame take part;
    ``overflow`` is 1 where there were more.
    """
    values, ends = np.asarray(x).astype(np.int64), np.flatnonzero(np.asarray(last)) + 1
    limit = 1 << index_bits
    results = []
    start = 0
    for end in ends.tolist():
        frame = values[start:min(end, start + limit)]
        first = int(np.argmax(frame))
        results.append((first, int(frame[first]), int(end - start > limit)))
        start = end
    columns = np.array(results, np.int64).reshape(-1, 3).T
    return columns[0], columns[1], columns[2]
