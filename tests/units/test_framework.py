"""Claims about every unit of the library, and about the proof that every unit goes through."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Fragment
from pydantic import ValidationError
from relay import Fault, FaultyRelay, Relay, RelayParameters
from tilewright import cli
from tilewright.emit import rtlil_to_verilog
from tilewright.formats import IntFormat
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.units.exp2 import Exp2 as Exp2Component
from tilewright.units import UNITS, proof, verify
from tilewright.units.content import imported_sources
from tilewright.units.exp2 import Exp2, Exp2Parameters
from tilewright.units.fields import Fields, Lanes, beat_words, flag, pack, sint, uint, unpack
from tilewright.units.formal import stream_rules
from tilewright.units.mutation import Mutant, mutants
from tilewright.units.project import make_case, render, variant_name, write_project
from tilewright.units.proof import Check, Proof, prove
from tilewright.units.stimulus import all_codes, corner_beats, frame_ends, frame_lengths, frame_slices, joined, random_beats

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "test"
CACHE = BUILD / ".cache"  # shared by the whole suite, kept from one run to the next
WITH_PROTOCOL = ("exp2", "argmax")  # one per beat, one per frame; all of them in `make proof`


def failures(outcome: Proof) -> dict[str, str]:
    return {check.name: check.message for check in outcome.checks if not check.passed}


# ---- every unit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNITS)
def test_unit_equals_its_golden_model_in_rtl_and_hls(name: str, tmp_path: Path) -> None:
    """A seeded sample of what ``make proof`` does in full, in the catalogue's configuration."""
    unit = UNITS[name]
    found = prove(unit, unit.parameters_type(), tmp_path, protocol=name in WITH_PROTOCOL, cache=CACHE)
    assert not failures(found)
    assert {check.name.partition(":")[0] for check in found.checks if check.vectors} >= {
        "rtl == golden", "rtl == golden, stall 0.5", "rtl on schedule",
        "hls == golden, address and undefined-behaviour sanitizers"}


@pytest.mark.parametrize("name", UNITS)
def test_unit_has_a_contract(name: str) -> None:
    unit = UNITS[name]
    p: Any = unit.parameters_type()
    assert unit.name == name and name.isidentifier()
    assert unit.title and unit.source and unit.timing(p).latency >= 1
    component = unit.component(p)
    Fragment.get(component, platform=None)  # Amaranth warns of a component that nobody elaborates
    contract = inspect.getdoc(type(component)) or ""
    assert "Members" in contract and "atency" in contract, "the component's docstring says members and latency"
    assert all(isinstance(variant, unit.parameters_type) and variant != p for variant in unit.variants)


# ---- the proof notices ---------------------------------------------------------------------------

NOTICED = {
    Fault.WRONG_VALUE: "x expected",
    Fault.LOST: "x expected",
    Fault.REPEATED: "x expected",
    Fault.CHANGES_WHILE_WAITING: "o.payload changed while it waited",
    Fault.WITHDRAWN_WHILE_WAITING: "o.valid fell before the beat was taken",
    Fault.EXTRA_LATER: "a beat after the last expected one",
    Fault.FOLLOWS_READY: "the output follows o.ready within the cycle",
    Fault.FOLLOWS_VALID: "the output follows i.valid within the cycle",
    Fault.HANGS: "no beat moved",
    Fault.ONE_CYCLE_LATE: "came in cycle 22, the schedule says 21",
    Fault.SURVIVES_RESET: "x expected",
    Fault.TAKES_NOISE: "x expected",
}


def prove_relay(fault: Fault, build: Path, *, protocol: bool = False, claimed: float = 1.0) -> dict[str, str]:
    unit = Relay()
    unit.claimed = claimed  # type: ignore[misc]
    return failures(prove(unit, RelayParameters(fault=int(fault)), build, protocol=protocol, cache=CACHE))


def test_a_faultless_relay_passes(tmp_path: Path) -> None:
    assert prove_relay(Fault.NONE, tmp_path, protocol=True) == {}


