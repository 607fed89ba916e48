"""Selection over streams: top-k, prefix sums, compaction, stable sorting into queues.

Streams arrive as flat arrays with ``last`` set on the final beat of each frame. Ties always go to the
lower index, which is the position within the frame.

Sources: Batcher, "Sorting networks and their applications", AFIPS 1968 (bitonic merging); Kogge and Stone,
"A parallel algorithm for the efficient solution of a general class of recurrence equations", IEEE
Transactions on Computers, 1973; Wang et al., "SpAtten: Efficient Sparse Attention Architecture with
Cascade Token and Head Pruning", HPCA 2021 (quick-select); Knuth, "The Art of Computer Programming", vol. 3, section
5.2 (counting sort).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.int64]


def topk(values: ArrayLike, last: ArrayLike, *, k: int) -> tuple[Array, Array, Array]:
    """``(value, index, last)``: per frame its ``k`` largest values, the largest first, ties by index.

    A frame of fewer than ``k`` values comes back whole. A frame without ``last`` yields nothing.
    """
    picked = [
        (frame[order], order)
        for frame in frames(values, last)
        for order in [np.argsort(-frame, kind="stable")[:k].astype(np.int64)]
    ]
    return (
        _joined([value for value, _ in picked]),
        _joined([order for _, order in picked]),
        _joined([_last_flags(len(order)) for _, order in picked]),
    )


def topk_in_order(values: ArrayLike, last: ArrayLike, *, k: int) -> tuple[Array, Array, Array]:
    """The same selection as :func:`topk`, in the order of the frame."""
    picked = [
        (frame[order], order)
        for frame in frames(values, last)
        for order in [np.sort(np.argsort(-frame, kind="stable")[:k]).astype(np.int64)]
    ]
    return (
        _joined([value for value, _ in picked]),
        _joined([order for _, order in picked]),
        _joined([_last_flags(len(order)) for _, order in picked]),
    )


def topk_lanes(values: ArrayLike, *, k: int) -> tuple[Array, Array]:
    """``(values, indices)`` of the ``k`` largest along the last axis, the largest first, ties by index."""
    value = np.asarray(values).astype(np.int64)
    order = np.argsort(-value, axis=-1, kind="stable")[..., :k].astype(np.int64)
    return np.take_along_axis(value, order, axis=-1), order


def prefix_sum(values: ArrayLike, last: ArrayLike, *, sum_width: int, inclusive: bool = True) -> Array:
    """Running sum of each frame, over the lanes of a beat (last axis) and on from beat to beat.

    ``inclusive`` sums count their own value, exclusive ones only those before it. Unsigned, modulo
    ``2**sum_width``.
    """
    value = np.asarray(values).astype(np.int64)
    ends = np.asarray(last).astype(bool)
    sums = np.empty_like(value)
    start = 0
    for stop in [*(np.flatnonzero(ends) + 1), len(value)]:
        frame = value[start:stop]
        running = np.cumsum(frame.reshape(-1)).reshape(frame.shape)
        sums[start:stop] = running if inclusive else running - frame
        start = stop
    return sums & (1 << sum_width) - 1


def compact(values: ArrayLike, keep: ArrayLike) -> tuple[Array, Array, Array]:
    """``(values, indices, count)``: kept lanes of each beat moved down in their order, the rest 0.

    ``indices`` are the lanes that the values came from; ``count`` how many there are.
    """
    value = np.asarray(values).astype(np.int64)
    kept = np.asarray(keep).astype(bool)
    order = np.argsort(~kept, axis=-1, kind="stable").astype(np.int64)
    count = kept.sum(axis=-1).astype(np.int64)
    taken = np.arange(value.shape[-1]) < count[..., None]
    return np.where(taken, np.take_along_axis(value, order, axis=-1), 0), np.where(taken, order, 0), count


def counting_sort(
    keys: ArrayLike, values: ArrayLike, last: ArrayLike
) -> tuple[Array, Array, Array, Array, Array]:
    """``(key, value, index, queue_last, last)``: each frame by ascending key, equal keys in frame order.

    ``queue_last`` marks the final item of each key, ``last`` that of the frame.
    """
    columns: tuple[list[Array], ...] = ([], [], [], [], [])
    for key, value in zip(frames(keys, last), frames(values, last), strict=True):
        order = np.argsort(key, kind="stable").astype(np.int64)
        ordered = key[order]
        queue_last = np.append(ordered[1:] != ordered[:-1], True).astype(np.int64)
        for column, part in zip(
            columns, (ordered, value[order], order, queue_last, _last_flags(len(order))), strict=True
        ):
            column.append(part)
    key, value, index, queue_last, flags = (_joined(column) for column in columns)
    return key, value, index, queue_last, flags


def frames(values: ArrayLike, last: ArrayLike) -> list[Array]:
    """The complete frames of a stream."""
    value = np.asarray(values).astype(np.int64)
    ends = np.flatnonzero(np.asarray(last)) + 1
    return np.split(value, ends)[:-1] if len(ends) else []


def _last_flags(length: int) -> Array:
    flags = np.zeros(length, np.int64)
    flags[-1:] = 1
    return flags


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
