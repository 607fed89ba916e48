"""One driver object for a design, whatever runs it: golden model, simulated RTL, or a board.

    driver = open_driver(load_design("my.yaml"), "sim")
    c = driver.job(a=a, b=b, bias=bias, multiplier=multiplier, shift=shift)
    run = driver.run([{"a": a0, "b": b, ...}, {"a": a1, "reuse_weights": True}])
    run.outputs, run.cycles
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.build import DEFAULT_ROOT, Build, build, engine_source
from tilewright.design import Design
from tilewright.errors import CheckFailed, ToolError, UserError
from tilewright.families import family_of

BACKENDS = ("golden", "sim", "cocotb", "board")
GOLDEN_TESTS = "golden"  # in the names of the cocotb tests that compare with the vectors' results

IntArray = NDArray[np.int64]
Arguments = Mapping[str, ArrayLike | None]
Progress = Callable[[str], None]


class Device(Protocol):
    """A design behind its registers."""

    def run(self, jobs: Sequence[Any]) -> tuple[list[IntArray], list[int]]:
        """Results of each job, and the cycles it took."""


class Runtime(Protocol):
    """What a family knows about running one of its designs; jobs are the family's own objects."""

    arguments: tuple[str, ...]
    dimensions: int  # of an argument's array, at most
    description: dict[str, Any]  # what the build's driver/registers.json holds; empty without registers

    def job(self, arguments: Arguments, before: Any) -> Any:
        """A job of a user's arguments, ``before`` the one that ran last; ``ValueError`` tells a bad one."""

    def alone(self, job: Any) -> Any:
        """``job`` in a form that needs nothing of the job before it."""

    def shape(self, job: Any) -> dict[str, int]:
        """The job's size."""

    def result_shape(self, job: Any) -> tuple[int, ...]:
        """The shape of the job's result."""

    def golden(self, job: Any) -> IntArray:
        """The job's result as the golden model computes it."""

    def cycles(self, jobs: Sequence[Any]) -> list[int]:
        """What the cycle model says of each job."""

    def vectors(self, jobs: Sequence[Any], *, with_results: bool) -> Mapping[str, str]:
        """The files of a vectors folder that holds ``jobs``."""

    def results(self, text: str, jobs: Sequence[Any]) -> list[IntArray]:
        """Results of each job, out of the text that the harness dumps."""

    def device(self, transport: Any) -> Device:
        """The design at the far end of a transport."""


@dataclass(frozen=True)
class Run:
    """Results of a program. ``cycles`` are per job, ``measured`` or from the cycle model."""

    outputs: list[IntArray]
    cycles: list[int]
    measured: bool
    seconds: float


class Backend(Protocol):
    """What executes jobs. ``resident`` tells whether the design keeps its weights between two calls."""

    name: str
    resident: bool
    runtime: Runtime

    def execute(self, jobs: Sequence[Any]) -> tuple[list[IntArray], list[int], bool]:
        """Results and cycles of each job, and whether the cycles were measured."""


class Driver:
    """Runs jobs on ``backend``; arguments are checked here, before anything starts."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._before: Any = None

    def job(self, **arguments: ArrayLike | None) -> IntArray:
        """The result of one job, int64; its arguments by name, as the family's page describes them.

        ``ValueError`` names the argument that is wrong.
        """
        return self.run([arguments]).outputs[0]

    def run(self, program: Sequence[Arguments]) -> Run:
        """Run the jobs of ``program``, the arguments of :meth:`job` for each, one after the other."""
        return self.execute(self.jobs(program))

    def jobs(self, program: Sequence[Arguments]) -> list[Any]:
        """The jobs of ``program``, checked; ``ValueError`` names job and argument."""
        jobs, before = [], self._before
        for number, arguments in enumerate(program):
            try:
                before = self.backend.runtime.job(arguments, before)
            except ValueError as error:
                raise ValueError(f"job {number}: {error}" if len(program) > 1 else str(error)) from None
            jobs.append(before)
        if not jobs:
            raise ValueError("the program has no job")
        return jobs

    def execute(self, jobs: Sequence[Any]) -> Run:
        """Run what :meth:`jobs` made."""
        first = jobs[0] if self.backend.resident else self.backend.runtime.alone(jobs[0])
        start = time.monotonic()
        outputs, cycles, measured = self.backend.execute([first, *jobs[1:]])
        self._before = jobs[-1]
        return Run(outputs, cycles, measured, time.monotonic() - start)


class GoldenBackend:
    """The NumPy model; cycles from the cycle model."""

    name = "golden"
    resident = False

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def execute(self, jobs: Sequence[Any]) -> tuple[list[IntArray], list[int], bool]:
        """See :class:`Backend`."""
        return [self.runtime.golden(job) for job in jobs], self.runtime.cycles(jobs), False


class HarnessBackend:
    """The RTL of a build folder, compiled with the batch harness; each call starts from reset.

    Compiled in haste at first, and once more, optimized, for a call with which it will have run ``MANY_CYCLES``.
    """

    name = "sim"
    resident = False

    def __init__(self, runtime: Runtime, built: Build, *, progress: Progress = lambda text: None) -> None:
        self.runtime = runtime
        self._built = built
        self._progress = progress
        self._cycles = 0

    def execute(self, jobs: Sequence[Any]) -> tuple[list[IntArray], list[int], bool]:
        """See :class:`Backend`. The results are the RTL's own, compared with nothing."""
        from tilewright.sim.runner import MANY_CYCLES, build_harness, run_harness

        built = self._built
        self._cycles += sum(self.runtime.cycles(jobs))
        harness = build_harness(
            built.folder, sources=[engine_source(built.folder, built.design.name)], top=built.design.name,
            cache=_cache(built), optimize=self._cycles >= MANY_CYCLES, progress=self._progress)
        with tempfile.TemporaryDirectory(prefix="tilewright-") as name:
            folder = Path(name)
            _write(folder, self.runtime.vectors(jobs, with_results=False))
            result = run_harness(harness, folder, dump=folder / "dumped.txt")
            if not result.passed:
                raise CheckFailed(f"simulation: {result.message}")
            outputs = self.runtime.results((folder / "dumped.txt").read_text(), jobs)
        # The harness counts from the first acceptance, the engine from the cycle in which it turned busy.
        before = result.counters["cycles"] - result.done_cycles[-1]
        done = [0, *(cycle + before for cycle in result.done_cycles)]
        return outputs, [end - start for start, end in pairwise(done)], True


