"""The rows of keys and values that a ring takes in, each once."""

import numpy as np
from numpy.typing import ArrayLike
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.vectors import IntArray
from tilewright.sim.golden.attention_mask import Mask, visible


def ring_rows(mask: Mask, queries: int, keys: int) -> IntArray:
    """The keys that any query of a job sees, ascending."""
    seen = visible(mask, np.arange(keys - queries, keys)[:, None], np.arange(keys))
    return np.flatnonzero(seen.any(axis=0))


def pack_ring(spec: AttentionSpec, rows: ArrayLike, queries: int) -> IntArray:
    """Keys or values (kv_heads, keys, head_dim) as beats, (beats, lanes): by kv head, key that is seen, chunk."""
    array = np.asarray(rows, np.int64)
    return array[:, ring_rows(spec.mask, queries, array.shape[1])].reshape(-1, spec.lanes)
