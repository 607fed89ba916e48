"""The ports of a fused attention engine as the benches read them, and as the batch harness drives them."""

from dataclasses import fields, replace
from typing import Any

from tilewright.families.attention.harness import TILE_KEYS
from tilewright.families.attention.ports import ports as attention_ports
from tilewright.families.attention.spec import AttentionSpec
from tilewright.sim.cosim.attention_fused2d_ports import FusedPorts
from tilewright.sim.cosim.beats import Lanes
from tilewright.sim.harness import Input, Result, harness_context, lanes


def ports(spec: AttentionSpec) -> FusedPorts:
    """``design.json`` of ``spec``."""
    common = attention_ports(spec)
    values = {field.name: getattr(common, field.name) for field in fields(common)}
    for name, count in (("q", spec.tile_q), ("k", spec.cols), ("v", spec.cols), ("result", spec.tile_q)):
        values[name] = replace(values[name], lanes=count)
    return FusedPorts(**values, cols=spec.cols)


def harness(spec: AttentionSpec) -> dict[str, Any]:
    """What ``templates/sim/harness.cpp.j2`` needs."""
    described = ports(spec)
    rows = f"{spec.kv_heads * spec.head_dim} * tiles(job.queries * {spec.group}, {spec.tile_q})"
    keys = _key_beats(described)
    inputs = [_operand("q", described.q, rows), _operand("k", described.k, keys), _operand("v", described.v, keys)]
    result = Result(described.result.lanes, described.result.width, described.result.signed, rows)
    return harness_context(described.design, jobs=tuple(described.job), job=described.job, inputs=inputs, result=result)


def _operand(name: str, shape: Lanes, beats: str) -> Input:
    return Input(name, lanes(shape.lanes, shape.width), beats, has_last=True)


def _key_beats(described: FusedPorts) -> str:
    """C++ expression: beats of keys, or of values, for ``job``."""
    count = TILE_KEYS[str(described.mask["kind"])].format(**described.mask)
    position = f"/ {described.group} + job.keys - job.queries"
    return f"""[&] {{
    const int64_t rows = job.queries * {described.group};
    int64_t key_tiles = 0;
    for (int64_t first = 0; first < rows; first += {described.tile_q}) {{
        [[maybe_unused]] const int64_t low = first {position};
        [[maybe_unused]] const int64_t high = (std::min<int64_t>(first + {described.tile_q}, rows) - 1) {position};
        key_tiles += tiles({count}, {described.cols});
    }}
    return key_tiles * {described.kv_heads * described.head_dim};
}}()"""
