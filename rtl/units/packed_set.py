"""A growing set of values, as many in each word as there are lanes."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


class PackedSet(wiring.Component):
    """Values that come ``count`` at a time, in the lowest lanes of a beat, stored without gaps and in their order.

    A beat turns by the lanes that the last word holds already; what fills that word is written with it, what is left over
    waits in a register. 1 beat per cycle. With ``valid`` in cycle t, ``total`` counts the beat from t + 1 on and a full word
    is read from t + 2 on; ``flush``, together with the final beat, writes the last word one cycle later. ``clear`` starts
    a new set, at the earliest 3 cycles after ``flush``. ``word`` is what stood at ``address`` a cycle ago: of the last word
    the lanes above the set are undefined, and so is a word that is written in the cycle in which it is asked for.

    Parameters
    ----------
    lanes : int
        A power of two, at least 2.
    width : int
        Bits of a value, two's complement.
    depth : int
        Words, a power of two.

    Members
    -------
    valid, flush, clear : In(1)
    value : In(ArrayLayout(signed(width), lanes))
    count : In(ceil_log2(lanes + 1))
    total : Out(ceil_log2(lanes * depth + 1))
    address : In(ceil_log2(depth))
    word : Out(ArrayLayout(signed(width), lanes))
    """

    def __init__(self, *, lanes: int, width: int, depth: int) -> None:
        if lanes < 2 or lanes & lanes - 1:
            raise ValueError(f"lanes must be a power of two from 2 on, not {lanes!r}")
        self.lanes = lanes
        self.width = width
        self.depth = depth
        values = data.ArrayLayout(signed(width), lanes)
        super().__init__({
            "valid": In(1), "flush": In(1), "clear": In(1),
            "value": In(values), "count": In(ceil_log2(lanes + 1)), "total": Out(ceil_log2(lanes * depth + 1)),
            "address": In(ceil_log2(depth)), "word": Out(values),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = range(self.lanes)
        m.submodules.memory = memory = Memory(
            shape=unsigned(self.width * self.lanes), depth=self.depth, init=[], attrs={"no_rw_check": 1})
        write_port, read_port = memory.write_port(), memory.read_port()
        m.d.comb += [read_port.addr.eq(self.address), self.word.eq(read_port.data)]

        held = Signal(ceil_log2(self.lanes))  # values of the word not yet written
        end = Signal(ceil_log2(self.lanes) + 1)
        full, flushing = end[-1], Signal()
        turned = Signal(data.ArrayLayout(signed(self.width), self.lanes), reset_less=True)
        hit, below = Signal(self.lanes), Signal(self.lanes, reset_less=True)
        m.d.comb += end.eq(held + self.count)
        m.d.sync += [
            flushing.eq(self.valid & self.flush),
            below.eq(Cat(flushing | (n < held) for n in lanes)),
            hit.eq(Cat(self.valid & (((n >= held) & (n < end)) | (full & (n < end[:-1]))) for n in lanes)),
            write_port.en.eq((self.valid & full) | (flushing & (held != 0))),
        ]
        for turn in lanes:
            with m.If(held == turn):
                m.d.sync += [turned[n].eq(self.value[(n - turn) % self.lanes]) for n in lanes]
        with m.If(self.valid):
            m.d.sync += [held.eq(end), self.total.eq(self.total + self.count)]

        waiting = Signal(data.ArrayLayout(signed(self.width), self.lanes), reset_less=True)
        for n in lanes:
            m.d.comb += write_port.data[n * self.width:(n + 1) * self.width].eq(Mux(below[n], waiting[n], turned[n]))
            with m.If(hit[n]):
                m.d.sync += waiting[n].eq(turned[n])
        with m.If(write_port.en):
            m.d.sync += write_port.addr.eq(write_port.addr + 1)
        with m.If(self.clear):
            m.d.sync += [held.eq(0), self.total.eq(0), write_port.addr.eq(0)]
        return m
