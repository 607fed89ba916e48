"""A computation that every frame needs once, a digit per cycle."""

from abc import abstractmethod
from collections.abc import Mapping

from amaranth.hdl import Module, ShapeLike, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class FrameSerial(wiring.Component):
    """``steps`` digits of one token while the result of the one before waits.

    The result is offered ``steps + 2`` cycles after its token was taken, or as soon as the one before has left; a token
    is taken every ``steps + 2`` cycles. ``i.ready`` and ``o.valid`` come from registers. A reset drops everything.

    Parameters
    ----------
    inputs, outputs, side : Mapping[str, ShapeLike]
        Fields taken, fields given, and fields that go along.
    steps : int
        At least 1.

    Members
    -------
    i : In(stream.Signature(StructLayout(inputs, side)))
    o : Out(stream.Signature(StructLayout(outputs, side)))
    """

    def __init__(
        self, *, inputs: Mapping[str, ShapeLike], outputs: Mapping[str, ShapeLike], side: Mapping[str, ShapeLike], steps: int
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps!r}")
        self.side = dict(side)
        self.steps = steps
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({**inputs, **side}))),
            "o": Out(stream.Signature(data.StructLayout({**outputs, **side}))),
        })

    @abstractmethod
    def digits(self, m: Module, i: data.View, start: Value, step: Value, left: Value) -> Mapping[str, ValueLike]:
        """Registers that load ``i`` on ``start`` and move on by a digit on ``step``; then the fields of the result.

        ``left`` counts down from ``steps`` to 1 over the steps.
        """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        side = Signal(data.StructLayout(self.side), reset_less=True)
        left = Signal(range(self.steps + 1))
        busy, start, step, done = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~busy),
            start.eq(self.i.valid & ~busy),
            step.eq(busy & (left != 0)),
            done.eq(busy & (left == 0)),
        ]
        with m.If(start):
            m.d.sync += [busy.eq(1), left.eq(self.steps)]
            m.d.sync += [side[name].eq(self.i.payload[name]) for name in self.side]
        with m.If(step):
            m.d.sync += left.eq(left - 1)
        results = self.digits(m, self.i.payload, start, step, left)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(done & (~self.o.valid | self.o.ready)):
            m.d.sync += [busy.eq(0), self.o.valid.eq(1)]
            m.d.sync += [self.o.payload[name].eq(value) for name, value in results.items()]
            m.d.sync += [self.o.payload[name].eq(side[name]) for name in self.side]
        return m
