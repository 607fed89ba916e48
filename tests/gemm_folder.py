"""Small build folders for tests of a top: Verilog, vectors, driver and benches."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.lib import wiring
from gemm_designs import TEST_BUILD
from tilewright.emit import rtlil_to_verilog
from tilewright.families.gemm.registers import driver_info
from tilewright.families.gemm.runtime import GemmRuntime
from tilewright.families.gemm.spec import GemmSpec
from tilewright.families.gemm.stimulus import Stimulus
from tilewright.families.gemm.vectors import Case, Job, write_case
from tilewright.registers import driver_files
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.sim.cosim.beats import Lanes
from tilewright.sim.cosim.gemm_ports import GemmPorts

CACHE = TEST_BUILD / ".cache" / "verilator"  # compiled models are kept from one run of the suite to the next
HASH = hashlib.sha256(b"tests").hexdigest()


def make_spec(**changes: Any) -> GemmSpec:
    """A small design; ``changes`` replace top-level blocks."""
    return GemmSpec.model_validate({
        "design": "tiny", "family": "gemm", "array": {"rows": 4, "cols": 4},
        "limits": {"m": 12, "n": 12, "k": 16}, "top": "axi", **changes})


def make_cases(spec: GemmSpec, *, seed: int = 1) -> list[Case]:
    """A single element, ragged tiles, the limits with extreme values, and a chain that reuses weights."""
    stimulus = Stimulus(spec, np.random.default_rng(seed))
    most = (spec.limits.m, spec.limits.n, spec.limits.k)
    ragged = tuple(max(1, size // 2 - 1) for size in most)
    first = stimulus.job(*ragged)
    chain = (first, stimulus.job(2, *ragged[1:], before=first), stimulus.job(3, 2, 5))
    jobs = {
        "single": (stimulus.job(1, 1, 1),), "ragged": (stimulus.job(*ragged),),
        "limits": (stimulus.job(*most, extreme=True),), "chain": chain}
    cycles = GemmRuntime(spec, HASH).cycles
    return [Case(name, case, sum(cycles(case))) for name, case in jobs.items()]


def ports_of(spec: GemmSpec) -> GemmPorts:
    """``sim/design.json`` of a spec."""
    description = driver_info(spec, HASH)
    channel = next((s.fields for s in description.streams if s.name == "channel"), ())
    job = {"m": 32, "n": 32, "k": 32, "reuse_weights": 1}
    job |= {name: number.width for name, used, number in (
        ("act_zero_point", spec.numbers.act_zero_point, spec.act),
        ("weight_zero_point", spec.numbers.weight_zero_point, spec.weight)) if used}
    return GemmPorts(
        design=spec.design, module=spec.design, rows=spec.rows, cols=spec.cols, dataflow=spec.dataflow,
        limits={"m": spec.limits.m, "n": spec.limits.n, "k": spec.limits.k}, job=job,
        act=Lanes(spec.act_lanes, spec.act.width, spec.act.signed),
        weight=Lanes(spec.weight_lanes, spec.weight.width, spec.weight.signed),
        result=Lanes(spec.result_lanes, spec.out.width, spec.out.signed),
        channel={field.name: field.width for field in channel})


def make_folder(folder: Path, spec: GemmSpec, top: wiring.Component, cases: list[Case],
                benches: dict[str, str]) -> Path:
    """A build folder of ``top`` with driver, ``cases`` and the cocotb modules ``benches``."""
    name = spec.design
    texts = {
        f"rtl/{name}.v": rtlil_to_verilog(to_rtlil(top, name=name)),
        "sim/design.json": ports_of(spec).to_json(),
        **driver_files(driver_info(spec, HASH)),
        **{f"sim/{path}": text for path, text in benches.items()},
    }
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for case in cases:
        write_case(folder / "sim/vectors" / case.name, spec, case)
    return folder


def arguments_of(job: Job, spec: GemmSpec) -> dict[str, np.ndarray]:
    """What a user passes for ``job``: only what the design does not set itself."""
    arguments = {"a": job.a, "reuse_weights": np.array(job.reuse_weights)}
    if not job.reuse_weights:
        arguments["b"] = job.b
        names = ["bias", "multiplier", "shift", "zero_point"] + ["low", "high"] * (spec.activation == "clip")
        arguments |= {name: (job.channels or {})[name] for name in names if job.channels}
    for name, used in (("act_zero_point", spec.numbers.act_zero_point),
                       ("weight_zero_point", spec.numbers.weight_zero_point and not job.reuse_weights)):
        if used:
            arguments[name] = np.array(getattr(job, name))
    return arguments


def write_program(path: Path, spec: GemmSpec, jobs: Sequence[Job]) -> None:
    """``jobs`` as the .npz that `tilewright run` takes, with ``result_<i>`` beside."""
    arrays = {f"{name}_{number}": value for number, job in enumerate(jobs)
              for name, value in {**arguments_of(job, spec), "result": job.result}.items()}
    np.savez(path, **arrays)
