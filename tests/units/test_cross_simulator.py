"""Amaranth's simulator and the Verilator harness agree: all results of the same beats under the same stalls, cycle by cycle."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator, SimulatorContext
from numpy.typing import NDArray
from tilewright.sim.unit_runner import build_harness, read_cycles, run_harness
from tilewright.units import UNITS
from tilewright.units.fields import WORD_BITS, pack
from tilewright.units.project import Project, make_case, write_project

CACHE = Path(__file__).parents[2] / "build" / "test" / ".cache"
BEATS = 150
MASK = (1 << 64) - 1


def words_of(seed: int, port: int) -> Iterator[int]:
    """The harness' generator: xorshift64*, the upper half."""
    state = ((seed + 1) * 0x9E3779B97F4A7C15 ^ (port + 1) * 0xD1B54A32D192ED03) & MASK | 1
    while True:
        state ^= state >> 12
        state = (state ^ state << 25) & MASK
        state ^= state >> 27
        yield (state * 0x2545F4914F6CDD1D & MASK) >> 32


def stalls(probability: float, seed: int, port: int) -> Iterator[bool]:
    """The harness' stalls: mostly of one cycle, at times up to 32."""
    words, threshold = words_of(seed, port), int(probability * 4294967295.0)
    while True:
        stalled = threshold > 0 and next(words) < threshold
        length = next(words) if threshold else 0
        yield from [stalled] * (1 if length & 3 else 1 + (length >> 8 & 31))


def in_amaranth(project: Project, stall: float, seed: int) -> tuple[NDArray[np.uint32], list[int]]:
    """Words of every result, and its cycle from that of the first beat taken."""
    unit, p, case = project.unit, project.parameters, project.cases["sample"]
    component = unit.component(p)
    beats = [int.from_bytes(row.tobytes(), "little") for row in pack(unit.input_fields(p), case.beats)]
    words = pack(unit.output_fields(p), case.results).shape[1]
    results: list[list[int]] = []
    cycles: list[int] = []

    async def bench(context: SimulatorContext) -> None:
        in_stall, out_stall = stalls(stall, seed, 0), stalls(stall, seed, 1)
        given, cycle, origin, offering = 0, 0, -1, False
        while len(results) < len(case.cycles):
            if not offering:
                offering = given < len(beats) and not next(in_stall)
                if offering:
                    context.set(Value.cast(component.i.payload), beats[given])
                context.set(component.i.valid, offering)
            context.set(component.o.ready, not next(out_stall))
            await context.delay(1e-9)
            valid, payload = context.get(component.o.valid), context.get(Value.cast(component.o.payload))
            if offering and context.get(component.i.ready):
                origin = cycle if origin < 0 else origin
                given, offering = given + 1, False
            if valid and context.get(component.o.ready):
                results.append([payload >> WORD_BITS * word & 0xFFFFFFFF for word in range(words)])
                cycles.append(cycle - origin)
            await context.tick()
            cycle += 1
            assert cycle < 400 * BEATS, "hangs"

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(results, np.uint32), cycles


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", ["exp", "argmax", "softmax_two_pass"])  # a result per beat, per frame, a frame per frame
def test_both_simulators_see_the_same_results_in_the_same_cycles(name: str, stall: float, tmp_path: Path) -> None:
    unit, seed = UNITS[name], 7
    p = unit.parameters_type()
    beats = unit.stimulus(p, np.random.default_rng(seed), BEATS)
    project = write_project(tmp_path, unit, p, {"sample": make_case(unit, p, beats)})
    seen = tmp_path / "cycles.bin"
    harness = build_harness(project.folder, name, CACHE / "verilator")
    run = run_harness(harness, project.vectors("sample"), stall=stall, seed=seed, patience=10_000, cycles=seen)
    assert run.passed, run.message  # so its results are those of the golden model, word for word
    results, cycles = in_amaranth(project, stall, seed)
    np.testing.assert_array_equal(results, pack(unit.output_fields(p), project.cases["sample"].results))
    assert cycles == read_cycles(seen).tolist()


def test_other_stalls_move_the_results(tmp_path: Path) -> None:
    """So that equal cycles say something of equal stalls."""
    unit, p = UNITS["exp"], UNITS["exp"].parameters_type()
    beats = unit.stimulus(p, np.random.default_rng(1), BEATS)
    project = write_project(tmp_path, unit, p, {"sample": make_case(unit, p, beats)})
    (results, cycles), (others, moved) = (in_amaranth(project, 0.5, seed) for seed in (1, 2))
    np.testing.assert_array_equal(results, others)
    assert cycles != moved
