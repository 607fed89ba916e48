"""Which keys the query tiles of a job attend to."""

from amaranth.hdl import Const, Module, Mux, Shape, Signal, Value, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

MASKS = ("none", "causal", "window", "lambda", "prefix")
SETTLING = 3  # cycles from a job, or from a tile that was taken, to the next tile


class Mask:
    """Which keys j a query at position i of the key axis sees.

    "none": every one. "causal": j <= i. "window": i - window < j <= i + lookahead. "prefix": j < prefix or j <= i.
    "lambda": j <= i + lookahead and (j < sink or j > i - window). Numbers that a kind does not name are 0.
    """

    def __init__(self, kind: str, *, window: int = 0, lookahead: int = 0, sink: int = 0, prefix: int = 0) -> None:
        if kind not in MASKS:
            raise ValueError(f"mask must be one of {', '.join(MASKS)}, not {kind!r}")
        self.kind = kind
        self.window = window
        self.lookahead = lookahead
        self.sink = sink
        self.prefix = prefix

    @property
    def needs_positions(self) -> bool:
        """Whether a query's position decides; then a job has at least as many keys as queries."""
        return self.kind != "none"

    def visible(self, key: Value, ahead: Value) -> ValueLike:
        """Whether the query sees ``key``, which lies ``ahead`` (signed) positions before the query's own."""
        past = ~ahead[-1]
        if self.kind == "none":
            return Const(1, 1)
        if self.kind == "causal":
            return past
        if self.kind == "prefix":
            return past | (key < self.prefix)
        within = ahead >= -self.lookahead if self.lookahead else past
        near = ahead < self.window
        return within & (near if self.kind == "window" else near | (key < self.sink))


def ahead_shape(keys_max: int) -> Shape:
    """Of the positions from a key to a query."""
    return signed(Shape.cast(range(keys_max)).width + 1)


def tile_layout(*, rows: int, keys_max: int, kv_heads: int = 1, bias_words: int = 0) -> data.StructLayout:
    """A query tile: its keys ``first`` .. ``last``, without those between ``leap`` and ``landing`` where it ``leaps``.

    ``position`` is that of its first row on the key axis, ``rows`` how many count, ``head`` is its kv head, if told;
    ``job_ends`` tells of the last tile of a job; ``base`` is where the first row's head begins in a table of ``bias_words``.
    """
    key = Shape.cast(range(keys_max))
    return data.StructLayout({
        "first": key, "last": key, "leaps": 1, "leap": key, "landing": key, "position": key,
        "rows": Shape.cast(range(rows + 1)), "head": Shape.cast(range(kv_heads)), "job_ends": 1,
        "base": Shape.cast(range(bias_words))})


