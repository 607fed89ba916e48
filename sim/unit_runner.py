"""Run the proofs of a unit's folder: the compiled batch harness, the HLS testbench, the cocotb bench.

Reads only the folder: ``rtl/<unit>.v``, ``sim/harness.cpp``, ``hls/``, ``sim/vectors/<case>/{in,out,cycles}.bin``.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tilewright.errors import ToolError
from tilewright.sim.build_cache import cached, content_key
from tilewright.sim.cosim.results import Result, read_results
from tilewright.sim.runner import cocotb_settings
from tilewright.sim.verilator import compile_program, find_compiler

HLS_FLAGS = ("-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OPTIMIZED = ("-O2",)


@dataclass(frozen=True)
class HarnessRun:
    """What one run of the batch harness saw."""

    passed: bool
    message: str  # empty when passed
    beats: int  # results compared
    taken: int
    cycles: int
    seconds: float
    divergent: int | None  # the first result that differs
    expected: int  # its payload, as one number
    actual: int
    command: str


def build_harness(folder: Path, unit: str, cache: Path, sources: Sequence[Path] = ()) -> Path:
    """The compiled model and harness; ``sources`` replaces the unit's Verilog."""
    return compile_program(
        sources=sources or [folder / "rtl" / f"{unit}.v"], top=unit, main=folder / "sim/harness.cpp", cache=cache)


def run_harness(
    executable: Path, vectors: Path, *, stall: float = 0.0, seed: int = 1, reset_at: int | None = None,
    patience: int = 1000, silence: int = 64, cycles: Path | None = None,
) -> HarnessRun:
    """Every beat of a case through the model; ToolError when the harness itself breaks.

    ``patience`` cycles without a beat on either side end a run that hangs; ``silence`` cycles follow the last beat.
    ``cycles`` receives the cycle of each result.
    """
    command = [str(executable), str(vectors / "in.bin"), str(vectors / "out.bin"), "--stall", repr(stall),
               "--seed", str(seed), "--patience", str(patience), "--silence", str(silence)]
    if reset_at is not None:
        command += ["--reset-at", str(reset_at)]
    if cycles is not None:
        command += ["--cycles", str(cycles)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(run.stdout)
    except ValueError:
        raise ToolError(f"{' '.join(command)}: ended with {run.returncode}: {_last_line(run.stderr)}") from None
    return HarnessRun(
        passed=answer["passed"], message=answer["message"], beats=answer["beats"], taken=answer["taken"],
        cycles=answer["cycles"], seconds=answer["seconds"], command=" ".join(command),
        divergent=answer["divergent"] if answer["divergent"] >= 0 else None,
        expected=int(answer["expected"], 16), actual=int(answer["actual"], 16))


def read_cycles(path: Path) -> np.ndarray:
    """The cycles that a case expects, or that a run saw."""
    return np.fromfile(path, "<u4").astype(np.int64)


def build_hls(folder: Path, unit: str, cache: Path, flags: Sequence[str]) -> Path:
    """The compiled testbench of the HLS C++."""
    compiler, version = find_compiler()
    hls = folder / "hls"
    sources = sorted(path for path in hls.rglob("*") if path.suffix in (".h", ".cpp"))
    key = content_key([compiler, version, repr((HLS_FLAGS, tuple(flags))), *sources])

    def build(target: Path) -> None:
        run = subprocess.run(
            [compiler, *HLS_FLAGS, *flags, f"-I{hls}/ap_shim/streams", f"-I{hls}/ap_shim", "-o", str(target / "csim.bin"),
             str(hls / f"{unit}_tb.cpp")], capture_output=True, text=True, check=False)
        if run.returncode:
            lines = run.stderr.splitlines()
            first = next((line for line in lines if "error" in line), lines[-1] if lines else f"exit {run.returncode}")
            raise ToolError(f"{unit}: HLS C++ does not compile: {first}")

    return cached(cache, f"hls-{key}", build) / "csim.bin"


def run_hls(executable: Path, vectors: Path) -> tuple[int, str]:
    """Beats compared, and what went wrong (empty when nothing did)."""
    run = subprocess.run([str(executable), str(vectors / "in.bin"), str(vectors / "out.bin")],
                         capture_output=True, text=True, errors="replace", check=False)
    words = run.stdout.split()
    if run.returncode == 0 and len(words) > 2 and words[0] == "csim":
        return int(words[2]), ""
    mismatch = next((line for line in run.stdout.splitlines() if line.startswith("MISMATCH")), "")
    return 0, mismatch or _first_error(run.stderr) or f"ended with {run.returncode}"


def run_cocotb(folder: Path, unit: str, cache: Path, *, seed: int = 1, sources: Sequence[Path] = ()) -> list[Result]:
    """The tests of ``sim/cosim/unit_tests.py``; a run that shows nothing is one failed entry."""
    settings = cocotb_settings()
    executable = compile_program(
        sources=sources or [folder / "rtl" / f"{unit}.v"], top=unit, main=Path(settings["main"]), cache=cache,
        link_flags=[f"-L{settings['library']}", f"-Wl,-rpath,{settings['library']}", "-lcocotbvpi_verilator"])
    simulation = folder.resolve() / "sim"
    kept = simulation / "results"
    kept.mkdir(exist_ok=True)
    results = kept / "unit_tests.xml"
    results.unlink(missing_ok=True)
    results.with_suffix(".evidence").unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": settings["users"],
        "PYTHONPATH": os.pathsep.join([str(simulation), *filter(None, sys.path)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COCOTB_TOPLEVEL": unit,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TEST_MODULES": "cosim.unit_tests",
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "EVIDENCE": str(results.with_suffix(".evidence")),
    }
    run = subprocess.run([str(executable.resolve())], cwd=kept, env=environment, check=False, capture_output=True, text=True,
                         errors="replace")
    log = results.with_suffix(".log")
    log.write_text(run.stdout + run.stderr)
    found = read_results(results)
    if run.returncode and all(result.passed for result in found):
        found.append(Result("simulator", False, 0.0, f"ended with {run.returncode}; see {log}"))
    return found


def _first_error(text: str) -> str:
    return next((line for line in text.splitlines() if "rror" in line), _last_line(text))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
