"""The shell of a unit that works a digit at a time."""

from abc import abstractmethod
from collections.abc import Mapping

from amaranth.hdl import Module, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class Serial(wiring.Component):
    """One beat at a time, ``steps`` cycles each: the result is there ``steps + 1`` cycles after its beat was taken.

    The next beat is taken in the cycle in which the result is: an interval of ``steps + 1`` cycles. ``i.ready`` follows
    ``o.ready`` through one gate. A reset drops what is being worked on.

    Parameters
    ----------
    inputs, outputs : Mapping[str, ShapeLike]
        Fields of the two payloads, the first in the lowest bits.
    steps : int
        At least 1.

    Members
    -------
    i : In(stream.Signature(StructLayout(inputs)))
    o : Out(stream.Signature(StructLayout(outputs)))
    """

    def __init__(self, *, inputs: Mapping[str, ShapeLike], outputs: Mapping[str, ShapeLike], steps: int) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps!r}")
        self.steps = steps
        self.latency = self.interval = steps + 1
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(dict(inputs)))),
            "o": Out(stream.Signature(data.StructLayout(dict(outputs)))),
        })

    @abstractmethod
    def digits(self, m: Module, i: data.View, start: Value, step: Value) -> Mapping[str, Value]:
        """Registers that load payload ``i`` on ``start`` and move on by a digit on ``step``; the fields of the result."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self.steps))  # digits after this one
        busy = Signal()
        start = Signal()
        m.d.comb += [
            self.i.ready.eq(~busy & (~self.o.valid | self.o.ready)),
            start.eq(self.i.valid & self.i.ready),
        ]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(busy):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 0):
                m.d.sync += [busy.eq(0), self.o.valid.eq(1)]
        with m.If(start):
            m.d.sync += [busy.eq(1), left.eq(self.steps - 1)]
        for name, value in self.digits(m, self.i.payload, start, busy).items():
            m.d.comb += self.o.payload[name].eq(value)
        return m
