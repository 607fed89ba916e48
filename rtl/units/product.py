"""A product inside a pipeline that stalls."""

from amaranth.hdl import Signal, Value, signed
from tilewright.rtl import ecp5
from tilewright.rtl.units.pipeline import Stages

PRODUCT_LATENCY = 3


def staged_product(stages: Stages, a: Value, b: Value, name: str, *, target: str = "generic") -> Value:
    """``a * b``, exact, 3 stages later: registers for the operands, inside the multiplier, and for the product.

    On "ecp5" operands of up to 18 signed (17 unsigned) bits take one ``MULT18X18D`` and none of its neighbours' registers;
    wider ones are left to synthesis.
    """
    widths = [len(value) + (not value.shape().signed) for value in (a, b)]
    if target == "ecp5" and max(widths) <= ecp5.MULTIPLIER_WIDTH:
        result = Signal(signed(sum(widths)), name=name)
        stages.m.submodules[f"{name}_dsp"] = ecp5.mult18x18d(
            a, b, result, latency=PRODUCT_LATENCY, b_enable=stages.advance, enable=stages.advance)
        exact = result[:len(a) + len(b)]
        return exact.as_signed() if a.shape().signed or b.shape().signed else exact
    product = stages.stage(a, f"{name}_a") * stages.stage(b, f"{name}_b")
    return stages.stage(product, name, cycles=PRODUCT_LATENCY - 1)
