"""cocotb tests of a numeric unit: a stream of beats in, a stream of results out.

Runs from a unit's folder without Tilewright's source: what goes in, what must come out and when lie in
``vectors/short``, the widths in ``design.json``.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb

from .streams import Bench, Sink

FOLDER = Path(__file__).resolve().parents[1]
DESIGN = json.loads((FOLDER / "design.json").read_text())
VECTORS = Path(os.environ.get("VECTORS", FOLDER / "vectors")) / "short"
SEED = cocotb.RANDOM_SEED
WORD_BYTES = 4


def read_beats(name: str, width: int) -> list[int]:
    """The payloads of a vector file, one number each."""
    data = (VECTORS / f"{name}.bin").read_bytes()
    size = -(-width // (8 * WORD_BYTES)) * WORD_BYTES
    return [int.from_bytes(data[at:at + size], "little") for at in range(0, len(data), size)]


BEATS = read_beats("in", DESIGN["input_width"])
RESULTS = read_beats("out", DESIGN["output_width"])
CYCLES = read_beats("cycles", 32)
LONGEST_GAP = max(after - before for before, after in zip([0, *CYCLES], CYCLES, strict=False))


class TimedSink(Sink):
    """Remembers the cycle of each beat."""

    def clear(self) -> None:
        super().clear()
        self.cycles: list[int] = []

    def edge(self, cycle: int) -> bool:
        taken = super().edge(cycle)
        if taken:
            self.cycles.append(cycle)
        return taken


class Unit(Bench):
    """A unit, its two ports, and the case."""

    def __init__(self, dut: Any, test: str) -> None:
        super().__init__(dut, seed=SEED)
        self.test = test
        self.input = self.source("i_", ("payload",))
        self.output = TimedSink(dut, "o_", ("payload",), self.input._random)
        self.sinks.append(self.output)
        self.watch = self._watch
        self.first: int | None = None
        self.recorded = 0

    def _watch(self) -> None:
        if self.first is None and self.dut.i__valid.value and self.dut.i__ready.value:
            self.first = self.cycle

    async def restart(self) -> None:
        """Reset, and everything sent before is forgotten."""
        await self.reset()
        self.first = None
        self.recorded = 0

    def send(self) -> None:
        """Offer the whole case and expect its results."""
        self.input.send((beat,) for beat in BEATS)
        self.output.expect((result,) for result in RESULTS)

    async def finish(self) -> None:
        """Run to the last result, then demand silence."""
        stall = max(self.input.stall, self.output.stall)
        await self.run(until=lambda: self.input.finished and self.output.finished,
                       patience=int((200 + 4 * LONGEST_GAP) / (1 - stall)))
        await self.silence(32 + 2 * LONGEST_GAP)
        compared = self.output.taken - self.recorded
        self.recorded = self.output.taken
        assert compared
        with Path(os.environ["EVIDENCE"]).open("a") as file:
            file.write(f"{self.test} {compared}\n")


async def start(dut: Any, test: str, *, stall_in: float = 0.0, stall_out: float = 0.0) -> Unit:
    """A unit that was reset, with these probabilities of a stall."""
    unit = Unit(dut, test)
    await unit.restart()
    unit.input.stall, unit.output.stall = stall_in, stall_out
    return unit


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def results_come_on_schedule(dut: Any) -> None:
    """Nothing stalls: every result is right and comes in the cycle that the unit's timing names."""
    unit = await start(dut, "results_come_on_schedule")
    unit.send()
    await unit.finish()
    assert unit.first is not None
    seen = [cycle - unit.first for cycle in unit.output.cycles]
    wrong = [(beat, got, want) for beat, (got, want) in enumerate(zip(seen, CYCLES, strict=True)) if got != want]
    assert not wrong, f"result {wrong[0][0]} came in cycle {wrong[0][1]}, the schedule says {wrong[0][2]}"


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def stalls_lose_and_repeat_nothing(dut: Any) -> None:
    """Either side stalls, then both: every result arrives once, in order, and holds while it waits."""
    unit = await start(dut, "stalls_lose_and_repeat_nothing")
    for stall_in, stall_out in ((0.7, 0.0), (0.0, 0.7), (0.5, 0.5)):
        unit.input.stall, unit.output.stall = stall_in, stall_out
        unit.send()
        await unit.finish()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def cases_run_back_to_back(dut: Any) -> None:
    """The case twice without a pause: nothing of the first is left in the second."""
    unit = await start(dut, "cases_run_back_to_back")
    unit.send()
    unit.send()
    await unit.finish()


@cocotb.test(timeout_time=50, timeout_unit="ms")
async def a_reset_forgets_what_was_on_its_way(dut: Any) -> None:
    """Reset in the middle, after beats went in and while a result waits: the next case is as after power-up."""
    unit = await start(dut, "a_reset_forgets_what_was_on_its_way", stall_out=0.5)
    for cycles in (1, 5, len(BEATS) // 2):
        unit.send()
        await unit.idle(cycles)
        await unit.restart()
    await unit.silence(32 + LONGEST_GAP)
    unit.send()
    await unit.finish()
