"""The units ``mxfp4_encode``, ``mxfp4_decode``, ``mxint8_encode`` and ``mxint8_decode``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import mx_decode, mx_encode
from tilewright.sim.golden.units import codecs_mx as golden
from tilewright.units.base import Elementwise, Parameters, Refusal, Timing, Unit
from tilewright.units.fields import Beats, Fields, Lanes, flag, sint, uint
from tilewright.units.stimulus import joined, random_beats

MX_SOURCE = "OCP Microscaling Formats (MX) Specification v1.0, 2023"


class MxEncodeParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.mx_encode.MxEncode`."""

    block: int = Field(default=32, ge=1, le=64, description="numbers that share a scale")
    lanes: int = Field(default=4, ge=1, le=32, description="numbers of a beat")

    def refusals(self) -> Iterator[Refusal]:
        if self.block % self.lanes:
            divisors = [lanes for lanes in range(1, self.block + 1) if self.block % lanes == 0]
            yield Refusal("lanes", f"does not divide the block of {self.block}",
                          min(divisors, key=lambda lanes: abs(lanes - self.lanes)))


class MxDecodeParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.mx_decode.MxDecode`."""

    lanes: int = Field(default=4, ge=1, le=32, description="elements of a beat")


class _MxCodec:
    """What encoder and decoder of a format share."""

    element_name: ClassVar[str]  # as the golden model calls it
    element: ClassVar[mx_encode.MxElement]

    def element_field(self, lanes: int) -> Lanes:
        return Lanes(uint(4) if self.element_name == "e2m1" else sint(8), lanes)


class MxEncode(_MxCodec, Unit[MxEncodeParameters]):
    """bf16 blocks to scale and elements."""

    parameters_type = MxEncodeParameters
    variants: ClassVar[tuple[MxEncodeParameters, ...]] = (
        MxEncodeParameters(lanes=32), MxEncodeParameters(block=6, lanes=1),
    )

    def input_fields(self, p: MxEncodeParameters) -> Fields:
        return {"x": Lanes(uint(16), p.lanes)}

    def output_fields(self, p: MxEncodeParameters) -> Fields:
        return {"element": self.element_field(p.lanes), "scale": uint(8), "last": flag}

    def component(self, p: MxEncodeParameters, target: str = "generic") -> mx_encode.MxEncode:
        return mx_encode.MxEncode(element=self.element, block=p.block, lanes=p.lanes)

    def golden(self, p: MxEncodeParameters, beats: Beats) -> Beats:
        per_block = p.block // p.lanes
        blocks = len(beats["x"]) // per_block
        numbers = beats["x"][:blocks * per_block].reshape(blocks, p.block)
        scale, elements = golden.mx_encode(numbers, element=self.element_name)
        last = np.tile(np.arange(per_block) == per_block - 1, blocks).astype(np.int64)
        return {"element": elements.reshape(-1, p.lanes), "scale": np.repeat(scale, per_block), "last": last}

    def hls_context(self, p: MxEncodeParameters) -> Mapping[str, Any]:
        return {"lanes": p.lanes, "beats": p.block // p.lanes, "emax": self.element.emax, "offset": self.element.offset,
                "e2m1": self.element_name == "e2m1"}

    def timing(self, p: MxEncodeParameters) -> Timing:
        return Timing(mx_encode.mx_encode_latency(p.block // p.lanes), note="from the last beat of a block to its first result")

    def schedule(self, p: MxEncodeParameters, beats: Beats) -> NDArray[np.int64]:
        per_block = p.block // p.lanes
        count = len(beats["x"]) // per_block * per_block
        return np.arange(count, dtype=np.int64) + per_block - 1 + self.timing(p).latency

    def stimulus(self, p: MxEncodeParameters, rng: np.random.Generator, count: int) -> Beats:
        """Blocks of every spread of exponents around every exponent, ties, zeros, subnormals, infinities and NaN."""
        per_block = p.block // p.lanes
        blocks = max(count // per_block, 24)
        top = rng.integers(0, 255, (blocks, 1))
        spread = rng.choice([1, 2, 4, 6, 10, 40, 255], (blocks, 1))
        field = np.maximum(top - rng.integers(0, 256, (blocks, p.block)) % spread, 0)
        mantissa = rng.integers(0, 128, field.shape)
        ties = rng.random((blocks, 1)) < 0.4  # few bits set: elements fall on ties
        mantissa = np.where(ties, mantissa & rng.choice([0x40, 0x60, 0x70, 0x78], field.shape), mantissa)
        codes = rng.integers(0, 2, field.shape) << 15 | field << 7 | mantissa
        codes[0], codes[1] = 0, 0x8000
        codes[2:6] &= 0x807F  # subnormals only
        codes[6:10] &= 0x80FF
        codes[10:12] |= 0x7F00  # the largest exponent, if not infinity
        codes[12] = 0x7F7F
        codes[13:16, rng.integers(0, p.block)] = [0x7F80, 0xFF80, 0x7FC1]
        codes[16, -1], codes[17, 0], codes[18, -1] = 0xFFFF, 0x7F81, 0x7F80
        return {"x": codes.astype(np.int64).reshape(blocks * per_block, p.lanes)}


class MxDecode(_MxCodec, Elementwise[MxDecodeParameters]):
    """Scale and elements to bf16."""

    parameters_type = MxDecodeParameters
    variants: ClassVar[tuple[MxDecodeParameters, ...]] = (MxDecodeParameters(lanes=1),)

    def input_fields(self, p: MxDecodeParameters) -> Fields:
        return {"element": self.element_field(p.lanes), "scale": uint(8)}

    def output_fields(self, p: MxDecodeParameters) -> Fields:
        return {"x": Lanes(uint(16), p.lanes)}

    def component(self, p: MxDecodeParameters, target: str = "generic") -> mx_decode.MxDecode:
        return mx_decode.MxDecode(element=self.element, lanes=p.lanes)

    def golden(self, p: MxDecodeParameters, beats: Beats) -> Beats:
        return {"x": golden.mx_decode(beats["scale"], beats["element"], element=self.element_name)}

    def hls_context(self, p: MxDecodeParameters) -> Mapping[str, Any]:
        return {"lanes": p.lanes, "e2m1": self.element_name == "e2m1"}

    def timing(self, p: MxDecodeParameters) -> Timing:
        return Timing(mx_decode.MxDecode.LATENCY)

    def stimulus(self, p: MxDecodeParameters, rng: np.random.Generator, count: int) -> Beats:
        """Scales at both ends with every element, then any."""
        fields = self.input_fields(p)
        beats = random_beats(fields, rng, max(count // 2, 1))
        ends = random_beats(fields, rng, max(count // 2, 1))
        ends["scale"] = rng.choice([*range(8), *range(246, 256)], len(ends["scale"])).astype(np.int64)
        return joined([ends, beats])


class Mxfp4Encode(MxEncode):
    """bf16 to MXFP4."""

    name = "mxfp4_encode"
    title = "blocks of bf16 to MXFP4: E8M0 scale and E2M1 elements"
    source = MX_SOURCE
    element_name, element = "e2m1", mx_encode.E2M1


class Mxfp4Decode(MxDecode):
    """MXFP4 to bf16."""

    name = "mxfp4_decode"
    title = "MXFP4 to bf16, exact"
    source = MX_SOURCE
    element_name, element = "e2m1", mx_encode.E2M1


class Mxint8Encode(MxEncode):
    """bf16 to MXINT8."""

    name = "mxint8_encode"
    title = "blocks of bf16 to MXINT8: E8M0 scale and 8-bit elements"
    source = MX_SOURCE
    element_name, element = "int8", mx_encode.INT8


class Mxint8Decode(MxDecode):
    """MXINT8 to bf16."""

    name = "mxint8_decode"
    title = "MXINT8 to bf16, exact"
    source = MX_SOURCE
    element_name, element = "int8", mx_encode.INT8
