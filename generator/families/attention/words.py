"""An attention design in words, for `tilewright check`."""

import math
from typing import TYPE_CHECKING

from tilewright.families.attention.cache import cache_summary
from tilewright.families.attention.cache_index import places

if TYPE_CHECKING:
    from tilewright.families.attention.spec import AttentionSpec


def summary(spec: "AttentionSpec") -> list[tuple[str, str]]:
    """Model, engine, mask, bias, numbers, buffers and workload."""
    heads = f"{spec.heads} query head{'s' if spec.heads > 1 else ''}"
    mask = ", ".join([spec.mask.kind, *(f"{name} {value}" for name, value in spec.mask.numbers.items())])
    sizes = {"queries": spec.query_buffer_bits, "sums": spec.accumulator_bits, "row state": spec.row_state_bits,
             "keys and values": spec.ring_bits}
    bias = []
    if spec.bias is not None and spec.bias_shape is not None:
        sizes["bias"] = spec.bias_bits
        bias = [("bias", f"{'a table for each head' if spec.bias_shape[0] > 1 else 'one table'}, "
                         f"distances up to {spec.bias.reach}: {math.prod(spec.bias_shape)} entries")]
    if spec.cache:
        sizes["cache"] = spec.cache_bits
    by_place = f", by place among the {places(spec)} keys that are seen" if places(spec) else ""
    order = ", beats in the order of tiles" if spec.order == "tiles" else ""
    jobs = f"{len(spec.workload)} job{'s' if len(spec.workload) > 1 else ''}"
    datapath = {"streaming": f"{spec.tile_q} rows x {spec.lanes} lanes, a key",
                "window_ring": f"{spec.cores} cores x {spec.lanes} lanes, a query",
                "fused2d": f"{spec.tile_q} x {spec.cols} PEs, a key tile"}[spec.schedule]
    largest = max(spec.workload, key=lambda job: (job.queries * job.keys, job.keys))
    return [
        ("model", f"head_dim {spec.head_dim}, {heads}, {spec.group} to each head of keys and values"),
        ("engine", f"{spec.schedule}, {datapath} every {spec.interval} cycles{order}"),
        ("top", spec.top),
        ("mask", mask),
        *bias,
        *([("rotary", f"base {spec.rotary.base}, {1 << spec.rotary.table_bits} angles{by_place}")] if spec.rotary else []),
        ("softmax", f"{spec.algorithm}, mantissa {spec.mantissa_bits} bits, guard {spec.guard_bits}, "
                    f"table {1 << spec.table_bits} intervals" if spec.has_table else f"{spec.algorithm}, a parabola"),
        ("numbers", f"q {spec.q} x k {spec.k} -> int{spec.score_width}, weights {spec.weight_width} bits x v {spec.v} "
                    f"-> int{spec.accumulator_width}, out {spec.out}"),
        ("limits", f"queries {spec.limits.queries}, keys {spec.limits.keys}"),
        ("buffers", f"{spec.on_chip_bits / 1024:.1f} kbit: "
                    + ", ".join(f"{name} {bits / 1024:.1f}" for name, bits in sizes.items() if bits)),
        *cache_summary(spec),
        ("workload", f"{jobs}, at most {largest.queries} queries x {largest.keys} keys"),
    ]
