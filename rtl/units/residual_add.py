"""The sum of two quantized tensors of different scales."""

from collections.abc import Mapping

from amaranth.hdl import ValueLike, signed
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.round_shift import DISTANCE_BITS, ROUND_SHIFT_LATENCY, rounded_and_saturated
from tilewright.rtl.units.split_product import split_product, split_product_latency


class ResidualAdd(Pipelined):
    """``y = clamp(rne((da * a_multiplier + db * b_multiplier) / 2**shift) + zero_point)``, rounded once.

    ``da = a - a_zero``, ``db = b - b_zero``; both multipliers count in steps of ``2**-shift``. Everything but a and b is a
    parameter that comes with its beat. Latency 10 cycles at 8 bits and multipliers of 24 (differences; products 3 and 1;
    sum; shift 2; rounding; saturation), one result per cycle. Two multipliers per operand there.

    Reference: QLinearAdd of ONNX Runtime, whose kernels compute in float; this integer form is our own.

    Parameters
    ----------
    width, multiplier_width, out_width : int
        Of ``a`` and ``b`` and of ``y``, signed, and of the unsigned multipliers.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"a", "b", "a_zero", "b_zero": signed(width), "a_multiplier", "b_multiplier":
        multiplier_width, "shift": 6, "zero_point": signed(out_width)})))
    o : Out(stream.Signature(StructLayout({"y": signed(out_width)})))
    """

    def __init__(self, *, width: int, multiplier_width: int, out_width: int, target: str = "generic") -> None:
        self.width = width
        self.multiplier_width = multiplier_width
        self.out_width = out_width
        self.target = target
        super().__init__(
            inputs={
                "a": signed(width), "b": signed(width), "a_zero": signed(width), "b_zero": signed(width),
                "a_multiplier": multiplier_width, "b_multiplier": multiplier_width, "shift": DISTANCE_BITS,
                "zero_point": signed(out_width)},
            outputs={"y": signed(out_width)}, latency=residual_add_latency(width, multiplier_width))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        products = []
        for name, operand, zero, multiplier in (
                ("a", i.a, i.a_zero, i.a_multiplier), ("b", i.b, i.b_zero, i.b_multiplier)):
            difference = stages.stage(operand - zero, f"{name}_difference", shape=signed(self.width + 1))
            multiplier = stages.stage(multiplier, f"{name}_factor")
            products.append(split_product(stages, difference, multiplier, f"{name}_product", target=self.target))
        total = stages.stage(products[0] + products[1], "sum")
        before = self.latency - ROUND_SHIFT_LATENCY
        return {"y": rounded_and_saturated(
            stages, total, stages.stage(i.shift, "shift", cycles=before),
            stages.stage(i.zero_point, "zero_point", cycles=before), out_width=self.out_width)}


def residual_add_latency(width: int, multiplier_width: int) -> int:
    """Latency of :class:`ResidualAdd`."""
    return 1 + split_product_latency(width + 1, multiplier_width) + 1 + ROUND_SHIFT_LATENCY
