"""Walks the queries of a job: which chunk meets the keys of all cores in which cycle."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


def query_layout() -> data.StructLayout:
    """A query on its way: whether it ``opens`` its position, which ``begins_head``, or ``brings`` a row, and its job."""
    return data.StructLayout({"opens": 1, "begins_head": 1, "brings": 1, "ends_job": 1, "job": 1})


class QuerySequencer(wiring.Component):
    """``step`` multiplies a query's chunk in every cycle in which it is there, ``chunks`` of them to a query.

    Positions follow each other, ``group`` queries each, ``kv_heads`` times; the last ``lookahead`` of a head bring no row. The
    first query of a position ``opens`` it when its keys are there (``loaded``); any begins while ``room`` says that its weights
    will find a place, and ends ``interval`` cycles after the one before at the earliest. ``begins`` is high in a query's first
    step, ``ends`` in its last one; ``query`` tells about it during both. ``final`` marks the job's last step. ``next`` takes a
    job that is ``offered``.
    """

    def __init__(self, *, lookahead: int, chunks: int, group: int, kv_heads: int, interval: int, positions_max: int) -> None:
        self.lookahead = lookahead
        self.chunks = chunks
        self.group = group
        self.kv_heads = kv_heads
        self.interval = interval
        super().__init__({
            "offered": In(1), "positions": In(range(positions_max + 1)), "next": Out(1),
            "available": In(1), "loaded": In(1), "room": In(1),
            "step": Out(1), "final": Out(1), "chunk": Out(range(max(chunks, 2))), "begins": Out(1), "ends": Out(1),
            "opens": Out(1), "query": Out(query_layout()), "waits": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active = Signal()
        job = Signal()
        positions, left = Signal.like(self.positions), Signal.like(self.positions)
        heads = Signal(range(self.kv_heads))
        member = Signal(range(self.group))
        begins_head = Signal()
        first_chunk, last_chunk = self.chunk == 0, self.chunk == self.chunks - 1
        position_ends = last_chunk & (member == self.group - 1)
        head_ends = position_ends & (left == 1)
        query = self.query
        ready = self.room & (self.loaded | ~query.opens)
        m.d.comb += [
            self.step.eq(active & self.available & (~first_chunk | ready) & (~last_chunk | self._spaced(m))),
            self.waits.eq(active & (~self.available | (first_chunk & query.opens & ~self.loaded))),
            self.begins.eq(self.step & first_chunk), self.ends.eq(self.step & last_chunk),
            self.opens.eq(self.begins & query.opens), self.final.eq(head_ends & (heads == 0)),
            query.opens.eq(member == 0), query.begins_head.eq(begins_head), query.job.eq(job),
            query.brings.eq(left > self.lookahead),
            query.ends_job.eq((member == self.group - 1) & (left == 1) & (heads == 0)),
            self.next.eq(self.offered & (~active | (self.step & self.final)))]
        with m.If(self.step):
            m.d.sync += self.chunk.eq(Mux(last_chunk, 0, self.chunk + 1))
        with m.If(self.ends):
            m.d.sync += member.eq(Mux(position_ends, 0, member + 1))
            with m.If(position_ends):
                m.d.sync += [left.eq(Mux(head_ends, positions, left - 1)), begins_head.eq(head_ends)]
            with m.If(head_ends):
                m.d.sync += [heads.eq(heads - 1), active.eq(heads != 0)]
        with m.If(self.next):
            m.d.sync += [active.eq(1), job.eq(~job), positions.eq(self.positions), left.eq(self.positions),
                         heads.eq(self.kv_heads - 1), begins_head.eq(1)]
        return m

    def _spaced(self, m: Module) -> Value:
        """Whether the query before ended ``interval`` cycles ago."""
        waiting = Signal(range(self.interval))
        spaced = Signal(init=1)
        with m.If(self.ends):
            m.d.sync += [waiting.eq(self.interval - 1), spaced.eq(self.interval == 1)]
        with m.Elif(~spaced):
            m.d.sync += [waiting.eq(waiting - 1), spaced.eq(waiting == 1)]
        return spaced
