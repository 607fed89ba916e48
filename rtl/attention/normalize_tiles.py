"""The end of a tile whose results leave in the order of a matrix's column tiles: head, chunk, position."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.normalize_rows import NormalizeRows, RowDivider
from tilewright.rtl.attention.value_sequencer import tile_end_layout
from tilewright.rtl.delay import delayed


class NormalizeTiles(NormalizeRows):
    """As :class:`NormalizeRows`, but for the order of a tile's words: per head of the group, chunk, position.

    Row r of a tile is position ``r // group`` of head ``r % group``. A chunk meets all positions, so all rows are divided
    before the first word is read. Their factors wait in a memory that has room for both banks of sums: the rows of one tile
    are divided while the words of the one before are read.
    """

    def __init__(self, *, rows: int, group: int, lanes: int, chunks: int, total_width: int, value_width: int, out: Shape,
                 clamps: bool, target: str) -> None:
        if rows % group:
            raise ValueError(f"rows must be a multiple of group, not {rows!r} and {group!r}")
        self.group = group
        super().__init__(rows=rows, lanes=lanes, chunks=chunks, total_width=total_width, value_width=value_width, out=out,
                         clamps=clamps, target=target)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.divider = divider = RowDivider(total_width=self.total_width)
        m.submodules.scale_means = scale = self.scale_means
        kept = data.StructLayout({"factor": divider.factor.shape(), "places": divider.places.shape()})
        m.submodules.factors = factors = Memory(shape=kept, depth=BANKS * self.rows, init=[])
        put, get = factors.write_port(), factors.read_port()
        about = data.StructLayout({"bank": 1, "row": range(self.rows), "tile_ends": 1})
        dividing = Signal(about, reset_less=True)
        _, row_ends = self._divide(m, divider)
        with m.If(divider.start):
            m.d.sync += [dividing.bank.eq(self.divide_bank), dividing.row.eq(self.divide_row), dividing.tile_ends.eq(row_ends)]
        m.d.comb += [
            divider.take.eq(divider.done), put.en.eq(divider.done), put.addr.eq(self._address(dividing.bank, dividing.row)),
            put.data.factor.eq(divider.factor), put.data.places.eq(divider.places)]
        # Read: a word in every cycle, as long as there is room for its results.
        divided = Signal(BANKS)  # tiles whose factors are all there, until their last word is read
        bank, head, row = Signal(), Signal(range(self.group)), Signal(range(self.rows))
        end = data.View(tile_end_layout(rows=self.rows), of_bank(bank, self.ends))
        reads = Signal()
        position_ends = row + self.group >= end.rows  # the last position of the tile
        chunk_ends = position_ends & (self.read_chunk == self.chunks - 1)
        tile_ends = chunk_ends & (head == self.group - 1)
        m.d.comb += [reads.eq(of_bank(bank, divided) & self._room(m, reads)), get.addr.eq(self._address(bank, row))]
        with m.If(reads):
            m.d.sync += row.eq(Mux(position_ends, Mux(chunk_ends, Mux(tile_ends, 0, head + 1), head), row + self.group))
            with m.If(position_ends):
                m.d.sync += self.read_chunk.eq(Mux(chunk_ends, 0, self.read_chunk + 1))
            with m.If(chunk_ends):
                m.d.sync += head.eq(Mux(tile_ends, 0, head + 1))
            with m.If(tile_ends):
                m.d.sync += bank.eq(~bank)
        whole = Mux(divider.done & dividing.tile_ends, self._bit(dividing.bank), 0)
        m.d.sync += divided.eq((divided | whole) & ~Mux(reads & tile_ends, self._bit(bank), 0))
        word, word_ends = delayed(m, reads, 1, "word", reset=True), delayed(m, tile_ends, 1, "word_ends")
        m.d.comb += [
            self.word_bank.eq(delayed(m, bank, 1, "word_bank")), self.word_row.eq(delayed(m, row, 1, "word_row")),
            scale.sums.as_value().eq(delayed(m, self.sums.as_value(), 1, "picked")),
            scale.factor.eq(delayed(m, get.data.factor, 1, "picked_factor")),
            scale.places.eq(delayed(m, get.data.places, 1, "picked_places")),
            self.release.eq(Mux(word & word_ends, self._bit(self.word_bank), 0))]
        self._offer(m, scale, word, delayed(m, tile_ends & end.job_ends, 1, "job_ends"))
        return m

    def _address(self, bank: Value, row: Value) -> Value:
        return Mux(bank, self.rows, 0) + row
