"""Is the design right: RTL, HLS C++ and golden model against each other, cycle model against counters.

Reads only the build folder. The golden model is there as the expected results of the vectors.
"""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tilewright.build import Build, engine_source
from tilewright.errors import ToolError
from tilewright.families import family_of

STALLS = (0.2, 0.5, 0.9)
RESET_CYCLES = (7, 60, 200)
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """One check: a claim, whether it held, on how many compared values."""

    name: str
    passed: bool
    vectors: int
    seconds: float
    message: str = ""


@dataclass
class Verification:
    """All checks of one design. ``passed`` needs at least one compared value in every kind of check."""

    design: str
    hash: str
    checks: list[Result] = field(default_factory=list)
    cycles: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def first_divergence(self) -> str | None:
        return next((check.message for check in self.checks if not check.passed), None)

    def payload(self) -> dict[str, Any]:
        """The object that ``--json`` prints and ``report/verify.json`` keeps."""
        return {
            "passed": self.passed, "design": self.design, "hash": self.hash,
            "checks": [{"name": check.name, "passed": check.passed, "vectors": check.vectors,
                        "seconds": round(check.seconds, 3), "message": check.message} for check in self.checks],
            "cycles": self.cycles, "first_divergence": self.first_divergence, "seconds": round(self.seconds, 3)}


def verify(built: Build, *, seed: int = 1, stress: int = 1, waves: bool = False, cache: Path | None = None,
           progress: Progress = lambda text: None) -> Verification:
    """Run every check on the build folder.

    ``stress`` multiplies the stalled runs, each with its own seed. ``waves`` leaves ``sim/dump.vcd``.
    """
    from tilewright.sim.runner import MANY_CYCLES

    start = time.monotonic()
    cache = cache or built.folder.resolve().parent / ".cache"
    outcome = Verification(built.design.name, built.design.content_hash)
    optimize = _cycles(built.folder, stress) >= MANY_CYCLES
    with ThreadPoolExecutor(2) as pool:
        hls = pool.submit(_hls, built, cache / "hls", progress)
        protocol = pool.submit(_protocol, built, cache / "verilator", optimize, seed, waves, progress)
        outcome.checks += _volume(built, outcome, cache / "verilator", optimize, seed, stress, progress)
        outcome.checks += protocol.result()
        outcome.checks.append(hls.result())
    outcome.seconds = time.monotonic() - start
    return outcome


def _cycles(folder: Path, stress: int) -> int:
    """About how many cycles the batch harness runs, by the cycle model."""
    runs = 1 + len(STALLS) * stress + len(RESET_CYCLES)
    return runs * sum(int((vectors / "cycles.txt").read_text()) for vectors in (folder / "sim/vectors").iterdir())


def _volume(built: Build, outcome: Verification, cache: Path, optimize: bool, seed: int, stress: int, progress: Progress,
            ) -> list[Result]:
    """The compiled batch harness: free running with the cycle model, stalled on every port, reset half-way."""
    from tilewright.sim.runner import build_harness, run_harness

    folder = built.folder
    progress("compile the batch harness")
    harness = build_harness(folder, sources=[engine_source(folder, built.design.name)], top=built.design.name,
                            cache=cache, optimize=optimize)
    results = []
    for vectors in sorted((folder / "sim/vectors").iterdir()):
        progress(f"batch {vectors.name}")
        run = run_harness(harness, vectors)
        results.append(Result(f"rtl == golden: {vectors.name}", run.passed and run.values > 0, run.values, run.seconds,
                              run.message))
        model = int((vectors / "cycles.txt").read_text())
        measured = run.counters.get("cycles", -1)
        results.append(Result(
            f"cycle model == counter: {vectors.name}", measured == model, 1, 0.0,
            "" if measured == model else f"{vectors.name}: the model says {model} cycles, the counter {measured}"))
        if vectors.name == "workload":
            outcome.cycles = list(_job_cycles(built, run.done_cycles, run.counters["cycles"]))
        for stall in STALLS:
            for offset in range(stress):
                results.append(_batch(f"rtl == golden, stall {stall}: {vectors.name}", run_harness, harness, vectors,
                                      stall=stall, seed=seed + offset))
        for cycle in (cycle for cycle in RESET_CYCLES if cycle < measured):
            results.append(_batch(f"rtl == golden after reset in cycle {cycle}: {vectors.name}", run_harness, harness,
                                  vectors, stall=0.3, seed=seed, reset_at=cycle))
    return results


