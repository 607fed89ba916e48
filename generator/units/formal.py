"""Proofs of a unit's stream rules for every input there can be, by Yosys' own SAT solver.

1. No output follows an input within the cycle: a walk back through the netlist from ``o.valid`` and ``o.payload`` ends at
   registers only.
2. An offer holds until it is taken: by induction over time, from any state that kept to the rule for some cycles. What wide
   arithmetic computes and memories hold plays no part: it is left free, which allows more than can happen.

That results do wait, so that the second rule says something, the stalled runs of the harness show.
"""

import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tilewright.synth.yosys import run_yosys

TOP = "rules"
SPARE_STEPS = 8  # of induction beyond the latency
COUNTER_BITS = 12  # results of additions up to here may steer; wider ones are data
WIDE = f"t:$mul t:$add %u t:$sub %u t:$neg %u r:Y_WIDTH>{COUNTER_BITS} %i"
MEMORY = "$mem_v2"
SECONDS = 900.0
REGISTERS = re.compile(r"\$(_?)(ff|dff|adff|sdff)")
INPUTS = ("i__payload", "i__valid", "o__ready", "rst")

CHECKER = """\
module {top}(input clk, input rst, input [{in_high}:0] i__payload, input i__valid, input o__ready,
             output i__ready, output [{out_high}:0] o__payload, output o__valid, output holds);
  {unit} unit(.clk(clk), .rst(rst), .i__payload(i__payload), .i__valid(i__valid), .i__ready(i__ready),
              .o__payload(o__payload), .o__valid(o__valid), .o__ready(o__ready));
  reg waited = 0;
  reg [{out_high}:0] held = 0;
  always @(posedge clk) begin
    waited <= o__valid & ~o__ready & ~rst;
    held <= o__payload;
  end
  assign holds = ~waited | (o__valid & (o__payload == held));
endmodule
"""


def stream_rules(
    verilog: Path, unit: str, *, input_width: int, output_width: int, latency: int
) -> Iterator[tuple[str, float, str]]:
    """Each rule, the seconds it took, and what is wrong (empty when it is proved)."""
    with tempfile.TemporaryDirectory(prefix="tilewright-") as name:
        folder = Path(name)
        (folder / "unit.v").write_text(verilog.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "rules.v").write_text(CHECKER.format(
            top=TOP, unit=unit, in_high=input_width - 1, out_high=output_width - 1), encoding="utf-8")
        start = time.monotonic()
        run_yosys([
            "read_verilog unit.v rules.v", f"hierarchy -top {TOP}", "proc", "flatten", "memory_collect",
            "opt_expr", "opt_clean", "async2sync", "dffunmap", "opt_clean", "write_rtlil rules.il", "write_json rules.json",
        ], folder=folder, timeout=SECONDS)
        netlist = json.loads((folder / "rules.json").read_text(encoding="utf-8"))
        followed = followed_inputs(netlist["modules"][TOP])
        yield ("no output follows an input within the cycle", time.monotonic() - start,
               f"the output follows {', '.join(followed)}" if followed else "")
        start = time.monotonic()
        held = _held(folder, latency + SPARE_STEPS)
        yield "an offer holds until it is taken", time.monotonic() - start, held


def _held(folder: Path, steps: int) -> str:
    """Why the rule is not proved; empty when it is."""
    log = run_yosys(
        ["read_rtlil rules.il", f"cutpoint {WIDE} t:{MEMORY} %u", "opt_clean",
         f"sat -tempinduct -maxsteps {steps} -prove holds 1 {TOP}"], folder=folder, timeout=SECONDS)
    if "Induction step proven: SUCCESS!" in log:
        return ""
    if "model found for base case" in log:
        return "the solver found a result that changes or vanishes while it waits"
    return f"no proof with {steps} steps of induction"


def followed_inputs(module: Mapping[str, Any]) -> list[str]:
    """Inputs that ``o__valid`` and ``o__payload`` depend on without a register between."""
    source: dict[int, list[int]] = {}  # bit to the bits its cell reads; a register reads nothing
    for cell in module["cells"].values():
        inputs: list[int] = []
        outputs: list[int] = []
        for port, bits in cell["connections"].items():
            (inputs if cell["port_directions"][port] == "input" else outputs).extend(bits)
        if REGISTERS.match(cell["type"]):
            inputs = []
        if cell["type"] == MEMORY:  # writes are registered
            inputs = cell["connections"]["RD_ADDR"]
        for bit in outputs:
            source[bit] = [other for other in inputs if isinstance(other, int)]
    pending = [bit for port in ("o__valid", "o__payload") for bit in module["ports"][port]["bits"]]
    seen: set[int] = set()
    while pending:
        bit = pending.pop()
        if bit in seen or not isinstance(bit, int):
            continue
        seen.add(bit)
        pending += source.get(bit, [])
    return [port for port in INPUTS if seen & {bit for bit in module["ports"][port]["bits"] if isinstance(bit, int)}]
