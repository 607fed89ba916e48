"""cocotb tests of an attention engine behind its ``stream`` top, on the vectors that lie beside it.

Runs from a build folder without Tilewright: ``make -C build/<name>/sim``. Expected results come from
``vectors/``, the ports from ``design.json``; ``SEED`` repeats a run, ``TEST`` picks a test.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb

from . import engine_bench as bench
from .attention_ports import (
    ERROR_BIAS_LAST,
    ERROR_CACHE,
    ERROR_K_LAST,
    ERROR_NO_BIAS,
    ERROR_Q_LAST,
    ERROR_SHAPE,
    ERROR_V_LAST,
    Case,
    Job,
    load_ports,
)
from .engine_bench import FOLDER, STALLS, EngineBench

PORTS = load_ports(FOLDER / "design.json")
CASES = Case.load_all(Path(os.environ.get("VECTORS", FOLDER / "vectors")), PORTS)
FRAME_ERROR = {"q": ERROR_Q_LAST, "k": ERROR_K_LAST, "v": ERROR_V_LAST, "bias": ERROR_BIAS_LAST}
SMALL_BEATS = 4096  # of a job, or a sequence of them, that a test may run several times
GOOD = {"queries": 1, "keys": 1, "score_multiplier": 1, "score_shift": 0, "out_scale": 4096, "load_bias": 1}


def engine_of(dut: Any, test: str) -> EngineBench:
    """The bench of test ``test``."""
    return EngineBench(dut, test, PORTS, PORTS.outputs)


def shapes_off_limits() -> list[Job]:
    """Jobs that no engine of these limits may take, as far as the ports can say them."""
    jobs = []
    for name, limit in PORTS.limits.items():
        jobs += [Job(**GOOD | {name: value}) for value in (0, limit + 1, (1 << PORTS.job[name]) - 1)
                 if value == 0 or limit < value < 1 << PORTS.job[name]]
    if PORTS.needs_positions and PORTS.limits["queries"] > 1:
        jobs.append(Job(**GOOD | {"queries": 2, "keys": 1}))
    return jobs


def small() -> list[Case]:
    """The parts of all cases, the smallest first, as far as they are small; at least one."""
    alone = sorted((part for case in CASES for part in case.parts(PORTS)),
                   key=lambda case: len(case.q) + len(case.k) + len(case.v))
    return [case for case in alone if len(case.k) <= SMALL_BEATS] or alone[:1]


def single() -> list[Case]:
    """Those of them that are one job."""
    return [case for case in small() if len(case.jobs) == 1]


def gaps(held: int) -> list[Job]:
    """Jobs that neither begin a sequence nor go on with one of ``held`` positions."""
    return [Job(**GOOD | {"keys": keys}) for keys in (held, held + 2) if 2 <= keys <= PORTS.limits["keys"]]


@cocotb.test()
async def results_equal_golden(dut: Any) -> None:
    """Every case from reset, nothing stalls."""
    await bench.equals_golden(engine_of(dut, "results_equal_golden"), CASES)


@cocotb.test()
async def counters_equal_the_cycle_model(dut: Any) -> None:
    """Cycles as predicted when nothing stalls; no output stall is counted then."""
    await bench.counts_as_predicted(engine_of(dut, "counters_equal_the_cycle_model"), CASES)


@cocotb.test()
@cocotb.parametrize(pattern=["both", "input", "output"])
async def stalls_lose_and_repeat_nothing(dut: Any, pattern: str) -> None:
    """Random stalls on every port, both sides, jobs of all cases back to back."""
    engine = engine_of(dut, f"stalls_lose_and_repeat_nothing/pattern={pattern}")
    engine.stall(*STALLS[pattern])
    cases = small()
    await bench.equals_golden(engine, [Case.joined(engine.random.sample(cases, min(len(cases), 12)))])


@cocotb.test()
async def one_slow_port_only_costs_time(dut: Any) -> None:
    """Each port in turn crawls while the others run."""
    await bench.slow_ports_only_cost_time(engine_of(dut, "one_slow_port_only_costs_time"), Case.joined(small()[:6]))


@cocotb.test()
async def results_do_not_wait_for_ready(dut: Any) -> None:
    """``valid`` comes while ``ready`` is low, and the offer holds."""
    await bench.offers_hold(engine_of(dut, "results_do_not_wait_for_ready"), Case.joined(small()[-4:]))


@cocotb.test()
async def reset_in_the_middle_leaves_no_trace(dut: Any) -> None:
    """Reset in a random cycle of a job; then the next case runs as if from power-on, to the cycle."""
    engine = engine_of(dut, "reset_in_the_middle_leaves_no_trace")
    others = sorted((case for case in CASES if case.name != "workload"), key=lambda case: len(case.k))
    await bench.reset_leaves_no_trace(engine, others[:3], "k")


@cocotb.test()
async def illegal_shapes_are_refused(dut: Any) -> None:
    """Zero, beyond the limits, or queries without a place: taken, dropped with error 1; the next job is fine."""
    engine = engine_of(dut, "illegal_shapes_are_refused")
    await engine.reset()
    for job in shapes_off_limits():
        await bench.refuses(engine, job, ERROR_SHAPE, small()[0])


if PORTS.bias:

    @cocotb.test()
    async def a_job_without_a_bias_is_refused(dut: Any) -> None:
        """Dropped with error 7 as long as no job has loaded one since the reset, wherever that came; then it is taken."""
        engine = engine_of(dut, "a_job_without_a_bias_is_refused")
        good = small()[0]
        without = replace(good.jobs[0], load_bias=0)
        for _ in range(2):
            await engine.reset()
            await bench.refuses(engine, without, ERROR_NO_BIAS, good)
            engine.send(replace(good, jobs=[without], bias=[]))
            await engine.finish()


@cocotb.test()
async def illegal_jobs_between_good_ones_change_nothing(dut: Any) -> None:
    """A queue of good and illegal jobs gives the results of the good ones."""
    engine = engine_of(dut, "illegal_jobs_between_good_ones_change_nothing")
    await engine.reset()
    good = small()
    for case, job in zip(good, shapes_off_limits(), strict=False):
        engine.send(case)
        engine.send_job(job)
    engine.send(good[0])
    await engine.finish()


if PORTS.cached:

    @cocotb.test()
    async def a_job_that_leaves_a_gap_is_refused(dut: Any) -> None:
        """Taken, dropped with error 5; the sequence goes on as if it had not been there."""
        engine = engine_of(dut, "a_job_that_leaves_a_gap_is_refused")
        sequences = [case for case in small() if len(case.jobs) > 1]
        assert sequences, "no job goes on with a sequence"
        for case in sequences[:4]:
            await engine.reset()
            for job in gaps(0):
                await bench.refuses(engine, job, ERROR_CACHE, case.only(0, PORTS))
            for number, job in enumerate(case.jobs):
                engine.send(case.only(number, PORTS))
                for wrong in gaps(job.keys):
                    engine.send_job(wrong)
            await engine.finish(errors=(ERROR_CACHE if gaps(case.jobs[-1].keys) else 0,))


@cocotb.test()
@cocotb.parametrize(stream=list(PORTS.inputs), when=["early", "late"])
async def a_misplaced_last_is_reported_and_survived(dut: Any, stream: str, when: str) -> None:
    """The job completes, ``error`` says which frame was wrong, and the next job is exact.

    On streams no tile of such a job comes once more, so it is one of which none would.
    """
    engine = engine_of(dut, f"a_misplaced_last_is_reported_and_survived/stream={stream}/when={when}")
    cases = single()
    long_enough = [case for case in cases if not case.jobs[0].again_keys
                   and len(getattr(case, stream)) > (1 if when == "early" else 0)]
    assert long_enough, f"no case has {stream} of two beats and no tile that comes once more"
    for bad in (long_enough[0], engine.random.choice(long_enough)):
        await bench.survives_a_misplaced_last(engine, bad, cases[0], stream=stream, when=when, code=FRAME_ERROR[stream])
