"""The units ``bf16_encode``, ``bf16_decode`` and their like for fp8: floating point narrow and wide."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from tilewright.rtl.units import float_decode, float_encode, float_format
from tilewright.sim.golden.units import codecs_float as golden
from tilewright.units.base import Elementwise, Parameters, Timing
from tilewright.units.fields import Beats, Fields, uint
from tilewright.units.stimulus import joined, random_beats

MANTISSA_BITS = {"binary32": 23, "bf16": 7}
HALF_WORD = 16  # bf16 is the upper half of a binary32 number


class FloatDecodeParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.float_decode.FloatDecode`."""

    wide: Literal["binary32", "bf16"] = Field(default="binary32", description="format of x")


class FloatEncodeParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.float_encode.FloatEncode`."""

    wide: Literal["binary32", "bf16"] = Field(default="binary32", description="format of x")
    saturate: bool = Field(default=False, description="whether what is too large becomes the largest finite number")


class Bf16DecodeParameters(FloatDecodeParameters):
    """Parameters of the decoder of bf16."""

    wide: Literal["binary32"] = Field(default="binary32", description="format of x")


class Bf16EncodeParameters(FloatEncodeParameters):
    """Parameters of the encoder of bf16."""

    wide: Literal["binary32"] = Field(default="binary32", description="format of x")


class _FloatCodec:
    """What encoder and decoder of a format share."""

    form_name: ClassVar[str]  # as the golden model calls it
    form: ClassVar[float_format.FloatFormat]

    def context(self, wide: str) -> dict[str, Any]:
        """Constants of the format and of the wide one."""
        form = self.form
        return {
            "mantissa_bits": form.mantissa_bits, "width": form.width, "largest": form.largest,
            "infinity": -1 if form.infinity is None else form.infinity, "nan": form.nan,
            "offset": float_format.FLOAT32_BIAS - form.bias, "wide_mantissa_bits": MANTISSA_BITS[wide],
        }


class FloatEncode(_FloatCodec, Elementwise[FloatEncodeParameters]):
    """Wide to narrow, to nearest even."""

    parameters_type: ClassVar[type[FloatEncodeParameters]] = FloatEncodeParameters
    variants: ClassVar[tuple[FloatEncodeParameters, ...]] = (
        FloatEncodeParameters(saturate=True), FloatEncodeParameters(wide="bf16"),
        FloatEncodeParameters(wide="bf16", saturate=True),
    )

    def input_fields(self, p: FloatEncodeParameters) -> Fields:
        return {"x": uint(9 + MANTISSA_BITS[p.wide])}

    def output_fields(self, p: FloatEncodeParameters) -> Fields:
        return {"code": uint(self.form.width)}

    def component(self, p: FloatEncodeParameters, target: str = "generic") -> float_encode.FloatEncode:
        return float_encode.FloatEncode(form=self.form, mantissa_bits=MANTISSA_BITS[p.wide], saturate=p.saturate)

    def golden(self, p: FloatEncodeParameters, beats: Beats) -> Beats:
        bits = beats["x"] << HALF_WORD if p.wide == "bf16" else beats["x"]
        return {"code": golden.encode_float(bits, form=self.form_name, saturate=p.saturate)}

    def hls_context(self, p: FloatEncodeParameters) -> Mapping[str, Any]:
        beyond = self.form.largest if p.saturate or self.form.infinity is None else self.form.infinity
        if not p.saturate and self.form.infinity is None:
            beyond = self.form.nan or self.form.largest
        return {**self.context(p.wide), "beyond": beyond}

    def timing(self, p: FloatEncodeParameters) -> Timing:
        return Timing(float_encode.FloatEncode.LATENCY)

    def stimulus(self, p: FloatEncodeParameters, rng: np.random.Generator, count: int) -> Beats:
        """Around every code and tie of the format, as far as ``count`` reaches, then random bits."""
        shift = MANTISSA_BITS["binary32"] - MANTISSA_BITS[p.wide]
        codes = golden.decode_float(np.arange(self.form.largest + 2, dtype=np.int64), form=self.form_name) >> shift
        ties = codes[:-1] + codes[1:] >> 1
        near = np.unique(np.concatenate([points + step for points in (codes, ties) for step in (-1, 0, 1)]))
        top = 0xFF << MANTISSA_BITS[p.wide]
        near = np.concatenate([near[near >= 0], top + np.array([-1, 0, 1, (top & -top) - 1])])
        near = np.unique(np.concatenate([near, near | 1 << 8 + MANTISSA_BITS[p.wide]]))
        near = near[np.unique(np.linspace(0, len(near) - 1, min(len(near), max(count // 2, 1))).astype(np.int64))]
        # Random bits of binary32 rarely meet the range of fp8: half of them get an exponent near it.
        wide = random_beats(self.input_fields(p), rng, max(count - len(near), 2))["x"]
        span = (1 << self.form.exponent_bits) + self.form.mantissa_bits + 4
        low = float_format.FLOAT32_BIAS - self.form.bias - self.form.mantissa_bits - 2
        close = np.clip(low + rng.integers(0, span, len(wide) // 2), 0, 0xFF)
        wide[::2][:len(close)] &= ~np.int64(top)
        wide[::2][:len(close)] |= close << MANTISSA_BITS[p.wide]
        return joined([{"x": near}, {"x": wide}])


class FloatDecode(_FloatCodec, Elementwise[FloatDecodeParameters]):
    """Narrow to wide, exact."""

    parameters_type: ClassVar[type[FloatDecodeParameters]] = FloatDecodeParameters
    variants: ClassVar[tuple[FloatDecodeParameters, ...]] = (FloatDecodeParameters(wide="bf16"),)

    def input_fields(self, p: FloatDecodeParameters) -> Fields:
        return {"code": uint(self.form.width)}

    def output_fields(self, p: FloatDecodeParameters) -> Fields:
        return {"x": uint(9 + MANTISSA_BITS[p.wide])}

    def component(self, p: FloatDecodeParameters, target: str = "generic") -> float_decode.FloatDecode:
        return float_decode.FloatDecode(form=self.form, mantissa_bits=MANTISSA_BITS[p.wide])

    def golden(self, p: FloatDecodeParameters, beats: Beats) -> Beats:
        bits = golden.decode_float(beats["code"], form=self.form_name)
        return {"x": bits >> HALF_WORD if p.wide == "bf16" else bits}

    def hls_context(self, p: FloatDecodeParameters) -> Mapping[str, Any]:
        return self.context(p.wide)

    def timing(self, p: FloatDecodeParameters) -> Timing:
        return Timing(float_decode.FloatDecode.LATENCY)


BF16_SOURCE = "IEEE 754-2019, section 5.4.2, for the upper half of binary32"
FP8_SOURCE = "Micikevicius et al., FP8 Formats for Deep Learning, 2022"


class Bf16Encode(FloatEncode):
    """binary32 to bf16."""

    name = "bf16_encode"
    title = "binary32 to bf16, half to even"
    source = BF16_SOURCE
    form_name, form = "bf16", float_format.BF16
    parameters_type = Bf16EncodeParameters
    variants = (Bf16EncodeParameters(saturate=True),)


class Bf16Decode(FloatDecode):
    """bf16 to binary32."""

    name = "bf16_decode"
    title = "bf16 to binary32, exact"
    source = BF16_SOURCE
    form_name, form = "bf16", float_format.BF16
    parameters_type = Bf16DecodeParameters
    variants = ()


class E4m3Encode(FloatEncode):
    """binary32 or bf16 to fp8 e4m3."""

    name = "e4m3_encode"
    title = "binary32 or bf16 to fp8 e4m3, half to even"
    source = FP8_SOURCE
    form_name, form = "e4m3", float_format.E4M3


class E4m3Decode(FloatDecode):
    """fp8 e4m3 to binary32 or bf16."""

    name = "e4m3_decode"
    title = "fp8 e4m3 to binary32 or bf16, exact"
    source = FP8_SOURCE
    form_name, form = "e4m3", float_format.E4M3


class E5m2Encode(FloatEncode):
    """binary32 or bf16 to fp8 e5m2."""

    name = "e5m2_encode"
    title = "binary32 or bf16 to fp8 e5m2, half to even"
    source = FP8_SOURCE
    form_name, form = "e5m2", float_format.E5M2


class E5m2Decode(FloatDecode):
    """fp8 e5m2 to binary32 or bf16."""

    name = "e5m2_decode"
    title = "fp8 e5m2 to binary32 or bf16, exact"
    source = FP8_SOURCE
    form_name, form = "e5m2", float_format.E5M2
