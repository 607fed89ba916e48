"""Brings rows of keys, or of values, into a ring of cores while the cores work on the rows before."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.banks import BANKS
from tilewright.rtl.attention.window_ring.held_cores import core_behind


class RingLoader(wiring.Component):
    """Writes beats of a job's rows, ``chunks`` each, into the two banks of ``cores`` cores, and tells which bank is read.

    A kv head's rows fill the cores from the first on; behind the last core the next row goes to core ``fixed``, the oldest one
    of the ring. The first position of a head needs ``first_rows`` rows, each of the other ``positions`` one more, but for the
    last ``lookahead``, whose rows are there. A row is written into the bank that its core does not read, as soon as the row
    there was read for the last time; so rows of later positions, heads and jobs come in ahead.

    ``next`` takes a job that is ``offered``; ``step`` and ``final`` read the beats. ``loaded`` says that the rows
    of the next position are there; ``open`` begins it, the first of its head where ``head_opens``, whose job has
    ``open_rows`` first rows, another with a row if it ``brings`` one: from the cycle after on ``banks`` tells what each core
    reads.
    """

    def __init__(self, *, cores: int, fixed: int, lookahead: int, chunks: int, kv_heads: int, positions_max: int) -> None:
        if not 0 <= fixed < cores:
            raise ValueError(f"fixed must be 0 to {cores - 1}, not {fixed!r}")
        self.cores = cores
        self.fixed = fixed
        self.lookahead = lookahead
        self.chunks = chunks
        self.kv_heads = kv_heads
        self.positions_max = positions_max
        rows = range(cores + 1)
        super().__init__({
            "offered": In(1), "first_rows": In(rows), "positions": In(range(positions_max + 1)), "next": Out(1),
            "available": In(1), "step": Out(1), "final": Out(1),
            "write": Out(cores), "write_address": Out(range(BANKS * chunks)),
            "loaded": Out(1), "open": In(1), "head_opens": In(1), "brings": In(1), "open_rows": In(rows), "banks": Out(cores)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active = Signal()
        chunk = Signal(range(self.chunks))
        target = Signal(self.cores, init=1)  # one-hot
        first_rows, missing = Signal.like(self.first_rows), Signal.like(self.first_rows)  # missing: of the next position
        positions, left = Signal.like(self.positions), Signal.like(self.positions)  # that rows come for
        brought, behind = Signal.like(self.positions), Signal(range(self.lookahead + 1))  # of a job, and those that none do
        heads = Signal(range(self.kv_heads))
        waiting = Signal(self.cores)  # cores whose other bank holds a row of a position that is not open
        first_chunk, last_chunk = chunk == 0, chunk == self.chunks - 1
        completes = last_chunk & (missing == 1)
        head_ends = completes & (left == 1)
        row_ends = self.step & last_chunk
        m.d.comb += [
            self.next.eq(self.offered & (~active | (self.step & self.final))),
            self.step.eq(active & self.available & ~(first_chunk & (waiting & target).any())),
            self.final.eq(head_ends & (heads == 0)), self.write.eq(Mux(self.step, target, 0)),
            self.write_address.eq(Mux((self.banks & target).any(), 0, self.chunks) + chunk)]
        with m.If(self.step):
            m.d.sync += chunk.eq(Mux(last_chunk, 0, chunk + 1))
        with m.If(row_ends):
            m.d.sync += [target.eq(Mux(head_ends, 1, core_behind(target, self.fixed))),
                         missing.eq(Mux(head_ends, first_rows, Mux(completes, 1, missing - 1)))]
            with m.If(completes):
                m.d.sync += left.eq(Mux(head_ends, positions, left - 1))
            with m.If(head_ends):
                m.d.sync += [heads.eq(heads - 1), active.eq(heads != 0)]
        m.d.comb += brought.eq(Mux(self.positions > self.lookahead, self.positions - self.lookahead, 1))
        with m.If(self.next):
            m.d.sync += [active.eq(1), first_rows.eq(self.first_rows), missing.eq(self.first_rows),
                         positions.eq(brought), left.eq(brought), behind.eq(self.positions - brought),
                         heads.eq(self.kv_heads - 1)]
        opened = self._opened(m)
        m.d.sync += [waiting.eq((waiting | Mux(row_ends, target, 0)) & ~opened), self.banks.eq(self.banks ^ opened)]
        ahead = Signal(range(self.cores + 2 * self.lookahead + 1))  # positions whose rows are there; of two heads at most
        following = Signal.like(ahead)
        come = Mux(self.step & completes, Mux(head_ends, behind, 0) + 1, 0)
        m.d.comb += following.eq(ahead + come - self.open)
        m.d.sync += [ahead.eq(following), self.loaded.eq(following != 0)]
        return m

    def _opened(self, m: Module) -> Value:
        """The cores that turn to their other bank."""
        oldest = Signal(self.cores)  # one-hot: the core whose row the next position replaces, or the first one that is empty
        first = Cat(self.open_rows > core for core in range(self.cores))
        opened = Signal(self.cores)
        turns = self.open & (self.head_opens | self.brings)
        m.d.comb += opened.eq(Mux(turns, Mux(self.head_opens, first, oldest), 0))
        with m.If(turns):
            m.d.sync += oldest.eq(core_behind(Mux(self.head_opens, first & ~(first >> 1), oldest), self.fixed))
        return opened
