"""Walks the keys of a job's tiles: which chunk meets which query chunk in which cycle."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS, of_bank
from tilewright.rtl.attention.tile_walker import Mask, ahead_shape, tile_layout


def key_layout(*, rows: int, place: data.StructLayout | None = None) -> data.StructLayout:
    """A key's scores on their way: which rows see it, whether it is its tile's first or last, and what that tile is.

    With a cache also ``place``, where its row lies there.
    """
    where = {} if place is None else {"place": place}
    return data.StructLayout({
        "visible": rows, "first": 1, "last": 1, "job_ends": 1, "rows": range(rows + 1), "job": 1, **where})


class ScoreSequencer(wiring.Component):
    """``step`` multiplies a key's chunk in every cycle in which it is there, ``chunks`` of them to a key.

    A key begins when its tile's queries are there (``loaded``) and while ``room`` says that its weights will find a place, and
    ends ``interval`` cycles after the one before at the earliest; ``begins`` is high in its first step, ``ends`` in its last
    one, and ``key`` tells about it during both. ``final`` marks the job's last step. ``release`` frees the queries in bank
    ``bank``. Where scores are ``biased``, ``ahead`` is how far the key lies before the tile's first row, and ``base``, where
    there are ``bias_words``, the tile's; where keys are ``indexed``, ``index`` is the key's and ``chunk`` the step's. With
    ``places`` ``index`` is the key's place among those of its tile instead, of which there are so many at most; all rows of a
    tile see them, so ``rows`` divides ``group``.
    With a cache ``key`` has a ``place``, in one of ``kv_heads``.

    With 2 ``passes`` the keys of a tile come twice, ``second`` is high the second time. Only then does a key ``open`` a
    place for its weights and need room for it, and can be its tile's ``last``.

    If it ``asks``, the second time is for those tiles alone of which it is ``answered`` with ``repeat``: it waits behind the
    last key of the first time, with which ``asking`` is high. Keys open places both times, and ``key`` is a ``first`` one the
    first time alone, a ``last`` one at the end of either; ``final`` comes with both ends of the job's last tile, ``release``
    and ``job_left``, of the job's last tile, when it does not come once more.
    """

    def __init__(self, *, rows: int, group: int, chunks: int, interval: int, mask: Mask, keys_max: int, passes: int = 1,
                 asks: bool = False, biased: bool = False, bias_words: int = 0, indexed: bool = False, places: int = 0,
                 kv_heads: int = 1, place: data.StructLayout | None = None) -> None:
        if places and group % rows:
            raise ValueError(f"rows must divide group where keys have places, not {rows!r} and {group!r}")
        self.rows = rows
        self.group = group
        self.chunks = chunks
        self.interval = interval
        self.mask = mask
        self.keys_max = keys_max
        self.passes = passes
        self.asks = asks
        self.places = places
        self.place = place
        layout = tile_layout(rows=rows, keys_max=keys_max, kv_heads=kv_heads, bias_words=bias_words)
        super().__init__({
            "tile_available": In(1), "tile": In(layout), "tile_next": Out(1), "job": In(1),
            "loaded": In(BANKS), "available": In(1), "room": In(1),
            "step": Out(1), "final": Out(1), "read_address": Out(range(BANKS * chunks)),
            "begins": Out(1), "open": Out(1), "ends": Out(1), "second": Out(1), "first": Out(1),
            "key": Out(key_layout(rows=rows, place=place)), "release": Out(1), "bank": Out(1),
            "job_left": Out(1), "waits": Out(1),
            **({"asking": Out(1), "answered": In(1), "repeat": In(1)} if asks else {}),
            **({"ahead": Out(ahead_shape(keys_max))} if biased else {}),
            **({"base": Out(layout["base"].shape)} if bias_words else {}),
            **({"index": Out(range(places or keys_max)), "chunk": Out(range(max(chunks, 2)))} if indexed else {})})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile = Signal(self.tile.shape())
        active = Signal()
        job = Signal()
        bank = Signal()
        chunk = Signal(range(self.chunks))
        index = Signal(range(self.keys_max))
        ahead = Signal(ahead_shape(self.keys_max))  # from the key to the tile's first row
        first_key = Signal()
        first_chunk, last_chunk = chunk == 0, chunk == self.chunks - 1
        last_of_pass = index == tile.last
        second = Signal()
        weighs = second if self.passes == 2 else Const(1, 1)
        last_key = last_of_pass & weighs
        waiting = Signal()  # for the answer whether the tile comes once more
        loaded = of_bank(bank, self.loaded)
        spaced = self._spaced(m)
        tile_ends = self.ends & last_key
        if self.asks:
            tile_ends = (tile_ends & second) | (self.answered & ~self.repeat)
        m.d.comb += [
            self.step.eq(active & ~waiting & self.available & (~first_chunk | (loaded & (self.room | ~weighs)))
                         & (~last_chunk | spaced)),
            self.waits.eq(active & ~waiting & (~self.available | (first_chunk & ~loaded))),
            self.begins.eq(self.step & first_chunk), self.open.eq(self.begins & weighs), self.second.eq(second),
            self.ends.eq(self.step & last_chunk),
            self.final.eq(last_chunk & last_key & tile.job_ends), self.read_address.eq(Mux(bank, self.chunks, 0) + chunk),
            self.release.eq(tile_ends), self.bank.eq(bank), self.job_left.eq(tile_ends & tile.job_ends),
            self.tile_next.eq(self.tile_available & (~active | tile_ends)),
            self.first.eq(first_key), self.key.first.eq(first_key & ~second if self.asks else first_key),
            self.key.last.eq(last_key), self.key.job_ends.eq(tile.job_ends), self.key.rows.eq(tile.rows),
            self.key.job.eq(job), self.key.visible.eq(self._visible(tile, index, ahead))]
        if self.place is not None:
            m.d.comb += [self.key.place.head.eq(tile.head), self.key.place.key.eq(index)]
        told = {"ahead": ahead, "base": tile.base, "chunk": chunk,
                "index": self._place(m, last_of_pass) if self.places else index}
        m.d.comb += [getattr(self, name).eq(value) for name, value in told.items() if name in self.signature.members]
        with m.If(self.step):
            m.d.sync += chunk.eq(Mux(last_chunk, 0, chunk + 1))
        with m.If(self.ends):
            leap = tile.leaps & (index == tile.leap)
            following = Signal(range(self.keys_max + 1))
            m.d.comb += following.eq(Mux(leap, tile.landing, index + 1))
            m.d.sync += [index.eq(following), ahead.eq(tile.position - following), first_key.eq(0)]
        if self.passes == 2 or self.asks:
            with m.If(self.ends & last_of_pass):
                m.d.sync += [second.eq(~second), index.eq(tile.first), ahead.eq(tile.position - tile.first), first_key.eq(1)]
        if self.asks:
            m.d.comb += self.asking.eq(last_of_pass & ~second)
            with m.If(self.ends & last_of_pass):
                m.d.sync += [waiting.eq(~second), second.eq(0)]
            with m.If(self.answered):
                m.d.sync += [waiting.eq(0), second.eq(self.repeat)]
        with m.If(tile_ends):
            m.d.sync += [bank.eq(~bank), active.eq(0)]
        with m.If(self.tile_next):
            m.d.sync += [active.eq(1), tile.eq(self.tile), index.eq(self.tile.first), first_key.eq(1), job.eq(self.job),
                         ahead.eq(self.tile.position - self.tile.first)]
        return m

    def _spaced(self, m: Module) -> Value:
        """Whether the key before ended ``interval`` cycles ago."""
        waiting = Signal(range(self.interval))
        spaced = Signal(init=1)
        with m.If(self.ends):
            m.d.sync += [waiting.eq(self.interval - 1), spaced.eq(self.interval == 1)]
        with m.Elif(~spaced):
            m.d.sync += [waiting.eq(waiting - 1), spaced.eq(waiting == 1)]
        return spaced

    def _place(self, m: Module, last_of_pass: Value) -> Value:
        """How many keys of the tile came before, each time that they come."""
        place = Signal(range(self.places))
        with m.If(self.ends):
            m.d.sync += place.eq(Mux(last_of_pass, 0, place + 1))
        return place

    def _visible(self, tile: data.View, index: Value, ahead: Value) -> Value:
        rows = []
        for row in range(self.rows):
            position = row // self.group if self.rows % self.group == 0 else 0
            rows.append(self.mask.visible(index, ahead + position) & (tile.rows > row))
        return Cat(*rows)
