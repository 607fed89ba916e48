"""Powers of two with a negative exponent: a table and lines in the fraction, a shift by the integer part."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.interpolate import INTERPOLATE_LATENCY, interpolated
from tilewright.rtl.units.pipeline import Pipelined, Stages

FALLING_POWER_LATENCY = INTERPOLATE_LATENCY + 2
HALF_SHIFT = 3  # bits of a shift distance that one stage of multiplexers evaluates


def falling_power(
    stages: Stages, t: Value, *, table: Sequence[int], fraction_bits: int, table_bits: int, value_bits: int, guard_bits: int,
    name: str = "", target: str = "generic",
) -> Value:
    """What :class:`Exp2` computes of ``t``, 8 stages later."""
    lower_bits = fraction_bits - table_bits
    value = interpolated(
        stages, table, t[lower_bits:fraction_bits], t[:lower_bits], rounding="ceiling", name=f"value{name}", target=target)
    n = t[fraction_bits:]
    vanishes = stages.stage(n >= value_bits + guard_bits, f"vanishes{name}", cycles=INTERPOLATE_LATENCY)
    n = stages.stage(n[:ceil_log2(value_bits + guard_bits)], f"n{name}", cycles=INTERPOLATE_LATENCY)

    raised = Cat(Const(0, guard_bits), value[:value_bits + 1])
    fine = stages.stage(raised >> n[:HALF_SHIFT], f"fine{name}")
    coarse = stages.stage(n[HALF_SHIFT:], f"coarse{name}") << HALF_SHIFT
    vanishes = stages.stage(vanishes, f"vanishes_too{name}")
    return stages.stage(Mux(vanishes, 0, fine >> coarse), f"e{name}", shape=value_bits + guard_bits + 1)


class Exp2(Pipelined):
    """``e = 2**(-t / 2**fraction_bits)`` with ``value_bits + guard_bits`` fraction bits, ``t`` unsigned.

    With ``n`` the integer part of ``t``, ``hi`` the first ``table_bits`` of its fraction and ``lo`` the other
    ``d = fraction_bits - table_bits``::

        v = table[hi] - ((table[hi] - table[hi + 1]) * lo >> d)
        e = (v << guard_bits) >> n        0 if n >= value_bits + guard_bits

    Latency 8 cycles (table 2; product 3; difference; shift 2), one result per cycle. One ROM of ``2**table_bits`` words,
    one multiplier, one barrel shifter. The guard bits keep what the shift would drop from a sum of many small powers.

    Parameters
    ----------
    table : Sequence[int]
        ``round(2**(value_bits - i / 2**table_bits))`` for i = 0 .. ``2**table_bits``.
    width : int
        Bits of ``t``, more than ``fraction_bits``.
    fraction_bits, table_bits, value_bits, guard_bits : int
        As above; ``fraction_bits > table_bits``.
    target : str
        "ecp5" takes a multiplier block with its registers; "generic" is plain logic.

    Members
    -------
    i : In(stream.Signature(StructLayout({"t": width})))
    o : Out(stream.Signature(StructLayout({"e": value_bits + guard_bits + 1})))
    """

    LATENCY = FALLING_POWER_LATENCY

    def __init__(
        self, *, table: Sequence[int], width: int, fraction_bits: int, table_bits: int, value_bits: int, guard_bits: int,
        target: str = "generic",
    ) -> None:
        if len(table) != (1 << table_bits) + 1:
            raise ValueError(f"table must have {(1 << table_bits) + 1} entries, not {len(table)}")
        self.table = tuple(table)
        self.width = width
        self.fraction_bits = fraction_bits
        self.table_bits = table_bits
        self.value_bits = value_bits
        self.guard_bits = guard_bits
        self.target = target
        super().__init__(
            inputs={"t": width}, outputs={"e": value_bits + guard_bits + 1}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        return {"e": falling_power(
            stages, i.t, table=self.table, fraction_bits=self.fraction_bits, table_bits=self.table_bits,
            value_bits=self.value_bits, guard_bits=self.guard_bits, target=self.target)}
