"""Golden model of rotary position embedding by cache index: rows are turned by their places among the keys that a query sees.

A query sees n keys. Number c of them in ascending order, from 0 on, is turned by position c, the query itself by position
n - 1, as in :mod:`tilewright.sim.golden.attention_rotary`; a bias keeps to their distance on the axis of the keys. Under the
masks window and lambda no angle is then ever larger than that of as many positions as a query sees keys.

Source: Xiao et al., "Efficient Streaming Language Models with Attention Sinks", arXiv:2309.17453, 2023, section 3.2.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.sim.golden.attention import Scores
from tilewright.sim.golden.attention_mask import Mask, tile_keys
from tilewright.sim.golden.attention_rotary import rotated

IntArray = NDArray[np.int64]

BLOCK_ELEMENTS = 1 << 22  # of keys that are turned at once


class PlacedScores(Scores):
    """The scaled scores of a job whose rows are turned by places: axis ``keys`` of a block is that of the places.

    ``steps`` and ``wave`` are those of :func:`~tilewright.sim.golden.attention_rotary.rotated`; the bounds, (low, high), are
    those of an element of q and of k.
    """

    def __init__(self, q: ArrayLike, k: ArrayLike, v: ArrayLike, *, mask: Mask, score_multiplier: int, score_shift: int,
                 bias: ArrayLike | None = None, steps: tuple[int, ...], wave: tuple[int, ...], q_bounds: tuple[int, int],
                 k_bounds: tuple[int, int]) -> None:
        super().__init__(q, k, v, mask=mask, score_multiplier=score_multiplier, score_shift=score_shift, bias=bias)
        self.steps, self.wave, self.k_bounds = steps, wave, k_bounds
        seen = [tile_keys(mask, position, position, self.length) for position in self._positions().tolist()]
        self.seen_keys = np.array([len(keys) for keys in seen])
        self.met = np.array([keys + [0] * (int(self.seen_keys.max()) - len(keys)) for keys in seen])  # (queries, places)
        self.queries = self._turned(self.queries, self.seen_keys - 1, q_bounds)

    def blocks(self) -> Iterator[tuple[int, IntArray, NDArray[np.bool_]]]:
        count, heads, head_dim = self.shape
        kv_heads = heads // self.group
        grouped = self.queries.reshape(kv_heads, self.group, count, head_dim)
        places = np.arange(self.met.shape[1])
        size = max(1, BLOCK_ELEMENTS // (kv_heads * count * head_dim))
        for part in np.split(places, places[size::size]):
            met = self.met[:, part]
            keys = self._turned(self.keys[:, met.ravel()], np.tile(part, count), self.k_bounds)
            scores = np.einsum("kgqd,kqpd->qkgp", grouped, keys.reshape(kv_heads, count, len(part), head_dim))
            yield (int(part[0]), self.scaled(scores.reshape(count, heads, -1), self._positions()[:, None], met),
                   part < self.seen_keys[:, None])

    def value(self, key: int, run: slice) -> IntArray:
        return np.repeat(self.values[:, self.met[run, key]], self.group, axis=0).swapaxes(0, 1)

    def _positions(self) -> IntArray:
        return np.arange(self.length - self.shape[0], self.length)

    def _turned(self, rows: IntArray, position: IntArray, bounds: tuple[int, int]) -> IntArray:
        return rotated(rows, position, steps=self.steps, wave=self.wave, low=bounds[0], high=bounds[1])
