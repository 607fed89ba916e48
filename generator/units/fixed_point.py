"""The units ``fixed_convert``, ``fixed_encode`` and ``fixed_decode``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from tilewright.rtl.units import fixed_float
from tilewright.rtl.units import fixed_point as rtl
from tilewright.sim.golden.units import codecs_fixed as golden
from tilewright.units.base import Elementwise, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, sint, uint
from tilewright.units.stimulus import edges, joined, random_beats, random_values

MANTISSA_BITS = {"binary32": 23, "bf16": 7}
HALF_WORD = 16  # bf16 is the upper half of a binary32 number
MOST_LEFT = 31  # places to the left that a 32-bit value may move within 64 bits


class FixedConvertParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.fixed_point.FixedConvert`."""

    in_width: int = Field(default=16, ge=2, le=32, description="bits of x")
    in_frac: int = Field(default=12, ge=-64, le=64, description="fraction bits of x")
    out_width: int = Field(default=8, ge=2, le=32, description="bits of y")
    out_frac: int = Field(default=6, ge=-64, le=64, description="fraction bits of y")
    rounding: Literal["trunc", "rhu", "rhe"] = Field(default="rhe", description="down, to nearest half up, half to even")
    overflow: Literal["wrap", "sat"] = Field(default="sat", description="low bits kept, or clamped")

    def refusals(self) -> Iterator[Refusal]:
        if self.in_frac - self.out_frac > self.in_width:
            yield Refusal("out_frac", f"leaves nothing of {self.in_width} bits with {self.in_frac} fraction bits",
                          self.in_frac - self.in_width)
        if self.out_frac - self.in_frac > MOST_LEFT:
            yield Refusal("out_frac", f"moves x by more than {MOST_LEFT} places", self.in_frac + MOST_LEFT)


