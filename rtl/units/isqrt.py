"""Exact integer square root, a bit of the root per cycle."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from tilewright.rtl.units.serial import Serial


class Isqrt(Serial):
    """``root = floor(sqrt(n))``, ``n`` unsigned.

    Latency ``width / 2 + 1`` cycles, and the same interval. No multiplier; one subtraction of ``width / 2 + 2`` bits.

    Reference: digit recurrence as in Ercegovac and Lang, "Digital Arithmetic", 2004, chapter 6.

    Parameters
    ----------
    width : int
        Bits of ``n``, even.

    Members
    -------
    i : In(stream.Signature(StructLayout({"n": width})))
    o : Out(stream.Signature(StructLayout({"root": width // 2})))
    """

    def __init__(self, *, width: int) -> None:
        if width < 2 or width % 2:
            raise ValueError(f"width must be even and at least 2, not {width!r}")
        self.width = width
        super().__init__(inputs={"n": width}, outputs={"root": width // 2}, steps=width // 2)

    def digits(self, m: Module, i: data.View, start: Value, step: Value) -> Mapping[str, Value]:
        root_width = self.width // 2
        radicand = Signal(self.width, reset_less=True)  # leaves at the top, two bits a step
        root = Signal(root_width, reset_less=True)
        remainder = Signal(root_width + 1, reset_less=True)  # at most twice the root
        brought_down = Cat(radicand[-2:], remainder)
        difference = Signal(root_width + 4)  # its top bit: the trial does not fit
        m.d.comb += difference.eq(brought_down - Cat(Const(1, 2), root))
        fits = ~difference[-1]
        with m.If(start):
            m.d.sync += [radicand.eq(i.n), root.eq(0), remainder.eq(0)]
        with m.Elif(step):
            m.d.sync += [
                radicand.eq(radicand << 2),
                root.eq(Cat(fits, root)),
                remainder.eq(Mux(fits, difference, brought_down)),
            ]
        return {"root": root}
