"""What the cocotb tests of every engine share: its ports and flags, and the claims that hold for any family.

A family's own module names its ports and cases, wraps these claims as cocotb tests, and adds what only it can get wrong.
Runs from a build folder without Tilewright: ``make -C build/<name>/sim``; ``SEED`` repeats a run, ``TEST`` picks a test.
"""

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cocotb

from .beats import Place, ResultBeat
from .cases import StreamCase
from .streams import Bench, MismatchError, Sink, Source

FOLDER = Path(__file__).resolve().parents[1]
INTERPRETER = "" if shutil.which("python3") == sys.executable else f" PYTHON={sys.executable}"
SEED = cocotb.RANDOM_SEED
SILENCE_CYCLES = 64
ANSWER_CYCLES = 64  # an error code, or idle, is there so long after its cause
ERROR_NONE, ERROR_SHAPE = 0, 1
STALLS = {"both": (0.5, 0.5), "input": (0.7, 0.1), "output": (0.1, 0.7)}


class EnginePorts(Protocol):
    """The ports of an engine; jobs are the family's own objects, with an attribute for each field of port ``job``."""

    @property
    def job(self) -> dict[str, int]:
        """Fields of port ``job`` and their widths."""

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Payload fields of each input stream but ``job``; `last` among them where the stream marks a job's final beat."""

    def count(self, stream: str, job: Any) -> int:
        """Beats of ``stream`` that belong to ``job``."""

    def divergence(
        self, number: int, job: Any, beat: int, expected: ResultBeat, actual: ResultBeat, cycle: int
    ) -> Place:
        """What is wrong with a result beat."""


class EngineBench(Bench):
    """The engine, its ports, and what its flags did; ``outputs`` are payload fields of what it sends beside ``result``."""

    def __init__(self, dut: Any, test: str, ports: EnginePorts, outputs: Mapping[str, tuple[str, ...]] | None = None) -> None:
        super().__init__(dut, seed=SEED)
        self.ports = ports
        self.random = random.Random(SEED)
        self.job = self.source("job", list(ports.job))
        self.inputs = {name: self.source(name, fields) for name, fields in ports.inputs.items()}
        self.result = self.sink("result", ("data", "keep", "last"))
        self.outputs = {name: self.sink(name, fields) for name, fields in (outputs or {}).items()}
        self.jobs: list[Any] = []
        self.done = 0
        self.recorded = 0  # values of the current run that the evidence file already has
        self.watch = self._watch
        self.test = test
        self.rerun = f"make -C {FOLDER}{INTERPRETER} SEED={SEED} TEST={test}"

    def stall(self, inputs: float, outputs: float) -> None:
        """Probability of a stall on every port."""
        for source in self.sources:
            source.stall = inputs
        for sink in self.sinks:
            sink.stall = outputs

    def _watch(self) -> None:
        if self.dut.done.value:
            self.done += 1

    async def reset(self, cycles: int = 2) -> None:
        self.jobs = []
        await super().reset(cycles)
        self.done = self.recorded = 0

    def send_job(self, job: Any) -> None:
        """Offer a job, legal or not; nothing else."""
        self.job.send([tuple(getattr(job, name) & ((1 << width) - 1) for name, width in self.ports.job.items())])

    def send(self, case: StreamCase, *, but: Sequence[str] = ()) -> None:
        """Offer every stream of a case, except those named, and expect its results."""
        for job in case.jobs:
            self.send_job(job)
        self.jobs += case.jobs
        for name, source in self.inputs.items():
            if name in but:
                continue
            beats = getattr(case, name)
            source.send(zip(beats, case.last(name, self.ports), strict=True) if "last" in self.ports.inputs[name] else beats)
        for name, sink in self.outputs.items():
            sink.expect(getattr(case, name))
        if "result" not in but:
            last = case.last("result", self.ports)
            self.result.expect((data, keep, end) for (data, keep), end in zip(case.result, last, strict=True))

    @property
    def patience(self) -> int:
        """No port rests this long: four times the work of the largest job, and the odds of the stalls."""
        work = max((sum(self.ports.count(stream, job) for stream in (*self.inputs, "result")) for job in self.jobs), default=0)
        stall = min(max(self.result.stall, *(source.stall for source in self.sources)), 0.95)
        return int((1000 + 4 * work) / (1 - stall))

    async def run(self, *, until: Callable[[], bool], patience: int) -> None:
        """As :meth:`Bench.run`; what goes wrong is told with its place and the command that repeats it."""
        try:
            await super().run(until=until, patience=patience)
        except MismatchError as mismatch:
            raise AssertionError(self.describe(mismatch)) from None
        except AssertionError as error:
            raise AssertionError(f"{error}; rerun: {self.rerun}") from None

    async def finish(self, *, errors: Sequence[int] = (ERROR_NONE,)) -> None:
        """Run to the last result, then demand the flags of an idle engine and silence."""
        try:
            await self.run(until=self._finished, patience=self.patience)
            await self.silence(SILENCE_CYCLES)
        finally:
            self.record()
        self.demand(self.done == len(self.jobs), f"done pulsed {self.done} times for {len(self.jobs)} jobs")
        self.demand(not self.dut.busy.value, "busy although every job is done")
        code = int(self.dut.error.value)
        self.demand(code in errors, f"error is {code}, not {' or '.join(map(str, errors))}")

    def _finished(self) -> bool:
        return (all(port.finished for port in self.sinks) and self.done >= len(self.jobs)
                and all(port.finished for port in self.sources))

    def record(self) -> None:
        """Append to the evidence file how many values this test compared."""
        if path := os.environ.get("EVIDENCE"):
            values = sum(keep.count("1") for _, keep, _ in self.result.expected[: self.result.taken] if keep)
            with Path(path).open("a") as file:
                file.write(f"{self.test} {values - self.recorded}\n")
            self.recorded = values

    def demand(self, condition: bool, message: str) -> None:
        """An assertion that tells how to repeat the run."""
        if not condition:
            raise AssertionError(f"{message}, in cycle {self.cycle}; rerun: {self.rerun}")

    def describe(self, mismatch: MismatchError) -> str:
        """The first divergence: which result of which job, when, where made, and how to see it again."""
        number, beat = 0, mismatch.beat
        while beat >= (count := self.ports.count("result", self.jobs[number])):
            number, beat = number + 1, beat - count
        place = self.ports.divergence(
            number, self.jobs[number], beat, mismatch.expected, mismatch.actual, mismatch.cycle)
        return f"{place.text}; rerun: {self.rerun}"

    async def error_code(self) -> int:
        """The code that ``error`` takes, waiting for it."""
        for _ in range(ANSWER_CYCLES):
            if code := int(self.dut.error.value):
                return code
            await self.idle(1)
        return ERROR_NONE


