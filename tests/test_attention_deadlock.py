"""Why the engine divides behind the values: the graph as the formula has it needs a FIFO as long as a row."""

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

WIDTH = 32
KEYS = 48
SPARE = 2  # what the FIFO needs beyond a row


class NaiveRow(wiring.Component):
    """``weight / sum(weights)`` of rows of ``keys`` weights: the sum is whole when the last weight has come.

    The weights wait in a FIFO of ``depth`` words for their sum, which waits for the weights behind them.
    """

    def __init__(self, *, keys: int, depth: int) -> None:
        self.keys = keys
        self.depth = depth
        super().__init__({"i": In(stream.Signature(WIDTH)), "o": Out(stream.Signature(WIDTH))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.waiting = waiting = SyncFIFO(width=WIDTH, depth=self.depth)
        seen, left = Signal(range(self.keys + 1)), Signal(range(self.keys + 1))
        total, divisor = Signal(WIDTH), Signal(WIDTH)
        m.d.comb += [
            self.i.ready.eq(waiting.w_rdy & (seen != self.keys)), waiting.w_en.eq(self.i.valid & self.i.ready),
            waiting.w_data.eq(self.i.payload), self.o.valid.eq(waiting.r_rdy & (left != 0)),
            self.o.payload.eq(waiting.r_data << 16), waiting.r_en.eq(self.o.valid & self.o.ready)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [total.eq(total + self.i.payload), seen.eq(seen + 1)]
        with m.If(waiting.r_en):
            m.d.sync += left.eq(left - 1)
        with m.If((seen == self.keys) & (left == 0)):
            m.d.sync += [divisor.eq(total), total.eq(0), seen.eq(0), left.eq(self.keys)]
        return m


def outcome(depth: int, rows: int = 2) -> tuple[int, int]:
    """Weights that came out, and the cycle of the last one, when nothing stalls on either side."""
    row = NaiveRow(keys=KEYS, depth=depth)
    count, last = 0, 0

    async def run(context: object) -> None:
        nonlocal count, last
        context.set(row.i.valid, 1)
        context.set(row.i.payload, 3)
        context.set(row.o.ready, 1)
        for cycle in range(8 * rows * KEYS):
            if context.get(row.o.valid) and count < rows * KEYS:
                count, last = count + 1, cycle
            await context.tick()

    simulator = Simulator(row)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.run()
    return count, last


@pytest.mark.parametrize("depth", [2, KEYS // 2, KEYS - 1])
def test_the_naive_graph_stands_still_when_its_fifo_is_shorter_than_a_row(depth: int) -> None:
    assert outcome(depth) == (0, 0)


def test_the_naive_graph_runs_when_its_fifo_holds_a_row() -> None:
    count, last = outcome(KEYS + SPARE)
    assert count == 2 * KEYS
    assert last < 4 * KEYS
