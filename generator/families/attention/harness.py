"""The streams of an attention engine as the batch harness drives them."""

import math
from typing import Any

from tilewright.sim.cosim.attention_ports import BIAS_LANES, AttentionPorts
from tilewright.sim.cosim.beats import Lanes
from tilewright.sim.harness import Column, Input, Output, Result, harness_context, lanes

TILE_KEYS = {  # C++: keys that a tile with queries at positions low to high meets
    "none": "job.keys",
    "causal": "high + 1",
    "window": "std::min<int64_t>(high + 1 + {lookahead}, job.keys) - std::max<int64_t>(0, low - {window} + 1)",
    "lambda": "std::min<int64_t>(high + 1 + {lookahead}, job.keys) - std::max<int64_t>(0, low - {window} + 1 - {sink})",
    "prefix": "std::max<int64_t>(std::min<int64_t>({prefix}, job.keys), high + 1)",
}


def harness(ports: AttentionPorts) -> dict[str, Any]:
    """What ``templates/sim/harness.cpp.j2`` needs."""
    rows = f"job.queries * {ports.heads * ports.chunks}"
    inputs = [_operand("q", ports.q, rows), _streamed("k", ports, ports.passes), _streamed("v", ports, 1)]
    if ports.bias:
        inputs.append(_operand("bias", BIAS_LANES, f"job.load_bias ? {math.prod(ports.bias)} : 0"))
    tiles = f"{ports.kv_heads} * tiles(job.queries * {ports.group}, {ports.tile_q})"
    outputs = [Output("again", (Column("again", 1), Column("last", 1)), tiles)] if ports.again else []
    result = Result(ports.result.lanes, ports.result.width, ports.result.signed, rows)
    return harness_context(
        ports.design, jobs=ports.columns, job=ports.job, inputs=inputs, result=result, outputs=outputs)


def _operand(name: str, shape: Lanes, beats: str) -> Input:
    return Input(name, lanes(shape.lanes, shape.width), beats, has_last=True)


def _streamed(name: str, ports: AttentionPorts, passes: int) -> Input:
    """Keys or values; a last tile that comes once more is a frame of its own."""
    beats = _key_beats(ports, passes)
    if not ports.again:
        return _operand(name, getattr(ports, name), beats)
    shape = getattr(ports, name)
    return Input(name, lanes(shape.lanes, shape.width), f"{beats} + job.again_keys * {ports.chunks}", has_last=True,
                 behind=f"job.again_last * {ports.chunks}")


def _key_beats(ports: AttentionPorts, passes: int) -> str:
    """C++ expression: beats of keys, or of values, for ``job``, each tile's ``passes`` times; with a cache each once."""
    if ports.cached:
        return f"job.queries * {ports.kv_heads * ports.chunks}"
    if ports.is_ring:
        return (f"(std::min<int64_t>(job.keys - job.queries + 1, {ports.past}) + job.queries - 1) * "
                f"{ports.kv_heads * ports.chunks}")
    count = TILE_KEYS[str(ports.mask["kind"])].format(**ports.mask)
    position = f"/ {ports.group} + job.keys - job.queries"
    return f"""[&] {{
    const int64_t rows = job.queries * {ports.group};
    int64_t keys = 0;
    for (int64_t first = 0; first < rows; first += {ports.tile_q}) {{
        [[maybe_unused]] const int64_t low = first {position};
        [[maybe_unused]] const int64_t high = (std::min<int64_t>(first + {ports.tile_q}, rows) - 1) {position};
        keys += {count};
    }}
    return keys * {passes * ports.kv_heads * ports.chunks};
}}()"""
