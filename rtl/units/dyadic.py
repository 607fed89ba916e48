"""Scale an integer by multiplier and shift, rounded to nearest even: the step after every integer operator."""

from collections.abc import Mapping

from amaranth.hdl import Const, Value, ValueLike, signed
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.round_shift import DISTANCE_BITS, ROUND_SHIFT_LATENCY, rounded_and_saturated
from tilewright.rtl.units.split_product import split_product, split_product_latency


def scaled_latency(width: int, multiplier_width: int) -> int:
    """Stages of :func:`scaled`."""
    return split_product_latency(width, multiplier_width) + ROUND_SHIFT_LATENCY


def scaled(
    stages: Stages, value: Value, multiplier: Value, shift: Value, zero_point: Value, *, out_width: int, target: str
) -> Value:
    """``clamp(rne(value * multiplier / 2**shift) + zero_point)`` in ``out_width`` signed bits."""
    latency = split_product_latency(len(value), len(multiplier))
    product = split_product(stages, value, multiplier, "product", target=target)
    return rounded_and_saturated(
        stages, product, stages.stage(shift, "shift", cycles=latency),
        stages.stage(zero_point, "zero_point", cycles=latency), out_width=out_width)


class Dyadic(Pipelined):
    """``y = clamp(rne(z * multiplier / 2**shift))``: to nearest, ties to even, saturated.

    Latency 9 cycles at the widths of the paper, 32 x 32 bits (product 3 and two levels of adders; shift 2; rounding;
    saturation), one result per cycle. Four multipliers there.

    Reference: the dyadic numbers of Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, and Yao et al.,
    "HAWQ-V3: Dyadic Neural Network Quantization", ICML 2021.

    Parameters
    ----------
    width, multiplier_width, out_width : int
        Of ``z`` and ``y``, signed, and of the unsigned multiplier.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"z": signed(width), "multiplier": multiplier_width, "shift": 6})))
    o : Out(stream.Signature(StructLayout({"y": signed(out_width)})))
    """

    def __init__(self, *, width: int, multiplier_width: int, out_width: int, target: str = "generic") -> None:
        self.width = width
        self.multiplier_width = multiplier_width
        self.out_width = out_width
        self.target = target
        super().__init__(
            inputs={"z": signed(width), "multiplier": multiplier_width, "shift": DISTANCE_BITS},
            outputs={"y": signed(out_width)}, latency=scaled_latency(width, multiplier_width))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        return {"y": scaled(stages, i.z, i.multiplier, i.shift, Const(0, signed(1)), out_width=self.out_width,
                            target=self.target)}
