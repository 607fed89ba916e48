"""Which rows of a job go into a cache next, and until when they have to wait."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.cache_layout import CacheLayout
from tilewright.rtl.delay import delayed

SETTLING = 3  # cycles from a job to its first row


def beat_layout(layout: CacheLayout) -> data.StructLayout:
    """Where a beat goes, and whether its row, its head and its job end with it."""
    return data.StructLayout({
        "row": range(layout.rows), "chunk": range(layout.chunks), "key": range(layout.keys_max),
        "row_ends": 1, "head_ends": 1, "job_ends": 1})


class CacheWriter(wiring.Component):
    """Steps through the rows of a job: the keys from ``keys - queries`` on, of one head after the other, chunk by chunk.

    ``take`` gives a job; SETTLING cycles later, and when the jobs before it have read their last row (``job_left``), ``step``
    uses a beat in every cycle in which one is ``available``; ``beat`` tells where it goes. ``active`` is high from a job to
    its last step.

    In a ring a row waits until no tile needs the one that it takes the place of. ``tile_left`` says that a tile has read its
    last row: of the tile after it, whose first query is at ``position``, every row is needed from key
    ``max(position - window + 1, sink)`` on, and ``ring`` rows from that one have room.
    """

    def __init__(self, *, layout: CacheLayout, positions: int, shares: int, jobs_max: int) -> None:
        self.layout = layout
        self.positions = positions
        self.shares = shares
        self.jobs_max = jobs_max
        super().__init__({
            "take": In(1), "queries": In(range(layout.keys_max + 1)), "keys": In(range(layout.keys_max + 1)), "active": Out(1),
            "before": Out(range(layout.keys_max)), "tile_left": In(1), "job_left": In(1),
            "available": In(1), "step": Out(1), "beat": Out(beat_layout(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = self.layout
        keys = Signal.like(self.keys)
        head = Signal(range(layout.kv_heads))
        key = Signal(range(layout.keys_max))
        chunk = Signal(range(layout.chunks))
        reading = Signal(range(self.jobs_max + 1))  # jobs that have not read their last row
        settled = delayed(m, self.take, SETTLING - 1, "settled", reset=True)
        ready = Signal()
        beat = self.beat
        clear = reading == 1
        before = (self.keys - self.queries)[:len(key)]
        m.d.comb += [
            beat.row_ends.eq(chunk == layout.chunks - 1), beat.head_ends.eq(beat.row_ends & (key + 1 == keys)),
            beat.job_ends.eq(beat.head_ends & (head == layout.kv_heads - 1)), beat.row.eq(layout.row(head, key)),
            beat.chunk.eq(chunk), beat.key.eq(key),
            self.step.eq(ready & clear & self.available & self._room(m, head, key, keys, clear))]
        m.d.sync += [reading.eq(reading + self.take - self.job_left),
                     ready.eq((ready | settled) & ~(self.step & beat.job_ends))]
        with m.If(self.take):
            m.d.sync += [self.active.eq(1), self.before.eq(before), key.eq(before), keys.eq(self.keys), head.eq(0)]
        with m.If(self.step):
            m.d.sync += chunk.eq(Mux(beat.row_ends, 0, chunk + 1))
            with m.If(beat.row_ends):
                m.d.sync += key.eq(Mux(beat.head_ends, self.before, key + 1))
            with m.If(beat.head_ends):
                m.d.sync += head.eq(head + 1)
            with m.If(beat.job_ends):
                m.d.sync += self.active.eq(0)
        return m

    def _room(self, m: Module, head: Value, key: Value, keys: Value, clear: Value) -> Value:
        """Whether the row's place is free."""
        layout = self.layout
        if not layout.ring:
            return Const(1, 1)
        tile_head = Signal.like(head)
        position = Signal(range(layout.keys_max + self.positions))
        share = Signal(range(self.shares))
        limit, first_limit = (Signal(range(layout.keys_max + self.positions + layout.ring), name=name)
                              for name in ("limit", "first_limit"))
        behind = layout.sink + layout.window - 1
        m.d.sync += limit.eq(Mux(position > behind, position + (layout.ring - layout.window + 1), layout.sink + layout.ring))
        with m.If(delayed(m, self.take, 2, "limited")):
            m.d.sync += first_limit.eq(limit)
        with m.If(self.take):
            m.d.sync += [tile_head.eq(0), position.eq((self.keys - self.queries)[:len(key)]), share.eq(0)]
        with m.Elif(self.tile_left & clear):
            m.d.sync += share.eq(Mux(share == self.shares - 1, 0, share + 1))
            with m.If(share == self.shares - 1):
                following = position + self.positions
                with m.If(following >= keys):
                    m.d.sync += [tile_head.eq(tile_head + 1), position.eq(self.before), limit.eq(first_limit)]
                with m.Else():
                    m.d.sync += position.eq(following)
        return key < Mux(head == tile_head, limit, first_limit)
