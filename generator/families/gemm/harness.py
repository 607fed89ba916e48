"""The streams of a GEMM engine as the batch harness drives them."""

from typing import Any

from tilewright.sim.cosim.beats import Lanes
from tilewright.sim.cosim.gemm_ports import CHANNEL_FIELDS, JOB_FIELDS, RESIDENT, GemmPorts
from tilewright.sim.harness import Input, Result, fields, harness_context, lanes


def harness(ports: GemmPorts) -> dict[str, Any]:
    """What ``templates/sim/harness.cpp.j2`` needs."""
    inputs = [_operand(ports, "act", ports.act), _operand(ports, "weight", ports.weight)]
    if ports.channel:
        inputs.append(Input("channel", fields(CHANNEL_FIELDS, ports.channel), _beats(ports, "channel")))
    result = Result(ports.result.lanes, ports.result.width, ports.result.signed, _beats(ports, "result"))
    return harness_context(ports.design, jobs=JOB_FIELDS, job=ports.job, inputs=inputs, result=result)


def _operand(ports: GemmPorts, name: str, shape: Lanes) -> Input:
    return Input(name, lanes(shape.lanes, shape.width), _beats(ports, name), has_last=True)


def _beats(ports: GemmPorts, stream: str) -> str:
    """C++ expression: beats of ``stream`` for ``job``."""
    tiled, tile, times = ports.beats[stream]
    count = f"tiles(job.{tiled}, {tile})" + (f" * job.{times}" if times else "")
    return f"job.reuse_weights ? 0 : {count}" if stream in RESIDENT else count
