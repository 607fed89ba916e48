"""Compile and run simulations of a build folder: the batch harness and the cocotb benches.

Reads only the build folder (``build/<name>``), never the spec: ``sim/design.json`` describes the
ports (:mod:`tilewright.sim.ports`), ``rtl/<name>.v`` is the design, ``sim/vectors/<case>/`` holds stimulus and
expected results.

    harness = build_harness(folder)                                  # cached by content
    result = run_harness(harness, folder / "sim/vectors/random_0")   # volume: compiled C++
    checks = run_cocotb(folder, seed=7)                              # protocol: cocotb 2.1
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tilewright.errors import ToolError
from tilewright.sim.cosim.results import read_results
from tilewright.sim.ports import Ports, load_ports
from tilewright.sim.verilator import Progress, compile_program, lint


@dataclass(frozen=True)
class Check:
    """One claim and whether it held; ``message`` says what happened when it did not."""

    name: str
    passed: bool
    seconds: float
    message: str = ""
    vectors: int = 0  # values compared
    cycles: int = 0  # simulated


@dataclass(frozen=True)
class Divergence:
    """The first result that differs from the golden model; ``str()`` is the line a person reads."""

    job: int
    index: tuple[int, ...]  # into the job's result
    beat: int
    lane: int | None  # None when no value is wrong but keep, last or an unused lane
    cycle: int
    unit: str  # the part of the engine it came from
    expected: int
    actual: int
    text: str  # all of it, in words
    command: str  # reproduces it

    def __str__(self) -> str:
        return f"{self.text}; rerun: {self.command}"


MANY_CYCLES = 500_000  # from which on a model that compiles slowly and runs fast is done earlier, whatever its size


@dataclass(frozen=True)
class Harness:
    """A compiled batch harness and the ports it was compiled for."""

    executable: Path
    ports: Ports


@dataclass(frozen=True)
class HarnessResult:
    """What one run of the batch harness saw."""

    passed: bool
    message: str  # empty when passed; else one line: what, where, expected, actual, command
    jobs: int
    values: int  # result values compared
    cycles: int
    seconds: float
    counters: dict[str, int]  # cycles, active, input_stall, output_stall
    done_cycles: list[int] = field(default_factory=list)  # per job, counted from the first acceptance
    active: list[int] = field(default_factory=list)  # per job, counter_active spent on it
    first_divergence: Divergence | None = None

    @property
    def cycles_per_second(self) -> float:
        return self.cycles / self.seconds if self.seconds else 0.0


def build_harness(
    folder: Path,
    *,
    sources: Sequence[Path] | None = None,
    top: str | None = None,
    cache: Path | None = None,
    optimize: bool = True,
    progress: Progress | None = None,
) -> Harness:
    """Compile model and batch harness of ``folder``, or take them from the cache.

    ``sources`` replaces the engine's Verilog (by a synthesized netlist and its cell models, say), ``top``
    the module name. Without ``optimize`` it compiles faster and runs slower. ``cache`` defaults to
    ``.cache/verilator`` beside ``folder``. Raises ``ToolError``.
    """
    ports = load_ports(folder / "sim/design.json")
    executable = compile_program(
        sources=sources or [engine_source(folder, ports)], top=top or ports.module,
        main=folder / "sim/harness.cpp", cache=cache or default_cache(folder), optimize=optimize,
        progress=progress)
    return Harness(executable, ports)


def run_harness(
    harness: Harness,
    vectors: Path,
    *,
    stall: float = 0.0,
    seed: int = 1,
    reset_at: int | None = None,
    max_cycles: int | None = None,
    dump: Path | None = None,
    free_run: int | None = None,
    plusargs: Sequence[str] = (),
) -> HarnessResult:
    """Run the jobs of one vectors folder back to back and compare every result beat.

    ``stall`` is the probability of a stall, on every port, both sides; ``reset_at`` resets the
    engine in that cycle and starts over; ``dump`` writes the results in the format of ``result.txt``
    (then ``result.txt`` may be absent and nothing is compared); ``free_run`` repeats
    the jobs for that many cycles, to measure speed; ``plusargs`` (``+name=value``) go to the
    model. ToolError when the vectors cannot be read or the
    executable breaks.
    """
    command = [str(harness.executable), str(vectors), *plusargs, "--stall", repr(stall), "--seed", str(seed)]
    for option, value in (("--reset-at", reset_at), ("--max-cycles", max_cycles), ("--dump", dump),
                          ("--free-run", free_run)):
        if value is not None:
            command += [option, str(value)]
    answer = _answer(command)
    line = " ".join(command)
    divergence = answer["first_divergence"]
    first = None if divergence is None else _divergence(harness.ports, vectors, divergence, line)
    message = str(first) if first else f"{answer['message']}, in cycle {answer['cycles']}; rerun: {line}"
    return HarnessResult(
        passed=answer["passed"], message="" if answer["passed"] else message, jobs=answer["jobs"],
        values=answer["values"], cycles=answer["cycles"], seconds=answer["seconds"],
        counters=answer["counters"], done_cycles=answer["per_job_done_cycles"],
        active=answer["per_job_active"], first_divergence=first)


def bare_loop(harness: Harness, cycles: int = 200_000) -> float:
    """Cycles per second of the model alone: nothing but its clock moves."""
    answer = _answer([str(harness.executable), "--bare", str(cycles)])
    return float(answer["cycles"] / answer["seconds"])


def run_cocotb(
    folder: Path,
    *,
    module: str | None = None,
    seed: int = 1,
    tests: Sequence[str] = (),
    vectors: Path | None = None,
    waves: bool = False,
    plusargs: Sequence[str] = (),
    sources: Sequence[Path] | None = None,
    top: str | None = None,
    cache: Path | None = None,
    optimize: bool = True,
    progress: Progress | None = None,
) -> list[Check]:
    """Run a cocotb module of ``folder/sim`` under Verilator; a check for each test.

    ``module`` defaults to the bench of the bare engine. ``tests`` limits the run to these names,
    ``vectors`` replaces ``folder/sim/vectors``, ``plusargs`` go to the model; ``optimize`` as for
    :func:`build_harness`, which shares the model. A run without tests, without a results file or with a simulator that ended
    badly is a failed check, never an empty list. Results and log stay in ``folder/sim/results/``; ``waves`` leaves
    ``folder/sim/dump.vcd``.
    """
    ports = load_ports(folder / "sim/design.json")
    module, top = module or ports.bench, top or ports.module
    source = engine_source(folder, ports) if module == ports.bench else top_source(folder, ports)
    settings = cocotb_settings()
    executable = compile_program(
        sources=sources or [source], top=top, main=Path(settings["main"]), trace=waves,
        cache=cache or default_cache(folder), optimize=optimize, progress=progress,
        link_flags=[f"-L{settings['library']}", f"-Wl,-rpath,{settings['library']}", "-lcocotbvpi_verilator"])
    simulation = folder.resolve() / "sim"
    kept = simulation / "results"
    kept.mkdir(exist_ok=True)
    # Runs side by side do not meet: each writes to a folder of its own, the last to end leaves its files.
    with tempfile.TemporaryDirectory(dir=kept, prefix=".run-") as name:
        results = Path(name) / f"{module.rpartition('.')[2]}.xml"
        environment = {
            **os.environ,
            "PYGPI_PYTHON_BIN": sys.executable,
            "GPI_USERS": settings["users"],
            "PYTHONPATH": os.pathsep.join([str(simulation), *filter(None, sys.path)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COCOTB_TOPLEVEL": top,
            "TOPLEVEL_LANG": "verilog",
            "COCOTB_TEST_MODULES": module,
            "COCOTB_TEST_FILTER": "|".join(tests),
            "COCOTB_RESULTS_FILE": str(results),
            "COCOTB_RANDOM_SEED": str(seed),
            "COCOTB_TRUST_INERTIAL_WRITES": "1",
            "EVIDENCE": str(results.with_suffix(".evidence")),
            "VECTORS": str((vectors or simulation / "vectors").resolve()),
        }
        wave_options = ["--trace", "--trace-file", str(simulation / "dump.vcd")] if waves else []
        run = subprocess.run([str(executable), *wave_options, *plusargs], cwd=name, env=environment,
                             check=False, capture_output=True, text=True, errors="replace")
        log = results.with_suffix(".log")
        log.write_text(run.stdout + run.stderr)
        checks = [Check(result.name, result.passed, result.seconds, result.message, result.values,
                        result.cycles) for result in read_results(results)]
        if run.returncode and all(check.passed for check in checks):
            message = f"ended with {run.returncode}; see {kept / log.name}"
            checks.append(Check("simulator", False, 0.0, message))
        for path in Path(name).iterdir():
            if path.is_file():
                path.replace(kept / path.name)
    return checks


def cocotb_settings() -> dict[str, str]:
    """Files of the installed cocotb: its main program for Verilator, its libraries, what they load."""
    try:
        import cocotb_tools.config as config
        import find_libpython
    except ImportError:
        raise ToolError("cocotb is not installed; pip install 'tilewright[sim]'") from None
    python = find_libpython.find_libpython()
    if python is None:
        raise ToolError("cocotb needs Python's shared library (libpython); this Python was built without it")
    return {
        "main": str(config.share_dir / "lib/verilator/verilator.cpp"),
        "library": str(config.libs_dir),
        "users": f"{python};{config.pygpi_entry_point()}",
    }


def run_lint(folder: Path) -> Check:
    """``verilator -Wall`` on the design: passed when ``sim/waivers.vlt`` waives every warning."""
    ports = load_ports(folder / "sim/design.json")
    start = time.monotonic()
    warnings = lint([top_source(folder, ports)], top=ports.design, waivers=folder / "sim/waivers.vlt")
    more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
    return Check("lint", not warnings, time.monotonic() - start, warnings[0] + more if warnings else "")


def top_source(folder: Path, ports: Ports) -> Path:
    """The Verilog of the top."""
    return folder / "rtl" / f"{ports.design}.v"


def engine_source(folder: Path, ports: Ports) -> Path:
    """The Verilog of the bare engine: the top, or the file beside the benches where the top wraps it."""
    wrapped = folder / "sim" / f"{ports.design}.v"
    return wrapped if wrapped.exists() else top_source(folder, ports)


def default_cache(folder: Path) -> Path:
    """Where compiled models lie: beside the build folder, for all of them."""
    return folder.resolve().parent / ".cache/verilator"


def _answer(command: list[str]) -> dict[str, Any]:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode not in (0, 1) or not run.stdout.startswith("{"):
        lines = run.stderr.splitlines()
        ended = f"the harness ended with {run.returncode}; rerun: {' '.join(command)}"
        raise ToolError(lines[0] if lines else ended)
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def _divergence(ports: Ports, vectors: Path, found: dict[str, Any], command: str) -> Divergence:
    """Name the place of a wrong beat."""
    number, beat, cycle = found["job"], found["beat"], found["cycle"]
    expected, actual = ((int(seen["data"], 16), int(seen["keep"], 16), seen["last"])
                        for seen in (found["expected"], found["actual"]))
    place = ports.divergence(number, ports.jobs(vectors)[number], beat, expected, actual, cycle)
    return Divergence(
        job=number, index=place.index, beat=beat, lane=place.lane, cycle=cycle, unit=place.unit,
        expected=place.expected, actual=place.actual, text=place.text, command=command)