@pytest.mark.parametrize("fault", NOTICED, ids=lambda fault: fault.name.lower())
def test_harness_notices(fault: Fault, tmp_path: Path) -> None:
    found = {name: text for name, text in prove_relay(fault, tmp_path).items() if name.startswith("rtl")}
    assert any(NOTICED[fault] in text for text in found.values()), found
    assert all("rerun: " in text for name, text in found.items() if "golden" in name)


def test_a_difference_is_told_by_field_with_what_went_in(tmp_path: Path) -> None:
    found = prove_relay(Fault.WRONG_VALUE, tmp_path)["rtl == golden: sample"]
    beat = Relay().stimulus(RelayParameters(fault=1), np.random.default_rng(1), 4096)["x"][20]
    assert found.startswith(f"result 20 of x = {beat}, fault = 1: x expected {beat}, got {beat ^ 1}, in cycle 21; rerun: ")


@pytest.mark.parametrize(("fault", "text"), [
    (Fault.WRONG_VALUE, "MISMATCH beat 20: x: expected"),
    (Fault.LOST, "MISMATCH beat 20: x: expected"),
    (Fault.REPEATED, "MISMATCH beat 21: x: expected"),
    (Fault.EXTRA_LATER, "MISMATCH a beat after the last expected one"),
    (Fault.HANGS, "MISMATCH a call took no beat"),
], ids=lambda value: value.name.lower() if isinstance(value, Fault) else "")  # fmt: skip
def test_hls_testbench_notices(fault: Fault, text: str, tmp_path: Path) -> None:
    found = [message for name, message in prove_relay(fault, tmp_path).items() if name.startswith("hls")]
    assert len(found) == 1 and found[0].startswith(text)


@pytest.mark.parametrize(("fault", "text"), [
    (Fault.WRONG_VALUE, "beat 20"),
    (Fault.LOST, "beat 20"),
    (Fault.CHANGES_WHILE_WAITING, "payload changed while it waited"),
    (Fault.EXTRA_LATER, "a beat after the last expected one"),
    (Fault.ONE_CYCLE_LATE, "the schedule says 21"),
    (Fault.SURVIVES_RESET, "a_reset_forgets"),
], ids=lambda value: value.name.lower() if isinstance(value, Fault) else "")  # fmt: skip
def test_cocotb_bench_notices(fault: Fault, text: str, tmp_path: Path) -> None:
    found = [f"{name} {message}" for name, message in prove_relay(fault, tmp_path, protocol=True).items()
             if name.startswith("cocotb")]
    assert any(text in message for message in found), found


@pytest.mark.parametrize(("fault", "texts"), [
    (Fault.NONE, ("", "")),
    (Fault.CHANGES_WHILE_WAITING, ("", "the solver found a result that changes or vanishes while it waits")),
    (Fault.WITHDRAWN_WHILE_WAITING, ("", "the solver found a result that changes or vanishes while it waits")),
    (Fault.FOLLOWS_READY, ("the output follows o__ready",
                           "the solver found a result that changes or vanishes while it waits")),
    (Fault.FOLLOWS_VALID, ("the output follows i__valid",
                           "the solver found a result that changes or vanishes while it waits")),
], ids=lambda value: value.name.lower() if isinstance(value, Fault) else "")  # fmt: skip
def test_formal_proof_notices(fault: Fault, texts: tuple[str, str], tmp_path: Path) -> None:
    verilog = tmp_path / "relay.v"
    verilog.write_text(rtlil_to_verilog(to_rtlil(FaultyRelay(fault), name="relay")))
    found = list(stream_rules(verilog, "relay", input_width=44, output_width=40, latency=1))
    assert [name for name, _, _ in found] == [
        "no output follows an input within the cycle", "an offer holds until it is taken"]
    assert tuple(text for _, _, text in found) == texts


def test_error_beyond_its_claim_fails(tmp_path: Path) -> None:
    found = prove_relay(Fault.NONE, tmp_path, claimed=0.9)
    assert found == {"error as claimed": "|x - 1| is 1 at most, the claim is 0.9"}


def test_a_component_with_other_fields_is_refused(tmp_path: Path) -> None:
    class Misbound(Relay):
        def input_fields(self, p: RelayParameters) -> Fields:
            return {"x": uint(40), "fault": uint(5)}

    p = RelayParameters()
    case = make_case(Relay(), p, Relay().stimulus(p, np.random.default_rng(1), 10))
    with pytest.raises(ValueError, match=r"relay: payload of i is .*the binding says"):
        write_project(tmp_path, Misbound(), p, {"sample": case})


