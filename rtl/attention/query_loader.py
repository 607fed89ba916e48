"""Brings the queries of the next tile in while the tile before is at work."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank


def filled(loader: Any, bank: Value, ends: Value) -> Value:
    """Which banks of ``loader`` hold a whole tile in the next cycle: ``bank`` too where its tile ``ends``."""
    return Cat((loader.full[k] | (ends & (bank == k))) & ~(loader.release & (loader.released == k)) for k in range(BANKS))


class QueryLoader(wiring.Component):
    """Writes beats of a job's queries, row by row, into the two banks of the score rows.

    A job takes ``kv_heads`` times ``rows_in`` rows of ``chunks`` beats; a bank takes ``rows`` of them, fewer at the end of a
    kv head. ``full`` tells which banks hold a whole tile; ``release`` frees the bank ``released``. ``take`` gives the loader a
    job while it is ``idle``; ``step`` and ``final`` read the beats. Where there are ``positions``, ``chunk`` is the beat's in
    its row and ``position`` the row's during a step: the job's first, ``position_in``, for ``group`` rows, then the next.
    """

    def __init__(self, *, rows: int, chunks: int, kv_heads: int, rows_max: int, group: int = 1, positions: int = 0) -> None:
        self.rows = rows
        self.chunks = chunks
        self.kv_heads = kv_heads
        self.rows_max = rows_max
        self.group = group
        self.positions = positions
        position = range(max(positions, 2))
        super().__init__({
            "take": In(1), "rows_in": In(range(rows_max + 1)), "idle": Out(1),
            "available": In(1), "step": Out(1), "final": Out(1),
            "write": Out(rows), "write_address": Out(range(BANKS * chunks)),
            "full": Out(BANKS), "release": In(1), "released": In(1),
            **({"position_in": In(position), "position": Out(position)} if positions else {}),
            **({"chunk": Out(range(max(chunks, 2)))} if positions else {})})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active = Signal()
        bank = Signal()
        chunk = Signal(range(self.chunks))
        row = Signal(self.rows, init=1)  # one-hot
        of_head, left = Signal(range(self.rows_max + 1)), Signal(range(self.rows_max + 1))
        heads = Signal(range(self.kv_heads))
        chunk_ends = chunk == self.chunks - 1
        head_ends = chunk_ends & (left == 1)
        m.d.comb += [
            self.idle.eq(~active), self.step.eq(active & self.available & ~of_bank(bank, self.full)),
            self.final.eq(head_ends & (heads == 0)), self.write.eq(Mux(self.step, row, 0)),
            self.write_address.eq(Mux(bank, self.chunks, 0) + chunk)]
        with m.If(self.take):
            m.d.sync += [active.eq(1), of_head.eq(self.rows_in), left.eq(self.rows_in), heads.eq(self.kv_heads - 1)]
        with m.If(self.step):
            m.d.sync += chunk.eq(Mux(chunk_ends, 0, chunk + 1))
            with m.If(chunk_ends):
                m.d.sync += [left.eq(Mux(head_ends, of_head, left - 1)), row.eq(row.rotate_left(1))]
            with m.If(head_ends):
                m.d.sync += [heads.eq(heads - 1), row.eq(1), active.eq(heads != 0)]
        ends = self.step & chunk_ends & (row[-1] | (left == 1))
        with m.If(ends):
            m.d.sync += bank.eq(~bank)
        m.d.sync += self.full.eq(filled(self, bank, ends))
        if self.positions:
            m.d.comb += self.chunk.eq(chunk)
            self._position(m, self.step & chunk_ends, head_ends)
        return m

    def _position(self, m: Module, row_ends: Value, head_ends: Value) -> None:
        first = Signal.like(self.position)
        member = Signal(range(self.group))
        with m.If(self.take):
            m.d.sync += [first.eq(self.position_in), self.position.eq(self.position_in), member.eq(0)]
        with m.If(row_ends):
            position_ends = member == self.group - 1
            m.d.sync += member.eq(Mux(position_ends, 0, member + 1))
            with m.If(head_ends):
                m.d.sync += self.position.eq(first)
            with m.Elif(position_ends):
                m.d.sync += self.position.eq(self.position + 1)