async def equals_golden(engine: EngineBench, cases: Sequence[StreamCase]) -> None:
    """Every case from reset, nothing stalls."""
    for case in cases:
        await engine.reset()
        engine.send(case)
        await engine.finish()


async def counts_as_predicted(engine: EngineBench, cases: Sequence[StreamCase]) -> None:
    """Cycles as predicted when nothing stalls; no output stall is counted then."""
    predicted = [case for case in cases if case.cycles is not None]
    assert predicted, "no case has a cycles.txt"
    for case in predicted:
        await engine.reset()
        engine.send(case)
        await engine.finish()
        measured = int(engine.dut.counter_cycles.value)
        engine.demand(measured == case.cycles, f"{case.name}: {measured} cycles, predicted {case.cycles}")
        active = int(engine.dut.counter_active.value)
        engine.demand(0 < active <= measured, f"{case.name}: {active} active of {measured} cycles")
        stalled = int(engine.dut.counter_output_stall.value)
        engine.demand(stalled == 0, f"{case.name}: {stalled} output stalls although result_ready never fell")


async def slow_ports_only_cost_time(engine: EngineBench, case: StreamCase) -> None:
    """Each port in turn crawls while the others run: the parts of a job drift as far apart as they can."""
    ports: list[Source | Sink] = [*engine.sources, *engine.sinks]
    for slow in ports:
        for port in ports:
            port.stall = 0.8 if port is slow else 0.0
        await engine.reset()
        engine.send(case)
        await engine.finish()


async def offers_hold(engine: EngineBench, case: StreamCase) -> None:
    """``valid`` comes while ``ready`` is low, and the offer holds."""
    await engine.reset()
    engine.send(case)
    patience = engine.patience
    engine.result.stall = 1.0
    await engine.run(until=lambda: engine.result.offered, patience=patience)
    await engine.idle(SILENCE_CYCLES)
    engine.result.stall = 0.0
    await engine.finish()


async def reset_leaves_no_trace(engine: EngineBench, cases: Sequence[StreamCase], stream: str) -> None:
    """Reset in a random cycle of a job; then the case runs as if from power-on, to the cycle.

    ``stream`` tells how long a case without a ``cycles.txt`` takes.
    """
    for case in cases:
        length = case.cycles or sum(engine.ports.count(stream, job) for job in case.jobs)
        await engine.reset()
        engine.send(case)
        await engine.idle(engine.random.randrange(1, max(2, length)))
        await engine.reset(cycles=1)
        engine.demand(not engine.dut.busy.value, "busy after reset")
        engine.send(case)
        await engine.finish()
        if case.cycles is not None:
            measured = int(engine.dut.counter_cycles.value)
            engine.demand(measured == case.cycles, f"{measured} cycles after a reset, predicted {case.cycles}")


async def refuses(engine: EngineBench, job: Any, code: int, good: StreamCase) -> None:
    """``job`` is taken and dropped with ``code``, nothing touched; ``good`` runs behind it."""
    engine.send_job(job)
    await engine.run(until=lambda: engine.job.finished, patience=ANSWER_CYCLES)
    seen = await engine.error_code()
    engine.demand(seen == code, f"{job}: error is {seen}, not {code}")
    await engine.idle(ANSWER_CYCLES)
    engine.demand(not engine.dut.busy.value and engine.done == len(engine.jobs), f"{job}: started")
    engine.send(good)
    await engine.finish()


def misplaced(engine: EngineBench, beats: Sequence[int], when: str) -> Iterator[tuple[int, int]]:
    """A frame that ends too early, or too late."""
    kept = list(beats)
    if when == "early":
        kept = kept[: engine.random.randrange(1, len(kept))]
    else:
        kept += engine.random.choices(beats, k=engine.random.choice((1, 2, 17)))
    return zip(kept, [0] * (len(kept) - 1) + [1], strict=True)


async def survives_a_misplaced_last(
    engine: EngineBench, bad: StreamCase, good: StreamCase, *, stream: str, when: str, code: int
) -> None:
    """The job completes, ``error`` says which frame was wrong, and the next job is exact."""
    await engine.reset()
    for queued in (False, True):  # the next job arrives after the bad one, then right behind it
        engine.send(bad, but=(stream, "result"))
        engine.inputs[stream].send(misplaced(engine, getattr(bad, stream), when))
        engine.result.expect(
            (None if when == "early" else data, keep, bit)
            for (data, keep), bit in zip(bad.result, bad.last("result", engine.ports), strict=True))
        if not queued:
            await engine.finish(errors=(code,))
        engine.send(good)
        # Behind one another, the second job may have cleared the code of the first or not.
        await engine.finish(errors=(ERROR_NONE, code) if queued else (ERROR_NONE,))