def test_a_golden_model_beyond_its_format_is_refused() -> None:
    class Overflowing(Relay):
        def output_fields(self, p: RelayParameters) -> Fields:
            return {"x": uint(8)}

    p = RelayParameters()
    with pytest.raises(ValueError, match=r"x must be 0\.\.255, not"):
        make_case(Overflowing(), p, Relay().stimulus(p, np.random.default_rng(1), 10))


# ---- mutants ---------------------------------------------------------------------------------------

MUTABLE = """\
module relay(clk, rst, o__ready, o__valid, i__payload);
  input o__ready;
  wire o__ready;
  assign _1_ = i__payload[3:0] < 4'h9;
  assign o__valid = _1_ & ~o__ready;
  part inner (
    .o__ready(o__ready)
  );
  initial begin
    rom[0] = 8'hf0;
  end
endmodule
"""


def test_a_mutant_differs_in_one_place() -> None:
    found = {(mutant.kind, mutant.place) for mutant in mutants(MUTABLE, seed=1, each=9)}
    assert found == {
        ("constant", "assign _1_ = i__payload[3:0] < 4'h9; -> assign _1_ = i__payload[3:0] < 4'h8;"),
        ("constant", "rom[0] = 8'hf0; -> rom[0] = 8'h70;"),
        ("comparison", "assign _1_ = i__payload[3:0] < 4'h9; -> assign _1_ = i__payload[3:0] >= 4'h9;"),
        ("boundary", "assign _1_ = i__payload[3:0] < 4'h9; -> assign _1_ = i__payload[3:0] <= 4'h9;"),
        ("stall", "o__ready -> 1'h1"),
    }


def test_a_mutant_without_stall_keeps_its_port() -> None:
    text = next(mutant.verilog for mutant in mutants(MUTABLE, seed=1) if mutant.kind == "stall")
    assert text == MUTABLE.replace("~o__ready", "~1'h1").replace("(o__ready)", "(1'h1)")


def test_a_mutant_that_survives_fails_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "mutants", lambda verilog, *_: [Mutant("comparison", "nothing", verilog)])
    found = prove_relay(Fault.NONE, tmp_path, protocol=True)
    assert found == {"mutant caught: comparison, 1 tried": "survived: nothing"}


# ---- proofs are kept by content ------------------------------------------------------------------


def test_a_proof_depends_on_what_its_unit_imports_and_on_no_other_unit() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in imported_sources("tilewright.units.exp2")}
    assert {"generator/units/exp2.py", "generator/units/tables.py", "rtl/units/exp2.py", "rtl/units/pipeline.py",
            "sim/golden/units/exp2.py", "generator/units/base.py"} <= names
    assert not names & {"generator/units/__init__.py", "generator/units/argmax.py", "rtl/units/argmax.py"}


def test_only_a_passed_proof_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [Check("rtl == golden: sample", passed, 5, 0.5, "" if passed else "differs") for passed in (False, True)]
    monkeypatch.setattr(verify, "prove", lambda *_, **__: Proof("exp2", "exp2", [outcomes.pop(0)], {"measured": 0.5}))
    seen = [verify.prove_once(Exp2(), Exp2Parameters(), tmp_path, seed=1) for _ in range(3)]
    assert [outcome.passed for outcome in seen] == [False, True, True]
    assert not outcomes and seen[2] == seen[1]


