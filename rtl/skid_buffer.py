"""A register slice: cuts every combinational path between the two sides of a stream."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class SkidBuffer(wiring.Component):
    """Two places in front of a consumer; ``valid``, ``ready`` and the payload all come from registers.

    Latency 1 cycle, 1 transfer per cycle. ``i.ready`` is low exactly while both places are taken, so it
    never depends on ``i.valid`` or ``o.ready`` in the same cycle, as AXI asks of every channel.

    Parameters
    ----------
    shape : ShapeLike
        Payload of both streams.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    LATENCY = 1

    def __init__(self, *, shape: ShapeLike) -> None:
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spare = Signal.like(self.i.payload)
        spare_taken = Signal()
        free = Signal()

        m.d.comb += [
            self.i.ready.eq(~spare_taken),
            free.eq(~self.o.valid | self.o.ready),
        ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(self.i.valid | spare_taken),
                spare_taken.eq(0),
            ]
            with m.If(spare_taken):
                m.d.sync += self.o.payload.eq(spare)
            with m.Else():
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(self.i.payload), spare_taken.eq(1)]
        return m
