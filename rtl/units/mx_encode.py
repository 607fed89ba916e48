"""Blocks of bf16 numbers to microscaling formats: one power-of-two scale, narrow elements."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from amaranth.hdl import Array, Cat, Const, Module, Mux, ShapeLike, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.frame_buffer import FrameBuffer
from tilewright.rtl.units.pipeline import Pipelined, Stages

MANTISSA_BITS = 7
EXPONENT_BITS = 8
NAN_SCALE = (1 << EXPONENT_BITS) - 1
SCALE_LATENCY = 3  # from a block's last beat to its token in the ring
E2M1_VALUES = tuple(Fraction(twice, 2) for twice in (0, 1, 2, 3, 4, 6, 8, 12))


@dataclass(frozen=True)
class MxElement:
    """An element format: its shape, log2 of its largest power of two, and the significand's place in it.

    A significand of 8 bits moved right by ``offset + scale - exponent`` has ``fixed_fraction`` fraction bits.
    """

    shape: ShapeLike
    emax: int
    offset: int
    fixed_fraction: int


E2M1 = MxElement(shape=unsigned(4), emax=2, offset=5, fixed_fraction=2)
INT8 = MxElement(shape=signed(8), emax=0, offset=1, fixed_fraction=6)


def e2m1_codes() -> list[int]:
    """E2M1 magnitude for a number of 3 integer and 2 fraction bits and, in the lowest bit, whether more is left."""
    codes = []
    for entry in range(64):
        # A quarter of the last place stands for whatever is left below it: no tie and no code lies there.
        value = Fraction(entry >> 1, 4) + (entry & 1) * Fraction(1, 16)
        codes.append(min(range(8), key=lambda code: (abs(E2M1_VALUES[code] - value), code & 1)))
    return codes


class MxElements(Pipelined):
    """Elements ``x / 2**(scale - 127)`` of the lanes, to nearest, ties to even, saturated; 0 where ``scale`` is NaN.

    Latency 4 cycles (distance 2; shift; rounding), one beat per cycle.

    Parameters
    ----------
    element : MxElement
    lanes : int

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": ArrayLayout(16, lanes), "scale": 8, "last": 1})))
    o : Out(stream.Signature(StructLayout({"element": ArrayLayout(element.shape, lanes), "scale": 8, "last": 1})))
    """

    LATENCY = 4

    def __init__(self, *, element: MxElement, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(
            inputs={"x": data.ArrayLayout(unsigned(16), lanes), "scale": EXPONENT_BITS, "last": 1},
            outputs={"element": data.ArrayLayout(element.shape, lanes), "scale": EXPONENT_BITS, "last": 1},
            latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        is_nan = stages.stage(i.scale == NAN_SCALE, "is_nan", cycles=3)
        return {
            "element": Cat(self._lane(stages, i.x[n], i.scale, is_nan, n) for n in range(self.lanes)),
            "scale": stages.stage(i.scale, "scale", cycles=self.LATENCY),
            "last": stages.stage(i.last, "last", cycles=self.LATENCY),
        }

    def _lane(self, stages: Stages, x: Value, scale: Value, is_nan: Value, n: int) -> Value:
        exponent = x[MANTISSA_BITS:-1]
        # Beyond this only what is left counts.
        furthest = MANTISSA_BITS + 2
        distance = stages.stage(self.element.offset + scale - (exponent | ~exponent.any()), f"distance_{n}")
        down = stages.stage(Mux(distance > furthest, furthest, distance), f"down_{n}", shape=ceil_log2(furthest + 1))
        significand = stages.stage(Cat(x[:MANTISSA_BITS], exponent.any()), f"significand_{n}", cycles=2)
        sign = stages.stage(x[-1], f"sign_{n}", cycles=3)

        shifted = stages.named(Cat(Const(0, furthest), significand) >> down, f"shifted_{n}")
        if self.element is E2M1:
            entry = stages.stage(Cat(shifted[:furthest].any(), shifted[furthest:furthest + 5]), f"entry_{n}")
            magnitude = Array(Const(code, 3) for code in e2m1_codes())[entry]
            return stages.stage(Mux(is_nan, 0, Cat(magnitude, sign)), f"element_{n}", shape=4)
        half, rest = shifted[furthest - 1], shifted[:furthest - 1].any()
        kept = stages.stage(shifted[furthest:furthest + 7], f"kept_{n}")
        up = stages.stage(half & (rest | shifted[furthest]), f"up_{n}")
        # -(kept + up) = ~kept + 1 - up; the greatest magnitude is 127 on both sides.
        up = up & ~kept.all()
        total = (Cat(kept, 0) ^ sign.replicate(8)).as_signed() + (up ^ sign)
        return stages.stage(Mux(is_nan, 0, total), f"element_{n}", shape=signed(8))


def mx_encode_latency(beats: int) -> int:
    """Of :class:`MxEncode`, blocks of ``beats``: the scale takes 3 cycles, the ring's only beat 4."""
    return MxElements.LATENCY + max(SCALE_LATENCY, FrameBuffer.LATENCY - (beats - 1))


