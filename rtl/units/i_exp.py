"""I-BERT's exponential: a parabola on one octave, shifted by whole octaves."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Mux, Value, ValueLike, signed, unsigned
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product

OCTAVES = 30  # beyond 2**-30 of the largest result, all inputs count alike
OCTAVE_BITS = 5
FINE_BITS = 3  # of a shift distance, in one stage
OCTAVE_LATENCY = 1 + OCTAVE_BITS
PARABOLA_LATENCY = OCTAVE_LATENCY + 1 + PRODUCT_LATENCY + 1


def parabola(
    stages: Stages, t: Value, *, ln2: int, linear: int, constant: int, name: str = "", target: str = "generic"
) -> tuple[Value, Value]:
    """``(polynomial, octave)`` of ``exp(-t)``, 11 and 6 stages later: ``polynomial * 2**-octave`` with octave 0..30.

    The octave is five conditional subtractions of ``ln2 << bit``; one multiplier.
    """
    limit = OCTAVES * ln2
    rest = stages.stage(
        Mux(t > limit, limit, t) if limit < 1 << len(t) else t, f"limited{name}", shape=limit.bit_length())
    octave: list[Value] = []  # bit k: whether 2**k octaves were taken off
    for bit in reversed(range(OCTAVE_BITS)):
        octaves = ln2 << bit
        fits = stages.named(rest >= octaves, f"fits{name}_{bit}")
        octave = [stages.stage(flag, f"octave{name}_{bit}_{place}") for place, flag in enumerate([fits, *octave], start=bit)]
        rest = stages.stage(
            Mux(fits, rest - octaves, rest), f"below{name}_{bit}", shape=unsigned(max((octaves - 1).bit_length(), 1)))
    difference = stages.stage(rest - linear, f"difference{name}", shape=signed(linear.bit_length() + 1))
    product = staged_product(stages, stages.stage(rest, f"rest{name}"), difference, f"product{name}", target=target)
    total = product + constant
    polynomial = stages.stage(Mux(total < 0, 0, total), f"polynomial{name}", shape=unsigned(constant.bit_length()))
    return polynomial, Cat(*octave)


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

    LATENCY = PARABOLA_LATENCY + 2

    def __init__(self, *, width: int, ln2: int, linear: int, constant: int, target: str = "generic") -> None:
        self.width = width
        self.ln2 = ln2
        self.linear = linear
        self.constant = constant
        self.target = target
        super().__init__(
            inputs={"t": width}, outputs={"e": constant.bit_length() + OCTAVES}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        polynomial, octave = parabola(stages, i.t, ln2=self.ln2, linear=self.linear, constant=self.constant,
                                      target=self.target)
        width = self.constant.bit_length()
        # No octave taken off: all 30 places to the left.
        shift = stages.stage(OCTAVES - octave, "shift", cycles=PRODUCT_LATENCY + 2, shape=unsigned(OCTAVE_BITS))
        fine = stages.stage(polynomial << shift[:FINE_BITS], "fine", shape=unsigned(width + 7))
        coarse = stages.stage(shift[FINE_BITS:], "coarse")
        e = fine << (coarse << FINE_BITS)
        return {"e": stages.stage(e, "e", shape=unsigned(width + OCTAVES))}
