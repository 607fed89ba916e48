"""I-BERT's GELU: a parabola for erf."""

from collections.abc import Mapping

from amaranth.hdl import Mux, ValueLike, signed, unsigned
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product


def i_gelu_width(*, width: int, clip: int, constant: int, shift: int, one: int) -> int:
    """Bits of the result: those of ``q`` and of the largest ``erf + one``."""
    erf = max(-(constant + clip**2) >> shift, abs(constant >> shift), 1) + 1
    return width + (erf + abs(one)).bit_length()


class IGelu(Pipelined):
    """``y = q * (erf + one)``, GELU in I-BERT's integers; ``q`` signed.

    With ``u`` what ``abs(q)`` is short of ``clip``, 0 beyond::

        erf = sign(q) * (u**2 + constant) >> shift
        y = q * (erf + one)

    Latency 11 cycles (absolute value; difference; square 3; constant and sign; shift and one; product 3 and its cut 1), one
    result per cycle. Two multipliers of the input's width: one block each up to 17 bits.

    Reference: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, algorithm 2. The shift there is 14 whatever
    the input's step, which leaves nothing of an 8-bit input; here it is a parameter.

    Parameters
    ----------
    width : int
        Bits of ``q``.
    clip, constant, shift, one : int
        ``clip`` positive; ``constant`` and ``one`` negative, since the parabola opens downwards.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"q": signed(width)})))
    o : Out(stream.Signature(StructLayout({"y": signed(i_gelu_width(...))})))
    """

    LATENCY = 2 + PRODUCT_LATENCY + 2 + PRODUCT_LATENCY + 1

    def __init__(self, *, width: int, clip: int, constant: int, shift: int, one: int, target: str = "generic") -> None:
        self.width = width
        self.clip = clip
        self.constant = constant
        self.shift = shift
        self.one = one
        self.target = target
        out_width = i_gelu_width(width=width, clip=clip, constant=constant, shift=shift, one=one)
        super().__init__(
            inputs={"q": signed(width)}, outputs={"y": signed(out_width)}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        magnitude = stages.stage(Mux(i.q < 0, -i.q, i.q), "magnitude", shape=unsigned(self.width))
        short = stages.stage(
            Mux(magnitude < self.clip, self.clip - magnitude, 0), "short", shape=unsigned(self.clip.bit_length()))
        square = staged_product(stages, short, short, "square", target=self.target)
        negative = stages.stage(i.q < 0, "negative", cycles=2 + PRODUCT_LATENCY)
        zero = stages.stage(i.q == 0, "zero", cycles=2 + PRODUCT_LATENCY)
        # square + constant, or the negative of that: one carry chain either way.
        flip = negative.replicate(len(square) + 1)
        total = (square ^ flip).as_signed() + Mux(negative, 1 - self.constant, self.constant)
        polynomial = stages.stage(Mux(zero, 0, total), "polynomial")
        factor = stages.stage((polynomial >> self.shift) + self.one, "factor",
                              shape=signed(len(self.o.payload.y) - self.width + 1))
        q = stages.stage(i.q, "q", cycles=4 + PRODUCT_LATENCY)
        product = staged_product(stages, q, factor, "product", target=self.target)
        return {"y": stages.stage(product, "y", shape=self.o.payload.y.shape())}
