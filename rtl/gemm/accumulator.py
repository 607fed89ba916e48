"""Accumulators at the foot of a stationary-operand array."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed
from tilewright.rtl.gemm.pe import pass_on, saturated

SUM_LEAD = 3           # cycles from address to the partial sum it belongs to
ACCUMULATE_LATENCY = 4  # cycles from address to total
ACCUMULATE_INTERVAL = 5  # cycles until the same address may come again


class AccumulatorLane(wiring.Component):
    """One column's accumulators, a word per vector, kept over the K tiles of a job.

    ``address``, ``valid``, ``first`` and ``last`` come SUM_LEAD cycles ahead of their partial sum in ``sum``.
    ACCUMULATE_LATENCY cycles behind them ``total`` is ``(0 if first else word) + sum``, which is also written
    back unless ``last``. The ``next_`` members are those of the next lane, one cycle later.
    """

    def __init__(self, *, depth: int, sum_width: int, acc_width: int, overflow: str) -> None:
        self.depth = depth
        self.sum_width = sum_width
        self.acc_width = acc_width
        self.overflow = overflow
        members: dict[str, wiring.Member] = {"sum": In(signed(sum_width)), "total": Out(signed(acc_width))}
        for name, shape in (("address", range(depth)), ("valid", 1), ("first", 1), ("last", 1)):
            members |= {name: In(shape), f"next_{name}": Out(shape)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(shape=signed(self.acc_width), depth=self.depth, init=[],
                                              attrs={"no_rw_check": 1})
        write, read = memory.write_port(), memory.read_port()
        for name in ("address", "valid", "first", "last"):
            pass_on(m, getattr(self, name), getattr(self, f"next_{name}"), name)
        fetched = Signal.like(read.data, reset_less=True)  # the memory's own output register, where it has one
        kept = Signal.like(fetched)
        m.d.sync += [fetched.eq(read.data), kept.eq(Mux(delayed(m, self.next_first, 1, "fetched_first"), 0, fetched))]
        total = kept + self.sum
        if self.overflow == "saturate":
            total = saturated(total, self.acc_width)
        pass_on(m, total, self.total, "total")
        store = self.next_valid & ~self.next_last
        m.d.comb += [
            read.en.eq(1), read.addr.eq(self.address), write.data.eq(self.total),
            write.addr.eq(delayed(m, self.next_address, 3, "write_address")),
            write.en.eq(delayed(m, store, 3, "store"))]
        return m
