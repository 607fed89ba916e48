"""The values of one core of the ring, and their products with its weight."""

from amaranth.hdl import Const, Module, Shape, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS
from tilewright.rtl.delay import delayed
from tilewright.rtl.multiply import Multiplier
from tilewright.rtl.units.lane_tree import tree
from tilewright.rtl.units.pipeline import Stages

MULTIPLIER_LATENCY = 3
PRODUCT_LATENCY = 1 + MULTIPLIER_LATENCY  # from the address of a chunk to its products


class ValueCore(wiring.Component):
    """A row of values in two banks of ``chunks`` words of ``lanes`` elements, and the weights of ``slots`` queries.

    ``weigh`` puts ``weight`` into ``weigh_slot``. PRODUCT_LATENCY cycles after ``read_address`` and ``slot``, ``products``
    are those of that word and that weight.
    """

    def __init__(self, *, lanes: int, chunks: int, value: Shape, weight_width: int, slots: int, target: str) -> None:
        self.lanes = lanes
        self.words = BANKS * chunks
        self.value = value
        self.weight_width = weight_width
        self.slots = slots
        self.target = target
        super().__init__({
            "write": In(1), "write_address": In(range(self.words)), "write_data": In(data.ArrayLayout(value, lanes)),
            "weigh": In(1), "weigh_slot": In(range(slots)), "weight": In(weight_width),
            "read_address": In(range(self.words)), "slot": In(range(slots)),
            "products": Out(data.ArrayLayout(signed(value.width + weight_width + 1), lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.values = values = Memory(shape=data.ArrayLayout(self.value, self.lanes), depth=self.words, init=[])
        write, read = values.write_port(), values.read_port()
        m.d.comb += [write.en.eq(self.write), write.addr.eq(self.write_address), write.data.eq(self.write_data),
                     read.addr.eq(self.read_address), read.en.eq(1)]
        m.submodules.weights = weights = Memory(shape=self.weight_width, depth=self.slots, init=[])
        put, get = weights.write_port(), weights.read_port(domain="comb")
        m.d.comb += [put.en.eq(self.weigh), put.addr.eq(self.weigh_slot), put.data.eq(self.weight), get.addr.eq(self.slot)]
        weight = delayed(m, get.data, 1, "weight")
        for lane in range(self.lanes):
            multiplier = Multiplier(a_shape=self.value, b_shape=Shape(self.weight_width), latency=MULTIPLIER_LATENCY,
                                    target=self.target)
            m.submodules[f"multiplier_{lane}"] = multiplier
            m.d.comb += [multiplier.a.eq(read.data[lane]), multiplier.b.eq(weight), multiplier.b_enable.eq(1),
                         self.products[lane].eq(multiplier.p)]
        return m


class CoreSum(wiring.Component):
    """The sum of one lane's products over all cores, ``ceil(log2(cores))`` cycles later."""

    def __init__(self, *, cores: int, product_width: int, sum_width: int) -> None:
        self.cores = cores
        self.COMBINATIONAL = cores == 1
        super().__init__({"products": In(data.ArrayLayout(signed(product_width), cores)), "sum": Out(signed(sum_width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = tree(Stages(m, Const(1, 1)), [self.products[core] for core in range(self.cores)], lambda a, b: a + b, "sum")
        m.d.comb += self.sum.eq(total)
        return m
