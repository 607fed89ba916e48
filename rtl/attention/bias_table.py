"""What joins the scaled scores of a key: a table by head and by the distance from query to key."""

from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.tile_walker import ahead_shape
from tilewright.rtl.attention.weights import SCALED
from tilewright.rtl.delay import delayed

READ_LATENCY = 3  # from a row's turn to its entry: distance, address, memory


@dataclass(frozen=True)
class Bias:
    """``heads`` tables, one for all heads or one for each, of ``entries`` each: distances from -reach to reach."""

    heads: int
    entries: int

    @property
    def reach(self) -> int:
        """The farthest distance that has an entry of its own."""
        return self.entries // 2

    @property
    def words(self) -> int:
        """Entries of all heads."""
        return self.heads * self.entries


class BiasTable(wiring.Component):
    """The entries for one row of a query tile after the other, ``latency`` cycles behind its turn.

    ``valid`` begins a key, with how far it lies ``ahead`` of the tile's first row, in positions, negative where it lies
    behind, and, where there are several tables, where that of this row's head begins (``base``); the turn of row r is r + 1
    cycles later. It reads entry ``clamp(-ahead - p, -reach, reach) + reach``, where row r stands p positions behind the
    first: one read per cycle.

    ``take`` begins to load the table, an entry with every ``step``, the last one with ``final``; ``loading`` is high from the
    cycle after ``take`` to that last step. Keys come when it is low. ``held`` tells that a table was begun since the reset.

    Parameters
    ----------
    bias : what the table holds
    rows, group : of a tile; heads that stand at one position. ``rows`` is a multiple of ``group`` or divides it.
    keys_max : of a job        latency : READ_LATENCY at least
    """

    def __init__(self, *, bias: Bias, rows: int, group: int, keys_max: int, latency: int) -> None:
        if latency < READ_LATENCY:
            raise ValueError(f"latency must be at least {READ_LATENCY}, not {latency!r}")
        self.bias = bias
        self.rows = rows
        self.group = group
        self.latency = latency
        self.positions = max(rows // group, 1)
        super().__init__({
            "take": In(1), "loading": Out(1), "held": Out(1), "available": In(1), "entry": In(SCALED), "step": Out(1),
            "final": Out(1), "valid": In(1), "ahead": In(ahead_shape(keys_max)), "added": Out(SCALED),
            **({"base": In(range(bias.words))} if bias.heads > 1 else {})})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = Memory(shape=SCALED, depth=self.bias.words, init=[])
        write, read = table.write_port(), table.read_port()
        count = Signal(range(self.bias.words))
        m.d.comb += [self.step.eq(self.loading & self.available), self.final.eq(count == self.bias.words - 1),
                     write.en.eq(self.step), write.addr.eq(count), write.data.eq(self.entry), read.en.eq(1)]
        with m.If(self.take):
            m.d.sync += [self.loading.eq(1), self.held.eq(1)]
        with m.If(self.step):
            m.d.sync += [count.eq(Mux(self.final, 0, count + 1)), self.loading.eq(~self.final)]
        ahead, base = self._rows(m)
        reach = self.bias.reach
        distance = Signal(range(self.bias.entries), reset_less=True)
        address = Signal(range(self.bias.words), reset_less=True)
        m.d.sync += [distance.eq(Mux(ahead > reach, 0, Mux(ahead < -reach, 2 * reach, reach - ahead))),
                     address.eq(base + distance)]
        m.d.comb += [read.addr.eq(delayed(m, address, self.latency - READ_LATENCY, "address")), self.added.eq(read.data)]
        return m

    def _rows(self, m: Module) -> tuple[Value, Value]:
        """Of the row whose turn it is: its position before the key, and, a cycle later, where its head's table begins."""
        farthest = self.bias.reach + self.positions  # a key that lies farther away does so for every row
        ahead = Signal(range(-farthest, farthest + 1), reset_less=True)
        near = Mux(self.ahead > farthest, farthest, Mux(self.ahead < -farthest, -farthest, self.ahead))
        member = Signal(range(min(self.group, self.rows)), reset_less=True)
        ends = member == min(self.group, self.rows) - 1
        with m.If(self.valid):
            m.d.sync += [ahead.eq(near), member.eq(0)]
        with m.Else():
            m.d.sync += member.eq(Mux(ends, 0, member + 1))
            with m.If(ends & (ahead != farthest)):
                m.d.sync += ahead.eq(ahead + 1)
        if self.bias.heads == 1:
            return ahead, Const(0, 1)
        base = Signal(range(self.bias.words), reset_less=True)
        first = Signal.like(base, reset_less=True)
        with m.If(self.valid):
            m.d.sync += [base.eq(self.base), first.eq(self.base)]
        with m.Else():
            m.d.sync += base.eq(Mux(ends, first, base + self.bias.entries))
        return ahead, delayed(m, base, 1, "base")