def _batch(name: str, run_harness: Callable[..., Any], harness: Any, vectors: Path, **options: Any) -> Result:
    run = run_harness(harness, vectors, **options)
    return Result(name, run.passed and run.values > 0, run.values, run.seconds, run.message)


def _job_cycles(built: Build, done: list[int], counted: int) -> Iterator[dict[str, Any]]:
    """Model and measurement of each job of the workload, counted from the end of the job before.

    ``done`` are the cycles of each job's last result, from any origin; ``counted`` is the engine's counter.
    """
    done = [cycle + counted - done[-1] for cycle in done]
    model_before = measured_before = 0
    jobs = family_of(built.design.spec).cycles(built.design.spec)
    for job, measured in zip(jobs, done, strict=True):
        yield {"job": job.job, "model": job.done - model_before, "measured": measured - measured_before,
               "ideal": job.ideal, "first_step": job.first_step, "last_step": job.last_step, "done": job.done}
        model_before, measured_before = job.done, measured


def _protocol(built: Build, cache: Path, optimize: bool, seed: int, waves: bool, progress: Progress) -> list[Result]:
    """The cocotb benches and Verilator's lint."""
    from tilewright.sim.runner import run_cocotb, run_lint

    results = []
    for module in family_of(built.design.spec).benches(built.design.spec):
        progress(f"cocotb {module}")
        source = built.folder / "rtl" / f"{built.design.name}.v"
        checks = run_cocotb(built.folder, module=module, seed=seed, waves=waves, sources=[source],
                            top=built.design.name, cache=cache, optimize=optimize)
        results += [Result(f"cocotb: {check.name}", check.passed, check.vectors, check.seconds, check.message)
                    for check in checks]
    lint = run_lint(built.folder)
    results.append(Result("lint: no unwaived warning", lint.passed, 0, lint.seconds, lint.message))
    return results


def _hls(built: Build, cache: Path, progress: Progress) -> Result:
    """Compile the C++ with its sanitizers, cached by content, and run its testbench on every vectors folder."""
    start = time.monotonic()
    name = "hls == golden (g++, address and undefined-behaviour sanitizers)"
    make, compiler = shutil.which("make"), shutil.which(os.environ.get("CXX", "g++"))
    if not make or not compiler:
        raise ToolError("HLS C++ needs make and g++; on Debian: apt install make g++")
    sources = sorted(path for path in (built.folder / "hls").rglob("*")
                     if path.suffix in (".cpp", ".h") or path.name == "Makefile")
    digest = hashlib.sha256(subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout)
    for path in sources:
        digest.update(path.read_bytes())
    work = cache / digest.hexdigest()[:32]
    progress("compile the HLS C++")
    if not (work / "csim.bin").exists():
        fresh = work.with_name(f"{work.name}.{os.getpid()}")
        shutil.copytree(built.folder / "hls", fresh)
        run = subprocess.run([make, "-C", str(fresh), "-j2", "csim.bin"], capture_output=True, text=True, check=False)
        if run.returncode:
            raise ToolError(f"{fresh}: HLS C++ does not compile: {_last_line(run.stderr)}")
        if work.exists():
            shutil.rmtree(fresh)
        else:
            fresh.rename(work)
    cases = sorted((built.folder / "sim/vectors").iterdir())
    run = subprocess.run([str((work / "csim.bin").resolve()), *map(str, cases)], capture_output=True, text=True, check=False)
    values = _compared(run.stdout)
    message = "" if run.returncode == 0 else _first_mismatch(run.stdout + run.stderr)
    return Result(name, run.returncode == 0 and values > 0, values, time.monotonic() - start, message)


def _compared(output: str) -> int:
    """The count in the testbench's summary, ``csim <design>: N passed, M failed, V values compared``."""
    found = re.search(r"(\d+) values compared", output)
    return int(found[1]) if found else 0


def _first_mismatch(output: str) -> str:
    return next((line for line in output.splitlines() if line.startswith("MISMATCH")), _last_line(output))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no output"
