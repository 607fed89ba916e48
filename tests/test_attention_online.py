"""Claims about the parts that only `softmax.algorithm: online` has, and about an engine of them."""

from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import attention_clamp
import numpy as np
import pytest
from amaranth.sim import Simulator
from gemm_designs import CACHE
from tilewright.emit import rtlil_to_verilog
from tilewright.families.attention.hardware import cycle_engine, stream_rtlil
from tilewright.families.attention.harness import harness
from tilewright.families.attention.ports import ports
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import Stimulus, as_case, with_result
from tilewright.families.attention.vectors import Job, write_case
from tilewright.rtl.attention.online_weights import OnlineWeights
from tilewright.rtl.attention.rescale import ScaledSums
from tilewright.sim.golden.units.exponential import exp
from tilewright.sim.project import simulation_files
from tilewright.sim.runner import build_harness, run_harness

ROWS = 3


def spec(**blocks: Any) -> AttentionSpec:
    base = {"design": "online", "family": "attention", "model": {"head_dim": 8}, "limits": {"queries": 8, "keys": 64}}
    return AttentionSpec.model_validate(base | {"softmax": {"algorithm": "online"}} | blocks)


@pytest.mark.parametrize(("algorithm", "loop"), [
    ("two_pass", 5), ("online_shift", 5), ("online", 6), ("three_pass", 3), ("ibert", 3)])
@pytest.mark.parametrize("v", ["int4", "int8", "int16"])
@pytest.mark.parametrize("keys", [3, 4, 1024, 65536])
def test_the_spec_knows_the_loop_of_the_hardware(algorithm: str, loop: int, v: str, keys: int) -> None:
    """With sums of 21 to 49 bits; the constructor of the longer loop checks its multiplier's latency."""
    of = spec(softmax={"algorithm": algorithm}, engine={"tile_q": 1, "lanes": 8}, numbers={"v": v},
              limits={"queries": 1, "keys": keys})
    engine = cycle_engine(of)
    assert (engine.loop, engine.interval) == (of.loop, of.interval) == (loop, loop)
    if algorithm == "online":
        assert of.loop == ScaledSums(factor_width=of.weight_width, sum_width=of.accumulator_width, target="generic").LOOP


def test_a_sum_that_would_take_another_loop_is_refused() -> None:
    with pytest.raises(ValueError, match="sums of 18 bits times 17 do not take 3 cycles"):
        ScaledSums(factor_width=17, sum_width=18, target="generic")


@pytest.mark.parametrize(("mantissa_bits", "guard_bits", "keys"), [(12, 4, 1), (12, 4, 64), (8, 2, 500), (15, 0, 30)])
def test_weights_factors_and_totals_are_those_of_the_recurrence(mantissa_bits: int, guard_bits: int, keys: int) -> None:
    """Keys ``ROWS`` cycles and more apart, two tiles, rows that see some keys, scores that rise, fall and stay."""
    of = spec(softmax={"algorithm": "online", "mantissa_bits": mantissa_bits, "guard_bits": guard_bits},
              limits={"queries": 1, "keys": keys})
    rng = np.random.default_rng(7)
    scores = np.cumsum(rng.integers(-900, 1200, (120, ROWS)) * rng.integers(0, 2, (120, 1)), axis=0)
    visible = rng.integers(0, 2, (120, ROWS)) | (rng.random((120, 1)) < 0.5)
    first = np.isin(np.arange(120), np.arange(0, 120, min(keys, 60)))
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(ROWS)]
    weights = OnlineWeights(
        rows=ROWS, score_width=22, fraction=of.fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits, table=of.table,
        total_width=of.total_width, value_width=8, target="generic")

    async def bench(context: Any) -> None:
        gaps = iter(rng.integers(6, 9, 120).tolist())
        key, wait = 0, 0
        for _ in range(1100):
            begins = wait == 0 and key < 120
            context.set(weights.valid, begins)
            if begins:
                for row in range(ROWS):
                    context.set(weights.scores[row], int(scores[key, row]))
                context.set(weights.visible, int(visible[key] @ (1 << np.arange(ROWS))))
                context.set(weights.first, int(first[key]))
                context.set(weights.multiplier, 1)
                key, wait = key + 1, next(gaps)
            wait -= 1
            if offer := context.get(weights.offer):
                found[offer.bit_length() - 1].append(
                    tuple(context.get(getattr(weights.entry, name)) for name in ("weight", "factor", "total")))
            await context.tick()

    simulator = Simulator(weights)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    places = mantissa_bits + guard_bits
    power = partial(exp, table=of.table, fraction_bits=of.fraction, octave_bits=of.fraction, table_bits=of.table_bits,
                    value_bits=mantissa_bits, guard_bits=guard_bits)
    for row in range(ROWS):
        assert len(found[row]) == 120
        greatest, total = None, 0
        for key, (weight, factor, summed) in enumerate(found[row]):
            greatest, total = (None, 0) if first[key] else (greatest, total)
            expected = 0
            if visible[key, row]:
                score = int(scores[key, row])
                before = score if greatest is None else greatest
                greatest = max(before, score)
                fell, expected = int(power(greatest - before)), int(power(greatest - score))
                total = (total * fell + (1 << places - 1) >> places) + expected
                assert factor == fell, (row, key)
            else:
                assert factor == 1 << places, (row, key)
            assert (weight, summed) == (expected, total), (row, key)


@pytest.mark.parametrize(("number", "target"), [("int8", "generic"), ("int16", "ecp5")])
def test_the_engine_clamps_a_mean_beyond_its_values(number: str, target: str, tmp_path: Path) -> None:
    """And equals golden on random jobs; with multiplier blocks as well as in plain logic."""
    of = spec(**attention_clamp.blocks(number))
    values = [value for name, value in attention_clamp.VALUES if name == number]
    clamped = [with_result(of, Job(*attention_clamp.operands(value), **attention_clamp.SCALES)) for value in values]
    stimulus = Stimulus(of, np.random.default_rng(3))
    case = as_case(of, "clamp", (*clamped, *stimulus.jobs(stimulus.random_shapes(6))))
    described = ports(of)
    files = simulation_files(described, harness=harness(described), modules=("attention_ports", "attention_tests"),
                             benches=("cosim.attention_tests",))
    files[f"rtl/{of.design}.v"] = rtlil_to_verilog(stream_rtlil(of, target=target))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    blocks = [Path(str(resources.files("tilewright.boards") / "ecp5_models.v"))] if target == "ecp5" else []
    engine = build_harness(tmp_path, sources=[tmp_path / "rtl" / f"{of.design}.v", *blocks], top=of.design, cache=CACHE,
                           optimize=False)
    write_case(tmp_path / "clamp", of, case)
    for stall in (0.0, 0.5):
        outcome = run_harness(engine, tmp_path / "clamp", stall=stall)
        assert outcome.passed and outcome.values == sum(job.q.size for job in case.jobs), outcome.message
        assert stall or outcome.counters["cycles"] == case.cycles
