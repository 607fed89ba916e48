"""A job whose rounded products lose more of the weights than of the values: its mean would leave the values' range."""

from typing import Any

import numpy as np

# Differences of 17 rising scores with 12 fraction bits, whose 9-bit weights add up to 4095, next to a power of two.
RISES = [40, 15, 38, 57, 16, 60, 34, 35, 50, 53, 11, 2, 37, 57, 37, 62, 40]
SCALES = {"score_multiplier": 1, "score_shift": 0, "out_scale": 4000}
VALUES = [("int8", -128), ("int16", -32768), ("int16", 32767)]  # format of v, its every element


def blocks(number: str) -> dict[str, Any]:
    """Of the design that takes the job: one head of 4, two beats a key, v in the format ``number``."""
    return {"model": {"head_dim": 4, "heads": 1, "kv_heads": 1}, "engine": {"tile_q": 1, "lanes": 2},
            "limits": {"queries": 4, "keys": 256}, "numbers": {"k": "int16", "v": number, "out": "int16"},
            "softmax": {"algorithm": "online", "fraction": 12, "mantissa_bits": 8, "guard_bits": 0, "table_bits": 3}}


def operands(value: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """q (1, 1, 4), k and v (1, 17, 4): scores rise by RISES, all of v is ``value``."""
    q, k, v = (np.zeros((1, count, 4), np.int64) for count in (1, 17, 17))
    q[:, :, 0], k[0, :, 0], v[:] = 1, np.cumsum(RISES), value
    return q, k, v
