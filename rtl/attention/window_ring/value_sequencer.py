"""Walks the queries whose weights are there: which chunk of all cores' values is summed in which cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.window_ring.query_sequencer import query_layout


class ValueSequencer(wiring.Component):
    """``step`` sums a chunk of values, ``chunks`` of them to a query that has its weights, in the queries' order.

    ``reserve`` gives ``query`` the next slot; ``room`` says that there is one. ``weighed`` tells that the oldest query without
    weights has them. The first query of a position ``opens`` it when its value is there (``loaded``); no step is made without
    ``results_room``. ``slot`` and ``query_now`` are those of the step, ``ends`` marks a job's last one.
    """

    def __init__(self, *, chunks: int, slots: int) -> None:
        if slots & (slots - 1):
            raise ValueError(f"slots must be a power of two, not {slots!r}")
        self.chunks = chunks
        self.slots = slots
        super().__init__({
            "reserve": In(1), "query": In(query_layout()), "room": Out(1), "weighed": In(1), "loaded": In(1),
            "results_room": In(1), "step": Out(1), "slot": Out(range(slots)), "chunk": Out(range(max(chunks, 2))),
            "opens": Out(1), "query_now": Out(query_layout()), "ends": Out(1), "waits": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queries = queries = Memory(shape=query_layout(), depth=self.slots, init=[])
        put, get = queries.write_port(), queries.read_port(domain="comb")
        free_slot = Signal(range(self.slots))
        used, ready = Signal(range(self.slots + 1)), Signal(range(self.slots + 1))
        query = self.query_now
        first_chunk, last_chunk = self.chunk == 0, self.chunk == self.chunks - 1
        lacks_value = first_chunk & query.opens & ~self.loaded
        query_ends = self.step & last_chunk
        m.d.comb += [
            put.en.eq(self.reserve), put.addr.eq(free_slot), put.data.eq(self.query), get.addr.eq(self.slot),
            query.eq(get.data), self.room.eq(used != self.slots),
            self.step.eq((ready != 0) & self.results_room & ~lacks_value), self.waits.eq((ready != 0) & lacks_value),
            self.opens.eq(self.step & first_chunk & query.opens), self.ends.eq(query_ends & query.ends_job)]
        m.d.sync += [used.eq(used + self.reserve - query_ends), ready.eq(ready + self.weighed - query_ends)]
        with m.If(self.reserve):
            m.d.sync += free_slot.eq(free_slot + 1)
        with m.If(self.step):
            m.d.sync += self.chunk.eq(Mux(last_chunk, 0, self.chunk + 1))
        with m.If(query_ends):
            m.d.sync += self.slot.eq(self.slot + 1)
        return m
