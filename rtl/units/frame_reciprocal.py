"""One reciprocal per frame, a bit of it per cycle."""

from collections.abc import Mapping

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data
from tilewright.rtl.units.frame_serial import FrameSerial


class FrameReciprocal(FrameSerial):
    """``reciprocal = floor(2**(start_bits + quotient_bits - 1) / divisor)``, exact; the side fields go along.

    The divisor is at least ``2**start_bits``, so that ``quotient_bits`` hold the quotient; for 0 it is all ones.
    Restoring division, ``quotient_bits`` steps, a subtraction of ``divisor_width + 1`` bits each.

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
        super().__init__(inputs={"divisor": divisor_width}, outputs={"reciprocal": quotient_bits}, side=side,
                         steps=quotient_bits)

    def digits(self, m: Module, i: data.View, start: Value, step: Value, left: Value) -> Mapping[str, Value]:
        return {"reciprocal": reciprocal_digits(m, i.divisor, start, step, start_bits=self.start_bits,
                                                quotient_bits=self.quotient_bits)}


def reciprocal_digits(
    m: Module, divisor: Value, start: Value, step: Value, *, start_bits: int, quotient_bits: int
) -> Signal:
    """The register of ``floor(2**(start_bits + quotient_bits - 1) / divisor)``: the divisor on ``start``, a bit each step."""
    kept = Signal(len(divisor), reset_less=True, name="divisor")
    remainder = Signal(len(divisor) + 1, reset_less=True, name="remainder")
    quotient = Signal(quotient_bits, reset_less=True, name="quotient")
    difference = Signal(len(divisor) + 2, name="difference")  # its top bit: the divisor does not fit
    m.d.comb += difference.eq(remainder - kept)
    fits = ~difference[-1]
    with m.If(start):
        m.d.sync += [kept.eq(divisor), remainder.eq(1 << start_bits)]
    with m.If(step):
        m.d.sync += [quotient.eq(quotient << 1 | fits), remainder.eq(Mux(fits, difference, remainder) << 1)]
    return quotient
