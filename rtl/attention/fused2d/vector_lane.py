"""A lane of the one-dimensional unit: what a row sums up over its key tiles, and its division at the end."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import of_bank
from tilewright.rtl.attention.fused2d.falling_table import OCTAVE_BITS, FallingTable
from tilewright.rtl.attention.normalize_rows import SCALE_BITS, SCALE_LATENCY, RowDivider, ScaleMeans
from tilewright.rtl.attention.rescale import rounded_sum
from tilewright.rtl.attention.weights import SCALED
from tilewright.rtl.delay import delayed
from tilewright.rtl.units.exp import LOG2E
from tilewright.rtl.wide_multiply import WideMultiply, wide_multiply_latency

PRODUCT_LATENCY = 3
FACTOR_BITS = 17      # of what a lane multiplies with: a weight, or log2(e)
PARTIAL_BANKS = 2
# Cycles of a key tile in which a lane begins something: octaves of its rise, the mantissa, the total, the first element.
OCTAVES, MANTISSA = 0, PRODUCT_LATENCY + 1
POWER = MANTISSA + PRODUCT_LATENCY + 1
TOTAL, ELEMENTS = POWER + 1, POWER + 2
TOTAL_READY = TOTAL + PRODUCT_LATENCY + 1
RESULT_DELAY = 1 + SCALE_LATENCY  # from reading an element to its result


def lane_cycles(head_dim: int) -> int:
    """Of a key tile: the exponential of the rise and the total, then a product and a sum for each element."""
    return ELEMENTS + 2 * head_dim


def step_layout() -> data.StructLayout:
    """What all lanes begin in a cycle: ``octaves``, ``mantissa``, ``total``, none of them: an element; and what ends in it."""
    return data.StructLayout({
        "octaves": 1, "mantissa": 1, "total": 1, "octaves_land": 1, "mantissa_land": 1, "power": 1, "total_land": 1})


class VectorLane(wiring.Component):
    """``l = rhu(l * c) + sum w`` and ``O = rhu(O * c) + sum w * v`` of a row, ``c`` the exponential of minus ``rise``.

    Partial sums of a key tile come word by word, that of the weights first, into one of two banks, and are read there
    while the next ones come. Steps come from :class:`LaneSequencer`; ``first`` lets l and O begin anew. Element
    ``read`` is read in every cycle; ``store`` writes what was begun with the one read 5 cycles ago. ``divide`` takes l and
    ``scale`` to the divider; ``divided`` tells that it is ready, until ``release``. ``result`` is that of the element read
    RESULT_DELAY cycles ago.
    """

    def __init__(self, *, head_dim: int, partial: Shape, total_width: int, value_width: int, out: Shape, fraction: int,
                 guard_bits: int, table: Sequence[int], target: str) -> None:
        self.head_dim = head_dim
        self.partial_shape = partial
        self.total_width = total_width
        self.sum_shape = signed(total_width + value_width)
        assert wide_multiply_latency(self.sum_shape.width, FACTOR_BITS) == PRODUCT_LATENCY  # with 19 to 52 bits
        self.exponential = FallingTable(table=table, fraction=fraction, guard_bits=guard_bits)
        self.scale_means = ScaleMeans(lanes=1, total_width=total_width, value_width=value_width, out=out, clamps=True,
                                      target=target)
        self.target = target
        self.words = PARTIAL_BANKS * (head_dim + 1)
        element, word = range(head_dim), range(self.words)
        super().__init__({
            "partial": In(partial), "put": In(1), "put_word": In(word), "get_word": In(word), "rise": In(SCALED.width),
            "step": In(step_layout()), "first": In(1), "read": In(element), "store": In(1), "store_element": In(element),
            "divide": In(1), "scale": In(SCALE_BITS), "divided": Out(1), "release": In(1), "result": Out(out)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.partials = partials = Memory(shape=self.partial_shape, depth=self.words, init=[])
        put, get = partials.write_port(), partials.read_port()
        m.d.comb += [put.en.eq(self.put), put.addr.eq(self.put_word), put.data.eq(self.partial), get.en.eq(1),
                     get.addr.eq(self.get_word)]
        m.submodules.sums = sums = Memory(shape=self.sum_shape, depth=self.head_dim, init=[])
        write, read = sums.write_port(), sums.read_port()
        m.submodules.multiplier = multiplier = WideMultiply(
            a_width=self.sum_shape.width, b_width=FACTOR_BITS, target=self.target)
        total = Signal(self.total_width, reset_less=True)
        step = self.step

        factor, mantissa_operands = self._factor(m, multiplier.p)
        with m.If(step.octaves):
            m.d.comb += [multiplier.a.eq(self.rise), multiplier.b.eq(LOG2E)]
        with m.Elif(step.mantissa):
            m.d.comb += [multiplier.a.eq(mantissa_operands[0]), multiplier.b.eq(mantissa_operands[1])]
        with m.Elif(step.total):
            m.d.comb += [multiplier.a.eq(Mux(self.first, 0, total)), multiplier.b.eq(factor)]
        with m.Else():
            m.d.comb += [multiplier.a.eq(Mux(self.first, 0, read.data)), multiplier.b.eq(factor)]

        added = rounded_sum(multiplier.p, self.exponential.places, get.data)
        with m.If(step.total_land):
            m.d.sync += total.eq(added)
        m.d.comb += [read.en.eq(1), read.addr.eq(self.read), write.en.eq(self.store), write.addr.eq(self.store_element),
                     write.data.eq(delayed(m, added[:self.sum_shape.width].as_signed(), 1, "sum"))]
        self._divide(m, total, read.data)
        return m

    def _factor(self, m: Module, product: Value) -> tuple[Value, tuple[Value, Value]]:
        """The exponential of the rise, and the two operands of its mantissa's product."""
        exponential, step = self.exponential, self.step
        y, arrived = Signal(OCTAVE_BITS, reset_less=True), Signal(OCTAVE_BITS)
        m.d.comb += arrived.eq(exponential.octaves(product))
        with m.If(step.octaves_land):
            m.d.sync += y.eq(arrived)
        start, fall = exponential.word(m, arrived, step.octaves_land, "intervals")
        mantissa = Signal(exponential.start_width, reset_less=True)
        with m.If(step.mantissa_land):
            m.d.sync += mantissa.eq(exponential.mantissa(start, product))
        factor = Signal(exponential.places + 1, reset_less=True)
        with m.If(step.power):
            m.d.sync += factor.eq(exponential.power(mantissa, exponential.whole(y)))
        return factor, (fall, exponential.rest(y))

    def _divide(self, m: Module, total: Value, element: Value) -> None:
        m.submodules.divider = divider = RowDivider(total_width=self.total_width)
        m.submodules.scale_means = means = self.scale_means
        # The quotient and its places outlive their release by the cycle in which the last element is there.
        m.d.comb += [
            divider.start.eq(self.divide), divider.total.eq(total), divider.scale.eq(self.scale),
            divider.take.eq(self.release), self.divided.eq(divider.done), means.sums[0].eq(element),
            means.factor.eq(divider.factor), means.places.eq(divider.places), self.result.eq(means.results[0])]


