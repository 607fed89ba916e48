"""Reciprocal of an integer as a significand and a shift: table and one Newton step."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, ValueLike, signed, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.normalize import normalize_latency, normalized
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product

BITS = 16  # of a significand
SPLIT = 12  # low bits of the Newton step's error term, multiplied on their own: no product exceeds 18 x 18


class Reciprocal(Pipelined):
    """``1 / d = r / 2**(31 + shift)`` to a relative error of 3.4e-5, ``d`` unsigned; 0 counts as 1.

    ``x`` is ``d`` shifted right by ``shift`` (left where negative) until its leading one is bit 15, what falls off dropped;
    ``hi`` the ``table_bits`` below the leading one::

        s = table[hi]
        r = s * (2**32 - x * s) >> 31          2**15 <= r < 2**16

    Latency 14 cycles for a ``width`` of 17 to 32 (normalization 3; table 2; product 3; error; product 3; sum 2), one result
    per cycle. One ROM of ``2**table_bits`` words, three multipliers of at most 18 x 18.

    Reference: Newton's iteration as in Ercegovac and Lang, "Digital Arithmetic", 2004, chapter 7.

    Parameters
    ----------
    target : str
        "generic" or "ecp5".
    table : Sequence[int]
        ``round(2**16 / (1 + (i + 0.5) / 2**table_bits))`` for i below ``2**table_bits``.
    width : int
        Bits of ``d``, at least 16.
    table_bits : int
        At least 7, so that the error term fits its multiplier.

    Members
    -------
    i : In(stream.Signature(StructLayout({"d": width})))
    o : Out(stream.Signature(StructLayout({"r": 16, "shift": signed(ceil_log2(width) + 1)})))
    """

    def __init__(self, *, table: Sequence[int], width: int, table_bits: int, target: str = "generic") -> None:
        if len(table) != 1 << table_bits:
            raise ValueError(f"table must have {1 << table_bits} entries, not {len(table)}")
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.table_bits = table_bits
        super().__init__(
            inputs={"d": width}, outputs={"r": BITS, "shift": signed(ceil_log2(width) + 1)},
            latency=reciprocal_latency(width))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        significand, place = normalized(stages, i.d, "d")
        # A zero has no leading one; setting it makes that a one.
        x = Cat(significand[-BITS:-1], Const(1, 1))
        start = stages.table(self.table, x[BITS - 1 - self.table_bits:BITS - 1], "starts", shape=unsigned(BITS))
        start = stages.stage(start, "start")
        product = staged_product(stages, stages.stage(x, "x", cycles=2), start, "product", target=self.target)
        # x * start is 2**31 within 2**24: modulo 2**25 its negative is 2**31 - x * start.
        error = stages.stage(Const(0, 25) - product[:25], "error", shape=signed(25))
        start = stages.stage(start, "start_again", cycles=PRODUCT_LATENCY + 1)
        low = staged_product(stages, start, error[:SPLIT], "low", target=self.target)
        high = staged_product(stages, start, error[SPLIT:].as_signed(), "high", target=self.target)
        step = stages.stage((low >> SPLIT) + high, "step")
        start = stages.stage(start, "start_last", cycles=PRODUCT_LATENCY + 1)
        r = stages.stage(start + (step >> 31 - SPLIT), "r", shape=unsigned(BITS))
        shift = stages.stage(place - (BITS - 1), "shift", cycles=self.latency - normalize_latency(self.width))
        return {"r": r, "shift": shift}


def reciprocal_latency(width: int) -> int:
    """Latency of :class:`Reciprocal`."""
    return normalize_latency(width) + 2 + 2 * PRODUCT_LATENCY + 3
