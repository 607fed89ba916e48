"""The mean of a frame of quantized values, requantized."""

from collections.abc import Mapping

from amaranth.hdl import Module, Mux, Signal, ValueLike, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.units.dyadic import scaled, scaled_latency
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.round_shift import DISTANCE_BITS


def sum_width(width: int, length_bits: int) -> int:
    """Bits of the sum of ``2**length_bits`` differences of two numbers of ``width`` bits."""
    return width + 1 + length_bits


class ReduceMean(wiring.Component):
    """``y = clamp(rne(sum(x - zero) * multiplier / 2**shift) + zero_point)`` over a frame.

    A frame ends with the beat whose ``last`` is 1; it gives one result. The division by the length is the multiplier's.
    ``zero`` counts for its own beat, the other parameters are those of the last beat. Frames of more than ``2**length_bits``
    beats wrap the sum.

    Latency, from the last beat, 10 cycles at 8 bits, ``length_bits`` of 10 and a multiplier of 24 (sum; product 3 and two
    levels of adders; shift 2; rounding; saturation), 1 less where the sum has 18 bits or fewer, 1 less where the multiplier
    has 17 or fewer; one beat per cycle, also from frame to frame.

    Reference: ReduceMean of ONNX, requantized as in Jacob et al., "Quantization and Training of Neural Networks for
    Efficient Integer-Arithmetic-Only Inference", CVPR 2018.

    Parameters
    ----------
    width, length_bits, multiplier_width, out_width : int
        Of ``x`` and ``y``, signed, of the greatest length, and of the unsigned multiplier.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width), "zero": signed(width), "multiplier": multiplier_width,
        "shift": 6, "zero_point": signed(out_width), "last": 1})))
    o : Out(stream.Signature(StructLayout({"y": signed(out_width)})))
    """

    def __init__(
        self, *, width: int, length_bits: int, multiplier_width: int, out_width: int, target: str = "generic"
    ) -> None:
        self.width = width
        self.length_bits = length_bits
        self.multiplier_width = multiplier_width
        self.out_width = out_width
        self.target = target
        self._parameters = {
            "multiplier": multiplier_width, "shift": DISTANCE_BITS, "zero_point": signed(out_width)}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(
                {"x": signed(width), "zero": signed(width), **self._parameters, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({"y": signed(out_width)}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = sum_width(self.width, self.length_bits)
        m.submodules.scale = scale = _Scale(
            inputs={"total": signed(width), **self._parameters}, outputs={"y": signed(self.out_width)},
            latency=scaled_latency(width, self.multiplier_width), target=self.target)
        first = Signal(init=1)
        waiting = Signal()  # the sum of a whole frame, not yet taken
        total = Signal(signed(width), reset_less=True)
        kept = {name: Signal(shape, name=name, reset_less=True) for name, shape in self._parameters.items()}
        taken = self.i.valid & self.i.ready

        m.d.comb += [self.i.ready.eq(~waiting | scale.i.ready), scale.i.valid.eq(waiting), scale.i.payload.total.eq(total)]
        m.d.comb += [scale.i.payload[name].eq(value) for name, value in kept.items()]
        with m.If(scale.i.ready):
            m.d.sync += waiting.eq(0)
        with m.If(taken):
            beat = self.i.payload
            m.d.sync += [
                total.eq(Mux(first, 0, total) + (beat.x - beat.zero)), first.eq(beat.last), waiting.eq(beat.last),
                *(value.eq(beat[name]) for name, value in kept.items())]
        wiring.connect(m, scale.o, wiring.flipped(self.o))
        return m


class _Scale(Pipelined):
    """What follows the sum."""

    def __init__(
        self, *, inputs: Mapping[str, object], outputs: Mapping[str, object], latency: int, target: str
    ) -> None:
        self.target = target
        super().__init__(inputs=inputs, outputs=outputs, latency=latency)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        return {"y": scaled(
            stages, i.total, i.multiplier, i.shift, i.zero_point, out_width=len(self.o.payload.y), target=self.target)}


def reduce_mean_latency(width: int, length_bits: int, multiplier_width: int) -> int:
    """Latency of :class:`ReduceMean`, from the last beat of a frame."""
    return 1 + scaled_latency(sum_width(width, length_bits), multiplier_width)
