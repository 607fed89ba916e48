"""Which cores of a ring hold a key that the query sees."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


def core_behind(one_hot: Value, fixed: int) -> Value:
    """The core behind, in the order of the rows: behind the last one that of number ``fixed``."""
    cores = len(one_hot)
    return (one_hot << 1)[:cores] | Mux(one_hot[-1], Const(1 << fixed, cores), 0)


class HeldCores(wiring.Component):
    """``held`` has a bit for each of ``cores`` cores: whether its key is one that queries of the open position see.

    ``open`` begins a position, and ``held`` is its own from the cycle after on. The first one of a head (``head_opens``) sees
    ``open_rows`` rows, which fill the cores from the first on; ``open_past`` of them lie up to its own position. Another one
    sees a row more if it ``brings`` one, in the core behind the latest. Where the position before saw all of ``past`` keys up
    to its own, the oldest in the cores behind the first ``fixed`` leaves; if a row comes then, it takes its place.
    """

    def __init__(self, *, cores: int, fixed: int, past: int) -> None:
        self.cores = cores
        self.fixed = fixed
        self.past = past
        super().__init__({
            "open": In(1), "head_opens": In(1), "brings": In(1), "open_rows": In(range(cores + 1)),
            "open_past": In(range(past + 1)), "held": Out(cores)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        coming, leaving = Signal(self.cores), Signal(self.cores)  # one-hot
        past = Signal.like(self.open_past)
        full = past == self.past
        first = Cat(self.open_rows > core for core in range(self.cores))
        with m.If(self.open & self.head_opens):
            m.d.sync += [self.held.eq(first), past.eq(self.open_past), leaving.eq(1 << self.fixed),
                         coming.eq(core_behind(first & ~(first >> 1), self.fixed))]
        with m.Elif(self.open):
            m.d.sync += self.held.eq((self.held & ~Mux(full, leaving, 0)) | Mux(self.brings, coming, 0))
            with m.If(full):
                m.d.sync += leaving.eq(core_behind(leaving, self.fixed))
            with m.Else():
                m.d.sync += past.eq(past + 1)
            with m.If(self.brings):
                m.d.sync += coming.eq(core_behind(coming, self.fixed))
        return m
