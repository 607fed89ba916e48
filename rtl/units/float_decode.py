"""Narrow floating point to wide, exactly."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike
from amaranth.lib import data
from tilewright.rtl.units.float_format import FLOAT32_BIAS, FLOAT32_EXPONENT, FloatFormat
from tilewright.rtl.units.pipeline import Pipelined, Stages


class FloatDecode(Pipelined):
    """The number that ``code`` of ``form`` stands for, as binary32 or bf16; exact.

    A NaN becomes the quiet NaN of its sign. Subnormals are normalized, for the wider exponent holds them. A format with
    the exponent of binary32 is its upper part: bits are appended, and a NaN keeps its payload.

    Latency 1 cycle, one result per cycle.

    Reference: Micikevicius et al., "FP8 Formats for Deep Learning", 2022.

    Parameters
    ----------
    form : FloatFormat
    mantissa_bits : int
        Of the result: 23 for binary32, 7 for bf16; not below that of ``form``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"code": form.width})))
    o : Out(stream.Signature(StructLayout({"x": 9 + mantissa_bits})))
    """

    LATENCY = 1

    def __init__(self, *, form: FloatFormat, mantissa_bits: int) -> None:
        if form.mantissa_bits > mantissa_bits:
            raise ValueError(f"mantissa_bits must be at least {form.mantissa_bits}, not {mantissa_bits!r}")
        self.form = form
        self.mantissa_bits = mantissa_bits
        super().__init__(inputs={"code": form.width}, outputs={"x": 1 + FLOAT32_EXPONENT + mantissa_bits},
                         latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        form = self.form
        append = Const(0, self.mantissa_bits - form.mantissa_bits)
        if form.exponent_bits == FLOAT32_EXPONENT:
            return {"x": stages.stage(Cat(append, i.code), "x")}

        magnitude, sign = i.code[:-1], i.code[-1]
        mantissa, exponent = magnitude[:form.mantissa_bits], magnitude[form.mantissa_bits:]
        offset = FLOAT32_BIAS - form.bias
        number: Value = Cat(mantissa, (exponent + offset)[:FLOAT32_EXPONENT])
        # A subnormal: its leading one becomes the hidden bit.
        small: Value = Const(0, len(number))
        for place in range(form.mantissa_bits):
            moved = Cat(Const(0, form.mantissa_bits - place), mantissa[:place])[:form.mantissa_bits]
            normalized = Cat(moved, Const(offset + 1 - form.mantissa_bits + place, FLOAT32_EXPONENT))
            small = Mux(mantissa[place], normalized, small)
        number = Mux(exponent.any(), number, small)

        special = Cat(Const(0, form.mantissa_bits), Const(-1, FLOAT32_EXPONENT))
        quiet = Cat(Const(0, form.mantissa_bits - 1), Const(-1, FLOAT32_EXPONENT + 1))
        if form.infinity is not None:
            number = Mux(magnitude == form.infinity, special, number)
        number = Mux(magnitude > (form.largest if form.infinity is None else form.infinity), quiet, number)
        return {"x": Cat(append, stages.stage(Cat(number, sign), "number"))}
