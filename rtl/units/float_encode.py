"""Wide floating point to narrow: one rounding, to nearest even."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.float_format import FLOAT32_BIAS, FLOAT32_EXPONENT, FloatFormat
from tilewright.rtl.units.pipeline import Pipelined, Stages


class FloatEncode(Pipelined):
    """The code of ``form`` nearest to ``x``, a binary32 or bf16 number; ties to even.

    What rounds beyond the largest finite code becomes infinity, or NaN in a format without infinity; with
    ``saturate`` the largest finite code, for infinities too. A NaN becomes the quiet NaN of its sign. Subnormals of
    both sides are numbers like any other.

    Codes of one sign are consecutive integers in the order of their values, so the result is the code of the binade
    plus the significand shifted right and rounded: a carry out of the mantissa leads into the next binade.

    Latency 4 cycles (distance; shift; rounding; range), one result per cycle.

    Reference: Micikevicius et al., "FP8 Formats for Deep Learning", 2022; conversion as of IEEE 754-2019, section 5.4.

    Parameters
    ----------
    form : FloatFormat
        Narrower than ``x`` in the mantissa, not wider in the exponent.
    mantissa_bits : int
        Of ``x``: 23 for binary32, 7 for bf16.
    saturate : bool

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": 9 + mantissa_bits})))
    o : Out(stream.Signature(StructLayout({"code": form.width})))
    """

    LATENCY = 4

    def __init__(self, *, form: FloatFormat, mantissa_bits: int, saturate: bool) -> None:
        if form.mantissa_bits >= mantissa_bits:
            raise ValueError(f"mantissa_bits must be above {form.mantissa_bits}, not {mantissa_bits!r}")
        self.form = form
        self.mantissa_bits = mantissa_bits
        self.saturate = saturate
        super().__init__(inputs={"x": 1 + FLOAT32_EXPONENT + mantissa_bits}, outputs={"code": form.width},
                         latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        form = self.form
        mantissa, exponent, sign = i.x[:self.mantissa_bits], i.x[self.mantissa_bits:-1], i.x[-1]
        lowest = FLOAT32_BIAS + 1 - form.bias  # exponent of the smallest normal number of the format, as x writes it
        special = exponent.all()
        is_nan = stages.stage(special & mantissa.any(), "is_nan", cycles=3)
        sign = stages.stage(sign, "sign", cycles=4)

        # Binades above the smallest normal one; past the largest the result overflows anyway.
        binade = stages.named(Mux(exponent > lowest, exponent - lowest, 0), "binade", shape=FLOAT32_EXPONENT)
        # How far below the smallest normal binade x is; from `deepest` on nothing but rest remains. A format with
        # the exponent of x has none below: there the subnormals are those of x.
        deepest = form.mantissa_bits + 2
        below = stages.named(Mux(exponent < lowest, lowest - exponent, 0), "below", shape=FLOAT32_EXPONENT)
        depth: Value = Const(0, 1)
        if lowest > 1:
            depth = stages.stage(Mux(below >= deepest, deepest, below), "depth", shape=ceil_log2(deepest + 1))
        binade = stages.stage(binade, "binade_1")
        significand = stages.stage(Cat(mantissa, exponent.any()), "significand")

        # Below the result's last place: half, and whether anything is left below that.
        drop = self.mantissa_bits - form.mantissa_bits
        shifted = stages.named(Cat(Const(0, deepest), significand) >> depth, "shifted")
        kept = stages.stage(shifted[deepest + drop:], "kept", shape=form.mantissa_bits + 1)
        half = stages.stage(shifted[deepest + drop - 1], "half")
        rest = stages.stage(shifted[:deepest + drop - 1].any(), "rest")
        binade = stages.stage(binade, "binade_2")

        up = half & (rest | kept[0])
        code = stages.stage(Cat(Const(0, form.mantissa_bits), binade) + kept + up, "rounded")
        magnitude = Mux(code > form.largest, self._beyond(), code)
        if form.nan is not None:
            magnitude = Mux(is_nan, form.nan, magnitude)
        return {"code": Cat(stages.stage(magnitude, "magnitude", shape=form.width - 1), sign)}

    def _beyond(self) -> Value | int:
        """What a number too large becomes."""
        if self.saturate:
            return self.form.largest
        codes = (self.form.infinity, self.form.nan, self.form.largest)
        return next(code for code in codes if code is not None)
