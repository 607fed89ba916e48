"""How much work a job of attention is: which rows meet which keys, counted without walking them."""

import numpy as np
from numpy.typing import NDArray
from tilewright.families.attention.spec import AttentionSpec

IntArray = NDArray[np.int64]


def seen_keys(spec: AttentionSpec, queries: int, keys: int) -> IntArray:
    """(queries,): how many keys the query at each position sees."""
    mask, past = spec.mask, np.arange(keys - queries, keys, dtype=np.int64) + 1
    ahead = np.minimum(keys - past, mask.lookahead)
    return {
        "none": np.full(queries, keys, np.int64),
        "causal": past,
        "window": np.minimum(past, mask.window) + ahead,
        "lambda": np.minimum(past, mask.sink + mask.window) + ahead,
        "prefix": np.maximum(past, min(mask.prefix, keys)),
    }[mask.kind]


def tile_keys(spec: AttentionSpec, queries: int, keys: int) -> IntArray:
    """(tiles,): how many keys stream past each query tile of one kv head."""
    mask, rows = spec.mask, queries * spec.group
    begins = np.arange(0, rows, spec.tile_q, dtype=np.int64)
    first = begins // spec.group + keys - queries
    last = (np.minimum(begins + spec.tile_q, rows) - 1) // spec.group + keys - queries
    reach = np.minimum(last + mask.lookahead, keys - 1)
    far = np.maximum(first - mask.window + 1, 0)  # the earliest key in the window of the tile's first row
    return {
        "none": np.full(len(begins), keys, np.int64),
        "causal": last + 1,
        "window": reach + 1 - far,
        "lambda": reach + 1 - np.maximum(far - mask.sink, 0),
        "prefix": np.maximum(last + 1, min(mask.prefix, keys)),
    }[mask.kind]


def key_tiles(spec: AttentionSpec, queries: int, keys: int) -> IntArray:
    """(tiles,): how many times each query tile of one kv head meets up to ``spec.cols`` keys."""
    return -(-tile_keys(spec, queries, keys) // spec.cols)


def met_rows(spec: AttentionSpec, queries: int, keys: int) -> int:
    """How many rows of keys come past the queries of one kv head in a job; whole key tiles of them."""
    if spec.is_ring:
        return min(keys - queries + 1, spec.cores - spec.mask.lookahead) + queries - 1
    return spec.cols * int(key_tiles(spec, queries, keys).sum())


def sent_rows(spec: AttentionSpec, queries: int, keys: int) -> int:
    """How many rows of keys, and as many of values, one kv head of a job brings in: what a cache does not hold."""
    return queries if spec.cache else met_rows(spec, queries, keys)


def useful_macs(spec: AttentionSpec, queries: int, keys: int) -> int:
    """Multiplications of a job that its result needs, of scores and of values: one each for every element of a seen pair."""
    return 2 * spec.heads * spec.head_dim * int(seen_keys(spec, queries, keys).sum())


def padded_macs(spec: AttentionSpec, queries: int, keys: int) -> int:
    """Multiplications of a job with every row of every tile counted for every key, each time it streams past, and value.

    In a ring: with every core counted for every query. On a fused array: with every column for every key tile.
    """
    if spec.is_ring:
        return 2 * spec.heads * spec.head_dim * spec.cores * queries
    return (spec.passes + 1) * spec.kv_heads * spec.head_dim * spec.tile_q * met_rows(spec, queries, keys)


def moved_bits(spec: AttentionSpec, queries: int, keys: int) -> int:
    """Bits at the ports: queries in and results out once, keys and values as often as they stream past a tile, or once."""
    pairs = spec.kv_heads * sent_rows(spec, queries, keys)
    rows = spec.heads * queries
    passes = 1 if spec.cache else spec.passes
    return spec.head_dim * (rows * (spec.q.width + spec.out.width) + pairs * (passes * spec.k.width + spec.v.width))
