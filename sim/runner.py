"""Compile and run simulations of a build folder: the batch harness and the cocotb benches.

Reads only the build folder (``build/<name>``), never the spec: ``sim/design.json`` describes the
ports, ``rtl/<name>.v`` is the design, ``sim/vectors/<case>/`` holds stimulus and expected results.

    harness = build_harness(folder)                                  # cached by content
    result = run_harness(harness, folder / "sim/vectors/random_0")   # volume: compiled C++
    checks = run_cocotb(folder, seed=7)                              # protocol: cocotb 2.1
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Check:
    """One claim and whether it held; ``message`` says what happened when it did not."""

    name: str
    passed: bool
    seconds: float
    message: str = ""
    vectors: int = 0


@dataclass(frozen=True)
class Divergence:
    """The first result that differs from the golden model; ``str()`` is the line a person reads."""

    job: int
    index: tuple[int, int]  # row, column of the job's result matrix
    beat: int
    lane: int
    cycle: int
    unit: str  # the PE or column of PEs it came from
    expected: str
    actual: str
    command: str  # reproduces it


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
    folder: Path, *, sources: Sequence[Path] | None = None, top: str | None = None, cache: Path | None = None
) -> Path:
    """Compile model and batch harness of ``folder``; path of the executable, from the cache if it is there.

    ``sources`` replaces ``rtl/<name>.v`` (a synthesized netlist and its cell models, say); ``top``
    the module name. ``cache`` defaults to ``.cache/verilator`` beside ``folder``. Raises ``ToolError``.
    """
    raise NotImplementedError


def run_harness(
    executable: Path,
    vectors: Path,
    *,
    stall: float = 0.0,
    seed: int = 1,
    reset_at: int | None = None,
    max_cycles: int | None = None,
    dump: Path | None = None,
    free_run: int | None = None,
) -> HarnessResult:
    """Run the jobs of one vectors folder back to back and compare every result beat.

    ``stall`` is the probability of a stall, on every port, both sides; ``reset_at`` resets the
    engine in that cycle and starts over; ``dump`` writes the results in the format of ``result.txt``
    (then ``result.txt`` may be absent and nothing is compared); ``free_run`` repeats
    the jobs for that many cycles, to measure speed.
    """
    raise NotImplementedError


def bare_loop(executable: Path, cycles: int = 200_000) -> float:
    """Cycles per second of the model alone: nothing but its clock moves."""
    raise NotImplementedError


def run_cocotb(
    folder: Path,
    *,
    module: str = "cosim.gemm_tests",
    seed: int = 1,
    tests: Sequence[str] = (),
    waves: bool = False,
    sources: Sequence[Path] | None = None,
    top: str | None = None,
    cache: Path | None = None,
) -> list[Check]:
    """Run a cocotb module of ``folder/sim`` under Verilator; a check for each test.

    ``tests`` limits the run to these names. A run without tests, without a results file
    or with a simulator that ended badly is a failed check, never an empty list. ``waves`` leaves
    ``folder/sim/dump.vcd``.
    """
    raise NotImplementedError