class TileWalker(wiring.Component):
    """The tiles of a job, one after the other: ``kv_heads`` times ``queries * group`` rows, ``rows`` to a tile.

    ``take`` gives a job while the walker is ``idle``; ``available`` says that ``tile`` is the next one, SETTLING cycles later;
    ``next`` takes it. ``rows`` is a multiple of ``group`` or divides it, so that a tile's positions are known from its first.
    ``bias_entries`` are those of a query head where each has its own, else 0. With ``tells_head`` a tile has its ``head``.
    """

    def __init__(self, *, rows: int, group: int, kv_heads: int, mask: Mask, queries_max: int, keys_max: int,
                 bias_entries: int = 0, tells_head: bool = False) -> None:
        if rows % group and group % rows:
            raise ValueError(f"rows must be a multiple of group or divide it, not {rows!r} and {group!r}")
        self.rows = rows
        self.group = group
        self.kv_heads = kv_heads
        self.mask = mask
        self.queries_max = queries_max
        self.keys_max = keys_max
        self.bias_entries = bias_entries
        layout = tile_layout(rows=rows, keys_max=keys_max, kv_heads=kv_heads if tells_head else 1,
                             bias_words=kv_heads * group * bias_entries)
        super().__init__({
            "take": In(1), "queries": In(range(queries_max + 1)), "keys": In(range(keys_max + 1)), "idle": Out(1),
            "available": Out(1), "tile": Out(layout), "next": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        positions = max(self.rows // self.group, 1)  # of a tile
        tiles = max(self.group // self.rows, 1)  # that share a position
        active = Signal()
        settled = Signal(SETTLING)
        heads = Signal(range(self.kv_heads))
        share = Signal(range(tiles))
        left = Signal(range(self.queries_max + 1))
        queries, keys = Signal.like(self.queries), Signal.like(self.keys)
        position, offset = Signal(range(self.keys_max + 1)), Signal(range(self.keys_max + 1))
        head_ends = (left <= positions) & (share == tiles - 1)
        job_ends = head_ends & (heads == 0)
        m.d.comb += [self.idle.eq(~active), self.available.eq(settled[-1])]
        m.d.sync += settled.eq((settled << 1 | active) & (~self.next).replicate(SETTLING))
        with m.If(self.take):
            before = self.keys - self.queries
            m.d.sync += [active.eq(1), queries.eq(self.queries), left.eq(self.queries), keys.eq(self.keys),
                         heads.eq(self.kv_heads - 1), offset.eq(before), position.eq(before)]
        with m.If(self.next):
            m.d.sync += [active.eq(~job_ends), share.eq(Mux(share == tiles - 1, 0, share + 1))]
            with m.If(head_ends):
                m.d.sync += [heads.eq(heads - 1), left.eq(queries), position.eq(offset)]
            with m.Elif(share == tiles - 1):
                m.d.sync += [left.eq(left - positions), position.eq(position + positions)]
        count = Signal(range(positions + 1))
        m.d.sync += count.eq(Mux(left < positions, left, positions))
        m.d.sync += [self.tile.position.eq(position), self.tile.job_ends.eq(job_ends),
                     self.tile.head.eq(self.kv_heads - 1 - heads),
                     self.tile.rows.eq(count * self.group if positions > 1 or self.rows == self.group else self.rows)]
        self._keys(m, position, count, keys)
        if self.bias_entries:
            self._base(m, head_ends, share == tiles - 1)
        return m

    def _base(self, m: Module, head_ends: Value, position_ends: Value) -> None:
        """A tile's heads are those of the tile before, or the next ones."""
        base = Signal.like(self.tile.base)
        on = min(self.rows, self.group) * self.bias_entries
        with m.If(self.take):
            m.d.sync += base.eq(0)
        with m.Elif(self.next & (head_ends | ~position_ends)):
            m.d.sync += base.eq(base + on)
        with m.Elif(self.next):
            m.d.sync += base.eq(base - (self.group * self.bias_entries - on))
        m.d.sync += self.tile.base.eq(base)

    def _keys(self, m: Module, position: Value, count: Value, keys: Value) -> None:
        mask, tile = self.mask, self.tile
        if not mask.needs_positions:
            m.d.sync += [tile.first.eq(0), tile.last.eq(keys - 1), tile.leaps.eq(0)]
            return
        final = Signal.like(tile.last)
        low = Signal(signed(len(position) + 1))
        m.d.comb += final.eq(position + count - 1)
        m.d.sync += low.eq(position - (mask.window - 1))
        last: ValueLike = final
        first: ValueLike = 0
        leaps: ValueLike = 0
        if mask.kind == "window":
            first = Mux(low[-1], 0, low)
        if mask.kind == "lambda":
            leaps = low > mask.sink
        if mask.lookahead:
            end = Signal.like(tile.last)
            m.d.sync += end.eq(keys - 1)
            reach = position + count + (mask.lookahead - 1)
            last = Mux(reach < end, reach, end)
        if mask.kind == "prefix":
            seen = Signal.like(keys)
            m.d.sync += seen.eq(Mux(keys < mask.prefix, keys, mask.prefix) - 1)
            last = Mux(final < seen, seen, final)
        m.d.sync += [tile.first.eq(first), tile.last.eq(last), tile.leaps.eq(leaps), tile.leap.eq(max(mask.sink - 1, 0)),
                     tile.landing.eq(low)]
