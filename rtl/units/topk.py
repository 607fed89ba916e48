"""Top-k of a stream by insertion into a sorted chain."""

from itertools import pairwise

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class TopK(wiring.Component):
    """The ``k`` largest ``x`` of each frame with their indices, the largest first; ties keep the lower index.

    A frame ends with the beat whose ``last`` is 1; it gives a frame of ``min(k, length)`` results, one per cycle.
    Latency 2 cycles from the last beat to the first result. Input takes one beat per cycle, also from frame to frame; a
    frame shorter than the results of the one before waits for them. Only the first ``2**index_bits`` beats of a frame
    take part; ``overflow`` tells, in every result, that there were more.

    ``k`` cells hold the largest values so far in order. A beat is compared with all of them at once; where it is
    greater the cells move down by one, and it enters above the first that did. An equal value stays above, because it came
    earlier. At the end of a frame the cells move as one into a shift register that feeds the output; ``i.ready`` is low
    only while that is taken.

    Parameters
    ----------
    k : int
        Cells, at least 1.
    width : int
        Bits of ``x``, two's complement.
    index_bits : int
        Bits of ``index``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width), "last": 1})))
    o : Out(stream.Signature(StructLayout({"index": index_bits, "value": signed(width), "overflow": 1, "last": 1})))
    """

    LATENCY = 2

    def __init__(self, *, k: int, width: int, index_bits: int) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k!r}")
        self.k = k
        self.width = width
        self.index_bits = index_bits
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"x": signed(width), "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout(
                {"index": index_bits, "value": signed(width), "overflow": 1, "last": 1}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entry = data.StructLayout({"index": self.index_bits, "value": signed(self.width)})
        cells = [Signal(entry, name=f"cell_{n}", reset_less=True) for n in range(self.k)]
        results = [Signal(entry, name=f"result_{n}", reset_less=True) for n in range(self.k)]
        held, waiting = Signal(self.k), Signal(self.k)  # how many cells and results there are, one bit each
        overflow = Signal(reset_less=True)
        complete = Signal()  # the cells hold a whole frame
        move = Signal()

        m.d.comb += [
            move.eq(complete & (~self.o.valid | (self.o.ready & self.o.payload.last))),
            self.i.ready.eq(~complete | move),
            self.o.valid.eq(waiting[0]),
            self.o.payload.index.eq(results[0].index),
            self.o.payload.value.eq(results[0].value),
            self.o.payload.overflow.eq(overflow),
            self.o.payload.last.eq(~waiting[1] if self.k > 1 else 1),
        ]

        first = Signal(init=1)
        ranked = Signal(self.k)  # cells that hold values of the frame that comes in
        full = Signal()  # 2**index_bits beats of this frame came already
        position = Signal(self.index_bits)
        x = self.i.payload.x
        greater = Signal(self.k)
        for n, cell in enumerate(cells):
            # One carry chain: as unsigned numbers with the sign inverted, and a bit above that an empty cell lacks.
            m.d.comb += greater[n].eq(Cat(x[:-1], ~x[-1], 1) > Cat(cell.value[:-1], ~cell.value[-1], ranked[n]))
        with m.If(self.i.ready):
            m.d.sync += complete.eq(self.i.valid & self.i.payload.last)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                first.eq(self.i.payload.last),
                position.eq(Mux(self.i.payload.last, 0, position + 1)),
                full.eq((full | position.all()) & ~self.i.payload.last),
            ]
            with m.If(~full):
                m.d.sync += [held.eq(Mux(first, 1, held << 1 | 1)), ranked.eq(ranked << 1 | 1)]
                for n, cell in enumerate(cells):
                    with m.If(greater[n]):
                        m.d.sync += [cell.value.eq(x), cell.index.eq(position)]
                        if n > 0:
                            with m.If(greater[n - 1]):
                                m.d.sync += cell.eq(cells[n - 1])

            with m.If(self.i.payload.last):
                m.d.sync += ranked.eq(0)

        overflowed = Signal(reset_less=True)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += overflowed.eq(full)
        with m.If(move):
            m.d.sync += [waiting.eq(held), overflow.eq(overflowed)]
            m.d.sync += [result.eq(cell) for result, cell in zip(results, cells, strict=True)]
        with m.Elif(self.o.ready):
            m.d.sync += waiting.eq(waiting >> 1)
            m.d.sync += [result.eq(below) for result, below in pairwise(results)]
        return m
