"""The scores of one row of a query tile."""

from amaranth.hdl import Module, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.attention.banks import BANKS
from tilewright.rtl.delay import delayed
from tilewright.rtl.multiply import Multiplier

MULTIPLIER_LATENCY = 2


def sum_latency(lanes: int) -> int:
    """Cycles from the address of a chunk to the cycle in which its sum of products may be accumulated."""
    return 1 + MULTIPLIER_LATENCY + ceil_log2(lanes)


class ScoreRow(wiring.Component):
    """One query in chunks of ``lanes`` elements, two of them in turn, and its dot product with the key that streams past.

    The chunk at ``read_address`` is multiplied with the ``key`` of the same cycle. ``sum_latency(lanes)`` cycles later,
    ``accumulate`` adds the products to the score, or begins one where ``first`` is high; the cycle after that it is there.
    """

    def __init__(self, *, lanes: int, chunks: int, query: Shape, key: Shape, score_width: int, target: str) -> None:
        self.lanes = lanes
        self.chunks = chunks
        self.query = query
        self.key_shape = key
        self.target = target
        self.words = BANKS * chunks
        super().__init__({
            "write": In(1), "write_address": In(range(self.words)), "write_data": In(data.ArrayLayout(query, lanes)),
            "read_address": In(range(self.words)), "key": In(data.ArrayLayout(key, lanes)),
            "accumulate": In(1), "first": In(1), "score": Out(signed(score_width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queries = memory = Memory(shape=data.ArrayLayout(self.query, self.lanes), depth=self.words, init=[])
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [write.en.eq(self.write), write.addr.eq(self.write_address), write.data.eq(self.write_data),
                     read.addr.eq(self.read_address), read.en.eq(1)]
        terms: list[Value] = []
        for lane in range(self.lanes):
            multiplier = Multiplier(a_shape=self.query, b_shape=self.key_shape, latency=MULTIPLIER_LATENCY, target=self.target)
            m.submodules[f"multiplier_{lane}"] = multiplier
            m.d.comb += [multiplier.a.eq(read.data[lane]), multiplier.b_enable.eq(1),
                         multiplier.b.eq(delayed(m, self.key[lane], 1, f"key_{lane}"))]
            terms.append(multiplier.p)
        level = 0
        while len(terms) > 1:
            level += 1
            pairs = [terms[k:k + 2] for k in range(0, len(terms), 2)]
            terms = [delayed(m, pair[0] + pair[1] if len(pair) > 1 else pair[0], 1, f"sum_{level}_{k}")
                     for k, pair in enumerate(pairs)]
        score = Signal.like(self.score, reset_less=True)
        with m.If(self.accumulate):
            m.d.sync += score.eq(self._begun(score) + terms[0])
        m.d.comb += self.score.eq(score)
        return m

    def _begun(self, score: Signal) -> Value:
        """The sum so far, or 0."""
        return (score.as_unsigned() & (~self.first).replicate(len(score))).as_signed()
