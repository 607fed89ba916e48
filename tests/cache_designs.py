"""Attention designs with a cache, for tests."""

from typing import Any

import yaml
from tilewright.design import Design, parse_design

DECODE = [{"queries": 9, "keys": 9}, {"queries": 1, "keys": 10}, {"queries": 3, "keys": 13}, {"queries": 1, "keys": 14}]

MET_AGAIN: dict[str, Any] = {  # a ring behind a sink, keys in fewer bits, tiles that are computed anew
    "cache": {"bits": 8, "group": 4}, "mask": {"kind": "lambda", "sink": 1, "window": 3}, "numbers": {"k": "int16"},
    "softmax": {"algorithm": "unified_max"}}


def cached_design(**blocks: Any) -> Design:
    """Two heads of 8, a causal mask and a cache of everything; ``blocks`` replace parts, None drops one."""
    fields = {
        "design": "cached", "family": "attention", "model": {"head_dim": 8, "heads": 2, "kv_heads": 2},
        "engine": {"tile_q": 2, "lanes": 4}, "mask": "causal", "limits": {"queries": 9, "keys": 40}, "cache": {},
        "workload": DECODE} | blocks
    written = {name: block for name, block in fields.items() if block is not None}
    return parse_design(yaml.safe_dump(written).encode(), source="cached.yaml")
