"""A PE of the fused array: one multiplier, in turn for scores, their scale, exponentials and values."""

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.fused2d.falling_table import DISTANCE_BITS, OCTAVE_BITS, FallingTable
from tilewright.rtl.attention.weights import MULTIPLIER_BITS, SCALED
from tilewright.rtl.multiply import Multiplier
from tilewright.rtl.shift_round import COARSE_BITS, PRESCALE, ShiftRound, add_rounded
from tilewright.rtl.units.exp import LOG2E
from tilewright.rtl.wide_multiply import CHUNK_WIDTH, split_operand

PRODUCT_LATENCY = 2
OPERAND = signed(CHUNK_WIDTH + 1)  # of the multiplier
FACTOR_PARTS = -(-(MULTIPLIER_BITS + PRESCALE) // CHUNK_WIDTH)  # of a score's multiplier
ROUND_DELAY = 4  # from the last product of a score's scale being begun to the rounded score being taken
LEVEL_DELAY = ROUND_DELAY + 1  # and to ``level`` being there
WEIGH_DELAY = PRODUCT_LATENCY + 1  # from the product of an exponential being begun to the weight being taken


def scale_products(score_width: int) -> list[tuple[int, int, int]]:
    """Products that make a scaled score, in their order: chunk of the score, part of the multiplier, places below the last.

    Highest places first, so that what is there moves up before the next one joins it.
    """
    chunks = len(split_operand(score_width, is_signed=True))
    places = sorted(((chunk + part, chunk, part) for chunk in range(chunks) for part in range(FACTOR_PARTS)), reverse=True)
    before = places[0][0]
    ordered = []
    for place, chunk, part in places:
        ordered.append((chunk, part, before - place))
        before = place
    return ordered


def command_layout(score_width: int) -> data.StructLayout:
    """What all PEs do in a cycle.

    ``begin`` chooses operands: ``score``, ``scale`` (of ``chunk`` with ``factor``), ``octaves``, ``mantissa``, none of them:
    values. ``land`` is the same step PRODUCT_LATENCY cycles later, when its product is there: of scores and of scales whether
    it is the ``first``, of scales whether the sum ``moves`` up; ``sum``: ``term`` is the weight itself. ``round`` and ``weigh``
    take results ROUND_DELAY and WEIGH_DELAY cycles after their products were begun; ``coarse`` is the scale's shift by
    eights, wanted a cycle before that.
    """
    chunks = len(split_operand(score_width, is_signed=True))
    return data.StructLayout({
        "begin": data.StructLayout({"score": 1, "scale": 1, "octaves": 1, "mantissa": 1, "chunk": range(chunks),
                                    "factor": CHUNK_WIDTH}),
        "land": data.StructLayout({"score": 1, "scale": 1, "octaves": 1, "mantissa": 1, "sum": 1, "first": 1, "moves": 1}),
        "coarse": COARSE_BITS, "round": 1, "weigh": 1})


def term_shape(*, table: Sequence[int], guard_bits: int, value: Shape) -> Shape:
    """Of a weight times a value."""
    return signed(table[0].bit_length() + guard_bits + value.width)


class FusedPE(wiring.Component):
    """The weight of a query and a key, and its products with the elements of the key's value.

    Steps come from ``command``: ``query * key`` is added up to the score; the products of :func:`scale_products` scale it,
    rounded to nearest even and clamped to 16 bits: ``level``, the lowest number where the pair is not ``seen``; the distance
    to the row's ``top`` becomes octaves, octaves a mantissa, that the weight, 0 where the pair is not seen; then ``term`` is
    ``weight * value``, or the weight, PRODUCT_LATENCY cycles after the step. ``keep`` takes ``seen`` for the score that is
    being scaled, and passes on that of the one before, whose weight comes next.

    Parameters
    ----------
    query, key, value : Shape, signed, up to 16 bits       score_width : bits of a score
    fraction, guard_bits, table : of the exponential, as those of ``rtl.units.exp.Exp``       target : "generic" or "ecp5"

    Members
    -------
    query, operand : In(query), In(key or value, the wider)     top : In(signed(16))    seen, keep : In(1)
    command : In(command_layout(score_width))    level : Out(signed(16))    term : Out(signed(weight and value bits))
    """

    def __init__(self, *, query: Shape, key: Shape, value: Shape, score_width: int, fraction: int, guard_bits: int,
                 table: Sequence[int], target: str) -> None:
        self.query_shape = query
        self.key_shape = key
        self.value_shape = value
        self.score_width = score_width
        self.exponential = FallingTable(table=table, fraction=fraction, guard_bits=guard_bits)
        self.weight_width = self.exponential.places + 1
        self.target = target
        super().__init__({
            "query": In(query), "operand": In(signed(max(key.width, value.width))), "top": In(SCALED), "seen": In(1),
            "keep": In(1), "command": In(command_layout(score_width)), "level": Out(SCALED),
            "term": Out(term_shape(table=table, guard_bits=guard_bits, value=value))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        begin, land = self.command.begin, self.command.land
        m.submodules.multiplier = multiplier = Multiplier(
            a_shape=OPERAND, b_shape=OPERAND, latency=PRODUCT_LATENCY, target=self.target)
        product = multiplier.p
        seen_scaled, seen_weighed = Signal(reset_less=True), Signal(reset_less=True)
        with m.If(self.keep):
            m.d.sync += [seen_scaled.eq(self.seen), seen_weighed.eq(seen_scaled)]

        score = Signal(signed(self.score_width), reset_less=True)
        with m.If(land.score):
            m.d.sync += score.eq(Mux(land.first, 0, score) + product)
        scaled = self._scaled_score(m, product)
        m.d.comb += self.level.eq(Mux(seen_scaled, scaled, Const(-1 << SCALED.width - 1, SCALED)))

        exponential = self.exponential
        y = Signal(OCTAVE_BITS, reset_less=True)
        with m.If(land.octaves):
            m.d.sync += y.eq(exponential.octaves(product))
        start, fall = exponential.word(m, y, Const(1, 1), "intervals")
        mantissa = Signal(exponential.start_width, reset_less=True)
        with m.If(land.mantissa):
            m.d.sync += mantissa.eq(exponential.mantissa(start, product))
        weight = Signal(self.weight_width, reset_less=True)
        with m.If(self.command.weigh):
            m.d.sync += weight.eq(Mux(seen_weighed, exponential.power(mantissa, exponential.whole(y)), 0))
        m.d.comb += self.term.eq(Mux(land.sum, weight, product))

        with m.If(begin.score):
            m.d.comb += [multiplier.a.eq(self.query), multiplier.b.eq(self.operand)]
        with m.Elif(begin.scale):
            m.d.comb += [multiplier.a.eq(self._chunk(score)), multiplier.b.eq(begin.factor)]
        with m.Elif(begin.octaves):
            m.d.comb += [multiplier.a.eq((self.top - scaled)[:DISTANCE_BITS]), multiplier.b.eq(LOG2E)]
        with m.Elif(begin.mantissa):
            m.d.comb += [multiplier.a.eq(fall), multiplier.b.eq(exponential.rest(y))]
        with m.Else():
            m.d.comb += [multiplier.a.eq(weight), multiplier.b.eq(self.operand)]
        m.d.comb += multiplier.b_enable.eq(1)
        return m

    def _chunk(self, score: Value) -> Value:
        """The bits of the score that are next to be multiplied."""
        chosen: Value = Const(0, OPERAND)
        for number, chunk in enumerate(split_operand(self.score_width, is_signed=True)):
            bits = score[chunk.offset:chunk.offset + chunk.width]
            chosen = Mux(self.command.begin.chunk == number, bits.as_signed() if chunk.signed else bits, chosen)
        return chosen

    def _scaled_score(self, m: Module, product: Value) -> Signal:
        """The score times its multiplier, shifted, rounded and clamped, as in ``tilewright.rtl.requantize``."""
        land = self.command.land
        total = Signal(signed(self.score_width + MULTIPLIER_BITS + PRESCALE), reset_less=True)
        with m.If(land.scale):
            m.d.sync += total.eq(Mux(land.first, 0, Mux(land.moves, total << CHUNK_WIDTH, total)) + product)
        m.submodules.shift_round = rounded = ShiftRound(
            product_width=len(total), quotient_width=SCALED.width + 2, mode="rne")
        m.d.comb += [rounded.product.eq(total), rounded.coarse.eq(self.command.coarse)]
        lowest = -1 << SCALED.width - 1
        above_lowest = Signal(signed(SCALED.width + 3))
        overflow = rounded.overflow.any()
        m.d.comb += above_lowest.eq(add_rounded(rounded, Const(-lowest, signed(SCALED.width + 2))))
        outside = overflow | above_lowest[SCALED.width:].any()
        below = Mux(overflow, rounded.negative, above_lowest[-1])
        bits = Mux(outside, (~below).replicate(SCALED.width), above_lowest[:SCALED.width])
        scaled = Signal(SCALED, reset_less=True)
        with m.If(self.command.round):
            m.d.sync += scaled.eq(bits ^ Const(lowest, SCALED.width))
        return scaled