class FixedConvert(Elementwise[FixedConvertParameters]):
    """Shift, round, saturate."""

    name = "fixed_convert"
    title = "fixed point to fixed point: every rounding, wrapped or saturated"
    source = "the quantization and overflow modes of ap_fixed"
    parameters_type = FixedConvertParameters
    variants: ClassVar[tuple[FixedConvertParameters, ...]] = (
        FixedConvertParameters(rounding="rhu"), FixedConvertParameters(rounding="trunc", overflow="wrap"),
        FixedConvertParameters(in_width=32, in_frac=24, out_width=16, out_frac=8, overflow="wrap"),
        FixedConvertParameters(in_width=8, in_frac=2, out_width=12, out_frac=7),
        FixedConvertParameters(in_width=6, in_frac=3, out_width=4, out_frac=-3),
    )

    def input_fields(self, p: FixedConvertParameters) -> Fields:
        return {"x": sint(p.in_width)}

    def output_fields(self, p: FixedConvertParameters) -> Fields:
        return {"y": sint(p.out_width)}

    def component(self, p: FixedConvertParameters, target: str = "generic") -> rtl.FixedConvert:
        return rtl.FixedConvert(**p.model_dump())

    def golden(self, p: FixedConvertParameters, beats: Beats) -> Beats:
        return {"y": golden.fixed_convert(beats["x"], in_frac=p.in_frac, out_width=p.out_width, out_frac=p.out_frac,
                                          rounding=p.rounding, overflow=p.overflow)}

    def hls_context(self, p: FixedConvertParameters) -> Mapping[str, Any]:
        return {"drop": p.in_frac - p.out_frac, "out_width": p.out_width, "rounding": p.rounding, "overflow": p.overflow}

    def timing(self, p: FixedConvertParameters) -> Timing:
        return Timing(rtl.FixedConvert.LATENCY)

    def stimulus(self, p: FixedConvertParameters, rng: np.random.Generator, count: int) -> Beats:
        """Edges; codes next to ties and to the ends of y; random codes."""
        number = sint(p.in_width)
        x = random_values(number, rng, max(count // 2, 1))
        drop = p.in_frac - p.out_frac
        if drop > 0:
            unit = 1 << drop
            near = rng.integers(-(1 << p.out_width), 1 << p.out_width, max(count // 2, 1)) * unit + unit // 2
        else:
            near = (rng.choice([-1, 1], max(count // 2, 1)) << p.out_width - 1) >> -drop
        near = np.clip(near + rng.integers(-2, 3, len(near)), number.low, number.high)
        return {"x": np.concatenate([edges(number), near, x])}


class FixedFloatParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.fixed_float.FixedEncode`, and of the way back."""

    width: int = Field(default=16, ge=2, le=32, description="bits of y")
    frac: int = Field(default=12, ge=-94, le=126, description="fraction bits of y")
    wide: Literal["binary32", "bf16"] = Field(default="binary32", description="format of x")


FIXED_FLOAT_VARIANTS = (
    FixedFloatParameters(width=32, frac=30),
    FixedFloatParameters(width=8, frac=-94, wide="bf16"), FixedFloatParameters(width=5, frac=126, wide="bf16"),
)


class FixedEncode(Elementwise[FixedFloatParameters]):
    """Floating point to fixed point."""

    name = "fixed_encode"
    title = "binary32 or bf16 to fixed point, half to even, saturated"
    source = "IEEE 754-2019, convertToIntegerTiesToEven; saturation as of ONNX QuantizeLinear"
    parameters_type = FixedFloatParameters
    variants = FIXED_FLOAT_VARIANTS

    def input_fields(self, p: FixedFloatParameters) -> Fields:
        return {"x": uint(9 + MANTISSA_BITS[p.wide])}

    def output_fields(self, p: FixedFloatParameters) -> Fields:
        return {"y": sint(p.width)}

    def component(self, p: FixedFloatParameters, target: str = "generic") -> fixed_float.FixedEncode:
        return fixed_float.FixedEncode(width=p.width, frac=p.frac, mantissa_bits=MANTISSA_BITS[p.wide])

    def golden(self, p: FixedFloatParameters, beats: Beats) -> Beats:
        bits = beats["x"] << HALF_WORD if p.wide == "bf16" else beats["x"]
        return {"y": golden.fixed_encode(bits, width=p.width, frac=p.frac)}

    def hls_context(self, p: FixedFloatParameters) -> Mapping[str, Any]:
        return {"width": p.width, "frac": p.frac, "mantissa_bits": MANTISSA_BITS[p.wide]}

    def timing(self, p: FixedFloatParameters) -> Timing:
        return Timing(fixed_float.FixedEncode.LATENCY)

    def stimulus(self, p: FixedFloatParameters, rng: np.random.Generator, count: int) -> Beats:
        """Numbers next to codes, ties and the ends of the range; special ones; random bits."""
        halves = random_values(sint(p.width + 2), rng, max(count // 2, 1))
        with np.errstate(over="ignore", under="ignore"):
            near = (halves * 2.0 ** (-p.frac - 1)).astype(np.float32).view(np.uint32).astype(np.int64)
        shift = MANTISSA_BITS["binary32"] - MANTISSA_BITS[p.wide]
        near = np.clip((near >> shift) + rng.integers(-1, 2, len(near)), 0, (1 << 32 - shift) - 1)
        top = 0xFF << MANTISSA_BITS[p.wide]
        sign = 1 << MANTISSA_BITS[p.wide] + 8
        special = np.array([0, 1, top - 1, top, top + 1, sign - 1], np.int64)
        return joined([{"x": np.concatenate([special, special | sign, near])},
                       random_beats(self.input_fields(p), rng, max(count // 2, 1))])


class FixedDecode(Elementwise[FixedFloatParameters]):
    """Fixed point to floating point."""

    name = "fixed_decode"
    title = "fixed point to binary32 or bf16, half to even"
    source = "IEEE 754-2019, convertFromInt"
    parameters_type = FixedFloatParameters
    variants = FIXED_FLOAT_VARIANTS

    def input_fields(self, p: FixedFloatParameters) -> Fields:
        return {"y": sint(p.width)}

    def output_fields(self, p: FixedFloatParameters) -> Fields:
        return {"x": uint(9 + MANTISSA_BITS[p.wide])}

    def component(self, p: FixedFloatParameters, target: str = "generic") -> fixed_float.FixedDecode:
        return fixed_float.FixedDecode(width=p.width, frac=p.frac, mantissa_bits=MANTISSA_BITS[p.wide])

    def golden(self, p: FixedFloatParameters, beats: Beats) -> Beats:
        return {"x": golden.fixed_decode(beats["y"], frac=p.frac, mantissa_bits=MANTISSA_BITS[p.wide])}

    def hls_context(self, p: FixedFloatParameters) -> Mapping[str, Any]:
        return {"width": p.width, "frac": p.frac, "mantissa_bits": MANTISSA_BITS[p.wide]}

    def timing(self, p: FixedFloatParameters) -> Timing:
        return Timing(fixed_float.fixed_decode_latency(p.width))

    def stimulus(self, p: FixedFloatParameters, rng: np.random.Generator, count: int) -> Beats:
        """Edges; ties of the rounding at every length; random codes."""
        number = sint(p.width)
        ties = random_values(number, rng, max(count // 2, 1))
        lowest = rng.integers(0, p.width, len(ties))
        ties = np.clip((ties >> lowest | 1) << lowest, number.low, number.high)
        return {"y": np.concatenate([edges(number), ties, random_values(number, rng, max(count // 2, 1))])}
