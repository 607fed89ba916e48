"""Elements to fewer bits: groups of them share an exponent, which is known when all of a group are there."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.attention.cache_memory import exponent_width
from tilewright.rtl.delay import delayed

COMPRESSION_LATENCY = 4  # from a group's last beat to its first word


class GroupCompressor(wiring.Component):
    """``exponent = max(0, bits that the widest element needs - bits)``, words of ``min(rne(x / 2**exponent), highest)``.

    Takes a beat of ``lanes`` elements while ``valid``; ``group_chunks`` of them are a group. COMPRESSION_LATENCY cycles after a
    group's last beat its words leave, one a cycle while ``write``: ``word`` number ``index`` of the group, its ``exponent``,
    and ``about``, which came with the last beat. Groups never meet: the next one takes as long to come as this one to leave.
    """

    def __init__(self, *, lanes: int, element: Shape, bits: int, group_chunks: int, about: data.StructLayout) -> None:
        self.lanes = lanes
        self.element = element
        self.bits = bits
        self.group_chunks = group_chunks
        self.exponent_width = exponent_width(element.width, bits)
        super().__init__({
            "valid": In(1), "elements": In(data.ArrayLayout(element, lanes)), "about_in": In(about),
            "write": Out(1), "word": Out(data.ArrayLayout(signed(bits), lanes)), "exponent": Out(self.exponent_width),
            "about": Out(about), "index": Out(range(max(group_chunks, 2)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, last = self.element.width, self.group_chunks - 1
        bank, index = Signal(), Signal(range(self.group_chunks))
        m.submodules.waiting = waiting = Memory(
            shape=data.ArrayLayout(self.element, self.lanes), depth=2 << ceil_log2(self.group_chunks), init=[])
        put, get = waiting.write_port(), waiting.read_port(domain="comb")
        magnitude = Signal(width - 1)  # a bit is set where some element needs it beside its sign
        needed: Value = Const(0, width - 1)
        for lane in range(self.lanes):
            x = Value.cast(self.elements[lane])
            needed = needed | (x[:-1] ^ x[-1].replicate(width - 1))
        group_ends = self.valid & (index == last)
        m.d.comb += [put.en.eq(self.valid), put.addr.eq(Cat(index, bank)), put.data.eq(self.elements)]
        with m.If(self.valid):
            m.d.sync += [index.eq(Mux(index == last, 0, index + 1)), bank.eq(bank ^ (index == last)),
                         magnitude.eq(Mux(index == 0, 0, magnitude) | needed)]
        # 1, 2: the exponent; the words begin to leave.
        exponent = Signal(self.exponent_width, reset_less=True)
        leaving, leaving_bank, leaving_index = Signal(), Signal(), Signal.like(index)
        about_1 = delayed(m, self.about_in.as_value(), 1, "about_early")
        about = Signal.like(about_1, reset_less=True)
        with m.If(delayed(m, group_ends, 1, "ended", reset=True)):
            m.d.sync += [exponent.eq(self._exponent(magnitude)), about.eq(about_1), leaving.eq(1), leaving_index.eq(0),
                         leaving_bank.eq(~bank)]
        with m.Elif(leaving):
            m.d.sync += [leaving_index.eq(leaving_index + 1), leaving.eq(leaving_index != last)]
        m.d.comb += get.addr.eq(Cat(leaving_index, leaving_bank))
        # 3, 4: shifted down, rounded.
        for lane in range(self.lanes):
            fine = Cat(Const(0, width - self.bits), get.data[lane]).as_signed() >> exponent
            m.d.sync += self.word[lane].eq(self._rounded(delayed(m, fine, 1, f"fine_{lane}")))
        m.d.comb += [
            self.write.eq(delayed(m, leaving, 2, "write", reset=True)), self.exponent.eq(delayed(m, exponent, 2, "shared")),
            self.about.as_value().eq(delayed(m, about, 2, "about_late")),
            self.index.eq(delayed(m, leaving_index, 2, "index_late"))]
        return m

    def _exponent(self, magnitude: Value) -> Value:
        """How many bits the widest element needs beyond ``bits``."""
        exponent: Value = Const(0, self.exponent_width)
        for place in range(self.bits - 1, self.element.width - 1):
            exponent = Mux(magnitude[place], place + 2 - self.bits, exponent)
        return exponent

    def _rounded(self, fine: Value) -> Value:
        """To nearest, ties to even; only the highest code is ever passed."""
        below = self.element.width - self.bits
        floor, half = fine[below:below + self.bits], fine[below - 1]
        up = half & (fine[:below - 1].any() | floor[0])
        highest = Const((1 << self.bits - 1) - 1, self.bits)
        return Mux(floor == highest, floor, floor + up)[:self.bits]
