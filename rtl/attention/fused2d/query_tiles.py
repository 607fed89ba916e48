"""Brings the queries of the next tile in while the tile before is at work."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank


class QueryTiles(wiring.Component):
    """Writes a job's queries, an element of every row of a tile per beat, into two banks of ``head_dim`` words.

    A job takes ``kv_heads`` times as many tiles as hold ``rows_in`` rows, ``rows`` to a tile. ``full`` tells which banks hold
    one; ``release`` frees the bank ``released``. ``take`` gives the loader a job while it is ``idle``; ``step`` and ``final``
    read the beats.
    """

    def __init__(self, *, rows: int, head_dim: int, kv_heads: int, rows_max: int) -> None:
        self.rows = rows
        self.head_dim = head_dim
        self.kv_heads = kv_heads
        self.rows_max = rows_max
        super().__init__({
            "take": In(1), "rows_in": In(range(rows_max + 1)), "idle": Out(1), "available": In(1), "step": Out(1),
            "final": Out(1), "write_address": Out(range(BANKS * head_dim)), "full": Out(BANKS), "release": In(1),
            "released": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active, bank = Signal(), Signal()
        element = Signal(range(self.head_dim))
        of_head, left = Signal(range(self.rows_max + 1)), Signal(range(self.rows_max + 1))
        heads = Signal(range(self.kv_heads))
        tile_ends, head_ends = element == self.head_dim - 1, left <= self.rows
        ends = self.step & tile_ends
        m.d.comb += [
            self.idle.eq(~active), self.step.eq(active & self.available & ~of_bank(bank, self.full)),
            self.final.eq(tile_ends & head_ends & (heads == 0)),
            self.write_address.eq(Mux(bank, self.head_dim, 0) + element)]
        with m.If(self.take):
            m.d.sync += [active.eq(1), of_head.eq(self.rows_in), left.eq(self.rows_in), heads.eq(self.kv_heads - 1)]
        with m.If(self.step):
            m.d.sync += element.eq(Mux(tile_ends, 0, element + 1))
        with m.If(ends):
            m.d.sync += [bank.eq(~bank), left.eq(Mux(head_ends, of_head, left - self.rows))]
            with m.If(head_ends):
                m.d.sync += [heads.eq(heads - 1), active.eq(heads != 0)]
        m.d.sync += self.full.eq(Cat((self.full[k] | (ends & (bank == k))) & ~(self.release & (self.released == k))
                                     for k in range(BANKS)))
        return m
