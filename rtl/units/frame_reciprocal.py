"""One reciprocal per frame, a bit of it per cycle."""

from collections.abc import Mapping

from amaranth.hdl import Module, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class FrameReciprocal(wiring.Component):
    """``reciprocal = floor(2**(start_bits + quotient_bits - 1) / divisor)``, exact; the side fields go along.

    The divisor is at least ``2**start_bits``, so that ``quotient_bits`` hold the quotient; for 0 it is all ones.
    Restoring division, one subtraction of ``divisor_width + 1`` bits per cycle. The result is offered
    ``latency`` = ``quotient_bits + 2`` cycles after the divisor was taken, or as soon as the one before has left;
    a divisor is taken every ``quotient_bits + 1`` cycles.

    Parameters
    ----------
    divisor_width, start_bits, quotient_bits : int
        ``start_bits`` below ``divisor_width``.
    side : Mapping[str, ShapeLike]
        Fields that belong to the frame.

    Members
    -------
    i : In(stream.Signature(StructLayout(divisor, side)))
    o : Out(stream.Signature(StructLayout(reciprocal, side)))
    """

    def __init__(
        self, *, divisor_width: int, start_bits: int, quotient_bits: int, side: Mapping[str, ShapeLike]
    ) -> None:
        if not 0 <= start_bits < divisor_width:
            raise ValueError(f"start_bits must be 0..{divisor_width - 1}, not {start_bits!r}")
        self.divisor_width = divisor_width
        self.start_bits = start_bits
        self.quotient_bits = quotient_bits
        self.side = dict(side)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"divisor": divisor_width, **side}))),
            "o": Out(stream.Signature(data.StructLayout({"reciprocal": quotient_bits, **side}))),
        })

    @property
    def latency(self) -> int:
        """Cycles from a divisor taken to its quotient offered."""
        return self.quotient_bits + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor = Signal(self.divisor_width, reset_less=True)
        remainder = Signal(self.divisor_width + 1, reset_less=True)
        quotient = Signal(self.quotient_bits, reset_less=True)
        side = Signal(data.StructLayout(self.side), reset_less=True)
        left = Signal(range(self.quotient_bits + 1))
        busy, done = Signal(), Signal()
        difference = Signal(self.divisor_width + 2)
        fits = Signal()

        m.d.comb += [
            self.i.ready.eq(~busy),
            difference.eq(remainder - divisor),
            fits.eq(~difference[-1]),
            done.eq(busy & (left == 0)),
        ]
        with m.If(self.i.valid & ~busy):
            m.d.sync += [
                busy.eq(1), left.eq(self.quotient_bits), divisor.eq(self.i.payload.divisor),
                remainder.eq(1 << self.start_bits),
            ]
            m.d.sync += [side[name].eq(self.i.payload[name]) for name in self.side]
        with m.If(busy & ~done):
            kept = Signal(self.divisor_width + 1)
            m.d.comb += kept.eq(Value.cast(remainder))
            with m.If(fits):
                m.d.comb += kept.eq(difference)
            m.d.sync += [left.eq(left - 1), quotient.eq(quotient << 1 | fits), remainder.eq(kept << 1)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(done & (~self.o.valid | self.o.ready)):
            m.d.sync += [busy.eq(0), self.o.valid.eq(1), self.o.payload.reciprocal.eq(quotient)]
            m.d.sync += [self.o.payload[name].eq(side[name]) for name in self.side]
        return m
