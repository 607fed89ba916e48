"""Which keys a query sees, and which of them the tiles of a schedule meet: none, causal, window, lambda, prefix."""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Mask(Protocol):
    """Which keys a query sees; numbers that ``kind`` does not name are not looked at."""

    @property
    def kind(self) -> str: ...
    @property
    def window(self) -> int: ...
    @property
    def lookahead(self) -> int: ...
    @property
    def sink(self) -> int: ...
    @property
    def prefix(self) -> int: ...


def visible(mask: Mask, position: ArrayLike, key: ArrayLike) -> NDArray[np.bool_]:
    """Whether a query at ``position`` of the key axis sees ``key``; the two broadcast together."""
    i, j = np.broadcast_arrays(np.asarray(position, np.int64), np.asarray(key, np.int64))
    past, within, near = j <= i, j <= i + mask.lookahead, j > i - mask.window
    if mask.kind == "none":
        return np.ones(i.shape, bool)
    if mask.kind == "causal":
        return past
    if mask.kind == "window":
        return within & near
    if mask.kind == "lambda":
        return within & ((j < mask.sink) | near)
    if mask.kind == "prefix":
        return past | (j < mask.prefix)
    raise ValueError(f"mask must be one of none, causal, window, lambda, prefix, not {mask.kind!r}")


def tile_keys(mask: Mask, first: int, last: int, keys: int) -> list[int]:
    """The keys, of ``keys`` in all, that a tile with queries at positions ``first`` to ``last`` meets, in order.

    Those that at least one of the queries sees.
    """
    if mask.kind == "none":
        return list(range(keys))
    if mask.kind == "prefix":
        return list(range(max(min(mask.prefix, keys), last + 1)))
    if mask.kind == "causal":
        return list(range(last + 1))
    stop = min(last + mask.lookahead + 1, keys)
    start = max(0, first - mask.window + 1)
    sinks = min(mask.sink, start) if mask.kind == "lambda" else 0
    return [*range(min(sinks, stop)), *range(start, stop)]
