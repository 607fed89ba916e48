"""Exact division, a bit of the quotient per cycle."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from tilewright.rtl.units.serial import Serial


class Divide(Serial):
    """``q = floor(numerator * 2**fraction_bits / denominator)``, unsigned; all ones for a denominator of 0.

    Latency ``numerator_width + fraction_bits + 1`` cycles, and the same interval. No multiplier; one subtraction of
    ``denominator_width + 1`` bits.

    Reference: restoring division as in Ercegovac and Lang, "Digital Arithmetic", 2004, chapter 5.

    Parameters
    ----------
    numerator_width, denominator_width, fraction_bits : int

    Members
    -------
    i : In(stream.Signature(StructLayout({"numerator": numerator_width, "denominator": denominator_width})))
    o : Out(stream.Signature(StructLayout({"q": numerator_width + fraction_bits})))
    """

    def __init__(self, *, numerator_width: int, denominator_width: int, fraction_bits: int) -> None:
        self.numerator_width = numerator_width
        self.denominator_width = denominator_width
        self.fraction_bits = fraction_bits
        width = numerator_width + fraction_bits
        super().__init__(
            inputs={"numerator": numerator_width, "denominator": denominator_width}, outputs={"q": width}, steps=width)

    def digits(self, m: Module, i: data.View, start: Value, step: Value) -> Mapping[str, Value]:
        shifted = Cat(Const(0, self.fraction_bits), i.numerator)
        return {"q": _restoring(m, start, step, shifted, Const(0, self.denominator_width), i.denominator)}


class ReciprocalExact(Serial):
    """``q = floor(2**power / d)``, ``d`` unsigned; all ones for 0.

    Latency ``power + 1`` cycles, and the same interval. The leading one of ``2**power`` is there when the division
    starts: it makes the quotient's first bit for a ``d`` of 1 or 0, and is the remainder for every other.

    Reference: the factor of Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021; restoring division as in
    :class:`Divide`.

    Parameters
    ----------
    width : int
        Bits of ``d``.
    power : int

    Members
    -------
    i : In(stream.Signature(StructLayout({"d": width})))
    o : Out(stream.Signature(StructLayout({"q": power + 1})))
    """

    def __init__(self, *, width: int, power: int) -> None:
        self.width = width
        self.power = power
        super().__init__(inputs={"d": width}, outputs={"q": power + 1}, steps=power)

    def digits(self, m: Module, i: data.View, start: Value, step: Value) -> Mapping[str, Value]:
        first = i.d <= 1
        # A remainder of 1 - d: of no consequence for 0, where every difference counts as a digit.
        quotient = _restoring(m, start, step, Const(0, self.power), Mux(first, 0, 1), i.d)
        leading = Signal(reset_less=True)
        with m.If(start):
            m.d.sync += leading.eq(first)
        return {"q": Cat(quotient, leading)}


def _restoring(m: Module, start: Value, step: Value, digits: Value, remainder: Value, divisor: Value) -> Value:
    """The quotient of ``Cat(digits, remainder) / divisor``; as many steps as there are digits, from the highest on.

    Digits leave their register at the top while those of the quotient enter it at the bottom.
    """
    kept_divisor = Signal(len(divisor), name="divisor", reset_less=True)
    kept_remainder = Signal(len(divisor), name="remainder", reset_less=True)
    quotient = Signal(len(digits), name="quotient", reset_less=True)
    brought_down = Cat(quotient[-1], kept_remainder)
    difference = Signal(len(divisor) + 2)  # its top bit: the divisor does not fit
    m.d.comb += difference.eq(brought_down - kept_divisor)
    fits = ~difference[-1]
    with m.If(start):
        m.d.sync += [kept_divisor.eq(divisor), kept_remainder.eq(remainder), quotient.eq(digits)]
    with m.Elif(step):
        m.d.sync += [
            kept_remainder.eq(Mux(fits, difference, brought_down)),
            quotient.eq(Cat(fits, quotient)),
        ]
    return quotient
