"""The product of two quantized tensors, element by element."""

from collections.abc import Mapping

from amaranth.hdl import ValueLike, signed
from amaranth.lib import data
from tilewright.rtl.units.dyadic import scaled, scaled_latency
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product
from tilewright.rtl.units.round_shift import DISTANCE_BITS


class Multiply(Pipelined):
    """``y = clamp(rne((a - a_zero) * (b - b_zero) * multiplier / 2**shift) + zero_point)``.

    Everything but a and b is a parameter that comes with its beat. Latency 12 cycles at 8 bits and a multiplier of 24
    (differences; product 3; second product 3 and 1; shift 2; rounding; saturation), one result per cycle. Three multipliers
    there.

    Reference: QLinearMul of ONNX Runtime, and Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018.

    Parameters
    ----------
    width, multiplier_width, out_width : int
        Of ``a`` and ``b`` and of ``y``, signed, and of the unsigned multiplier.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"a", "b", "a_zero", "b_zero": signed(width), "multiplier": multiplier_width,
        "shift": 6, "zero_point": signed(out_width)})))
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
                "multiplier": multiplier_width, "shift": DISTANCE_BITS, "zero_point": signed(out_width)},
            outputs={"y": signed(out_width)}, latency=multiply_latency(width, multiplier_width))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        a = stages.stage(i.a - i.a_zero, "a_difference", shape=signed(self.width + 1))
        b = stages.stage(i.b - i.b_zero, "b_difference", shape=signed(self.width + 1))
        product = staged_product(stages, a, b, "difference_product", target=self.target)
        multiplier, shift, zero_point = (
            stages.stage(value, f"{name}_there", cycles=1 + PRODUCT_LATENCY)
            for name, value in (("multiplier", i.multiplier), ("shift", i.shift), ("zero_point", i.zero_point)))
        return {"y": scaled(
            stages, product, multiplier, shift, zero_point, out_width=self.out_width, target=self.target)}


def multiply_latency(width: int, multiplier_width: int) -> int:
    """Latency of :class:`Multiply`."""
    return 1 + PRODUCT_LATENCY + scaled_latency(2 * width + 2, multiplier_width)
