"""What every family in the registry brings along, and that nothing outside a family knows which there are."""

import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import fake_family
import pytest
from gemm_designs import TEST_BUILD
from tilewright import cli
from tilewright.build import build
from tilewright.design import load_design, parse_design
from tilewright.driver import open_driver, runtime_of
from tilewright.errors import ToolError, UserError
from tilewright.families import FAMILIES, family_of
from tilewright.families.base import Family
from tilewright.sim.harness import Input, Result, fields, harness_context, lanes
from tilewright.sim.ports import load_ports
from tilewright.sim.runner import build_harness, run_harness, run_lint
from tilewright.starting_point import starting_points

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "generator/*.py", "generator/commands/*", "generator/synth/*", "boards/*.py", "sim/*.py", "sim/cosim/*.py",
    "templates/sim/*", "templates/driver/*", "templates/report/*", "templates/hls/*", "templates/hls/ap_shim/**/*")

# Files that name a family, and why.
NAMED = {
    "generator/commands/demo.py": "the demo's network needs one family, which is also the one it starts from",
    "generator/commands/schema.py": "the family of `tilewright schema` without --family",
}

ADDER = b"""
design: fake_adder
family: adder
lanes: 3
workload: [7, 1, 3, 200, 9]
"""


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_all_its_places(name: str) -> None:
    import_module(f"tilewright.sim.golden.{name}")
    import_module(f"tilewright.rtl.{name}")
    assert (ROOT / "templates/hls" / f"{name}.cpp.j2").exists()
    assert (ROOT / "templates/hls" / f"{name}_tb.cpp.j2").exists()
    assert (ROOT / "sim/cosim" / f"{name}_ports.py").exists()
    assert (ROOT / "sim/cosim" / f"{name}_tests.py").exists()
    assert (ROOT / "templates/new" / f"{name}.yaml").exists()
    assert (ROOT / "docs/families" / f"{name}.md").exists()
    assert (ROOT / "tests" / f"test_{name}.py").exists()
    assert list((ROOT / "examples").glob(f"{name}_*.yaml"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_implements_every_method(name: str) -> None:
    assert isinstance(FAMILIES[name], Family)
    assert FAMILIES[name].name == name


def test_the_starting_points_are_those_of_the_registry() -> None:
    assert starting_points() == sorted(FAMILIES)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_is_accepted_and_has_a_cycle_model(path: Path) -> None:
    design = load_design(path)
    jobs = family_of(design.spec).cycles(design.spec)
    assert len(jobs) == len(design.spec.workload)
    assert all(job.done > job.last_step >= job.first_step for job in jobs)


def shared_files() -> Iterator[Path]:
    """Files that serve all families; those of one are called after it."""
    for path in sorted(path for pattern in FOLDERS for path in ROOT.glob(pattern)):
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(tuple(FAMILIES)):
            yield path


def test_nothing_outside_a_family_names_one() -> None:
    names = re.compile(rf"(?<![a-z])({'|'.join(FAMILIES)})", re.IGNORECASE)
    found = {str(path.relative_to(ROOT)) for path in shared_files() if names.search(path.read_text())}
    assert found == set(NAMED)


# ---- a family that nothing here knows ------------------------------------------------------------


@pytest.fixture
def adder(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_family.register(monkeypatch)


def test_a_new_family_builds_simulates_and_tells_where_it_is_wrong(adder: None, tmp_path: Path) -> None:
    design = parse_design(ADDER, source="adder.yaml")
    folder = build(design, TEST_BUILD).folder
    harness = build_harness(folder, cache=TEST_BUILD / ".cache/verilator")
    vectors = folder / "sim/vectors/workload"
    for stall, reset_at in ((0.0, None), (0.5, None), (0.3, 40)):
        run = run_harness(harness, vectors, stall=stall, reset_at=reset_at)
        assert run.passed, run.message
        assert (run.jobs, run.values) == (5, sum(design.spec.workload))
    assert run_harness(harness, vectors).counters["cycles"] == sum(1 + -(-n // 3) for n in design.spec.workload)

    for path in vectors.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    lines = (vectors / "result.txt").read_text().splitlines()
    words = lines[5].split()
    lines[5] = f"{words[0]} {words[1]} {1 - int(words[2])}"
    (tmp_path / "result.txt").write_text("\n".join(lines) + "\n")
    found = run_harness(harness, tmp_path).first_divergence
    assert found is not None
    assert (found.job, found.index, found.lane, found.unit) == (3, (2,), 2, "adder 2")
    assert str(found).startswith(f"sum[2] of job 3 (n=200) is {words[2]}, not {1 - int(words[2])}; rerun: ")


def test_a_new_familys_design_passes_lint(adder: None) -> None:
    check = run_lint(build(parse_design(ADDER, source="adder.yaml"), TEST_BUILD).folder)
    assert check.passed, check.message


def test_the_driver_takes_a_new_familys_runtime(adder: None) -> None:
    design = parse_design(ADDER, source="adder.yaml")
    assert runtime_of(design) == ("the runtime of", design.spec, design.content_hash)


def test_the_demo_refuses_another_family(
        adder: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "adder.yaml"
    path.write_bytes(ADDER)
    assert cli.main(["demo", str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: family: 'adder'; the demo's digits need gemm\n"


def test_a_family_without_registers_has_no_driver_and_refuses_a_board(
        adder: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "adder.yaml"
    path.write_bytes(ADDER)
    design = load_design(path)
    refused = "family: 'adder' has no top for boards; families with one: gemm"
    assert cli.main(["synth", str(path), "--board", "ulx3s", "--build-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"{refused}\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["adder.yaml"]
    for attempt in (lambda: open_driver(design, "board", port="/dev/null"),
                    lambda: family_of(design.spec).board_rtlil(design.spec, design.content_hash, clock_hz=1)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value) == refused
    assert cli.main(["build", str(path), "--build-dir", str(TEST_BUILD)]) == 0
    assert "driver" not in capsys.readouterr().out
    assert not (TEST_BUILD / design.name / "driver").exists()


# ---- how a family describes its streams ----------------------------------------------------------


@pytest.mark.parametrize("ports", [None, 3, "gone_ports", "../gemm_ports", "gemm_ports.Job"])
def test_a_design_whose_ports_no_module_reads_is_refused(ports: object, tmp_path: Path) -> None:
    path = tmp_path / "design.json"
    path.write_text(json.dumps({"ports": ports}))
    with pytest.raises(ToolError) as caught:
        load_ports(path)
    assert str(caught.value) == (
        f"{path}: ports: {ports!r} is not a module of tilewright.sim.cosim; build the design again")


def test_ports_start_in_words_of_their_own() -> None:
    context = harness_context(
        "wide", jobs=("rows", "kept"), job={"rows": 40}, result=Result(5, 16, True, "job.rows"), inputs=[
            Input("a_b", lanes(4, 12), "job.rows", has_last=True),
            Input("scale", fields(("bias", "unused", "shift"), {"shift": 5, "bias": 33}), "1")])
    assert context["job"] == {
        "columns": ["rows", "kept"], "ports": [{"name": "rows", "word": 0}], "words": 2, "places": "{{0, 40}, {0, 0}}"}
    operand, scale = context["inputs"]
    assert operand == {
        "name": "a_b", "label": "AB", "beats": "job.rows", "places": "lanes(4, 12)", "words": 3, "last_word": 2, "behind": "",
        "ports": [{"name": "data", "word": 0}, {"name": "last", "word": 2}]}
    assert scale["places"] == "{{0, 33}, {0, 0}, {64, 5}}"
    assert (scale["words"], scale["last_word"]) == (3, -1)
    assert (context["result"]["keep_word"], context["result"]["last_word"]) == (3, 4)


@pytest.mark.parametrize("name", ["result", "job", "a-b", "2nd"])
def test_a_name_that_cannot_stand_in_the_harness_is_refused(name: str) -> None:
    result = Result(1, 8, False, "1")
    with pytest.raises(ValueError, match=f"^'{name}' cannot be the name of a stream or of a column of jobs.txt$"):
        harness_context("any", jobs=("n",), job={}, inputs=[Input(name, lanes(1, 8), "1")], result=result)
