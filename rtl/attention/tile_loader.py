"""Brings the queries of the next tile in where they arrive in the order of a matrix's column tiles: head, chunk, position."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.query_loader import filled


class TileLoader(wiring.Component):
    """Writes beats of a job's queries, tile by tile, into the two banks of the score rows.

    A job takes ``queries`` positions of each kv head; a tile has ``rows / group`` of them, fewer at the end of a kv head,
    and its beats come per head of the group, chunk, position. Row r of a tile is position ``r // group`` of head ``r % group``.
    All else is as for ``QueryLoader``; where there are ``positions``, ``position_in`` is that of the job's first query.
    """

    def __init__(self, *, rows: int, group: int, chunks: int, kv_heads: int, queries_max: int, positions: int = 0,
                 ) -> None:
        if rows % group:
            raise ValueError(f"rows must be a multiple of group, not {rows!r} and {group!r}")
        self.rows = rows
        self.group = group
        self.chunks = chunks
        self.kv_heads = kv_heads
        self.queries_max = queries_max
        self.positions = positions
        of_all = range(max(positions, 2))
        super().__init__({
            "take": In(1), "queries": In(range(queries_max + 1)), "idle": Out(1),
            "available": In(1), "step": Out(1), "final": Out(1),
            "write": Out(rows), "write_address": Out(range(BANKS * chunks)),
            "full": Out(BANKS), "release": In(1), "released": In(1),
            **({"position_in": In(of_all), "position": Out(of_all), "chunk": Out(range(max(chunks, 2)))} if positions else {})})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        whole = self.rows // self.group  # positions of a tile
        active = Signal()
        bank = Signal()
        head, chunk, position = Signal(range(self.group)), Signal(range(self.chunks)), Signal(range(whole))
        of_head, left = Signal(range(self.queries_max + 1)), Signal(range(self.queries_max + 1))
        heads = Signal(range(self.kv_heads))
        position_ends = (position == whole - 1) | (position + 1 == left)
        chunk_ends = position_ends & (chunk == self.chunks - 1)
        tile_ends = chunk_ends & (head == self.group - 1)
        head_ends = tile_ends & (left <= whole)
        m.d.comb += [
            self.idle.eq(~active), self.step.eq(active & self.available & ~of_bank(bank, self.full)),
            self.final.eq(head_ends & (heads == 0)), self.write_address.eq(Mux(bank, self.chunks, 0) + chunk),
            self.write.eq(Cat(self.step & (position == row // self.group) & (head == row % self.group)
                              for row in range(self.rows)))]
        with m.If(self.take):
            m.d.sync += [active.eq(1), of_head.eq(self.queries), left.eq(self.queries), heads.eq(self.kv_heads - 1)]
        with m.If(self.step):
            m.d.sync += position.eq(Mux(position_ends, 0, position + 1))
            with m.If(position_ends):
                m.d.sync += chunk.eq(Mux(chunk_ends, 0, chunk + 1))
            with m.If(chunk_ends):
                m.d.sync += head.eq(Mux(tile_ends, 0, head + 1))
            with m.If(tile_ends):
                m.d.sync += [bank.eq(~bank), left.eq(left - whole)]
            with m.If(head_ends):
                m.d.sync += [left.eq(of_head), heads.eq(heads - 1), active.eq(heads != 0)]
        m.d.sync += self.full.eq(filled(self, bank, self.step & tile_ends))
        if self.positions:
            m.d.comb += self.chunk.eq(chunk)
            self._position(m, position_ends, tile_ends, head_ends)
        return m

    def _position(self, m: Module, position_ends: Value, tile_ends: Value, head_ends: Value) -> None:
        of_job, of_tile = Signal.like(self.position), Signal.like(self.position)  # where they begin
        following = Mux(head_ends, of_job, of_tile + self.rows // self.group)
        with m.If(self.take):
            m.d.sync += [signal.eq(self.position_in) for signal in (of_job, of_tile, self.position)]
        with m.Elif(self.step & tile_ends):
            m.d.sync += [of_tile.eq(following), self.position.eq(following)]
        with m.Elif(self.step):
            m.d.sync += self.position.eq(Mux(position_ends, of_tile, self.position + 1))