class MxEncode(wiring.Component):
    """Blocks of ``block`` bf16 numbers, ``lanes`` in a beat, as elements and the scale that they share.

    ``scale`` is the exponent field of the largest magnitude less ``emax``, at least 0: E8M0, ``2**(scale - 127)``. A block that
    holds a NaN or an infinity gets the scale NaN, 255, and elements 0. Elements are ``x / 2**(scale - 127)`` to nearest,
    ties to even, saturated; INT8 elements have 6 fraction bits and never are -128. Every beat of a block carries the
    scale; ``last`` marks the final one.

    A block waits in a ring until its largest exponent is known. Latency 7 cycles from the last beat of a block to the
    first result, 8 where a block is one beat; one beat per cycle, blocks back to back.

    Reference: OCP Microscaling Formats (MX) Specification v1.0, 2023, section 6.3; what it leaves open (NaN, -128)
    is our choice.

    Parameters
    ----------
    element : MxElement
        ``E2M1`` or ``INT8``.
    block, lanes : int
        ``lanes`` divides ``block``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": ArrayLayout(16, lanes)})))
    o : Out(stream.Signature(StructLayout({"element": ArrayLayout(element.shape, lanes), "scale": 8, "last": 1})))
    """

    def __init__(self, *, element: MxElement, block: int, lanes: int) -> None:
        if block % lanes:
            raise ValueError(f"lanes must divide the block of {block}, not {lanes!r}")
        self.element = element
        self.block = block
        self.lanes = lanes
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"x": data.ArrayLayout(unsigned(16), lanes)}))),
            "o": Out(stream.Signature(data.StructLayout(
                {"element": data.ArrayLayout(element.shape, lanes), "scale": EXPONENT_BITS, "last": 1}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats = self.block // self.lanes
        layout = data.ArrayLayout(unsigned(16), self.lanes)
        m.submodules.buffer = buffer = FrameBuffer(
            item={"x": layout}, token={"scale": EXPONENT_BITS}, depth=1 << ceil_log2(2 * beats + 4))
        m.submodules.elements = elements = MxElements(element=self.element, lanes=self.lanes)

        advance = Signal()  # of the way to the scale: two stages, a third for blocks of one beat, then the token
        beat = Signal(range(beats))
        take = Signal()
        m.d.comb += [
            advance.eq(~buffer.token.valid | buffer.token.ready),
            self.i.ready.eq(buffer.i.ready & advance),
            take.eq(self.i.valid & self.i.ready),
            buffer.i.valid.eq(self.i.valid & advance),
            Value.cast(buffer.i.payload.x).eq(Value.cast(self.i.payload.x)),
            buffer.i.payload.last.eq(beat == beats - 1),
        ]
        with m.If(take):
            m.d.sync += beat.eq(Mux(buffer.i.payload.last, 0, beat + 1))

        largest, running = Signal(EXPONENT_BITS, reset_less=True), Signal(EXPONENT_BITS, reset_less=True)
        greater, scale = Signal(EXPONENT_BITS), Signal(EXPONENT_BITS, reset_less=True)
        present, first, last = Signal(), Signal(init=1), Signal(reset_less=True)
        m.d.comb += [
            greater.eq(Mux(first | (largest > running), largest, running)),
        ]
        if beats > 1:
            m.d.comb += buffer.token.payload.scale.eq(scale)
        with m.If(advance):
            m.d.sync += [
                present.eq(take), last.eq(buffer.i.payload.last),
                largest.eq(self._largest([self.i.payload.x[n][MANTISSA_BITS:-1] for n in range(self.lanes)])),
            ]
            if beats > 1:
                m.d.sync += buffer.token.valid.eq(present & last)
            else:  # no earlier than its beat, or it would hold up the next block's
                decided = Signal()
                m.d.sync += [decided.eq(present), buffer.token.valid.eq(decided), buffer.token.payload.scale.eq(scale)]
            with m.If(present):
                m.d.sync += [first.eq(last), running.eq(greater)]
                m.d.sync += scale.eq(self._scale(greater))

        wiring.connect(m, buffer.o, elements.i)
        wiring.connect(m, elements.o, wiring.flipped(self.o))
        return m

    def _largest(self, values: list[Value]) -> Value:
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=False)
            values = [*(Mux(a > b, a, b) for a, b in pairs), *values[len(values) // 2 * 2:]]
        return values[0]

    def _scale(self, largest: Value) -> Value:
        emax = self.element.emax
        return Mux(largest.all(), largest, Mux(largest > emax, largest - emax, 0))
