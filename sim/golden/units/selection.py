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


def topk(
    values: ArrayLike, last: ArrayLike, *, k: int, index_bits: int, in_order: bool = False
) -> tuple[Array, Array, Array, Array]:
    """``(index, value, overflow, last)``: per frame its ``k`` largest values, the largest first, ties by index.

    A frame of fewer than ``k`` values comes back whole. Only the first ``2**index_bits`` values of a frame take
    part; ``overflow`` tells that there were more. ``in_order`` gives the same selection in the order of the frame.
    """
    columns: tuple[list[Array], ...] = ([], [], [], [])
    for frame in frames(values, last):
        taking_part = frame[:1 << index_bits]
        order = np.argsort(-taking_part, kind="stable")[:k].astype(np.int64)
        if in_order:
            order = np.sort(order)
        overflow = np.full(len(order), len(frame) > len(taking_part), np.int64)
        _append(columns, order, frame[order], overflow, _last_flags(len(order)))
    index, value, overflow, flags = (_joined(column) for column in columns)
    return index, value, overflow, flags


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
    keys: ArrayLike, values: ArrayLike, last: ArrayLike, *, index_bits: int
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """``(key, value, index, queue_last, overflow, last)``: each frame by ascending key, equal keys in frame order.

    ``queue_last`` marks the final item of each key, ``last`` that of the frame. Only the first ``2**index_bits``
    items of a frame take part; ``overflow`` tells that there were more.
    """
    columns: tuple[list[Array], ...] = ([], [], [], [], [], [])
    for key, value in zip(frames(keys, last), frames(values, last), strict=True):
        taking_part = key[:1 << index_bits]
        order = np.argsort(taking_part, kind="stable").astype(np.int64)
        ordered = key[order]
        queue_last = np.append(ordered[1:] != ordered[:-1], True).astype(np.int64)
        overflow = np.full(len(order), len(key) > len(taking_part), np.int64)
        _append(columns, ordered, value[order], order, queue_last, overflow, _last_flags(len(order)))
    key, value, index, queue_last, overflow, flags = (_joined(column) for column in columns)
    return key, value, index, queue_last, overflow, flags


def frames(values: ArrayLike, last: ArrayLike) -> list[Array]:
    """The complete frames of a stream."""
    value = np.asarray(values).astype(np.int64)
    ends = np.flatnonzero(np.asarray(last)) + 1
    return np.split(value, ends)[:-1] if len(ends) else []


def _last_flags(length: int) -> Array:
    flags = np.zeros(length, np.int64)
    flags[-1:] = 1
    return flags


def _append(columns: tuple[list[Array], ...], *parts: Array) -> None:
    for column, part in zip(columns, parts, strict=True):
        column.append(part)


def _joined(parts: list[Array]) -> Array:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
