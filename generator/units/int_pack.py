"""The units ``int_pack`` and ``int_unpack``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field
from tilewright.formats import IntFormat
from tilewright.rtl.units import int_pack as rtl
from tilewright.sim.golden.units import codecs_fixed as golden
from tilewright.units.base import Elementwise, Parameters, Refusal, Timing
from tilewright.units.fields import Beats, Fields, Lanes, uint


class IntUnpackParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.int_pack.IntUnpack`."""

    lanes: int = Field(default=8, ge=1, le=64, description="values of a beat")
    width: int = Field(default=4, ge=1, le=8, description="bits of a packed value")
    signed: bool = Field(default=True, description="two's complement, else unsigned")

    def refusals(self) -> Iterator[Refusal]:
        if self.signed and self.width == 1:
            yield Refusal("width", "leaves only a sign", 2)


class IntPackParameters(IntUnpackParameters):
    """Parameters of :class:`tilewright.rtl.units.int_pack.IntPack`."""

    in_width: int = Field(default=8, ge=1, le=16, description="bits of a value")

    def refusals(self) -> Iterator[Refusal]:
        yield from super().refusals()
        if self.in_width < self.width:
            yield Refusal("in_width", f"is below the {self.width} bits of a packed value", self.width)


class IntPack(Elementwise[IntPackParameters]):
    """Saturate and pack."""

    name = "int_pack"
    title = "integers saturated to N bits and packed into bytes"
    source = "the order of int4 and int2 tensors in ONNX: the first element in the lowest bits"
    parameters_type = IntPackParameters
    variants: ClassVar[tuple[IntPackParameters, ...]] = (
        IntPackParameters(lanes=2, width=3), IntPackParameters(lanes=2, width=4, signed=False),
        IntPackParameters(lanes=16, width=2, in_width=4),
        IntPackParameters(lanes=16, width=1, in_width=1, signed=False),
    )

    def input_fields(self, p: IntPackParameters) -> Fields:
        return {"x": Lanes(IntFormat(p.in_width, p.signed), p.lanes)}

    def output_fields(self, p: IntPackParameters) -> Fields:
        return {"packed": Lanes(uint(8), rtl.packed_bytes(p.lanes, p.width))}

    def component(self, p: IntPackParameters, target: str = "generic") -> rtl.IntPack:
        return rtl.IntPack(lanes=p.lanes, in_width=p.in_width, width=p.width, signed=p.signed)

    def golden(self, p: IntPackParameters, beats: Beats) -> Beats:
        return {"packed": golden.int_pack(beats["x"], width=p.width, signed=p.signed)}

    def hls_context(self, p: IntPackParameters) -> Mapping[str, Any]:
        packed = IntFormat(p.width, p.signed)
        return {"lanes": p.lanes, "width": p.width, "in_width": p.in_width, "low": packed.low, "high": packed.high,
                "bytes": rtl.packed_bytes(p.lanes, p.width)}

    def timing(self, p: IntPackParameters) -> Timing:
        return Timing(rtl.IntPack.LATENCY)


class IntUnpack(Elementwise[IntUnpackParameters]):
    """Unpack and extend."""

    name = "int_unpack"
    title = "packed integers of N bits out of bytes"
    source = "the order of int4 and int2 tensors in ONNX: the first element in the lowest bits"
    parameters_type = IntUnpackParameters
    variants: ClassVar[tuple[IntUnpackParameters, ...]] = (
        IntUnpackParameters(lanes=5, width=3), IntUnpackParameters(lanes=2, width=4, signed=False),
        IntUnpackParameters(lanes=8, width=1, signed=False),
    )

    def input_fields(self, p: IntUnpackParameters) -> Fields:
        return {"packed": Lanes(uint(8), rtl.packed_bytes(p.lanes, p.width))}

    def output_fields(self, p: IntUnpackParameters) -> Fields:
        return {"x": Lanes(IntFormat(p.width, p.signed), p.lanes)}

    def component(self, p: IntUnpackParameters, target: str = "generic") -> rtl.IntUnpack:
        return rtl.IntUnpack(lanes=p.lanes, width=p.width, signed=p.signed)

    def golden(self, p: IntUnpackParameters, beats: Beats) -> Beats:
        return {"x": golden.int_unpack(beats["packed"], lanes=p.lanes, width=p.width, signed=p.signed)}

    def hls_context(self, p: IntUnpackParameters) -> Mapping[str, Any]:
        return {"lanes": p.lanes, "width": p.width}

    def timing(self, p: IntUnpackParameters) -> Timing:
        return Timing(rtl.IntUnpack.LATENCY)
