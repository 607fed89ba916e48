"""cocotb tests of a GEMM engine behind its ``stream`` top, on the vectors that lie beside it.

Runs from a build folder without Tilewright: ``make -C build/<name>/sim``. Expected results come from
``vectors/``, the ports from ``design.json``; ``SEED`` repeats a run, ``TEST`` picks a test.
"""

import os
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cocotb

from .gemm_ports import (
    ERROR_ACT_LAST,
    ERROR_NONE,
    ERROR_RESIDENT,
    ERROR_SHAPE,
    ERROR_WEIGHT_LAST,
    Case,
    Job,
    load_ports,
)
from .streams import Bench, MismatchError

FOLDER = Path(__file__).resolve().parents[1]
PORTS = load_ports(FOLDER / "design.json")
CASES = Case.load_all(Path(os.environ.get("VECTORS", FOLDER / "vectors")), PORTS)
INTERPRETER = "" if shutil.which("python3") == sys.executable else f" PYTHON={sys.executable}"
SEED = cocotb.RANDOM_SEED
SILENCE_CYCLES = 64
ANSWER_CYCLES = 64  # an error code, or idle, is there so long after its cause
MATRIX_ERROR = {"act": ERROR_ACT_LAST, "weight": ERROR_WEIGHT_LAST}


