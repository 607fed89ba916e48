"""The sums of one row of a query tile: weight times value, over the keys."""

from amaranth.hdl import Module, Mux, Shape, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.delay import delayed
from tilewright.rtl.multiply import Multiplier
from tilewright.rtl.units.softmax_exponent import whole_eights

LOOP = 5  # cycles from the address of a sum to the earliest one that finds what was added
PRODUCT_LATENCY = 3


def weight_layout(*, weight_width: int, drop_width: int, total_width: int) -> data.StructLayout:
    """What a key does to a row: its weight, by how many octaves the sums go down first, and the total of the weights."""
    return data.StructLayout({"weight": weight_width, "drop": drop_width, "total": total_width})


class ValueRow(wiring.Component):
    """Sums of ``weight * value`` in ``chunks`` words of ``lanes`` elements, two banks of them.

    ``write`` puts what a key does into slot ``write_slot``. ``step`` adds the products of the weight in ``slot`` and
    ``values`` to the word ``chunk`` of ``bank``, which goes down by ``drop`` octaves first, or begins it where ``first`` is
    high; the same word again LOOP cycles later at the earliest. With ``close`` the slot's total becomes that of the bank.

    A bank that is ``owned`` does not step; it is read: while its bit of ``read`` is high, the word at ``read_chunk`` is taken,
    and stays. ``sums`` is that of ``word_bank``, ``totals`` those of both.
    """

    def __init__(self, *, lanes: int, chunks: int, value: Shape, weights: data.StructLayout, slots: int, target: str) -> None:
        self.lanes = lanes
        self.chunks = chunks
        self.value = value
        self.weights = weights
        self.slots = slots
        self.target = target
        self.total = Shape.cast(weights.members["total"])
        self.sum_shape = signed(self.total.width + value.width)
        super().__init__({
            "write": In(1), "write_slot": In(range(slots)), "entry": In(weights),
            "step": In(1), "slot": In(range(slots)), "first": In(1), "close": In(1), "bank": In(1), "chunk": In(range(chunks)),
            "values": In(data.ArrayLayout(value, lanes)),
            "owned": In(BANKS), "read": In(BANKS), "read_chunk": In(range(chunks)), "word_bank": In(1),
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

        bank_1 = delayed(m, self.bank, 1, "bank")
        first_1 = delayed(m, self.first, 1, "first")
        drop_1 = delayed(m, entry.drop, 1, "drop")
        fine = delayed(m, drop_1[:3], 1, "fine_drop")
        adds = delayed(m, self.step, LOOP - 1, "step", reset=True)
        add_chunk = delayed(m, self.chunk, LOOP - 1, "chunk")
        add_bank = delayed(m, bank_1, LOOP - 2, "bank_late")
        words, writes = [], []
        for bank in range(BANKS):
            memory = Memory(shape=data.ArrayLayout(self.sum_shape, self.lanes), depth=self.chunks, init=[])
            m.submodules[f"sums_{bank}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [write.en.eq(adds & (add_bank == bank)), write.addr.eq(add_chunk),
                         read.en.eq(~self.owned[bank] | self.read[bank]),
                         read.addr.eq(Mux(self.owned[bank], self.read_chunk, self.chunk))]
            words.append(read.data)
            writes.append(write)
        for lane in range(self.lanes):
            m.submodules[f"multiplier_{lane}"] = multiplier = Multiplier(
                a_shape=self.value, b_shape=Shape.cast(self.weights.members["weight"]), latency=PRODUCT_LATENCY,
                target=self.target)
            m.d.comb += [multiplier.a.eq(self.values[lane]), multiplier.b.eq(entry.weight), multiplier.b_enable.eq(1),
                         self.sums[lane].eq(of_bank(self.word_bank, [word[lane] for word in words]))]
            before = of_bank(bank_1, [word[lane] for word in words])
            begun = (before.as_unsigned() & (~first_1).replicate(len(before))).as_signed()
            coarse = delayed(m, begun >> whole_eights(drop_1), 1, f"by_eights_{lane}")
            lowered = delayed(m, coarse >> fine, 1, f"lowered_{lane}")
            total = delayed(m, (lowered + multiplier.p)[:self.sum_shape.width], 1, f"sum_{lane}")
            for write in writes:
                m.d.comb += write.data[lane].eq(total)
        return m
