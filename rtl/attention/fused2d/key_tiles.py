"""Cuts the keys that a query tile meets into key tiles, and says which rows see which of them."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.tile_walker import Mask, tile_layout

JOBS_MAX = 4  # on their way at a time, a power of two


def key_tile_layout(*, rows: int) -> data.StructLayout:
    """A key tile on its way: whether it is its query tile's first or last, and what that tile is."""
    return data.StructLayout({
        "first": 1, "last": 1, "rows": range(rows + 1), "job_ends": 1, "job": range(JOBS_MAX)})


class KeyTiles(wiring.Component):
    """The key tiles of the query tiles, in their order: up to ``cols`` keys each, one of them per cycle.

    A query ``tile`` that is ``tile_available`` is taken (``tile_next``) as soon as the keys of the one before have all been
    walked; ``job`` is its job. ``available`` says that ``key_tile`` is the next one and that ``seen`` has a bit for each of its
    pairs, ``rows`` to a column; ``next`` takes it.
    """

    def __init__(self, *, rows: int, cols: int, group: int, mask: Mask, keys_max: int) -> None:
        self.rows = rows
        self.cols = cols
        self.group = group
        self.mask = mask
        self.keys_max = keys_max
        super().__init__({
            "tile_available": In(1), "tile": In(tile_layout(rows=rows, keys_max=keys_max)), "tile_next": Out(1),
            "job": In(range(JOBS_MAX)), "available": Out(1), "key_tile": Out(key_tile_layout(rows=rows)),
            "seen": Out(data.ArrayLayout(rows, cols)), "next": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile = Signal(self.tile.shape(), reset_less=True)
        job = Signal.like(self.job, reset_less=True)
        active = Signal()  # keys of the tile are left
        index = Signal(range(self.keys_max))
        following = Signal(range(self.keys_max + 1))
        ahead = Signal(signed(len(index) + 1))  # from the key to the tile's first row
        column = Signal(self.cols, init=1)  # one-hot
        begins = Signal()
        last_key = index == tile.last
        walks = active & ~self.available
        full = column[-1] | last_key
        m.d.comb += [
            self.tile_next.eq(self.tile_available & ~active),
            following.eq(Mux(tile.leaps & (index == tile.leap), tile.landing, index + 1))]
        with m.If(self.next):
            m.d.sync += [self.available.eq(0), self.seen.as_value().eq(0), column.eq(1)]
        with m.If(walks):
            m.d.sync += [index.eq(following), ahead.eq(tile.position - following), column.eq(column << 1),
                         self.available.eq(full), active.eq(~last_key)]
            for col in range(self.cols):
                with m.If(column[col]):
                    m.d.sync += self.seen[col].eq(self._seen(tile, index, ahead))
            with m.If(full):
                m.d.sync += [
                    self.key_tile.first.eq(begins), self.key_tile.last.eq(last_key), self.key_tile.rows.eq(tile.rows),
                    self.key_tile.job_ends.eq(tile.job_ends & last_key), self.key_tile.job.eq(job), begins.eq(0)]
        with m.If(self.tile_next):
            m.d.sync += [active.eq(1), tile.eq(self.tile), index.eq(self.tile.first), begins.eq(1), job.eq(self.job),
                         ahead.eq(self.tile.position - self.tile.first)]
        return m

    def _seen(self, tile: data.View, index: Value, ahead: Value) -> Value:
        rows = []
        for row in range(self.rows):
            position = row // self.group if self.rows % self.group == 0 else 0
            rows.append(self.mask.visible(index, ahead + position) & (tile.rows > row))
        return Cat(*rows)
