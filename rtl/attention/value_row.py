"""The sums of one row of a query tile: weight times value, over the keys."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.rescale import Rescale
from tilewright.rtl.delay import delayed
from tilewright.rtl.multiply import Multiplier
from tilewright.rtl.wide_multiply import CHUNK_WIDTH, WideMultiply

PRODUCT_LATENCY = 3


class ValueRow(wiring.Component):
    """Sums of ``weight * value`` in ``chunks`` words of ``lanes`` elements, two banks of them.

    ``write`` puts what a key does into slot ``write_slot``. ``step`` adds the products of the weight in ``slot`` and
    ``values`` to the word ``chunk`` of ``bank``, which ``rescale`` takes down first, or begins it where ``first`` is high; the
    same word again ``rescale.LOOP`` cycles later at the earliest. With ``close`` the slot's total becomes that of the bank.

    A bank that is ``owned`` does not step; it is read: ``sums`` is the word that was at ``read_chunk`` in the cycle before, of
    ``word_bank``, and ``totals`` are those of both.
    """

    def __init__(self, *, lanes: int, chunks: int, value: Shape, weights: data.StructLayout, rescale: Rescale,
                 slots: int, target: str) -> None:
        self.lanes = lanes
        self.chunks = chunks
        self.value = value
        self.weights = weights
        self.rescale = rescale
        self.slots = slots
        self.target = target
        self.total = Shape.cast(weights.members["total"])
        self.sum_shape = signed(self.total.width + value.width)
        chunk = range(max(chunks, 2))  # no port is without bits
        super().__init__({
            "write": In(1), "write_slot": In(range(slots)), "entry": In(weights),
            "step": In(1), "slot": In(range(slots)), "first": In(1), "close": In(1), "bank": In(1), "chunk": In(chunk),
            "values": In(data.ArrayLayout(value, lanes)),
            "owned": In(BANKS), "read_chunk": In(chunk), "word_bank": In(1),
            "sums": Out(data.ArrayLayout(self.sum_shape, lanes)), "totals": Out(data.ArrayLayout(self.total, BANKS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.slots = slots = Memory(shape=self.weights, depth=self.slots, init=[])
        put, get = slots.write_port(), slots.read_port(domain="comb")
        m.d.comb += [put.en.eq(self.write), put.addr.eq(self.write_slot), put.data.eq(self.entry), get.addr.eq(self.slot)]
        entry = get.data
        for bank in range(BANKS):
            total = Signal(self.total, name=f"total_{bank}", reset_less=True)
            with m.If(self.step & self.close & (self.bank == bank)):
                m.d.sync += total.eq(entry.total)
            m.d.comb += self.totals[bank].eq(total)

        lag, loop = self.rescale.LAG, self.rescale.LOOP
        bank_1 = delayed(m, self.bank, lag + 1, "bank")
        begins = entry.begins if "begins" in self.weights.members else self.first
        first_1 = delayed(m, begins, lag + 1, "first")
        read_chunk = delayed(m, self.chunk, lag, "chunk")
        added = self.rescale.adder(m, entry)
        adds = delayed(m, self.step, lag + loop - 1, "step", reset=True)
        add_chunk = delayed(m, read_chunk, loop - 1, "chunk_late" if lag else "chunk")
        add_bank = delayed(m, bank_1, loop - 2, "bank_late")
        waits = lag + loop - 2 - PRODUCT_LATENCY  # until the product is wanted
        weight = delayed(m, entry.weight, waits, "weight")
        words, writes = [], []
        for bank in range(BANKS):
            memory = Memory(shape=data.ArrayLayout(self.sum_shape, self.lanes), depth=self.chunks, init=[])
            m.submodules[f"sums_{bank}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [write.en.eq(adds & (add_bank == bank)), write.addr.eq(add_chunk), read.en.eq(1),
                         read.addr.eq(Mux(self.owned[bank], self.read_chunk, read_chunk))]
            words.append(read.data)
            writes.append(write)
        for lane in range(self.lanes):
            value = delayed(m, self.values[lane], waits, f"value_{lane}")
            product = self._product(m, value, weight, lane)
            m.d.comb += self.sums[lane].eq(of_bank(self.word_bank, [word[lane] for word in words]))
            before = of_bank(bank_1, [word[lane] for word in words])
            begun = (before.as_unsigned() & (~first_1).replicate(len(before))).as_signed()
            total = delayed(m, added(begun, product, lane)[:self.sum_shape.width], 1, f"sum_{lane}")
            for write in writes:
                m.d.comb += write.data[lane].eq(total)
        return m

    def _product(self, m: Module, value: Value, weight: Value, lane: int) -> Value:
        """Of one multiplier, or of as many as a wide weight needs; PRODUCT_LATENCY cycles later."""
        if len(weight) <= CHUNK_WIDTH:
            multiplier = Multiplier(a_shape=self.value, b_shape=Shape.cast(self.weights.members["weight"]),
                                    latency=PRODUCT_LATENCY, target=self.target)
            m.d.comb += multiplier.b_enable.eq(1)
        else:
            multiplier = WideMultiply(a_width=self.value.width, b_width=len(weight), target=self.target)
            if multiplier.latency != PRODUCT_LATENCY:
                raise ValueError(f"weights of {len(weight)} bits do not take {PRODUCT_LATENCY} cycles")
        m.submodules[f"multiplier_{lane}"] = multiplier
        m.d.comb += [multiplier.a.eq(value), multiplier.b.eq(weight)]
        return multiplier.p
