"""Claims about the cocotb benches: they pass a good engine, and each names its fault."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faulty_engine import TOP, folder, plusargs, sources, write_vectors
from gemm_designs import TEST_BUILD, design
from tilewright.build import build
from tilewright.sim.cosim.results import read_results
from tilewright.sim.runner import Check, run_cocotb

CACHE = TEST_BUILD / ".cache/verilator"
TESTS = 16

# The test that must fail for a fault, and what it says.
NOTICED = {
    "wrong_value": ("results_equal_golden", "result["),
    "wrong_keep": ("results_equal_golden", "keep"),
    "missing_last": ("results_equal_golden", "last 1"),
    "early_last": ("results_equal_golden", "last 0"),
    "lost_beat": ("results_equal_golden", "expected"),
    "repeated_beat": ("results_equal_golden", "expected"),
    "valid_falls": ("stalls_lose_and_repeat_nothing/pattern=output", "valid fell before the beat was taken"),
    "payload_changes": ("stalls_lose_and_repeat_nothing/pattern=output", "payload changed while it waited"),
    "waits_for_ready": ("results_do_not_wait_for_ready", "no port moved"),
    "extra_beat": ("results_equal_golden", "a beat after the last expected one"),
    "dead": ("results_equal_golden", "no port moved"),
    "done_missing": ("results_equal_golden", "no port moved"),
    "done_twice": ("results_equal_golden", "done pulsed"),
    "busy_stuck": ("results_equal_golden", "busy although every job is done"),
    "spurious_error": ("results_equal_golden", "error is 5"),
    "error_stays": ("illegal_shapes_are_refused", "error is 1"),
    "act_always_taken": ("results_equal_golden", ""),
    "weight_always_taken": ("results_equal_golden", ""),
    "channel_always_taken": ("results_equal_golden", ""),
    "job_always_taken": ("jobs_run_back_to_back", ""),
    "act_last_lost": ("results_equal_golden", ""),
    "reuse_ignored": ("results_equal_golden", "expected"),
    "reset_ignored": ("reset_in_the_middle_leaves_no_trace", ""),
    "counter_off_by_one": ("counters_equal_the_cycle_model", "predicted"),
    "illegal_shape_untold": ("illegal_shapes_are_refused", "error is 0, not 1"),
    "missing_weights_untold": ("reuse_without_resident_weights_is_refused", "error is 0, not 2"),
    "act_frame_untold": ("a_misplaced_last_is_reported_and_survived/stream=act", "error is 0, not 3"),
    "weight_frame_untold": ("a_misplaced_last_is_reported_and_survived/stream=weight", "error is 0, not 4"),
}


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(sources(tmp_path_factory.mktemp("faulty")))


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("vectors"))


def failed(checks: list[Check]) -> list[str]:
    return [f"{check.name}: {check.message}" for check in checks if not check.passed]


def test_every_bench_passes_a_good_engine(wrapped: list[Path], vectors: Path) -> None:
    for seed in (1, 2):
        checks = run_cocotb(folder(), seed=seed, vectors=vectors, sources=wrapped, top=TOP, cache=CACHE)
        assert failed(checks) == []
        assert len(checks) == TESTS
        assert all(check.vectors > 0 and check.cycles > 0 for check in checks)


@pytest.mark.parametrize("dataflow", ["weight_stationary", "input_stationary"])
def test_every_bench_passes_the_other_dataflows(dataflow: str, tmp_path: Path) -> None:
    built = design(f"benched_{dataflow.split('_')[0]}", rows=3, cols=2, dataflow=dataflow,
                   limits="{m: 6, n: 7, k: 9}")
    checks = run_cocotb(build(built, TEST_BUILD).folder, cache=CACHE,
                        vectors=write_vectors(tmp_path, dataflow_of=built))
    assert failed(checks) == []
    assert len(checks) == TESTS


@pytest.mark.parametrize("fault", NOTICED)
def test_a_fault_is_noticed_by_the_test_that_claims_its_absence(
        wrapped: list[Path], vectors: Path, fault: str) -> None:
    name, said = NOTICED[fault]
    checks = run_cocotb(folder(), tests=[name], vectors=vectors, sources=wrapped, top=TOP, cache=CACHE,
                        plusargs=plusargs(fault))
    found = [check for check in checks if not check.passed]
    assert found, f"{name} passed"
    assert all(check.name.startswith(name) for check in found)
    assert any(said in check.message for check in found), failed(checks)
    assert all("rerun: make -C " in check.message and " SEED=1 " in check.message for check in found)


def test_a_run_without_tests_fails(wrapped: list[Path], vectors: Path) -> None:
    for options in ({"tests": ["no_such_test"]}, {"module": "cosim.no_such_bench"}):
        checks = run_cocotb(folder(), vectors=vectors, sources=wrapped, top=TOP, cache=CACHE, **options)
        assert [check.passed for check in checks] == [False]


def test_waves_are_left_on_request(wrapped: list[Path], vectors: Path) -> None:
    waves = folder() / "sim/dump.vcd"
    waves.unlink(missing_ok=True)
    checks = run_cocotb(folder(), tests=["results_do_not_wait"], waves=True, vectors=vectors, sources=wrapped,
                        top=TOP, cache=CACHE)
    assert failed(checks) == []
    text = waves.read_text()
    assert text.startswith("$version") and " job_valid $end" in text and "pe_0" in text
    waves.unlink()


def test_results_without_evidence_count_as_failures(tmp_path: Path) -> None:
    path = tmp_path / "bench.xml"
    assert read_results(path)[0].message == "the simulation ended without writing bench.xml"
    path.write_text("<testsuites><testsuite>")
    assert "bench.xml is not complete" in read_results(path)[0].message
    path.write_text("<testsuites/>")
    assert [(result.passed, result.message) for result in read_results(path)] == [(False, "no test ran")]
    path.write_text('<testsuites><testcase name="a" time="1"><skipped/></testcase></testsuites>')
    assert [(result.passed, result.message) for result in read_results(path)] == [(False, "skipped")]


def test_a_build_folder_reruns_without_tilewright(vectors: Path, tmp_path: Path) -> None:
    """make in a copy, with Python kept from finding Tilewright; then once more with a wrong expectation."""
    copy = shutil.copytree(folder(), tmp_path / "copy", ignore=shutil.ignore_patterns("vectors", "results"))
    shutil.copytree(vectors, copy / "sim/vectors")
    block = tmp_path / "block"
    block.mkdir()
    (block / "tilewright.py").write_text("raise ImportError('not needed')\n")
    make = ["make", "-C", str(copy / "sim"), f"PYTHON={sys.executable}"]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(block)}

    def run(*targets: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*make, *targets], env=environment, capture_output=True, text=True, check=False)

    assert "pass  results_equal_golden" in run("TEST=results_equal_golden", "SEED=4").stdout
    assert not list(copy.rglob("__pycache__"))
    result = copy / "sim/vectors/full/result.txt"
    lines = result.read_text().splitlines()
    result.write_text("\n".join([lines[0].replace(lines[0].split()[0], "99", 1), *lines[1:]]) + "\n")
    again = run("TEST=results_equal_golden")
    assert again.returncode != 0
    assert "FAIL  results_equal_golden" in again.stdout and "expected 99" in again.stdout