class Engine(Bench):
    """The engine, its five ports, and what its flags did."""

    def __init__(self, dut: Any, test: str) -> None:
        super().__init__(dut, seed=SEED)
        self.random = random.Random(SEED)
        self.job = self.source("job", list(PORTS.job))
        self.act = self.source("act", ("data", "last"))
        self.weight = self.source("weight", ("data", "last"))
        if PORTS.channel:
            self.channel = self.source("channel", list(PORTS.channel))
        self.result = self.sink("result", ("data", "keep", "last"))
        self.jobs: list[Job] = []
        self.done = 0
        self.recorded = 0  # values of the current run that the evidence file already has
        self.watch = self._watch
        self.test = test
        self.rerun = f"make -C {FOLDER}{INTERPRETER} SEED={SEED} TEST={test}"

    def stall(self, inputs: float, outputs: float) -> None:
        """Probability of a stall on every port."""
        for source in self.sources:
            source.stall = inputs
        self.result.stall = outputs

    def _watch(self) -> None:
        if self.dut.done.value:
            self.done += 1

    async def reset(self, cycles: int = 2) -> None:
        self.jobs = []
        await super().reset(cycles)
        self.done = self.recorded = 0

    def send_job(self, job: Job) -> None:
        """Offer a job, legal or not; nothing else."""
        self.job.send([tuple(getattr(job, name) & ((1 << width) - 1) for name, width in PORTS.job.items())])

    def send(self, case: Case, *, but: Sequence[str] = ()) -> None:
        """Offer every stream of a case, except those named, and expect its results."""
        for job in case.jobs:
            self.send_job(job)
        self.jobs += case.jobs
        for stream in ("act", "weight"):
            if stream not in but:
                getattr(self, stream).send(zip(getattr(case, stream), case.last(stream, PORTS), strict=True))
        if PORTS.channel:
            self.channel.send(case.channel)
        if "result" not in but:
            last = case.last("result", PORTS)
            self.result.expect((data, keep, end) for (data, keep), end in zip(case.result, last, strict=True))

    @property
    def patience(self) -> int:
        """No port rests this long: four times the work of the largest job, and the odds of the stalls."""
        work = max((sum(PORTS.count(stream, job) for stream in ("act", "weight", "channel", "result"))
                    for job in self.jobs), default=0)
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
        return (self.result.finished and self.done >= len(self.jobs)
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
        while beat >= (count := PORTS.count("result", self.jobs[number])):
            number, beat = number + 1, beat - count
        place = PORTS.divergence(
            number, self.jobs[number], beat, mismatch.expected, mismatch.actual, mismatch.cycle)
        return f"{place.text}; rerun: {self.rerun}"

    async def error_code(self) -> int:
        """The code that ``error`` takes, waiting for it."""
        for _ in range(ANSWER_CYCLES):
            if code := int(self.dut.error.value):
                return code
            await self.idle(1)
        return ERROR_NONE


def shapes_off_limits() -> list[Job]:
    """Jobs that no engine of these limits may take, as far as the ports can say them."""
    good = {name: 1 for name in ("m", "n", "k")}
    jobs = []
    for name, limit in PORTS.limits.items():
        jobs += [Job(**good | {name: value}) for value in (0, limit + 1, (1 << PORTS.job[name]) - 1)
                 if value == 0 or limit < value < 1 << PORTS.job[name]]
    return jobs


def fresh(case: Case) -> list[Case]:
    """The jobs of a case that bring their own weights, each alone."""
    return [case.only(number, PORTS) for number, job in enumerate(case.jobs) if not job.reuse_weights]


@cocotb.test()
async def results_equal_golden(dut: Any) -> None:
    """Every case from reset, nothing stalls."""
    engine = Engine(dut, "results_equal_golden")
    for case in CASES:
        await engine.reset()
        engine.send(case)
        await engine.finish()


@cocotb.test()
async def counters_equal_the_cycle_model(dut: Any) -> None:
    """Cycles as predicted when nothing stalls; no output stall is counted then."""
    engine = Engine(dut, "counters_equal_the_cycle_model")
    predicted = [case for case in CASES if case.cycles is not None]
    assert predicted, "no case has a cycles.txt"
    for case in predicted:
        await engine.reset()
        engine.send(case)
        await engine.finish()
        measured = int(dut.counter_cycles.value)
        engine.demand(measured == case.cycles, f"{case.name}: {measured} cycles, predicted {case.cycles}")
        active = int(dut.counter_active.value)
        engine.demand(0 < active <= measured, f"{case.name}: {active} active of {measured} cycles")
        stalled = int(dut.counter_output_stall.value)
        engine.demand(stalled == 0, f"{case.name}: {stalled} output stalls although result_ready never fell")


@cocotb.test()
async def jobs_run_back_to_back(dut: Any) -> None:
    """All jobs of all cases as one queue."""
    engine = Engine(dut, "jobs_run_back_to_back")
    await engine.reset()
    engine.send(Case.joined(CASES))
    await engine.finish()


@cocotb.test()
@cocotb.parametrize(pattern=["both", "input", "output"])
async def stalls_lose_and_repeat_nothing(dut: Any, pattern: str) -> None:
    """Random stalls on every port, both sides, jobs back to back."""
    engine = Engine(dut, f"stalls_lose_and_repeat_nothing/pattern={pattern}")
    engine.stall(*{"both": (0.5, 0.5), "input": (0.7, 0.1), "output": (0.1, 0.7)}[pattern])
    await engine.reset()
    engine.send(Case.joined(CASES if pattern == "both" else engine.random.sample(CASES, min(len(CASES), 6))))
    await engine.finish()


@cocotb.test()
async def one_slow_port_only_costs_time(dut: Any) -> None:
    """Each port in turn crawls while the others run: the parts of a job drift as far apart as they can."""
    engine = Engine(dut, "one_slow_port_only_costs_time")
    alone = sorted((job for case in CASES for job in fresh(case)),
                   key=lambda case: len(case.act) + len(case.weight) + len(case.result))
    names = [*(source.name for source in engine.sources), engine.result.name]
    for slow in names:
        for source in engine.sources:
            source.stall = 0.8 if source.name == slow else 0.0
        engine.result.stall = 0.8 if slow == engine.result.name else 0.0
        await engine.reset()
        engine.send(Case.joined(alone[:8]))
        await engine.finish()


@cocotb.test()
async def results_do_not_wait_for_ready(dut: Any) -> None:
    """``valid`` comes while ``ready`` is low, and the offer holds."""
    engine = Engine(dut, "results_do_not_wait_for_ready")
    await engine.reset()
    engine.send(CASES[0])
    patience = engine.patience
    engine.result.stall = 1.0
    await engine.run(until=lambda: engine.result.offered, patience=patience)
    await engine.idle(SILENCE_CYCLES)
    engine.result.stall = 0.0
    await engine.finish()


@cocotb.test()
async def reset_in_the_middle_leaves_no_trace(dut: Any) -> None:
    """Reset in a random cycle of a job; then the next case runs as if from power-on, to the cycle."""
    engine = Engine(dut, "reset_in_the_middle_leaves_no_trace")
    for case in engine.random.sample(CASES, min(len(CASES), 4)):
        length = case.cycles or sum(PORTS.count("act", job) for job in case.jobs)
        await engine.reset()
        engine.send(case)
        await engine.idle(engine.random.randrange(1, max(2, length)))
        await engine.reset(cycles=1)
        engine.demand(not dut.busy.value, "busy after reset")
        engine.send(case)
        await engine.finish()
        if case.cycles is not None:
            measured = int(dut.counter_cycles.value)
            engine.demand(
                measured == case.cycles, f"{measured} cycles after a reset, predicted {case.cycles}")


@cocotb.test()
async def illegal_shapes_are_refused(dut: Any) -> None:
    """Zero and beyond the limits: taken, dropped with error 1, nothing touched; the next job is fine."""
    engine = Engine(dut, "illegal_shapes_are_refused")
    await engine.reset()
    good = fresh(CASES[0])[0]
    for job in shapes_off_limits():
        engine.send_job(job)
        await engine.run(until=lambda: engine.job.finished, patience=ANSWER_CYCLES)
        code = await engine.error_code()
        engine.demand(code == ERROR_SHAPE, f"{job}: error is {code}, not {ERROR_SHAPE}")
        await engine.idle(ANSWER_CYCLES)
        engine.demand(not dut.busy.value and engine.done == len(engine.jobs), f"{job}: started")
        engine.send(good)
        await engine.finish()


@cocotb.test()
async def illegal_jobs_between_good_ones_change_nothing(dut: Any) -> None:
    """A queue of good and illegal jobs gives the results of the good ones."""
    engine = Engine(dut, "illegal_jobs_between_good_ones_change_nothing")
    await engine.reset()
    good = [alone for case in CASES[:4] for alone in fresh(case)[:2]]
    for case, job in zip(good, shapes_off_limits(), strict=False):
        engine.send(case)
        engine.send_job(job)
    engine.send(good[0])
    await engine.finish()


@cocotb.test()
async def reuse_without_resident_weights_is_refused(dut: Any) -> None:
    """``reuse_weights`` after reset, or with another n or k, is error 2; the next job is fine."""
    engine = Engine(dut, "reuse_without_resident_weights_is_refused")
    good = fresh(CASES[0])[0]
    shape = good.jobs[0]
    others = [(n, k) for n, k in ((shape.n + 1, shape.k), (shape.n - 1, shape.k), (shape.n, shape.k + 1),
                                  (shape.n, shape.k - 1))
              if 1 <= n <= PORTS.limits["n"] and 1 <= k <= PORTS.limits["k"]]
    for number, (n, k) in enumerate([(shape.n, shape.k), *others]):
        await engine.reset()
        if number:  # the first attempt finds nothing resident at all
            engine.send(good)
            await engine.finish()
        engine.send_job(Job(m=1, n=n, k=k, reuse_weights=1))
        await engine.run(until=lambda: engine.job.finished, patience=ANSWER_CYCLES)
        code = await engine.error_code()
        engine.demand(code == ERROR_RESIDENT, f"reuse of n={n}, k={k}: error is {code}, not {ERROR_RESIDENT}")
        engine.demand(engine.done == len(engine.jobs), "a refused job was reported done")
        engine.send(good)
        await engine.finish()


@cocotb.test()
@cocotb.parametrize(stream=["act", "weight"], when=["early", "late"])
async def a_misplaced_last_is_reported_and_survived(dut: Any, stream: str, when: str) -> None:
    """The job completes, ``error`` says which matrix was wrong, and the next job is exact."""
    engine = Engine(dut, f"a_misplaced_last_is_reported_and_survived/stream={stream}/when={when}")
    candidates = sorted((alone for case in CASES for alone in fresh(case)
                         if PORTS.count(stream, alone.jobs[0]) > (1 if when == "early" else 0)),
                        key=lambda case: PORTS.count(stream, case.jobs[0]))
    assert candidates, f"no case has a {stream} matrix of two beats"
    for bad in (candidates[0], engine.random.choice(candidates), candidates[-1]):
        beats = list(getattr(bad, stream))
        if when == "early":
            beats = beats[: engine.random.randrange(1, len(beats))]
        else:
            beats += [engine.random.getrandbits(8) for _ in range(engine.random.choice((1, 2, 17)))]
        last = [0] * (len(beats) - 1) + [1]
        await engine.reset()
        for queued in (False, True):  # the next job arrives after the bad one, then right behind it
            engine.send(bad, but=(stream, "result"))
            getattr(engine, stream).send(zip(beats, last, strict=True))
            end = bad.last("result", PORTS)
            engine.result.expect(
                (None if when == "early" else data, keep, bit)
                for (data, keep), bit in zip(bad.result, end, strict=True))
            if not queued:
                await engine.finish(errors=(MATRIX_ERROR[stream],))
            engine.send(candidates[0])
            # Behind one another, the second job may have cleared the code of the first or not.
            await engine.finish(errors=(ERROR_NONE, MATRIX_ERROR[stream]) if queued else (ERROR_NONE,))
