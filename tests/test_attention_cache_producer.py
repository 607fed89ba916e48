"""A claim about who feeds a cache: keys and values may come in turn, a beat of one and a beat of the other, either first."""

from pathlib import Path

import pytest
from cache_designs import cached_design
from gemm_designs import CACHE, TEST_BUILD
from stream_chain import run, stream_ports
from tilewright.build import build
from tilewright.families.attention.ports import ports as attention_ports
from tilewright.families.attention.stimulus import cases
from tilewright.families.attention.vectors import case_files
from tilewright.sim.harness import Input, Result, harness_context, lanes
from tilewright.sim.project import simulation_files
from tilewright.sim.verilator import compile_program


def in_turn(verilog: str, module: str, *, first: str, second: str) -> str:
    """A top with one stream for keys and values around ``module``: its next beat is taken when both halves are."""
    ports = stream_ports(verilog, module)
    width = ports["k_data"][1]
    own = {name: port for name, port in ports.items() if name[:2] not in ("k_", "v_")}
    heads = ["input clk", "input rst", f"input [{2 * width - 1}:0] kv_data", "input kv_last", "input kv_valid",
             "output kv_ready", *(f"{direction} [{bits - 1}:0] {name}" for name, (direction, bits) in own.items())]
    pins = [".clk(clk)", ".rst(rst)", *(f".{name}({name})" for name in own)]
    for name, low in (("k", 0), ("v", width)):
        pins += [f".{name}_data(kv_data[{low + width - 1}:{low}])", f".{name}_last(kv_last)",
                 *(f".{name}_{flag}({name}_{flag})" for flag in ("valid", "ready"))]
    return "\n".join([
        f"module in_turn({', '.join(heads)});", "    wire k_ready, v_ready;", "    reg turn = 0;",
        f"    wire {first}_valid = kv_valid & ~turn, {second}_valid = kv_valid & turn;",
        f"    assign kv_ready = turn & {second}_ready;",
        f"    always @(posedge clk) turn <= ~rst & (turn ^ (kv_valid & (turn ? {second}_ready : {first}_ready)));",
        f"    {module} engine({', '.join(pins)});", "endmodule", ""])


@pytest.mark.parametrize(("first", "second"), [("k", "v"), ("v", "k")])
def test_keys_and_values_may_come_in_turn(first: str, second: str, tmp_path: Path) -> None:
    """On a ring of one row: every row waits for the tile before."""
    design = cached_design(mask={"kind": "window", "window": 1}, engine={"tile_q": 1, "lanes": 4})
    spec = design.spec
    assert spec.cache_ring == 1
    source = build(design, TEST_BUILD).folder / "rtl" / f"{spec.design}.v"
    top = tmp_path / "in_turn.v"
    top.write_text(in_turn(source.read_text(), spec.design, first=first, second=second))
    ports = attention_ports(spec)
    rows = f"job.queries * {spec.heads * spec.chunks}"
    context = harness_context(
        "in_turn", jobs=tuple(ports.job), job=ports.job, result=Result(spec.lanes, spec.out.width, spec.out.signed, rows),
        inputs=[Input("q", lanes(spec.lanes, 8), rows, has_last=True),
                Input("kv", lanes(2 * spec.lanes, 8), f"job.queries * {spec.kv_heads * spec.chunks}", has_last=True)])
    program = simulation_files(ports, harness=context, modules=(), benches=("none",))["sim/harness.cpp"]
    harness = compile_program(sources=[source, top], top="in_turn", main=program, cache=CACHE)
    for case in cases(spec, seed=1):
        files = case_files(spec, case)
        pairs = zip(files.pop("k.txt").splitlines(), files.pop("v.txt").splitlines(), strict=True)
        files["kv.txt"] = "".join(f"{k} {v}\n" for k, v in pairs)
        (tmp_path / case.name).mkdir()
        for name, text in files.items():
            (tmp_path / case.name / name).write_text(text)
        for stall in ("0", "0.3"):
            said = run(harness, tmp_path / case.name, "--stall", stall)
            assert said["passed"] and said["values"], said