class CocotbBackend:
    """The top of a build folder under cocotb, which compares every result with the golden model's."""

    name = "cocotb"
    resident = False

    def __init__(self, runtime: Runtime, built: Build, *, progress: Progress = lambda text: None) -> None:
        self.runtime = runtime
        self._built = built
        self._progress = progress

    def execute(self, jobs: Sequence[Any]) -> tuple[list[IntArray], list[int], bool]:
        """See :class:`Backend`. ``CheckFailed`` with the first divergence; cycles from the cycle model."""
        from tilewright.sim.runner import run_cocotb

        with tempfile.TemporaryDirectory(prefix="tilewright-") as name:
            _write(Path(name) / "program", self.runtime.vectors(jobs, with_results=True))
            for module in family_of(self._built.design.spec).benches(self._built.design.spec):
                checks = run_cocotb(
                    self._built.folder, module=module, tests=[GOLDEN_TESTS], vectors=Path(name),
                    sources=[self._built.folder / "rtl" / f"{self._built.design.name}.v"],
                    top=self._built.design.name, cache=_cache(self._built), progress=self._progress)
                if failed := [check for check in checks if not check.passed]:
                    raise CheckFailed(f"{failed[0].name}: {failed[0].message}")
                if not sum(check.vectors for check in checks):
                    raise ToolError(f"{module}: no value was compared")
        return [self.runtime.golden(job) for job in jobs], self.runtime.cycles(jobs), False


class BoardBackend:
    """The design behind ``transport``: a board on a serial line, or whatever plays one."""

    name = "board"
    resident = True

    def __init__(self, runtime: Runtime, transport: Any) -> None:
        self.runtime = runtime
        try:
            self._device = runtime.device(transport)
        except RuntimeError as error:
            raise ToolError(f"board: {error}") from None

    def execute(self, jobs: Sequence[Any]) -> tuple[list[IntArray], list[int], bool]:
        """See :class:`Backend`."""
        try:
            return (*self._device.run(jobs), True)
        except RuntimeError as error:
            raise ToolError(f"board: {error}") from None


def runtime_of(design: Design) -> Runtime:
    """The runtime of a design."""
    return family_of(design.spec).runtime(design.spec, design.content_hash)


def open_driver(design: Design, backend: str = "golden", *, root: Path = DEFAULT_ROOT,
                port: str | None = None, progress: Progress = lambda text: None) -> Driver:
    """The driver of ``design`` on one of BACKENDS. `sim` and `cocotb` build it under ``root`` first."""
    runtime = runtime_of(design)
    if backend == "golden":
        return Driver(GoldenBackend(runtime))
    if backend == "sim":
        return Driver(HarnessBackend(runtime, build(design, root), progress=progress))
    if backend == "cocotb":
        return Driver(CocotbBackend(runtime, build(design, root), progress=progress))
    if backend == "board":
        family_of(design.spec).require_board_top()
        return Driver(BoardBackend(runtime, _serial(runtime, port)))
    raise UserError(f"--backend: '{backend}'; allowed are {', '.join(BACKENDS)}")


def _serial(runtime: Runtime, port: str | None) -> Any:
    from tilewright.serial_transport import TransportError, open_serial

    if port is None:
        raise UserError("--port: missing; --backend board needs the board's serial port: --port /dev/ttyUSB0")
    try:
        return open_serial(port, runtime.description["streams"])
    except TransportError as error:
        raise ToolError(f"board: {error}") from None


def _cache(built: Build) -> Path:
    return built.folder.resolve().parent / ".cache" / "verilator"


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
