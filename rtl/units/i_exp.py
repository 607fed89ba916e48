"""I-BERT's exponential: a parabola on one octave, shifted by whole octaves."""

from collections.abc import Mapping

from amaranth.hdl import Const, Mux, Value, ValueLike, signed, unsigned
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product

OCTAVES = 30  # beyond 2**-30 of the largest result, all inputs count alike
OCTAVE_BITS = 5
FINE_BITS = 3  # of a shift distance, in one stage


class IExp(Pipelined):
    """``e`` in steps of ``a * step**2 / 2**30``: the exponential of ``-t``, ``t`` unsigned in steps of ``step``.

    ``ln2`` is ln 2 in steps, ``linear`` and ``constant`` are the coefficients of the parabola
    ``a * (x**2 + linear * x + constant)``::

        c = min(t, 30 * ln2);    z = c // ln2;    r = c - z * ln2
        e = max((r * (r - linear) + constant) << (30 - z), 0)

    Latency 13 cycles (limit; one per bit of z; difference; product 3; sum; shift 2), one result per cycle. The quotient z is
    five conditional subtractions; one multiplier.

    Reference: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, algorithm 3.

    Parameters
    ----------
    width : int
        Bits of ``t``.
    ln2, linear, constant : int
        Positive; ``linear >= ln2``.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"t": width})))
    o : Out(stream.Signature(StructLayout({"e": constant.bit_length() + 30})))
    """

    LATENCY = 1 + OCTAVE_BITS + 1 + PRODUCT_LATENCY + 1 + 2

    def __init__(self, *, width: int, ln2: int, linear: int, constant: int, target: str = "generic") -> None:
        self.width = width
        self.ln2 = ln2
        self.linear = linear
        self.constant = constant
        self.target = target
        super().__init__(
            inputs={"t": width}, outputs={"e": constant.bit_length() + OCTAVES}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        limit = OCTAVES * self.ln2
        rest = stages.stage(
            Mux(i.t > limit, limit, i.t) if limit < 1 << self.width else i.t, "limited", shape=limit.bit_length())
        left: list[Value] = []  # bit k: whether 2**k octaves were taken off; none means 30 - z keeps them
        for bit in reversed(range(OCTAVE_BITS)):
            octaves = self.ln2 << bit
            fits = stages.named(rest >= octaves, f"fits_{bit}")
            left = [stages.stage(flag, f"octave_{bit}_{place}") for place, flag in enumerate([fits, *left], start=bit)]
            rest = stages.stage(
                Mux(fits, rest - octaves, rest), f"below_{bit}", shape=unsigned(max((octaves - 1).bit_length(), 1)))
        shift = OCTAVES - sum((flag << place for place, flag in enumerate(left)), Const(0, 1))
        shift = stages.stage(shift, "shift", cycles=PRODUCT_LATENCY + 2, shape=unsigned(OCTAVE_BITS))

        difference = stages.stage(rest - self.linear, "difference", shape=signed(self.linear.bit_length() + 1))
        product = staged_product(stages, stages.stage(rest, "rest"), difference, "product", target=self.target)
        width = self.constant.bit_length()
        total = product + self.constant
        polynomial = stages.stage(Mux(total < 0, 0, total), "polynomial", shape=unsigned(width))
        fine = stages.stage(polynomial << shift[:FINE_BITS], "fine", shape=unsigned(width + 7))
        coarse = stages.stage(shift[FINE_BITS:], "coarse")
        e = fine << (coarse << FINE_BITS)
        return {"e": stages.stage(e, "e", shape=unsigned(width + OCTAVES))}
