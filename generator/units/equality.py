"""Proof that a unit's RTL equals its specification for every input, by Yosys' own SAT solver.

The specification is a small Verilog module, ``templates/units/specification/<unit>.v.j2``, that says of a beat and a result
whether they belong together. Proved: from *every* state of the unit's registers, reachable or not, in which it takes a beat,
and whatever is offered in the cycles that follow, ``latency`` cycles later ``o.valid`` is high and the specification holds
for that beat and ``o.payload``, where ``o.ready`` is high throughout and there is no reset. A state stands for all that
came before, so nothing is bounded and nothing sampled. Stalls and resets are the harness' part.

Where a :class:`~tilewright.units.base.Cut` takes a wide multiplier out, its product is any number at all, the same for RTL and
specification, and its operands are proved to be those of the specification. That the multiplier multiplies is assumed here.
"""

import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tilewright.synth.yosys import run_yosys
from tilewright.units.base import Cut
from tilewright.units.fields import Fields, beat_width, format_of, lanes_of

TOP = "equality"
SECONDS = 900.0

CHECKER = """\
module {top}(input clk, input [{in_high}:0] i__payload, input i__valid, input first, {cut_ports}output bad,
                output reg [{in_high}:0] taken, output [{out_high}:0] o__payload, output o__valid);
  wire i__ready, holds;
  {unit} unit(.clk(clk), .rst(1'b0), .i__payload(i__payload), .i__valid(i__valid), .i__ready(i__ready),
              .o__payload(o__payload), .o__valid(o__valid), .o__ready(1'b1));
  wire take = first & i__valid & i__ready;  // of all beats taken, the one that is looked at
  reg [{age_high}:0] age;  // bit k: taken k + 1 cycles ago
  always @(posedge clk) begin
    age <= {{age, take}};
    if (take) taken <= i__payload;
  end
{cut}  specification specification({fields}, {cut_fields}.holds(holds));
  assign bad = age == ({latency}'b1 << {age_high}) & ~(o__valid & holds{cut_holds});
endmodule
"""

CUT = """\
  wire [{a_high}:0] a, a_seen;
  wire [{b_high}:0] b, b_seen;
  reg [{p_high}:0] p;
  always @(posedge clk) begin
    if (age[{operands_age}]) same_operands <= a_seen == a & b_seen == b;
    if (age[{product_age}]) p <= product;
  end
"""


@dataclass(frozen=True)
class Disproof:
    """A beat and the result that the unit gives it, against its specification."""

    taken: int
    result: int
    valid: bool
    operands: bool  # those of the multiplier that is cut are right, if there is one


def disprove(
    verilog: Path, specification: Path, unit: str, *, inputs: Fields, outputs: Fields, latency: int, cut: Cut | None = None
) -> tuple[float, Disproof | None]:
    """The seconds it took, and a counterexample; None when the RTL is proved to equal its specification."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tilewright-") as name:
        folder = Path(name)
        for target, source in (("unit.v", verilog), ("specification.v", specification)):
            (folder / target).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        (folder / "equality.v").write_text(_checker(unit, inputs, outputs, latency, cut), encoding="utf-8")
        emptied = [] if cut is None else [f"delete {unit}_{cut.parent.replace('.', '_')}_{cut.name}/c:*"]
        # The initial values go: the first state is any state.
        log = run_yosys([
            "read_verilog unit.v specification.v equality.v", f"hierarchy -top {TOP}", "proc", *emptied, "flatten",
            *_connections(cut), "memory_map", "opt -full", "dffunmap", "setattr -unset init w:*", "opt_clean",
            f"sat -seq {latency + 1} -prove-skip {latency} -prove bad 0 -show taken,o__payload,o__valid"
            f"{',same_operands' if cut else ''} {TOP}"],
            folder=folder, timeout=SECONDS)
    seconds = time.monotonic() - start
    if "SAT proof finished - no model found: SUCCESS!" in log:
        return seconds, None
    return seconds, Disproof(
        taken=_shown(log, latency + 1, "taken"), result=_shown(log, latency + 1, "o__payload"),
        valid=bool(_shown(log, latency + 1, "o__valid")),
        operands=cut is None or bool(_shown(log, latency + 1, "same_operands")))


def _checker(unit: str, inputs: Fields, outputs: Fields, latency: int, cut: Cut | None) -> str:
    in_high, out_high = beat_width(inputs) - 1, beat_width(outputs) - 1
    fields = [*_connected(inputs, "taken"), *_connected(outputs, "o__payload")]
    inserted = {"cut_ports": "", "cut": "", "cut_fields": "", "cut_holds": ""}
    if cut is not None:
        high = {"a_high": cut.a_width - 1, "b_high": cut.b_width - 1, "p_high": cut.a_width + cut.b_width - 1}
        inserted = {
            "cut_ports": f"input [{high['p_high']}:0] product, output reg same_operands, ",
            "cut_fields": ".a(a), .b(b), .p(p), ",
            "cut_holds": " & same_operands",
            "cut": CUT.format(**high, operands_age=cut.cycle - 1, product_age=cut.cycle + cut.latency - 1)}
    return CHECKER.format(top=TOP, unit=unit, in_high=in_high, out_high=out_high, latency=latency, age_high=latency - 1,
                          fields=", ".join(fields), **inserted)


def _connected(fields: Fields, payload: str) -> list[str]:
    """The specification's ports, and their bits of a payload."""
    texts, offset = [], 0
    for name, field in fields.items():
        width = format_of(field).width * lanes_of(field)
        texts.append(f".{name}({payload}[{offset + width - 1}:{offset}])")
        offset += width
    return texts


def _connections(cut: Cut | None) -> list[str]:
    """Passes that join the nets around the emptied multiplier to the checker's."""
    if cut is None:
        return []
    pairs = ((f"unit.{cut.parent}.p", "product"), ("a_seen", f"unit.{cut.parent}.a"), ("b_seen", f"unit.{cut.parent}.b"))
    return [f"cd {TOP}", *(f"connect -nounset -set {net} {source}" for net, source in pairs), "cd .."]


def _shown(log: str, step: int, name: str) -> int:
    """The value of a net in a cycle of the solver's model."""
    found = re.search(rf"^ +{step} \\{name} .*?([01]+)$", log, re.MULTILINE)
    assert found is not None, "the solver shows the nets it was asked for"
    return int(found[1], 2)
