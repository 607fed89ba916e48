"""Logarithm to base 2: the place of the leading one, and a curve for what follows it."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, ValueLike
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.interpolate import INTERPOLATE_LATENCY, interpolated
from tilewright.rtl.units.normalize import normalize_latency, normalized
from tilewright.rtl.units.pipeline import Pipelined, Stages


class Log2(Pipelined):
    """``y = log2(d)`` with ``value_bits`` fraction bits, ``d`` unsigned; 0 counts as 1.

    The place of the leading one is the integer part. Of the ``mantissa_bits`` that follow it (the rest is dropped) ``hi``
    is the first ``table_bits`` and ``lo`` the others::

        y = (place << value_bits) + table[hi] + ((table[hi + 1] - table[hi]) * lo >> (mantissa_bits - table_bits))

    Latency 9 cycles for a ``width`` of 17 to 32 (normalization 3; table 2; product 3; sum), 1 less for each halving of that
    down to 8; one result per cycle. One ROM of ``2**table_bits`` words, one multiplier.

    Reference: Mitchell, "Computer Multiplication and Division Using Binary Logarithms", 1962, with a table in place of
    its single line.

    Parameters
    ----------
    target : str
        "generic" or "ecp5".
    table : Sequence[int]
        ``round(2**value_bits * log2(1 + i / 2**table_bits))`` for i = 0 .. ``2**table_bits``.
    width, table_bits, mantissa_bits, value_bits : int
        ``width`` is that of ``d``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"d": width})))
    o : Out(stream.Signature(StructLayout({"y": ceil_log2(width) + value_bits})))
    """

    def __init__(
        self, *, table: Sequence[int], width: int, table_bits: int, mantissa_bits: int, value_bits: int,
        target: str = "generic",
    ) -> None:
        if len(table) != (1 << table_bits) + 1:
            raise ValueError(f"table must have {(1 << table_bits) + 1} entries, not {len(table)}")
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.table_bits = table_bits
        self.mantissa_bits = mantissa_bits
        self.value_bits = value_bits
        super().__init__(
            inputs={"d": width}, outputs={"y": ceil_log2(width) + value_bits}, latency=log2_latency(width))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        significand, place = normalized(stages, i.d, "d")
        behind = significand[:-1]
        missing = max(self.mantissa_bits - len(behind), 0)
        mantissa = Cat(Const(0, missing), behind)[-self.mantissa_bits:]
        lower_bits = self.mantissa_bits - self.table_bits
        fraction = interpolated(
            stages, self.table, mantissa[lower_bits:], mantissa[:lower_bits], name="fraction", target=self.target)
        return {"y": Cat(fraction[:self.value_bits], stages.stage(place, "place", cycles=INTERPOLATE_LATENCY))}


def log2_latency(width: int) -> int:
    """Latency of :class:`Log2`."""
    return normalize_latency(width) + INTERPOLATE_LATENCY
