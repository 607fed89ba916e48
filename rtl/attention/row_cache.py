"""A job's rows of keys or values on their way into a cache, and out of it for the tiles."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.cache_layout import CacheLayout
from tilewright.rtl.attention.cache_memory import CacheMemory
from tilewright.rtl.attention.cache_writer import CacheWriter, beat_layout
from tilewright.rtl.attention.group_compressor import COMPRESSION_LATENCY, GroupCompressor
from tilewright.rtl.delay import delayed

WRITE_LATENCY = 2  # from a row's last beat to the first cycle in which it may be read, as it is


def append_latency(*, compresses: bool, group_chunks: int, lead: int) -> int:
    """Cycles from the step of a row's last beat to the first one in which it may be read."""
    return lead + WRITE_LATENCY + (COMPRESSION_LATENCY + group_chunks - 2 if compresses else 0)


class RowCache(wiring.Component):
    """Appends the rows that a job brings and hands out those that its tiles ask for.

    ``take`` gives a job while the cache is ``idle``; its ``queries * kv_heads`` rows come as beats by head, position and chunk
    (``available``, ``beat``, ``step``, ``final`` as of a FrameReader). A reader at work on job ``job`` asks for row ``place``:
    ``there`` says that it may read, and chunk ``read_chunk`` of it is at ``data`` READ_LATENCY cycles later. ``newest`` is the
    parity of the job taken last; ``tile_left`` and ``job_left`` tell that the reader is through with a tile and a job, see
    CacheWriter.

    A ``beat`` comes ``lead`` cycles behind its step; ``key`` and ``chunk`` are those of the next to step. Elements of more than
    ``bits`` bits are compressed, ``group_chunks`` beats to an exponent.
    """

    def __init__(self, *, layout: CacheLayout, lanes: int, element: Shape, bits: int, group_chunks: int, positions: int,
                 shares: int, jobs_max: int, lead: int = 0) -> None:
        self.layout = layout
        self.lead = lead
        self.lanes = lanes
        self.element = element
        self.compresses = bits < element.width
        self.writer = CacheWriter(layout=layout, positions=positions, shares=shares, jobs_max=jobs_max)
        self.memory = CacheMemory(layout=layout, lanes=lanes, element=element, bits=min(bits, element.width),
                                  group_chunks=group_chunks)
        elements = data.ArrayLayout(element, lanes)
        size = range(layout.keys_max + 1)
        super().__init__({
            "take": In(1), "queries": In(size), "keys": In(size), "newest": In(1), "idle": Out(1),
            "available": In(1), "beat": In(elements), "step": Out(1), "final": Out(1), "key": Out(layout.place["key"].shape),
            "chunk": Out(range(layout.chunks)),
            "tile_left": In(1), "job_left": In(1), "job": In(1), "place": In(layout.place), "there": Out(1),
            "read_chunk": In(range(layout.chunks)), "data": Out(elements)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.writer = writer = self.writer
        m.submodules.memory = memory = self.memory
        m.d.comb += [
            writer.take.eq(self.take), writer.queries.eq(self.queries), writer.keys.eq(self.keys),
            writer.tile_left.eq(self.tile_left), writer.job_left.eq(self.job_left), writer.available.eq(self.available),
            self.step.eq(writer.step), self.final.eq(writer.beat.job_ends), self.key.eq(writer.beat.key),
            self.chunk.eq(writer.beat.chunk),
            memory.place.eq(self.place), memory.read_chunk.eq(self.read_chunk), self.data.eq(memory.data)]
        written, about = self._words(m)
        self._rows(m, written, about)
        return m

    def _words(self, m: Module) -> tuple[Value, data.View]:
        """Beats to words in the memory; whether one is written, and what its beat was."""
        writer, memory = self.writer, self.memory
        step = delayed(m, writer.step, self.lead, "step", reset=True)
        beat = delayed(m, writer.beat.as_value(), self.lead, "beat")
        if not self.compresses:
            valid = delayed(m, step, 1, "write", reset=True)
            about = data.View(beat_layout(self.layout), delayed(m, beat, 1, "about"))
            m.d.comb += [memory.word.as_value().eq(delayed(m, self.beat.as_value(), 1, "word")), memory.write.eq(valid),
                         memory.write_row.eq(about.row), memory.write_chunk.eq(about.chunk)]
            return valid, about
        group_chunks = memory.group_chunks
        m.submodules.compressor = compressor = GroupCompressor(
            lanes=self.lanes, element=self.element, bits=memory.bits, group_chunks=group_chunks,
            about=beat_layout(self.layout))
        about = compressor.about
        m.d.comb += [
            compressor.valid.eq(step), compressor.elements.eq(self.beat), compressor.about_in.as_value().eq(beat),
            memory.word.eq(compressor.word), memory.exponent.eq(compressor.exponent), memory.write.eq(compressor.write),
            memory.write_row.eq(about.row), memory.write_chunk.eq(about.chunk + compressor.index - (group_chunks - 1))]
        return compressor.write & (compressor.index == group_chunks - 1), about

    def _rows(self, m: Module, written: Value, about: data.View) -> None:
        """Which rows are there: those before the next one to be appended."""
        head, key = Signal.like(self.place.head), Signal(range(self.layout.keys_max + 1))
        busy = Signal()
        same_head = head == self.place.head
        m.d.comb += [
            self.idle.eq(~busy),
            self.there.eq(~busy | (self.job != self.newest) | (head > self.place.head) | (same_head & (key > self.place.key)))]
        with m.If(self.take):
            m.d.sync += [busy.eq(1), head.eq(0), key.eq(self.keys - self.queries)]
        with m.Elif(written & about.row_ends):
            m.d.sync += [key.eq(Mux(about.head_ends, self.writer.before, about.key + 1)), head.eq(head + about.head_ends),
                         busy.eq(~about.job_ends)]
