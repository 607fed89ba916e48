"""Narrow integers to packed bytes and back."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Shape, Value, ValueLike, unsigned
from amaranth.lib import data
from tilewright.rtl.units.fixed_point import saturated
from tilewright.rtl.units.pipeline import Pipelined, Stages


def packed_bytes(lanes: int, width: int) -> int:
    """Bytes that hold ``lanes`` values of ``width`` bits."""
    return -(-lanes * width // 8)


class IntPack(Pipelined):
    """``lanes`` integers, saturated to ``width`` bits each and packed without gaps; the first in the lowest bits.

    Bits of the final byte that no value has are 0. Latency 1 cycle, one beat per cycle.

    Parameters
    ----------
    lanes : int
    in_width, width : int
        Bits of a value before and after, ``width <= in_width``.
    signed : bool
        Two's complement, else unsigned, on both sides.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": ArrayLayout(Shape(in_width, signed), lanes)})))
    o : Out(stream.Signature(StructLayout({"packed": ArrayLayout(8, packed_bytes(lanes, width))})))
    """

    LATENCY = 1

    def __init__(self, *, lanes: int, in_width: int, width: int, signed: bool) -> None:
        if width > in_width:
            raise ValueError(f"in_width must be at least {width}, not {in_width!r}")
        self.lanes = lanes
        self.in_width = in_width
        self.width = width
        self.signed = signed
        super().__init__(inputs={"x": data.ArrayLayout(Shape(in_width, signed), lanes)},
                         outputs={"packed": data.ArrayLayout(unsigned(8), packed_bytes(lanes, width))},
                         latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        fields = [stages.stage(self._narrow(i.x[n]), f"field_{n}", shape=self.width) for n in range(self.lanes)]
        unused = 8 * packed_bytes(self.lanes, self.width) - self.lanes * self.width
        return {"packed": Cat(*fields, Const(0, unused))}

    def _narrow(self, value: Value) -> Value:
        if self.signed:
            return saturated(value, self.width)
        return Mux(value[self.width:].any(), (1 << self.width) - 1, value[:self.width])


class IntUnpack(Pipelined):
    """``lanes`` integers of ``width`` bits out of packed bytes, the first from the lowest bits.

    Latency 1 cycle, one beat per cycle; inverse of :class:`IntPack` where that does not saturate.

    Parameters
    ----------
    lanes, width : int
    signed : bool
        Two's complement, else unsigned.

    Members
    -------
    i : In(stream.Signature(StructLayout({"packed": ArrayLayout(8, packed_bytes(lanes, width))})))
    o : Out(stream.Signature(StructLayout({"x": ArrayLayout(Shape(width, signed), lanes)})))
    """

    LATENCY = 1

    def __init__(self, *, lanes: int, width: int, signed: bool) -> None:
        self.lanes = lanes
        self.width = width
        self.signed = signed
        super().__init__(inputs={"packed": data.ArrayLayout(unsigned(8), packed_bytes(lanes, width))},
                         outputs={"x": data.ArrayLayout(Shape(width, signed), lanes)}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        return {"x": stages.stage(Value.cast(i.packed)[:self.lanes * self.width], "x")}