class LaneSequencer(wiring.Component):
    """The lanes' key tiles, ``lane_cycles(head_dim)`` each, and behind the last of a query tile its elements to divide.

    ``full`` tells which banks of partial sums are complete and ``ends`` of what; ``release`` frees one. A key tile
    begins when the one before has ended and nothing is left to divide; ``begins`` is high in its first cycle. A query tile's
    total goes to the divider (``divide``, of job ``job``) as soon as it is there; its elements are read one per cycle,
    ``reads``, while ``room`` says that their results will find a place: ``end`` tells about them.
    """

    def __init__(self, *, rows: int, head_dim: int, tile: data.StructLayout) -> None:
        self.rows = rows
        self.head_dim = head_dim
        self.tile = tile
        self.words = PARTIAL_BANKS * (head_dim + 1)
        element, word = range(head_dim), range(self.words)
        super().__init__({
            "full": In(PARTIAL_BANKS), "ends": In(data.ArrayLayout(tile, PARTIAL_BANKS)), "release": Out(PARTIAL_BANKS),
            "begins": Out(1), "get_word": Out(word), "step": Out(step_layout()), "first": Out(1), "read": Out(element),
            "store": Out(1), "store_element": Out(element), "divide": Out(1), "job": Out(tile.members["job"]),
            "divided": In(1), "done": Out(1), "room": In(1), "reads": Out(1), "end": Out(tile), "final": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        length = lane_cycles(self.head_dim)
        running, pending, bank = Signal(), Signal(), Signal()
        cycle = Signal(range(length))
        element, result = Signal(range(self.head_dim)), Signal(range(self.head_dim))
        now = Signal(self.tile, reset_less=True)
        in_bank = Signal(self.tile)
        ends = running & (cycle == length - 1)
        m.d.comb += [in_bank.eq(Mux(bank, self.ends[1].as_value(), self.ends[0].as_value())),
                     self.begins.eq(~running & ~pending & of_bank(bank, self.full))]
        with m.If(self.begins):
            m.d.sync += [running.eq(1), cycle.eq(1), now.eq(in_bank), element.eq(0)]
        with m.If(running):
            m.d.sync += cycle.eq(cycle + 1)
        with m.If(ends):
            m.d.sync += [running.eq(0), bank.eq(~bank), pending.eq(now.last)]

        fetch = running & cycle[0] & (cycle >= ELEMENTS - 1) & ~ends
        with m.If(fetch):
            m.d.sync += element.eq(Mux(element == self.head_dim - 1, 0, element + 1))
        begin_total = running & (cycle == TOTAL)
        base = Mux(bank, self.head_dim + 1, 0)
        fetched = delayed(m, (base + 1 + element)[:len(self.get_word)], PRODUCT_LATENCY, "fetched")
        step = self.step
        m.d.comb += [
            Cat(self.release).eq(Mux(ends, Cat(~bank, bank), 0)),
            step.octaves.eq(self.begins), step.octaves_land.eq(running & (cycle == PRODUCT_LATENCY)),
            step.mantissa.eq(running & (cycle == MANTISSA)),
            step.mantissa_land.eq(running & (cycle == MANTISSA + PRODUCT_LATENCY)),
            step.power.eq(running & (cycle == POWER)), step.total.eq(begin_total),
            step.total_land.eq(running & (cycle == TOTAL_READY - 1)), self.first.eq(now.first),
            self.get_word.eq(Mux(delayed(m, begin_total, PRODUCT_LATENCY - 1, "begin_total"), base, fetched)),
            self.store.eq(delayed(m, fetch, PRODUCT_LATENCY + 2, "fetch", reset=True)),
            self.store_element.eq(delayed(m, element, PRODUCT_LATENCY + 2, "element")),
            self.divide.eq(running & (cycle == TOTAL_READY) & now.last), self.job.eq(now.job),
            self.reads.eq(pending & self.divided & self.room), self.read.eq(Mux(pending, result, element)),
            self.final.eq(result == self.head_dim - 1), self.done.eq(self.reads & self.final), self.end.eq(now)]
        with m.If(self.reads):
            m.d.sync += result.eq(Mux(self.final, 0, result + 1))
        with m.If(self.done):
            m.d.sync += pending.eq(0)
        return m
