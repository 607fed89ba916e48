"""Walks the keys whose weights are there: which chunk of values meets which sums in which cycle."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.score_sequencer import key_layout
from tilewright.rtl.delay import delayed


def tile_end_layout(*, rows: int) -> data.StructLayout:
    """A finished tile: how many of its rows count, whether it ends its job, and of which job it is."""
    return data.StructLayout({"rows": range(rows + 1), "job_ends": 1, "job": 1})


class ValueSequencer(wiring.Component):
    """``step`` adds a chunk of values, ``chunks`` of them to a key that has its weights, in the keys' order.

    ``open`` reserves a slot for ``key``, which becomes ``open_slot``; ``room`` says that there is one. ``weighed`` tells that
    the weights of the oldest key without are in their slot. A word is added to ``loop`` cycles after the key before at the
    earliest, and a tile begins when a bank of sums is free. ``owned`` shows the banks whose sums are complete, ``settling``
    cycles after the last step, ``ends`` what they hold; ``release`` frees them.

    With a cache ``oldest`` is the key that steps next, and ``tile_left`` tells of a tile's last step, ``job_left`` of a job's.

    With ``repeats``, ``decided`` tells of the latest key, the last of its tile, whether the tile comes once more: ``repeat``.
    Then its ``close`` is not that of the tile, nor its step the tile's last; ``final`` stays that of a frame. It comes before
    the key's weights.
    """

    def __init__(self, *, rows: int, chunks: int, slots: int, loop: int, settling: int,
                 place: data.StructLayout | None = None, repeats: bool = False) -> None:
        if slots & (slots - 1):
            raise ValueError(f"slots must be a power of two, not {slots!r}")
        self.rows = rows
        self.chunks = chunks
        self.slots = slots
        self.loop = loop
        self.settling = settling
        self.repeats = repeats
        self.key_layout = key_layout(rows=rows, place=place)
        super().__init__({
            **({"decided": In(1), "repeat": In(1)} if repeats else {}),
            "open": In(1), "key": In(self.key_layout), "open_slot": Out(range(slots)), "room": Out(1), "weighed": In(1),
            "available": In(1), "step": Out(1), "final": Out(1), "slot": Out(range(slots)), "first": Out(1), "close": Out(1),
            "bank": Out(1), "chunk": Out(range(chunks)), "waits": Out(1), "oldest": Out(self.key_layout), "tile_left": Out(1),
            "job_left": Out(1), "owned": Out(BANKS),
            "ends": Out(data.ArrayLayout(tile_end_layout(rows=rows), BANKS)), "release": In(BANKS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.keys = keys = Memory(shape=self.key_layout, depth=self.slots, init=[])
        put, get, get_next = keys.write_port(), keys.read_port(domain="comb"), keys.read_port(domain="comb")
        key, next_key = Signal(self.key_layout, reset_less=True), Signal(self.key_layout, reset_less=True)
        next_slot = Signal.like(self.slot, init=1)
        used, ready = Signal(range(self.slots + 1)), Signal(range(self.slots + 1))
        taken = Signal(BANKS)  # a tile has begun in the bank
        key_ends = Signal()
        tile_ends = Signal()
        first_chunk, last_chunk = self.chunk == 0, self.chunk == self.chunks - 1
        closes = key.last & ~self._repeated(m, key_ends, next_slot) if self.repeats else key.last
        occupied = first_chunk & key.first & of_bank(self.bank, taken)
        m.d.comb += [
            put.en.eq(self.open), put.addr.eq(self.open_slot), put.data.eq(self.key), get.addr.eq(self.slot),
            get_next.addr.eq(next_slot),
            self.room.eq(used != self.slots),
            self.step.eq((ready != 0) & self.available & ~occupied & ~self._follows_closely(m)),
            self.waits.eq((ready != 0) & ~self.available), self.first.eq(key.first), self.close.eq(closes),
            key_ends.eq(self.step & last_chunk), tile_ends.eq(key_ends & closes),
            self.final.eq(last_chunk & key.last & key.job_ends), self.oldest.eq(key), self.tile_left.eq(tile_ends),
            self.job_left.eq(tile_ends & key.job_ends)]
        # Keys lie in their slots long before their weights do: registers in front keep the memory out of the way of a step.
        m.d.sync += [used.eq(used + self.open - key_ends), ready.eq(ready + self.weighed - key_ends),
                     next_key.eq(get_next.data), key.eq(Mux(key_ends, next_key, get.data))]
        with m.If(self.open):
            m.d.sync += self.open_slot.eq(self.open_slot + 1)
        with m.If(self.step):
            m.d.sync += self.chunk.eq(Mux(last_chunk, 0, self.chunk + 1))
        with m.If(key_ends):
            m.d.sync += [self.slot.eq(next_slot), next_slot.eq(next_slot + 1)]
        with m.If(tile_ends):
            m.d.sync += self.bank.eq(~self.bank)
        ends = [tile_ends & (self.bank == bank) for bank in range(BANKS)]
        complete = delayed(m, Cat(*ends), self.settling - 1, "complete", reset=True)
        for bank in range(BANKS):
            begun = self.step & first_chunk & key.first & (self.bank == bank)
            m.d.sync += [taken[bank].eq((taken[bank] | begun) & ~self.release[bank]),
                         self.owned[bank].eq((self.owned[bank] | complete[bank]) & ~self.release[bank])]
            with m.If(ends[bank]):
                m.d.sync += [self.ends[bank].rows.eq(key.rows), self.ends[bank].job_ends.eq(key.job_ends),
                             self.ends[bank].job.eq(key.job)]
        return m

    def _repeated(self, m: Module, key_ends: Value, next_slot: Value) -> Value:
        """Whether the key in ``slot`` is the last of a tile that comes once more; kept and fetched as the keys are."""
        flags = Array(Signal(name=f"repeated_{k}") for k in range(self.slots))
        flag, next_flag = Signal(reset_less=True), Signal(reset_less=True)
        latest = Signal.like(self.open_slot)
        m.d.comb += latest.eq(self.open_slot - 1)
        with m.If(self.open):
            m.d.sync += flags[self.open_slot].eq(0)
        with m.Elif(self.decided):
            m.d.sync += flags[latest].eq(self.repeat)
        m.d.sync += [next_flag.eq(flags[next_slot]), flag.eq(Mux(key_ends, next_flag, flags[self.slot]))]
        return flag

    def _follows_closely(self, m: Module) -> Value:
        """Whether the word's sums are still on their way round."""
        if self.chunks >= self.loop:
            return Const(0, 1)
        steps = [(delayed(m, self.step, age, f"step_{age}", reset=True), delayed(m, self.chunk, age, f"chunk_{age}"))
                 for age in range(1, self.loop)]
        return Cat(step & (chunk == self.chunk) for step, chunk in steps).any()
