"""Microscaling formats to bf16, exactly."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike, signed, unsigned
from amaranth.lib import data
from tilewright.rtl.units.mx_encode import E2M1, EXPONENT_BITS, INT8, MANTISSA_BITS, NAN_SCALE, MxElement
from tilewright.rtl.units.pipeline import Pipelined, Stages

QUIET_NAN = 0x7FC0
INFINITE = (1 << EXPONENT_BITS) - 1


class MxDecode(Pipelined):
    """``element * 2**(scale - 127)`` of each lane as bf16, exact; infinity beyond its range, NaN for the scale 255.

    Every product of an element and a scale is a bf16 number, subnormals included, but for those beyond the range.
    Latency 3 cycles (normalization; exponent; packing), one beat per cycle.

    Reference: OCP Microscaling Formats (MX) Specification v1.0, 2023, section 6.

    Parameters
    ----------
    element : MxElement
        ``E2M1`` or ``INT8``.
    lanes : int

    Members
    -------
    i : In(stream.Signature(StructLayout({"element": ArrayLayout(element.shape, lanes), "scale": 8})))
    o : Out(stream.Signature(StructLayout({"x": ArrayLayout(16, lanes)})))
    """

    LATENCY = 3

    def __init__(self, *, element: MxElement, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(
            inputs={"element": data.ArrayLayout(element.shape, lanes), "scale": EXPONENT_BITS},
            outputs={"x": data.ArrayLayout(unsigned(16), lanes)}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        scale = stages.stage(i.scale, "scale")
        is_nan = stages.stage(scale == NAN_SCALE, "is_nan")
        return {"x": Cat(self._lane(stages, i.element[n], scale, is_nan, n) for n in range(self.lanes))}

    def _lane(self, stages: Stages, element: Value, scale: Value, is_nan: Value, n: int) -> Value:
        # A significand with its leading one in bit 7, and the exponent of that one.
        sign, significand, exponent = self._e2m1(element) if self.element is E2M1 else self._int8(element)
        sign = stages.stage(sign, f"sign_{n}", cycles=2)
        significand = stages.stage(significand, f"significand_{n}")
        exponent = stages.stage(exponent, f"exponent_{n}")

        field = stages.stage(scale + exponent, f"field_{n}", shape=signed(EXPONENT_BITS + 2))
        significand = stages.stage(significand, f"significand_{n}_2")

        deepest = MANTISSA_BITS + 1
        small = significand >> (1 - field)[:deepest.bit_length()]
        number = Mux(field > 0, Cat(significand[:MANTISSA_BITS], field[:EXPONENT_BITS]), small)
        number = Mux(field >= INFINITE, INFINITE << MANTISSA_BITS, number)
        number = Mux(significand[-1], number, 0)
        return stages.stage(Mux(is_nan, QUIET_NAN, Cat(number[:MANTISSA_BITS + EXPONENT_BITS], sign)), f"x_{n}", shape=16)

    def _e2m1(self, code: Value) -> tuple[Value, Value, Value]:
        mantissa, field = code[0], code[1:3]
        normal = field.any()
        significand = Cat(Const(0, MANTISSA_BITS - 1), mantissa & normal, normal | mantissa)
        return code[3], significand, Mux(normal, field.as_unsigned() - 1, Const(-1, signed(3)))

    def _int8(self, code: Value) -> tuple[Value, Value, Value]:
        magnitude = Mux(code[-1], -code, code)[:EXPONENT_BITS]
        significand, exponent = magnitude, Const(1, signed(4))  # bit 7 stands for 2
        for place in range(EXPONENT_BITS):
            moved = Cat(Const(0, EXPONENT_BITS - 1 - place), magnitude[:place + 1])
            significand = Mux(magnitude[place], moved, significand)
            exponent = Mux(magnitude[place], Const(place - INT8.fixed_fraction, signed(4)), exponent)
        return code[-1], significand, exponent
