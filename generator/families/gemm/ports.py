"""The ports of a GEMM engine as the benches read them."""

from tilewright.families.gemm.spec import GemmSpec
from tilewright.formats import IntFormat
from tilewright.sim.cosim.beats import Lanes
from tilewright.sim.cosim.gemm_ports import GemmPorts


def _lanes(count: int, number: IntFormat) -> Lanes:
    return Lanes(lanes=count, width=number.width, signed=number.signed)


def ports(spec: GemmSpec) -> GemmPorts:
    """``design.json`` of ``spec``."""
    limits = {name: getattr(spec.limits, name) for name in ("m", "n", "k")}
    job = {name: limit.bit_length() for name, limit in limits.items()} | {"reuse_weights": 1}
    job |= {f"{name}_zero_point": getattr(spec, name).width for name in ("act", "weight")
            if getattr(spec.numbers, f"{name}_zero_point")}
    channel: dict[str, int] = {}
    if spec.has_requant:
        channel = {"bias": spec.bias_width, "multiplier": spec.multiplier_bits, "shift": spec.shift_width,
                   "zero_point": spec.zero_point_width}
        if spec.activation == "clip":
            channel |= {"low": spec.out.width, "high": spec.out.width}
    return GemmPorts(
        design=spec.design, module=spec.design, rows=spec.rows, cols=spec.cols, dataflow=spec.dataflow, limits=limits, job=job,
        act=_lanes(spec.act_lanes, spec.act), weight=_lanes(spec.weight_lanes, spec.weight),
        result=_lanes(spec.result_lanes, spec.out), channel=channel)
