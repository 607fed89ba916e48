"""An engine behind a wrapper that misbehaves on request: what the benches must notice."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from gemm_designs import TEST_BUILD, design
from tilewright.build import build
from tilewright.design import Design
from tilewright.families.gemm.stimulus import Stimulus, as_case
from tilewright.families.gemm.vectors import write_case

TOP = "faulty"

# What a fault puts on a port of the wrapper, or (`to_`) on an input of the engine. `e_` is the engine's own
# output; `taken` counts result beats, `given` those the engine got rid of, `waited`: an offer was in vain.
FAULTS: dict[str, dict[str, str]] = {
    "none": {},
    "wrong_value": {"result_data": "e_result_data ^ (taken == 5)"},
    "wrong_keep": {"result_keep": "e_result_keep ^ (taken == 5)"},
    "missing_last": {"result_last": "1'b0"},
    "early_last": {"result_last": "e_result_last | (taken == 0)"},
    "lost_beat": {"result_valid": "e_result_valid & (given != 4)",
                  "to_result_ready": "result_ready | (given == 4)"},
    "repeated_beat": {"to_result_ready": "result_ready & (taken != 4)"},
    "valid_falls": {"result_valid": "e_result_valid & ~waited"},
    "payload_changes": {"result_data": "e_result_data ^ waited"},
    "waits_for_ready": {"result_valid": "e_result_valid & result_ready"},
    "extra_beat": {"result_valid": "e_result_valid | (idle == 20)"},
    "dead": {"result_valid": "1'b0"},
    "done_missing": {"done": "1'b0"},
    "done_twice": {"done": "e_done | done_before"},
    "busy_stuck": {"busy": "1'b1"},
    "spurious_error": {"error": "4'd5"},
    "error_stays": {"error": "e_error | error_ever"},
    "act_always_taken": {"act_ready": "1'b1"},
    "weight_always_taken": {"weight_ready": "1'b1"},
    "channel_always_taken": {"channel_ready": "1'b1"},
    "job_always_taken": {"job_ready": "1'b1"},
    "act_last_lost": {"to_act_last": "1'b0"},
    "reuse_ignored": {"to_job_reuse_weights": "1'b0"},
    "reset_ignored": {"to_rst": "rst & ~started"},
    "counter_off_by_one": {"counter_cycles": "e_counter_cycles + 1"},
    "illegal_shape_untold": {"error": "e_error == 1 ? 4'd0 : e_error"},
    "missing_weights_untold": {"error": "e_error == 2 ? 4'd0 : e_error"},
    "act_frame_untold": {"error": "e_error == 3 ? 4'd0 : e_error"},
    "weight_frame_untold": {"error": "e_error == 4 ? 4'd0 : e_error"},
}


@cache
def engine() -> Design:
    """2 x 3, the smallest array with ragged tiles in both directions."""
    return design("watched", rows=2, cols=3, limits="{m: 6, n: 7, k: 9}")


def folder() -> Path:
    """Its build folder."""
    return build(engine(), TEST_BUILD).folder


def write_vectors(target: Path, *, dataflow_of: Design | None = None) -> Path:
    """Three small cases: a full tile, ragged tiles, a queue that reuses weights."""
    spec = (dataflow_of or engine()).spec
    stimulus = Stimulus(spec, np.random.default_rng(7))
    first = stimulus.job(5, 4, 6)
    cases = {
        "full": [stimulus.job(4, 6, 8, extreme=True)], "ragged": [stimulus.job(5, 7, 3)],
        "queue": [first, stimulus.job(3, 4, 6, before=first), stimulus.job(1, 1, 1), stimulus.job(6, 7, 9)]}
    for name, jobs in cases.items():
        write_case(target / name, spec, as_case(spec, name, jobs))
    return target


def wrapper(verilog: str, module: str) -> str:
    """Verilog of a module ``faulty`` with the ports of ``module``; ``+fault=N`` picks the N-th of FAULTS."""
    header = re.search(rf"^module {module}\(.*?^endmodule", verilog, re.MULTILINE | re.DOTALL)
    assert header is not None
    ports = re.findall(r"^  (input|output) (?:signed )?(\[\d+:0\] )?(\w+);", header[0], re.MULTILINE)
    declared = ", ".join(f"{way} {size}{name}" for way, size, name in ports)
    lines = [f"module {TOP}({declared});", "integer fault;",
             'initial if (!$value$plusargs("fault=%d", fault)) fault = 0;']
    for way, size, name in ports:
        lines.append(f"wire {size}{'to_' if way == 'input' else 'e_'}{name};")
    lines += [
        "reg [31:0] taken = 0, given = 0, idle = 0; reg waited = 0, done_before = 0, started = 0;",
        "reg [3:0] error_ever = 0;",
        "always @(posedge clk) begin",
        "  done_before <= e_done; waited <= result_valid & ~result_ready & ~rst;",
        "  idle <= e_busy ? 0 : idle + 1; started <= started | e_busy; error_ever <= error_ever | e_error;",
        "  if (result_valid & result_ready) taken <= taken + 1;",
        "  if (e_result_valid & to_result_ready) given <= given + 1;",
        "end"]
    for way, _, name in ports:
        target, usual = (f"to_{name}", name) if way == "input" else (name, f"e_{name}")
        chosen = "".join(f"fault == {number} ? ({fault[target]}) : "
                         for number, fault in enumerate(FAULTS.values()) if target in fault)
        lines.append(f"assign {target} = {chosen}{usual};")
    connected = ", ".join(f".{name}({'to_' if way == 'input' else 'e_'}{name})" for way, _, name in ports)
    return "\n".join([*lines, f"{module} engine({connected});", "endmodule", ""])


def sources(where: Path) -> Sequence[Path]:
    """The engine's Verilog and, written to ``where``, its wrapper."""
    verilog = folder() / "rtl" / f"{engine().name}.v"
    where.mkdir(parents=True, exist_ok=True)
    path = where / f"{TOP}.v"
    path.write_text(wrapper(verilog.read_text(), engine().name))
    return [verilog, path]


def plusargs(fault: str) -> list[str]:
    """The model's argument for a fault."""
    return [f"+fault={list(FAULTS).index(fault)}"]
