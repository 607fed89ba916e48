"""The running maximum of a row, and how far it rose with each key tile."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.weights import SCALED

KEY_TILES = 8  # whose rise is known and not yet used, at most; a power of two


class RowMaximum(wiring.Component):
    """``top``, the greatest score since a key tile that is the ``first`` of its queries, and by how much each raised it.

    ``take`` brings the ``greatest`` of a key tile, which counts if the row has ``seen`` a key of it; ``top`` is there the cycle
    after. The rise, 0 for the first keys that a row sees, is put at ``put``; ``rise`` is the one at ``get``.
    """

    def __init__(self) -> None:
        super().__init__({
            "take": In(1), "first": In(1), "seen": In(1), "greatest": In(SCALED), "put": In(range(KEY_TILES)),
            "get": In(range(KEY_TILES)), "top": Out(SCALED), "rise": Out(SCALED.width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rises = rises = Memory(shape=SCALED.width, depth=KEY_TILES, init=[])
        write, read = rises.write_port(), rises.read_port(domain="comb")
        before = Signal(reset_less=True)  # the row has seen a key
        above: Value = self.greatest - self.top
        fresh = self.first | ~before
        counts = self.seen & (fresh | ~above[-1])
        m.d.comb += [write.en.eq(self.take), write.addr.eq(self.put),
                     write.data.eq(Mux(counts & ~fresh, above[:SCALED.width], 0)), read.addr.eq(self.get),
                     self.rise.eq(read.data)]
        with m.If(self.take):
            m.d.sync += before.eq(self.seen | ~fresh)
        with m.If(self.take & counts):
            m.d.sync += self.top.eq(self.greatest)
        return m
