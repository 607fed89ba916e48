"""The periods of the fused array: which key tile is at which step in which cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.fused2d.key_tiles import key_tile_layout
from tilewright.rtl.attention.fused2d.pe import LEVEL_DELAY, scale_products
from tilewright.rtl.attention.fused2d.row import greatest_latency

WINDOW = 9  # steps between scores and values
# Its steps: the mantissa of the key tile two before, the octaves of the one before, the scale up to the last one, in which
# the weights of the key tile two before are summed up as well.
MANTISSA, OCTAVES, LAST_SCALE, SUM = 0, 1, WINDOW - 1, WINDOW - 1
ISSUE = 1  # cycles from a step to its operands being at the PEs


def distance_delay(cols: int) -> int:
    """Cycles from the last step of a key tile's scale to the first one that may use its rows' new maxima."""
    return LEVEL_DELAY + greatest_latency(cols) + 1


def step_layout(score_width: int) -> data.StructLayout:
    """What the array does: ``score``, ``mantissa``, ``octaves``, ``scale`` (product ``number`` of it), ``sum``, ``value``."""
    return data.StructLayout({"score": 1, "mantissa": 1, "octaves": 1, "scale": 1, "sum": 1, "value": 1,
                              "number": range(len(scale_products(score_width)))})


class ArraySequencer(wiring.Component):
    """Periods of ``head_dim`` steps with keys, WINDOW steps, and ``head_dim`` steps with values.

    In a period a key tile comes in: its scores are summed up and scaled. Of the one before, octaves are made; of the one
    before that the weights, and those meet their values. Steps with keys are left out if no key tile is there (and the period,
    if none is on its way), steps with values if there is none whose weights are.

    A key tile that is ``available`` begins when its queries are there (``loaded``); ``next`` takes it, and in each of its
    steps ``key_available`` has to be. Values likewise; before them, ``room`` says that a bank of partial sums is free.
    ``release`` frees the queries in bank ``bank``. ``scaled`` and ``weighed`` are the key tiles whose scores and values these
    are; ``keeps`` marks the last step of the window, ``takes`` that it had a key tile in it.
    """

    def __init__(self, *, rows: int, cols: int, head_dim: int, score_width: int) -> None:
        self.rows = rows
        self.cols = cols
        self.head_dim = head_dim
        self.products = len(scale_products(score_width))
        self.tile = key_tile_layout(rows=rows)
        element = range(head_dim)
        super().__init__({
            "available": In(1), "key_tile": In(self.tile), "seen": In(data.ArrayLayout(rows, cols)), "next": Out(1),
            "loaded": In(BANKS), "release": Out(1), "bank": Out(1), "read_address": Out(range(BANKS * head_dim)),
            "key_available": In(1), "key_step": Out(1), "key_final": Out(1),
            "value_available": In(1), "value_step": Out(1), "value_final": Out(1), "room": In(1),
            "element": Out(element), "step": Out(step_layout(score_width)), "first": Out(1), "ends": Out(1),
            "keeps": Out(1), "takes": Out(1), "scaled": Out(self.tile), "scaled_seen": Out(data.ArrayLayout(rows, cols)),
            "weighed": Out(self.tile), "waits": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tiles = [Signal(self.tile, name=f"key_tile_{age}", reset_less=True) for age in range(3)]
        there = [Signal(name=f"there_{age}") for age in range(3)]
        element, bank = Signal(range(self.head_dim)), Signal()
        windows, values = Signal(), Signal()  # the phase, if neither: keys
        slot = Signal(range(WINDOW))
        last_element = element == self.head_dim - 1

        boundary = ~windows & ~values & (element == 0)
        begins = boundary & self.available & of_bank(bank, self.loaded) & self.key_available
        passes = boundary & ~begins & (there[1] | there[2])  # without a key tile, for the sake of those before
        keys = begins | (~windows & ~values & (element != 0) & self.key_available)
        window = passes | (windows & ((slot != OCTAVES) | ~there[1] | self._settled(m))
                           & ((slot != LAST_SCALE) | ~there[2] | self.room))
        value = values & self.value_available
        window_ends = window & (slot == LAST_SCALE)
        tile_ends = keys & last_element & tiles[0].last
        period_ends = (window_ends & ~there[2]) | (value & last_element)

        with m.If(keys | value):
            m.d.sync += element.eq(Mux(last_element, 0, element + 1))
        with m.If(begins):
            m.d.sync += [tiles[0].eq(self.key_tile), self.scaled_seen.eq(self.seen), there[0].eq(1)]
        with m.If((keys & last_element) | passes):
            m.d.sync += windows.eq(1)
        with m.If(window):
            m.d.sync += slot.eq(Mux(slot == LAST_SCALE, 0, slot + 1))
        with m.If(window_ends):
            m.d.sync += [windows.eq(0), values.eq(there[2])]
        with m.If(period_ends):
            m.d.sync += [values.eq(0), Cat(there).eq(Cat(there) << 1), tiles[1].eq(tiles[0]), tiles[2].eq(tiles[1])]
        with m.If(tile_ends):
            m.d.sync += bank.eq(~bank)

        step = self.step
        m.d.comb += [
            self.next.eq(begins), self.release.eq(tile_ends), self.bank.eq(bank), self.element.eq(element),
            self.read_address.eq(Mux(bank, self.head_dim, 0) + element),
            self.key_step.eq(keys), self.key_final.eq(last_element & tiles[0].job_ends),
            self.value_step.eq(value), self.value_final.eq(last_element & tiles[2].job_ends),
            step.score.eq(keys), step.value.eq(value), step.mantissa.eq(window & (slot == MANTISSA)),
            step.octaves.eq(window & (slot == OCTAVES)), step.scale.eq(window & (slot >= WINDOW - self.products)),
            step.number.eq(slot - (WINDOW - self.products)), step.sum.eq(window_ends & there[2]),
            self.first.eq(element == 0), self.ends.eq(value & last_element), self.keeps.eq(window_ends),
            self.takes.eq(window_ends & there[0]), self.scaled.eq(tiles[0]), self.weighed.eq(tiles[2]),
            self.waits.eq((boundary & self.available & ~begins & ~passes) | (values & ~self.value_available)
                          | (~windows & ~values & (element != 0) & ~self.key_available))]
        return m

    def _settled(self, m: Module) -> Value:
        """Whether the maxima of the scores that were scaled last are there."""
        delay = distance_delay(self.cols)
        left = Signal(range(delay))
        with m.If(self.takes):
            m.d.sync += left.eq(delay - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return left == 0
