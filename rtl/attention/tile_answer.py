"""Tells the producer of keys and values of each tile whether it comes once more."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

ANSWER = data.StructLayout({"again": 1, "last": 1})


class TileAnswer(wiring.Component):
    """A beat on ``again`` for each tile, the cycle after ``decided``; ``repeat`` and ``last`` are taken with that.

    ``taken`` is high in the cycle in which the beat is, and ``repeats`` is what it says.
    """

    LATENCY = 1

    def __init__(self) -> None:
        super().__init__({
            "decided": In(1), "repeat": In(1), "last": In(1), "again": Out(stream.Signature(ANSWER)), "taken": Out(1),
            "repeats": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.taken.eq(self.again.valid & self.again.ready), self.repeats.eq(self.again.payload.again)]
        with m.If(self.decided):
            m.d.sync += [self.again.valid.eq(1), self.again.payload.again.eq(self.repeat),
                         self.again.payload.last.eq(self.last)]
        with m.Elif(self.again.ready):
            m.d.sync += self.again.valid.eq(0)
        return m
