"""Powers of two with a negative exponent: a table in the fraction, a shift by the integer part."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, Mux, ValueLike, unsigned
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages


class Exp2(Pipelined):
    """``e = 2**(-t / 2**fraction_bits)`` with ``value_bits + guard_bits`` fraction bits, ``t`` unsigned.

    With ``n`` the integer part of ``t``, ``hi`` the first ``table_bits`` of its fraction and ``lo`` the other
    ``d = fraction_bits - table_bits``::

        v = table[hi] - ((table[hi] - table[hi + 1]) * lo >> d)
        e = (v << guard_bits) >> n        0 if n >= value_bits + guard_bits

    Latency 4 cycles (table; product; difference; shift), one result per cycle. One ROM of ``2**table_bits`` words,
    one multiplier, one barrel shifter. The guard bits keep what the shift would drop from a sum of many small powers.

    Parameters
    ----------
    table : Sequence[int]
        ``round(2**(value_bits - i / 2**table_bits))`` for i = 0 .. ``2**table_bits``.
    width : int
        Bits of ``t``, more than ``fraction_bits``.
    fraction_bits, table_bits, value_bits, guard_bits : int
        As above; ``fraction_bits > table_bits``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"t": width})))
    o : Out(stream.Signature(StructLayout({"e": value_bits + guard_bits + 1})))
    """

    LATENCY = 4

    def __init__(
        self, *, table: Sequence[int], width: int, fraction_bits: int, table_bits: int, value_bits: int, guard_bits: int
    ) -> None:
        if len(table) != (1 << table_bits) + 1:
            raise ValueError(f"table must have {(1 << table_bits) + 1} entries, not {len(table)}")
        self.table = tuple(table)
        self.width = width
        self.fraction_bits = fraction_bits
        self.table_bits = table_bits
        self.value_bits = value_bits
        self.guard_bits = guard_bits
        super().__init__(
            inputs={"t": width}, outputs={"e": value_bits + guard_bits + 1}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        lower_bits = self.fraction_bits - self.table_bits
        lo = stages.stage(i.t[:lower_bits], "lo")
        hi = i.t[lower_bits:self.fraction_bits]
        n = i.t[self.fraction_bits:]

        # A word of the ROM holds an interval: where it starts, and how far it falls.
        value_width = self.value_bits + 1
        falls = [upper - lower for upper, lower in zip(self.table, self.table[1:], strict=False)]
        fall_width = max(falls).bit_length()
        words = [start | fall << value_width for start, fall in zip(self.table, falls, strict=False)]
        interval = stages.table(words, hi, "intervals", shape=unsigned(value_width + fall_width))
        start, fall = interval[:value_width], interval[value_width:]

        fallen = stages.stage(fall * lo, "fallen")
        value = stages.stage(stages.stage(start, "start") - (fallen >> lower_bits), "value", shape=unsigned(value_width))

        vanishes = stages.stage(n >= self.value_bits + self.guard_bits, "vanishes", cycles=3)
        n = stages.stage(n, "n", cycles=3)
        shifted = Cat(Const(0, self.guard_bits), value) >> n
        return {"e": stages.stage(Mux(vanishes, 0, shifted), "e")}
