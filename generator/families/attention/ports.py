"""The ports of an attention engine as the benches read them."""

from tilewright.families.attention.spec import AttentionSpec
from tilewright.formats import IntFormat
from tilewright.sim.cosim.attention_ports import AttentionPorts
from tilewright.sim.cosim.beats import Lanes


def ports(spec: AttentionSpec) -> AttentionPorts:
    """``design.json`` of ``spec``."""
    def elements(number: IntFormat) -> Lanes:
        return Lanes(lanes=spec.lanes, width=number.width, signed=number.signed)

    limits = {"queries": spec.limits.queries, "keys": spec.limits.keys}
    job = {name: limit.bit_length() for name, limit in limits.items()}
    job |= {"score_multiplier": spec.score_multiplier_width, "score_shift": spec.score_shift_width,
            "out_scale": spec.out_scale_width}
    if spec.bias_shape:
        job |= {"load_bias": 1}
    mask = spec.mask
    return AttentionPorts(
        design=spec.design, module=spec.design, schedule=spec.schedule, head_dim=spec.head_dim, heads=spec.heads,
        kv_heads=spec.kv_heads, tile_q=spec.tile_q, passes=spec.passes, order=spec.order,
        mask={name: getattr(mask, name) for name in ("kind", "window", "lookahead", "sink", "prefix")},
        cached=spec.cache is not None, limits=limits, job=job, q=elements(spec.q), k=elements(spec.k), v=elements(spec.v),
        result=elements(spec.out), bias=list(spec.bias_shape or ()), rotary=spec.rotary is not None,
        again=spec.tells_again)
