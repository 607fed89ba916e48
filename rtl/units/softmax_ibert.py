"""Softmax of I-BERT: exponentials by a parabola, 15 bits each, and a reciprocal of their sum with 19."""

from amaranth.hdl import Cat, Mux, ValueLike, signed
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.i_exp import OCTAVE_LATENCY, PARABOLA_LATENCY, parabola
from tilewright.rtl.units.lane_tree import tree
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.softmax_exponent import whole_eights
from tilewright.rtl.units.softmax_three_pass import ThreePasses
from tilewright.rtl.units.split_product import split_product, split_product_latency

EXPONENTIAL_BITS = 15  # I-BERT's 16 with a sign
DIVIDEND_BITS = 32
FACTOR_BITS = DIVIDEND_BITS - (EXPONENTIAL_BITS - 1) + 1  # the sum is at least 2**14, the exponential of the maximum
SCALE_LATENCY = split_product_latency(EXPONENTIAL_BITS + 1, FACTOR_BITS) + 1


def distance_latency(lanes: int) -> int:
    """Of :class:`DistanceParabola`."""
    return PARABOLA_LATENCY + 3 + ceil_log2(lanes)


class DistanceParabola(Pipelined):
    """``e`` of each lane, the exponential of ``score - maximum`` with 15 bits, 0 where not kept, and the sum of a beat's.

    ``e = floor(polynomial * 2**(15 - n - octave))`` with n the bits of ``constant``. One multiplier per lane; latency 14
    cycles and one per level of the tree.
    """

    def __init__(
        self, *, lanes: int, score_width: int, ln2: int, linear: int, constant: int, target: str = "generic"
    ) -> None:
        self.lanes = lanes
        self.score_width = score_width
        self.coefficients = {"ln2": ln2, "linear": linear, "constant": constant}
        self.target = target
        super().__init__(
            inputs={"score": data.ArrayLayout(signed(score_width), lanes), "keep": lanes, "maximum": signed(score_width),
                    "last": 1},
            outputs={"e": data.ArrayLayout(EXPONENTIAL_BITS, lanes), "total": EXPONENTIAL_BITS + ceil_log2(lanes), "last": 1},
            latency=distance_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        keep = stages.stage(i.keep, "keep", cycles=1 + PARABOLA_LATENCY)
        above = self.coefficients["constant"].bit_length() - EXPONENTIAL_BITS
        exponentials = []
        for k in range(self.lanes):
            distance = stages.stage((i.maximum - i.score[k])[:self.score_width], f"distance_{k}")
            polynomial, octave = parabola(stages, distance, name=f"_{k}", target=self.target, **self.coefficients)
            places = stages.stage(octave, f"places_{k}", cycles=PARABOLA_LATENCY - OCTAVE_LATENCY)
            leading = (polynomial >> above if above > 0 else polynomial << -above)[:EXPONENTIAL_BITS]
            coarse = stages.stage(Mux(keep[k], leading, 0) >> whole_eights(places), f"coarse_{k}")
            exponentials.append(stages.stage(coarse >> stages.stage(places[:3], f"fine_{k}"), f"e_{k}"))
        return {
            "e": Cat(*(stages.stage(e, f"e_{k}_out", cycles=ceil_log2(self.lanes)) for k, e in enumerate(exponentials))),
            "total": tree(stages, exponentials, lambda a, b: a + b, "total"),
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }


class FactorScale(Pipelined):
    """``probability = min((e * reciprocal) >> (32 - out_bits), 2**out_bits - 1)``; two multipliers per lane."""

    def __init__(self, *, lanes: int, out_bits: int, target: str = "generic") -> None:
        self.lanes = lanes
        self.out_bits = out_bits
        self.target = target
        super().__init__(
            inputs={"e": data.ArrayLayout(EXPONENTIAL_BITS, lanes), "reciprocal": FACTOR_BITS, "last": 1},
            outputs={"probability": data.ArrayLayout(out_bits, lanes), "last": 1}, latency=SCALE_LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        probabilities = []
        for k in range(self.lanes):
            e = Cat(i.e[k], 0).as_signed()
            product = split_product(stages, e, i.reciprocal, f"product_{k}", target=self.target)
            exact = product[DIVIDEND_BITS - self.out_bits:DIVIDEND_BITS + 1]
            one = exact[-1].replicate(self.out_bits)  # nothing lies between it and 1
            probabilities.append(stages.stage(exact[:self.out_bits] | one, f"probability_{k}"))
        return {"probability": Cat(*probabilities), "last": stages.stage(i.last, "last", cycles=self.latency)}


class SoftmaxIBert(ThreePasses):
    """Softmax of frames of scores in I-BERT's integers; the order of the scores does not matter.

    With ``(polynomial, octave)`` of :class:`tilewright.rtl.units.i_exp.IExp` for the distance of each score below the
    maximum of its frame, and n the bits of ``constant``::

        e = floor(polynomial * 2**(15 - n - octave))       15 bits; I-BERT's requantization, its scale a power of two
        F = floor(2**32 / sum(e))                          18 bits, 2**18 where the sum is 2**14
        probability = min(floor(e * F / 2**(32 - out_bits)), 2**out_bits - 1)

    One score per lane per cycle; two buffers of frames; three multipliers per lane. Latency ``n + 46`` cycles from the
    last beat of a frame of ``n`` to its first result, 2 more for each doubling of the lanes. Frames of at least 21
    beats stream back to back. A frame without ``last`` ends at its ``max_beats``-th beat. Lanes whose ``keep`` bit is 0
    do not count and get probability 0. A reset drops everything. Error at 16 bits of score 2e-3 of a probability,
    that of the parabola, and what ``out_bits`` drop.

    Reference: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, section 3.5.

    Parameters
    ----------
    lanes, score_width : int
        Scores per beat; bits of a score, signed.
    ln2, linear, constant : int
        ln 2 and the parabola's coefficients in steps of the scores, as :class:`tilewright.rtl.units.i_exp.IExp` has them.
    out_bits : int
        Probabilities are in units of ``2**-out_bits``; at most 16.
    max_beats : int
        A power of two.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, score_width: int, ln2: int, linear: int, constant: int, out_bits: int, max_beats: int,
        target: str = "generic",
    ) -> None:
        self.out_bits = out_bits
        super().__init__(
            lanes=lanes, score=signed(score_width), max_beats=max_beats,
            distance=DistanceParabola(lanes=lanes, score_width=score_width, ln2=ln2, linear=linear, constant=constant,
                                      target=target),
            divide=FrameReciprocal(
                divisor_width=EXPONENTIAL_BITS + ceil_log2(lanes * max_beats), start_bits=EXPONENTIAL_BITS - 1,
                quotient_bits=FACTOR_BITS, side={}),
            scale=FactorScale(lanes=lanes, out_bits=out_bits, target=target))
