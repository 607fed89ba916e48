"""cocotb tests of a GEMM engine behind its ``stream`` top, on the vectors that lie beside it.

Runs from a build folder without Tilewright: ``make -C build/<name>/sim``. Expected results come from
``vectors/``, the ports from ``design.json``; ``SEED`` repeats a run, ``TEST`` picks a test.
"""

import os
from pathlib import Path
from typing import Any

import cocotb

from . import engine_bench as bench
from .engine_bench import ANSWER_CYCLES, FOLDER, STALLS, EngineBench
from .gemm_ports import ERROR_ACT_LAST, ERROR_RESIDENT, ERROR_SHAPE, ERROR_WEIGHT_LAST, Case, Job, load_ports

PORTS = load_ports(FOLDER / "design.json")
CASES = Case.load_all(Path(os.environ.get("VECTORS", FOLDER / "vectors")), PORTS)
MATRIX_ERROR = {"act": ERROR_ACT_LAST, "weight": ERROR_WEIGHT_LAST}


def engine_of(dut: Any, test: str) -> EngineBench:
    """The bench of test ``test``."""
    return EngineBench(dut, test, PORTS)


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
    await bench.equals_golden(engine_of(dut, "results_equal_golden"), CASES)


@cocotb.test()
async def counters_equal_the_cycle_model(dut: Any) -> None:
    """Cycles as predicted when nothing stalls; no output stall is counted then."""
    await bench.counts_as_predicted(engine_of(dut, "counters_equal_the_cycle_model"), CASES)


@cocotb.test()
async def jobs_run_back_to_back(dut: Any) -> None:
    """All jobs of all cases as one queue."""
    await bench.equals_golden(engine_of(dut, "jobs_run_back_to_back"), [Case.joined(CASES)])


@cocotb.test()
@cocotb.parametrize(pattern=["both", "input", "output"])
async def stalls_lose_and_repeat_nothing(dut: Any, pattern: str) -> None:
    """Random stalls on every port, both sides, jobs back to back."""
    engine = engine_of(dut, f"stalls_lose_and_repeat_nothing/pattern={pattern}")
    engine.stall(*STALLS[pattern])
    cases = CASES if pattern == "both" else engine.random.sample(CASES, min(len(CASES), 6))
    await bench.equals_golden(engine, [Case.joined(cases)])


@cocotb.test()
async def one_slow_port_only_costs_time(dut: Any) -> None:
    """Each port in turn crawls while the others run."""
    alone = sorted((job for case in CASES for job in fresh(case)),
                   key=lambda case: len(case.act) + len(case.weight) + len(case.result))
    await bench.slow_ports_only_cost_time(engine_of(dut, "one_slow_port_only_costs_time"), Case.joined(alone[:8]))


@cocotb.test()
async def results_do_not_wait_for_ready(dut: Any) -> None:
    """``valid`` comes while ``ready`` is low, and the offer holds."""
    await bench.offers_hold(engine_of(dut, "results_do_not_wait_for_ready"), CASES[0])


@cocotb.test()
async def reset_in_the_middle_leaves_no_trace(dut: Any) -> None:
    """Reset in a random cycle of a job; then the next case runs as if from power-on, to the cycle."""
    engine = engine_of(dut, "reset_in_the_middle_leaves_no_trace")
    await bench.reset_leaves_no_trace(engine, engine.random.sample(CASES, min(len(CASES), 4)), "act")


@cocotb.test()
async def illegal_shapes_are_refused(dut: Any) -> None:
    """Zero and beyond the limits: taken, dropped with error 1, nothing touched; the next job is fine."""
    engine = engine_of(dut, "illegal_shapes_are_refused")
    await engine.reset()
    good = fresh(CASES[0])[0]
    for job in shapes_off_limits():
        await bench.refuses(engine, job, ERROR_SHAPE, good)


@cocotb.test()
async def illegal_jobs_between_good_ones_change_nothing(dut: Any) -> None:
    """A queue of good and illegal jobs gives the results of the good ones."""
    engine = engine_of(dut, "illegal_jobs_between_good_ones_change_nothing")
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
    engine = engine_of(dut, "reuse_without_resident_weights_is_refused")
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
    engine = engine_of(dut, f"a_misplaced_last_is_reported_and_survived/stream={stream}/when={when}")
    candidates = sorted((alone for case in CASES for alone in fresh(case)
                         if PORTS.count(stream, alone.jobs[0]) > (1 if when == "early" else 0)),
                        key=lambda case: PORTS.count(stream, case.jobs[0]))
    assert candidates, f"no case has a {stream} matrix of two beats"
    for bad in (candidates[0], engine.random.choice(candidates), candidates[-1]):
        await bench.survives_a_misplaced_last(
            engine, bad, candidates[0], stream=stream, when=when, code=MATRIX_ERROR[stream])
