"""The unit ``requantize``."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from tilewright.formats import IntFormat
from tilewright.rtl.requantize import BIAS_WIDTH, requantize_latency
from tilewright.rtl.shift_round import PRESCALE
from tilewright.rtl.units.requantize import Requantize as RequantizeRtl
from tilewright.rtl.wide_multiply import wide_multiply_latency
from tilewright.sim.golden import requantize as golden
from tilewright.units.base import Cut, Elementwise, Parameters, Specification, Timing
from tilewright.units.fields import Beats, Fields, shape_of, sint, uint
from tilewright.units.stimulus import joined, random_beats


class RequantizeParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.requantize.Requantize`."""

    acc_width: int = Field(default=32, ge=4, le=48, description="bits of the accumulator")
    multiplier_bits: int = Field(default=24, ge=1, le=24, description="bits of the multiplier")
    out_width: int = Field(default=8, ge=2, le=16, description="bits of the result")
    out_signed: bool = Field(default=True, description="whether the result is signed")
    mode: Literal["rne", "ort", "half_up"] = Field(default="rne", description="how it rounds")
    activation: Literal["none", "relu", "clip"] = Field(default="clip", description="what bounds the result")

    @property
    def out(self) -> IntFormat:
        """The format of the result."""
        return IntFormat(self.out_width, self.out_signed)

    @property
    def biased_width(self) -> int:
        """Bits of accumulator plus bias, exact."""
        return max(self.acc_width, BIAS_WIDTH) + 1


class Requantize(Elementwise[RequantizeParameters]):
    """Bias, one product, one rounding, bounds."""

    name = "requantize"
    title = "accumulator to narrow integer: bias, multiplier, shift, zero point, bounds"
    source = "Jacob et al., Quantization and Training of Neural Networks, CVPR 2018, section 2.2; ort: ONNX Runtime's kernels"
    parameters_type = RequantizeParameters
    variants: ClassVar[tuple[RequantizeParameters, ...]] = (
        RequantizeParameters(mode="ort"),
        RequantizeParameters(mode="half_up", out_signed=False, activation="relu"),
        RequantizeParameters(acc_width=48, out_width=16, activation="none"),
        RequantizeParameters(acc_width=20, multiplier_bits=8, out_width=4, mode="ort", activation="relu"),
    )

    def input_fields(self, p: RequantizeParameters) -> Fields:
        bounds = {"low": p.out, "high": p.out} if p.activation == "clip" else {}
        return {"acc": sint(p.acc_width), "bias": sint(BIAS_WIDTH), "multiplier": uint(p.multiplier_bits), "shift": uint(6),
                "zero_point": sint(p.out_width + 1), **bounds}

    def output_fields(self, p: RequantizeParameters) -> Fields:
        return {"y": p.out}

    def component(self, p: RequantizeParameters, target: str = "generic") -> RequantizeRtl:
        return RequantizeRtl(acc_width=p.acc_width, multiplier_bits=p.multiplier_bits, out_shape=shape_of(p.out), mode=p.mode,
                             activation=p.activation, target=target)

    def golden(self, p: RequantizeParameters, beats: Beats) -> Beats:
        bounds: dict[str, Any] = {"low": p.out.low, "high": p.out.high}
        if p.activation == "relu":
            bounds["low"] = np.maximum(p.out.low, beats["zero_point"])
        return {"y": golden.requantize(**bounds | beats, mode=p.mode)}

    def hls_context(self, p: RequantizeParameters) -> Mapping[str, Any]:
        return {"requant_mode": p.mode, "activation": p.activation, "out_low": p.out.low, "out_high": p.out.high,
                "biased_width": p.biased_width, "product_bits": p.biased_width + p.multiplier_bits}

    def timing(self, p: RequantizeParameters) -> Timing:
        return Timing(requantize_latency(
            acc_width=p.acc_width, mode=p.mode, multiplier_bits=p.multiplier_bits, split=False))

    def specification(self, p: RequantizeParameters) -> Specification | None:
        """Of the modes that round once; the product of the sum and the prescaled multiplier is cut."""
        if p.mode == "ort":
            return None
        factor_width = p.multiplier_bits + PRESCALE
        return Specification(
            {"multiplier_bits": p.multiplier_bits, "out_width": p.out_width, "product_width": p.biased_width + factor_width},
            Cut("requantize", "multiply", a_width=p.biased_width, b_width=factor_width, cycle=1,
                latency=wide_multiply_latency(p.biased_width, factor_width)))

    def stimulus(self, p: RequantizeParameters, rng: np.random.Generator, count: int) -> Beats:
        """Corners; then products on or beside a tie of a quotient near the bounds, a third of them exact; low <= high."""
        near = random_beats(self.input_fields(p), rng, count // 2)
        highest, limit = 1 << p.multiplier_bits - 1, 1 << p.acc_width - 1
        near["multiplier"] |= highest
        near["multiplier"] = np.where(rng.random(count // 2) < 1 / 3, highest, near["multiplier"])
        near["shift"] = np.clip(p.acc_width + p.multiplier_bits - p.out_width + rng.integers(-12, 4, count // 2), 0, 63)
        quotient = rng.integers(-(1 << p.out_width), 1 << p.out_width, count // 2) + 0.5
        total = np.floor(quotient * np.exp2(near["shift"]) / near["multiplier"]).astype(np.int64)
        total += rng.integers(-2, 3, count // 2)
        near["bias"] >>= rng.integers(0, BIAS_WIDTH, count // 2)
        near["acc"] = np.clip(total - near["bias"], -limit, limit - 1)
        beats = joined([super().stimulus(p, rng, count - count // 2), near])
        if p.activation == "clip":
            beats["low"], beats["high"] = np.minimum(beats["low"], beats["high"]), np.maximum(beats["low"], beats["high"])
        return beats
