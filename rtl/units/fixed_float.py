"""Floating point to two's-complement fixed point and back."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike, signed
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.fixed_point import saturated
from tilewright.rtl.units.float_format import FLOAT32_BIAS, FLOAT32_EXPONENT
from tilewright.rtl.units.pipeline import Pipelined, Stages

FINE_BITS = 3  # low bits of a shift distance, evaluated in a stage of their own
LEVELS_PER_STAGE = 2  # steps of normalization between two registers


class FixedEncode(Pipelined):
    """The code of ``width`` bits nearest to ``x * 2**frac``, ties to even, saturated; 0 for NaN.

    ``x`` is a binary32 or bf16 number, subnormals included. The significand starts where its leading one is just out
    of range and moves right by what the exponent leaves. Latency 6 cycles (distance 2; shift 2; sum; range), one
    result per cycle.

    Reference: IEEE 754-2019, convertToIntegerTiesToEven, of the scaled number; saturation as of ONNX QuantizeLinear.

    Parameters
    ----------
    width, frac : int
        Of the code, two's complement.
    mantissa_bits : int
        Of ``x``: 23 for binary32, 7 for bf16.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": 9 + mantissa_bits})))
    o : Out(stream.Signature(StructLayout({"y": signed(width)})))
    """

    LATENCY = 6

    def __init__(self, *, width: int, frac: int, mantissa_bits: int) -> None:
        self.width = width
        self.frac = frac
        self.mantissa_bits = mantissa_bits
        super().__init__(inputs={"x": 1 + FLOAT32_EXPONENT + mantissa_bits}, outputs={"y": signed(width)},
                         latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        mantissa, exponent, sign = i.x[:self.mantissa_bits], i.x[self.mantissa_bits:-1], i.x[-1]
        width = self.width
        # The leading one of a normal x has the weight 2**(exponent - bias + frac) in the code; at distance 0 that is
        # 2**(width - 1). A subnormal lacks the leading one and counts as exponent 1.
        furthest = width + 1  # half of the last place is then above the leading one
        distance = stages.stage(width - 1 + FLOAT32_BIAS - self.frac - (exponent | ~exponent.any()), "distance")
        is_nan = stages.stage(exponent.all() & mantissa.any(), "is_nan", cycles=5)
        sign = stages.stage(sign, "sign", cycles=4)
        significand = stages.stage(Cat(mantissa, exponent.any()), "significand", cycles=2)
        beyond = stages.stage(distance < 0, "beyond", cycles=4)
        down = stages.stage(Mux(distance > furthest, furthest, distance), "down", shape=ceil_log2(furthest + 1))

        # The code's places, then as many below as can be shifted out.
        wide: Value = Cat(Const(0, furthest), significand)
        point = len(wide) - width  # where the code's last place is
        if len(down) > FINE_BITS:
            wide = wide >> (down[FINE_BITS:] << FINE_BITS)
        wide = stages.stage(wide, "coarsely_shifted")
        wide = stages.named(wide >> stages.stage(down[:FINE_BITS], "fine"), "shifted")
        kept, half = stages.stage(wide[point:], "kept"), stages.stage(wide[point - 1], "half")
        rest = stages.stage(wide[:point - 1].any(), "rest")

        # -(kept + up) = ~kept + 1 - up: one adder for both signs.
        up = half & (rest | kept[0])
        signs = sign.replicate(width + 1)
        total = stages.stage((Cat(kept, 0) ^ signs).as_signed() + (up ^ sign), "total", shape=signed(width + 2))
        negative = stages.stage(sign, "negative")
        most = Mux(negative, Const(-(1 << width - 1), signed(width)), Const((1 << width - 1) - 1, signed(width)))
        result = Mux(is_nan, 0, Mux(beyond, most, saturated(total, width)))
        return {"y": stages.stage(result, "y", shape=signed(width))}


def fixed_decode_latency(width: int) -> int:
    """Latency of :class:`FixedDecode`."""
    return 2 + -(-ceil_log2(width) // LEVELS_PER_STAGE)


class FixedDecode(Pipelined):
    """``y / 2**frac`` as binary32 or bf16, to nearest even.

    Magnitude, normalization by halves, rounding. Latency ``2 + ceil(ceil(log2(width)) / 2)`` cycles, one result per
    cycle. Zero is +0. Every other result is a normal number.

    Reference: IEEE 754-2019, convertFromInt, of the scaled number.

    Parameters
    ----------
    width, frac : int
        Of the code, two's complement; ``width - 127 <= frac <= 126``.
    mantissa_bits : int
        Of the result: 23 for binary32, 7 for bf16.

    Members
    -------
    i : In(stream.Signature(StructLayout({"y": signed(width)})))
    o : Out(stream.Signature(StructLayout({"x": 9 + mantissa_bits})))
    """

    def __init__(self, *, width: int, frac: int, mantissa_bits: int) -> None:
        if not width - FLOAT32_BIAS <= frac < FLOAT32_BIAS:
            raise ValueError(f"frac must be {width - FLOAT32_BIAS}..{FLOAT32_BIAS - 1}, not {frac!r}")
        self.width = width
        self.frac = frac
        self.mantissa_bits = mantissa_bits
        super().__init__(inputs={"y": signed(width)}, outputs={"x": 1 + FLOAT32_EXPONENT + mantissa_bits},
                         latency=fixed_decode_latency(width))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        width = self.width
        levels = ceil_log2(width)
        number = stages.stage(Mux(i.y[-1], -i.y, i.y), "magnitude", shape=width)
        sign = stages.stage(i.y[-1], "sign", cycles=fixed_decode_latency(width))
        # Leading zeros, their count from the highest bit down.
        count: Value = Const(0, 0)
        for level in range(levels):
            step = 1 << levels - 1 - level
            empty = stages.named(~number[max(width - step, 0):].any(), f"empty_{step}")
            number = Mux(empty, (number << step)[:width], number)
            count = Cat(empty, count)
            if level % LEVELS_PER_STAGE == LEVELS_PER_STAGE - 1 or level == levels - 1:
                number = stages.stage(number, f"normalized_{step}", shape=width)
                count = stages.stage(count, f"leading_zeros_{step}")

        drop = width - (self.mantissa_bits + 1)
        up: Value = Const(0, 1)
        if drop > 0:
            up = number[drop - 1] & (number[:drop - 1].any() | number[drop])
            kept: Value = number[drop:]
        else:
            kept = Cat(Const(0, -drop), number)
        # The hidden bit and a carry of the rounding both add to the exponent.
        exponent = stages.named(FLOAT32_BIAS - 1 + width - 1 - self.frac - count, "exponent", shape=FLOAT32_EXPONENT)
        bits = Cat(Const(0, self.mantissa_bits), exponent) + kept + up
        bits = Mux(number[-1], bits, 0)
        return {"x": Cat(stages.stage(bits, "bits", shape=self.mantissa_bits + FLOAT32_EXPONENT), sign)}
