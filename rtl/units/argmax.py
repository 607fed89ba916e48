"""The place of the largest value of a frame."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class ArgMax(wiring.Component):
    """Index and value of the largest ``x`` of a frame; of equal values the one with the lowest index.

    A frame ends with the beat whose ``last`` is 1 and gives one result. Latency 1 cycle from that beat; one beat per cycle,
    also from frame to frame. Only the first ``2**index_bits`` beats of a frame take part; ``overflow`` tells that there
    were more. A waiting result stalls the input; ``i.ready`` follows ``o.ready`` through one gate.

    Parameters
    ----------
    width : int
        Bits of ``x``, two's complement.
    index_bits : int
        Bits of ``index``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width), "last": 1})))
    o : Out(stream.Signature(StructLayout({"index": index_bits, "value": signed(width), "overflow": 1})))
    """

    LATENCY = 1

    def __init__(self, *, width: int, index_bits: int) -> None:
        self.width = width
        self.index_bits = index_bits
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"x": signed(width), "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout(
                {"index": index_bits, "value": signed(width), "overflow": 1}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        position = Signal(self.index_bits)
        first = Signal(init=1)
        full = Signal()  # 2**index_bits beats of this frame came already
        best = Signal.like(self.o.payload.value, reset_less=True)
        best_index = Signal(self.index_bits, reset_less=True)

        x, last, found = self.i.payload.x, self.i.payload.last, self.o.payload
        better = Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            better.eq(first | ((x > best) & ~full)),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid & last)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [first.eq(last), position.eq(position + 1), full.eq(full | position.all())]
            with m.If(better):
                m.d.sync += [best.eq(x), best_index.eq(position), found.value.eq(x), found.index.eq(position)]
            with m.Else():
                m.d.sync += [found.value.eq(best), found.index.eq(best_index)]
            m.d.sync += found.overflow.eq(full)
            with m.If(last):
                m.d.sync += [position.eq(0), full.eq(0)]
        return m
