"""Powers of e: to base 2 by a constant product, then table, line and shift."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Value, ValueLike, signed
from amaranth.lib import data
from tilewright.rtl.units.constant_multiply import constant_multiply_latency, times_constant
from tilewright.rtl.units.exp2 import FALLING_POWER_LATENCY, falling_power
from tilewright.rtl.units.interpolate import INTERPOLATE_LATENCY, interpolated
from tilewright.rtl.units.pipeline import Pipelined, Stages

LOG2E = 94548  # log2(e) with 16 fraction bits, rounded
LOG2E_BITS = 16
TO_BASE_2_LATENCY = constant_multiply_latency(LOG2E)


def exponent_width(width: int, fraction_bits: int) -> int:
    """Bits of the integer part of ``x * log2(e)`` for an ``x`` of ``width`` bits, unsigned or two's complement alike."""
    return ((LOG2E << width) + (1 << LOG2E_BITS) >> LOG2E_BITS + fraction_bits).bit_length()


EXP_LATENCY = TO_BASE_2_LATENCY + FALLING_POWER_LATENCY


def falling_exponential(
    stages: Stages, t: Value, *, table: Sequence[int], fraction_bits: int, octave_bits: int, table_bits: int,
    value_bits: int, guard_bits: int, name: str = "", target: str = "generic",
) -> Value:
    """What :class:`Exp` computes of ``t``, 11 stages later."""
    y = stages.named(
        times_constant(stages, t, LOG2E, drop=LOG2E_BITS + fraction_bits - octave_bits, name=f"octaves{name}"), f"y{name}",
        shape=exponent_width(len(t), fraction_bits) + octave_bits)
    return falling_power(stages, y, table=table, fraction_bits=octave_bits, table_bits=table_bits, value_bits=value_bits,
                         guard_bits=guard_bits, name=name, target=target)


class Exp(Pipelined):
    """``e = exp(-t / 2**fraction_bits)`` with ``value_bits + guard_bits`` fraction bits, ``t`` unsigned.

    ``y`` is ``t`` in octaves with ``octave_bits`` fraction bits, ``n`` its integer part, ``hi`` the first ``table_bits`` of
    its fraction and ``lo`` the other ``d = octave_bits - table_bits``::

        y = round_half_up(t * 94548 / 2**(16 + fraction_bits - octave_bits))      94548 = round(2**16 * log2(e))
        v = table[hi] - ((table[hi] - table[hi + 1]) * lo >> d)
        e = (v << guard_bits) >> n        0 if n >= value_bits + guard_bits

    Latency 11 cycles (3 of adders; table 2; product 3; difference; shift 2), one result per cycle. One ROM of
    ``2**table_bits`` words, one multiplier, one barrel shifter. The guard bits keep what the shift would drop from a sum
    of many small powers.

    Reference: the exponential of Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, in fixed
    point.

    Parameters
    ----------
    target : str
        "generic" or "ecp5".
    table : Sequence[int]
        ``round(2**(value_bits - i / 2**table_bits))`` for i = 0 .. ``2**table_bits``.
    width, fraction_bits, octave_bits, table_bits, value_bits, guard_bits : int
        ``width`` is that of ``t``; ``table_bits < octave_bits < 16 + fraction_bits``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"t": width})))
    o : Out(stream.Signature(StructLayout({"e": value_bits + guard_bits + 1})))
    """

    LATENCY = EXP_LATENCY

    def __init__(
        self, *, table: Sequence[int], width: int, fraction_bits: int, octave_bits: int, table_bits: int,
        value_bits: int, guard_bits: int, target: str = "generic",
    ) -> None:
        if len(table) != (1 << table_bits) + 1:
            raise ValueError(f"table must have {(1 << table_bits) + 1} entries, not {len(table)}")
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.fraction_bits = fraction_bits
        self.octave_bits = octave_bits
        self.table_bits = table_bits
        self.value_bits = value_bits
        self.guard_bits = guard_bits
        super().__init__(inputs={"t": width}, outputs={"e": value_bits + guard_bits + 1}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        return {"e": falling_exponential(
            stages, i.t, table=self.table, fraction_bits=self.fraction_bits, octave_bits=self.octave_bits,
            table_bits=self.table_bits, value_bits=self.value_bits, guard_bits=self.guard_bits, target=self.target)}


class ExpParts(Pipelined):
    """``exp(x / 2**fraction_bits) = mantissa * 2**(exponent - value_bits)`` with ``1 <= mantissa / 2**value_bits < 2``.

    ``x`` is signed: exponents take any size, so no maximum need be known first. ``y`` is ``x`` in octaves, ``hi`` the first
    ``table_bits`` of its fraction and ``lo`` the other ``d = fraction_bits - table_bits``::

        y = round_half_up(x * 94548 / 2**16)              94548 = round(2**16 * log2(e))
        exponent = y >> fraction_bits
        mantissa = table[hi] + ((table[hi + 1] - table[hi]) * lo >> d)

    Latency 9 cycles (3 of adders; table 2; product 3; sum), one result per cycle. One ROM of ``2**table_bits`` words, one
    multiplier.

    Reference: Dukhan and Ablavatski, "The Two-Pass Softmax Algorithm", 2020, in integers.

    Parameters
    ----------
    target : str
        "generic" or "ecp5".
    table : Sequence[int]
        ``round(2**(value_bits + i / 2**table_bits))`` for i = 0 .. ``2**table_bits``.
    width, fraction_bits, table_bits, value_bits : int
        ``width`` is that of ``x``; ``fraction_bits > table_bits``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width)})))
    o : Out(stream.Signature(StructLayout({"mantissa": value_bits + 1, "exponent": signed(exponent_width(...))})))
    """

    LATENCY = TO_BASE_2_LATENCY + INTERPOLATE_LATENCY

    def __init__(
        self, *, table: Sequence[int], width: int, fraction_bits: int, table_bits: int, value_bits: int,
        target: str = "generic",
    ) -> None:
        if len(table) != (1 << table_bits) + 1:
            raise ValueError(f"table must have {(1 << table_bits) + 1} entries, not {len(table)}")
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.fraction_bits = fraction_bits
        self.table_bits = table_bits
        self.value_bits = value_bits
        super().__init__(
            inputs={"x": signed(width)},
            outputs={"mantissa": value_bits + 1, "exponent": signed(exponent_width(width, fraction_bits))},
            latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        y = stages.named(times_constant(stages, i.x, LOG2E, drop=LOG2E_BITS, name="octaves"), "y",
                         shape=signed(self.fraction_bits + len(self.o.payload.exponent)))
        lower_bits = self.fraction_bits - self.table_bits
        mantissa = interpolated(
            stages, self.table, y[lower_bits:self.fraction_bits], y[:lower_bits], name="mantissa",
            target=self.target)
        return {"mantissa": mantissa[:self.value_bits + 1],
                "exponent": stages.stage(y[self.fraction_bits:], "exponent", cycles=INTERPOLATE_LATENCY)}