# ---- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "line"), [
    (["--unit", "ex2"], "--unit ex2: no such unit; did you mean 'exp2'?"),
    (["my.yaml", "--unit", "exp2"], "verify takes a design FILE or --unit, not both: my.yaml and --unit exp2"),
    ([], "verify needs a design FILE, or --unit NAME"),
    (["--unit", "exp2", "--waves"], "--waves is for a design FILE, not for --unit"),
    (["--unit", "exp2", "--stress"], "--stress is for a design FILE, not for --unit"),
    (["--unit", "all", "--set", "width=9"], "--set needs one unit, not all of them"),
    (["--unit", "exp2", "--set", "width"], "--set width: an override is written field=value"),
    (["--unit", "exp2", "--set", "widht=9"], "exp2: unknown parameter 'widht'; did you mean 'width'?"),
    (["--unit", "exp2", "--set", "width=99"], "exp2: width: 99: input should be less than or equal to 24"),
    (["--unit", "exp2", "--set", "width=9"],
     "exp2: width: 9 leaves no integer part beside 10 fraction bits; the nearest legal value is 11"),
])
def test_a_wrong_call_is_one_line_and_exit_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", *arguments]) == 2
    assert capsys.readouterr().err == line + "\n"


def test_every_refused_parameter_is_told_with_the_nearest_legal_value() -> None:
    with pytest.raises(ValidationError) as refused:
        Exp2Parameters(width=8, table_bits=10)
    for text in ("width: 8 leaves no integer part beside 10 fraction bits; the nearest legal value is 11",
                 "table_bits: 10 leaves nothing of 10 fraction bits to interpolate in; the nearest legal value is 9"):
        assert text in str(refused.value)
    Exp2Parameters(width=11, table_bits=9)


# ---- fields, stimulus, names ---------------------------------------------------------------------

FIELDS: Fields = {"a": sint(5), "b": Lanes(uint(20), 3), "c": sint(64), "d": flag, "e": uint(63)}


def test_beats_survive_the_way_through_a_vector_file() -> None:
    beats = joined([corner_beats(FIELDS, 200), random_beats(FIELDS, np.random.default_rng(1), 300)])
    words = pack(FIELDS, beats)
    assert words.shape[1] == beat_words(FIELDS) == 7
    for name, values in unpack(FIELDS, words).items():
        np.testing.assert_array_equal(values, beats[name])


def test_the_first_field_is_in_the_lowest_bits() -> None:
    beats = {"low": np.array([-1]), "high": np.array([[1, 2]])}
    words = pack({"low": sint(4), "high": Lanes(uint(30), 2)}, beats)
    assert words.tolist() == [[1 << 4 | 0xF, 2 << 34 - 32]]


def test_all_codes_are_all_codes() -> None:
    codes = all_codes({"a": sint(3), "b": uint(2)})
    assert len({*zip(codes["a"].tolist(), codes["b"].tolist(), strict=True)}) == 32
    assert (codes["a"].min(), codes["a"].max(), codes["b"].max()) == (-4, 3, 3)


def test_corners_hold_the_ends_of_every_format() -> None:
    for number in (IntFormat(1, False), IntFormat(2, True), IntFormat(16, True), IntFormat(63, False)):
        values = corner_beats({"x": number}, 100)["x"]
        assert (values.min(), values.max()) == (number.low, number.high)


def test_frames_have_short_and_long_ones() -> None:
    lengths = frame_lengths(np.random.default_rng(1), 1000, 17)
    slices = frame_slices(frame_ends(lengths))
    assert [frame.stop - frame.start for frame in slices] == lengths
    assert {1, 2, 17} <= set(lengths) and 1000 <= sum(lengths) < 1017


def test_a_folder_is_named_by_what_is_not_default() -> None:
    assert variant_name(Exp2(), Exp2Parameters()) == "exp2"
    assert variant_name(Exp2(), Exp2Parameters(width=20, table_bits=6)) == "exp2-width_20-table_bits_6"


def test_the_same_parameters_give_the_same_files(tmp_path: Path) -> None:
    unit, p = Exp2(), Exp2Parameters()
    case = make_case(unit, p, unit.stimulus(p, np.random.default_rng(1), 20))
    texts = []
    for name in ("one", "two"):
        folder = write_project(tmp_path / name, unit, p, {"sample": case}).folder
        texts.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert texts[0] == texts[1] and len(texts[0]) > 10
    assert set(render(unit, p)) <= {path.as_posix() for path in texts[0]}


def test_exp2_refuses_a_table_of_another_size() -> None:
    with pytest.raises(ValueError, match="table must have 33 entries, not 3"):
        Exp2Component(table=(4, 3, 2), **{**Exp2Parameters().numbers, "width": 16})
