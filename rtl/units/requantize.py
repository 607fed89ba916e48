"""Requantization behind streams."""

from collections.abc import Mapping

from amaranth.hdl import Shape, Value, ValueLike, signed, unsigned
from amaranth.lib import data
from tilewright.rtl import requantize
from tilewright.rtl.shift_round import SHIFT_WIDTH
from tilewright.rtl.units.pipeline import Pipelined, Stages


class Requantize(Pipelined):
    """``y = clamp(round((acc + bias) * multiplier / 2**shift) + zero_point, low, high)``.

    The arithmetic is that of :class:`tilewright.rtl.requantize.Requantize`, here in a pipeline that a consumer may stall;
    every parameter comes with its beat. Latency 7 cycles, one result per cycle; mode "ort" adds 4, a multiplier below 11 bits
    takes 1 off. Four multipliers of 18 x 18 bits.

    Reference: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
    CVPR 2018, section 2.2.

    Parameters
    ----------
    acc_width : int
        4..48 bits, signed.
    multiplier_bits : int
        1..24.
    out_shape : Shape
        Of the result, 2..16 bits.
    mode : str
        "rne": to nearest, ties to even; "half_up": ties up; "ort": as ONNX Runtime's float32 kernels round.
    activation : str
        "clip": ``low`` and ``high`` come with every beat, ``low <= high``. "none": they are the bounds of ``out_shape``.
        "relu": likewise, but ``low`` is ``zero_point`` where that is higher.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout({"acc": signed(acc_width), "bias": signed(32), "multiplier": multiplier_bits,
        "shift": 6, "zero_point": signed(out_width + 1), "low": out_shape, "high": out_shape})))
        ``low`` and ``high`` only with "clip".
    o : Out(stream.Signature(StructLayout({"y": out_shape})))
    """

    def __init__(
        self, *, acc_width: int, multiplier_bits: int, out_shape: Shape, mode: str, activation: str, target: str = "generic"
    ) -> None:
        self.acc_width = acc_width
        self.multiplier_bits = multiplier_bits
        self.out_shape = out_shape
        self.mode = mode
        self.activation = activation
        self.target = target
        bounds = {"low": out_shape, "high": out_shape} if activation == "clip" else {}
        super().__init__(
            inputs={
                "acc": signed(acc_width), "bias": signed(requantize.BIAS_WIDTH), "multiplier": unsigned(multiplier_bits),
                "shift": SHIFT_WIDTH, "zero_point": signed(out_shape.width + 1), **bounds},
            outputs={"y": out_shape},
            latency=requantize.requantize_latency(
                acc_width=acc_width, mode=mode, multiplier_bits=multiplier_bits, split=False))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        core = requantize.Requantize(
            acc_width=self.acc_width, multiplier_bits=self.multiplier_bits, out_shape=self.out_shape, mode=self.mode,
            activation=self.activation, target=self.target, stalls=True)
        stages.m.submodules.requantize = core
        stages.m.d.comb += core.enable.eq(stages.advance)
        stages.m.d.comb += [getattr(core, name).eq(Value.cast(i[name])) for name in i.shape().members]
        return {"y": core.result}
