"""The reading end of a stream whose frames are as long as a job says."""

from amaranth.hdl import Module, ShapeLike, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.skid_buffer import SkidBuffer


class FrameReader(wiring.Component):
    """Hands beats to a reader that knows which of them is a job's last.

    ``step`` uses the beat that ``available`` tells of, ``final`` with it says that the job needs no more. Where ``last``
    comes too early, the rest of the job reads what no beat brought; where it is missing, beats are dropped up to it. Both
    raise ``error`` for a cycle, and the next job begins with the next frame. A beat is available the cycle after it was taken.

    Members
    -------
    beats : In(stream.Signature(StructLayout({"data": shape, "last": 1})))
    available : Out(1)    data : Out(shape)    step : In(1)    final : In(1)    error : Out(1)
    """

    def __init__(self, shape: ShapeLike) -> None:
        self.layout = data.StructLayout({"data": shape, "last": 1})
        super().__init__({
            "beats": In(stream.Signature(self.layout)), "available": Out(1), "data": Out(shape), "step": In(1),
            "final": In(1), "error": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.skid = skid = SkidBuffer(shape=self.layout)
        wiring.connect(m, wiring.flipped(self.beats), skid.i)
        missing = Signal()  # the frame ended, the job did not
        dropping = Signal()  # the job ended, the frame did not
        last = skid.o.payload.last
        uses = self.step & ~missing
        m.d.comb += [
            self.available.eq(~dropping & (missing | skid.o.valid)), self.data.eq(skid.o.payload.data),
            skid.o.ready.eq(dropping | uses), self.error.eq(uses & (last ^ self.final))]
        with m.If(self.step):
            m.d.sync += [missing.eq(~self.final & (missing | last)), dropping.eq(self.final & ~missing & ~last)]
        with m.Elif(skid.o.valid & last):
            m.d.sync += dropping.eq(0)
        return m
