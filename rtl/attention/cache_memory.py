"""The memory of a cache: words of stored elements, and the exponents that groups of them share."""

from amaranth.hdl import Cat, Module, Shape, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.cache_layout import CacheLayout, quotient
from tilewright.rtl.delay import delayed

READ_LATENCY = 3


def exponent_width(element_width: int, bits: int) -> int:
    """Bits of a group's exponent; 0 where elements are stored as they are."""
    return (element_width - bits).bit_length()


class CacheMemory(wiring.Component):
    """Rows of ``layout.chunks`` words of ``lanes`` elements; ``group_chunks`` words share an exponent.

    ``write`` puts a ``word`` and, with a group's last one, its ``exponent`` to chunk ``write_chunk`` of row ``write_row``. What
    lies at chunk ``read_chunk`` of row ``place`` is at ``data`` READ_LATENCY cycles later: each element times
    ``2**exponent``. Both memories read behind a register and never in the cycle in which the same word is written.
    """

    def __init__(self, *, layout: CacheLayout, lanes: int, element: Shape, bits: int, group_chunks: int) -> None:
        self.layout = layout
        self.lanes = lanes
        self.element = element
        self.bits = bits
        self.group_chunks = group_chunks
        self.exponent_width = exponent_width(element.width, bits)
        chunk = range(layout.chunks)
        super().__init__({
            "write": In(1), "write_row": In(range(layout.rows)), "write_chunk": In(chunk),
            "word": In(data.ArrayLayout(signed(bits), lanes)), "exponent": In(self.exponent_width),
            "place": In(layout.place), "read_chunk": In(chunk), "data": Out(data.ArrayLayout(element, lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = self.layout
        row = delayed(m, layout.row(self.place.head, self.place.key), 1, "row")
        chunk = delayed(m, self.read_chunk, 1, "chunk")
        m.submodules.words = words = Memory(
            shape=data.ArrayLayout(signed(self.bits), self.lanes), depth=layout.rows * layout.chunks, init=[])
        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            write.en.eq(self.write), write.addr.eq(self.write_row * layout.chunks + self.write_chunk),
            write.data.eq(self.word), read.addr.eq(row * layout.chunks + chunk), read.en.eq(1)]
        stored = [Value.cast(read.data[lane]).as_signed() for lane in range(self.lanes)]
        if self.exponent_width:
            exponent = self._exponent(m, row, chunk)
            stored = [lane << exponent for lane in stored]
        m.d.sync += self.data.as_value().eq(Cat(lane[:self.element.width] for lane in stored))
        return m

    def _exponent(self, m: Module, row: Value, chunk: Value) -> Value:
        chunks = self.layout.chunks
        groups = chunks // self.group_chunks
        m.submodules.exponents = exponents = Memory(shape=self.exponent_width, depth=self.layout.rows * groups, init=[])
        write, read = exponents.write_port(), exponents.read_port()
        m.d.comb += [
            write.en.eq(self.write), write.data.eq(self.exponent),
            write.addr.eq(self.write_row * groups + quotient(self.write_chunk, self.group_chunks, chunks)),
            read.addr.eq(row * groups + quotient(chunk, self.group_chunks, chunks)), read.en.eq(1)]
        return read.data
