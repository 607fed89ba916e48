"""Results that nothing holds up on their way, and the room that waits for them in front of the port."""

from amaranth.hdl import Cat, Const, Module, Shape, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

OFFER_LATENCY = 2  # from a word to its offer


class ResultQueue(wiring.Component):
    """``words`` places; ``room`` says that a word may be begun, which ``begun`` tells, however long it takes to come.

    ``valid`` puts ``data`` and ``last`` into the queue, whose end is the stream ``result``, every lane kept.
    """

    def __init__(self, *, lanes: int, element: Shape, words: int) -> None:
        self.words = words
        elements = data.ArrayLayout(element, lanes)
        super().__init__({
            "begun": In(1), "room": Out(1, init=1), "valid": In(1), "data": In(elements), "last": In(1),
            "result": Out(stream.Signature(data.StructLayout({"data": elements, "keep": lanes, "last": 1})))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self.words + 1), init=self.words)
        m.d.sync += [left.eq(left + (self.result.valid & self.result.ready) - self.begun), self.room.eq(left >= 2)]
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=len(Cat(self.data, self.last)), depth=self.words)
        payload = self.result.payload
        m.d.comb += [
            queue.w_en.eq(self.valid), queue.w_data.eq(Cat(self.data, self.last)), self.result.valid.eq(queue.r_rdy),
            queue.r_en.eq(self.result.ready), Cat(payload.data, payload.last).eq(queue.r_data),
            payload.keep.eq(Const(-1, len(payload.keep)))]
        return m
