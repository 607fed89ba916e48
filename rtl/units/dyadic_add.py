"""The residual sum of I-BERT: each operand scaled and rounded by itself."""

from collections.abc import Mapping

from amaranth.hdl import ValueLike, signed
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.round_shift import DISTANCE_BITS, rounds_up, saturated, shifted_right
from tilewright.rtl.units.split_product import split_product, split_product_latency


class DyadicAdd(Pipelined):
    """``y = clamp(rne(a * a_multiplier / 2**a_shift) + rne(b * b_multiplier / 2**b_shift))``; ties to even.

    Nothing saturates before the sum. Latency 10 cycles at 22-bit operands and multipliers of 32 (products 3 and two levels
    of adders; shift 2; rounding; sum; saturation), one result per cycle. Four multipliers per operand there.

    Reference: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, the dyadic arithmetic of residual sums.

    Parameters
    ----------
    width, multiplier_width, out_width : int
        Of ``a`` and ``b`` and of ``y``, signed, and of the unsigned multipliers.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"a": signed(width), "a_multiplier": multiplier_width, "a_shift": 6,
        "b": signed(width), "b_multiplier": multiplier_width, "b_shift": 6})))
    o : Out(stream.Signature(StructLayout({"y": signed(out_width)})))
    """

    def __init__(self, *, width: int, multiplier_width: int, out_width: int, target: str = "generic") -> None:
        self.width = width
        self.multiplier_width = multiplier_width
        self.out_width = out_width
        self.target = target
        super().__init__(
            inputs={
                "a": signed(width), "a_multiplier": multiplier_width, "a_shift": DISTANCE_BITS,
                "b": signed(width), "b_multiplier": multiplier_width, "b_shift": DISTANCE_BITS},
            outputs={"y": signed(out_width)}, latency=dyadic_add_latency(width, multiplier_width))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        scaled = []
        for name in ("a", "b"):
            product = split_product(stages, i[name], i[f"{name}_multiplier"], f"{name}_product", target=self.target)
            shift = stages.stage(
                i[f"{name}_shift"], f"{name}_distance", cycles=split_product_latency(self.width, self.multiplier_width))
            quotient, half, rest = shifted_right(stages, product, shift, name=name)
            scaled.append(stages.stage(quotient + rounds_up(quotient, half, rest), f"{name}_rounded"))
        total = stages.stage(scaled[0] + scaled[1], "total")
        return {"y": stages.stage(saturated(total, self.out_width), "y")}


def dyadic_add_latency(width: int, multiplier_width: int) -> int:
    """Latency of :class:`DyadicAdd`."""
    return split_product_latency(width, multiplier_width) + 5
