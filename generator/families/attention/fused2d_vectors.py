"""Beats of schedule `fused2d`: an element of every row of a tile, or of every key of a key tile.

These are the orders of a GEMM engine's activations and weights: rows are those of A, keys the columns of B.
"""

import numpy as np
from numpy.typing import ArrayLike
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.vectors import IntArray
from tilewright.sim.golden.attention_mask import tile_keys


def pack_queries(spec: AttentionSpec, rows: ArrayLike) -> IntArray:
    """Queries (heads, queries, head_dim) as beats, (beats, tile_q): by kv head, tile, element.

    Rows beyond the edge carry elements of others, which no result may show.
    """
    return np.asarray(rows, np.int64).reshape(-1)[np.abs(row_index(spec, np.asarray(rows).shape[1]))]


def row_index(spec: AttentionSpec, queries: int) -> IntArray:
    """Flat index into (heads, queries, head_dim) of each lane of each beat; negative where a lane does not count."""
    index = np.arange(spec.heads * queries * spec.head_dim, dtype=np.int64).reshape(
        spec.kv_heads, spec.group, queries, spec.head_dim)
    rows = index.swapaxes(1, 2).reshape(spec.kv_heads, -1, spec.head_dim)
    tiles = spec.tiles(queries)
    missing = tiles * spec.tile_q - rows.shape[1]
    filled = np.concatenate([rows, -1 - np.zeros_like(rows[:, :1]).repeat(missing, axis=1)], axis=1)
    return filled.reshape(spec.kv_heads, tiles, spec.tile_q, spec.head_dim).swapaxes(2, 3).reshape(-1, spec.tile_q)


def unpack_result(spec: AttentionSpec, beats: ArrayLike, queries: int) -> IntArray:
    """Result beats as (heads, queries, head_dim)."""
    index, values = row_index(spec, queries), np.asarray(beats, np.int64)
    if values.shape != index.shape:
        raise ValueError(f"result beats have shape {values.shape}, not {index.shape}")
    result = np.zeros(spec.heads * queries * spec.head_dim, np.int64)
    result[index[index >= 0]] = values[index >= 0]
    return result.reshape(spec.heads, queries, spec.head_dim)


def result_lines(spec: AttentionSpec, result: ArrayLike) -> list[list[int | str]]:
    """A result (heads, queries, head_dim) as lines of ``result.txt``."""
    array = np.asarray(result, np.int64)
    index = row_index(spec, array.shape[1])
    lines = array.reshape(-1)[index].astype(object)
    lines[index < 0] = "-"
    return lines.tolist()


def pack_key_tiles(spec: AttentionSpec, keys: ArrayLike, queries: int) -> IntArray:
    """Keys or values (kv_heads, keys, head_dim) as beats, (beats, cols): by kv head, tile, key tile, element.

    Columns beyond the last key of a tile carry that key, which counts once.
    """
    array = np.asarray(keys, np.int64)
    length = array.shape[1]
    columns: list[int] = []
    rows = queries * spec.group
    for first in range(0, rows, spec.tile_q):
        low, high = (row // spec.group + length - queries for row in (first, min(first + spec.tile_q, rows) - 1))
        met = tile_keys(spec.mask, low, high, length)
        columns += [*met, *met[-1:] * (-len(met) % spec.cols)]
    tiles = array[:, columns].reshape(spec.kv_heads, -1, spec.cols, spec.head_dim)
    return tiles.swapaxes(2, 3).reshape(-1, spec.cols)
