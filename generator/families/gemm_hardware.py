"""A GEMM spec as hardware: the engine and its tops."""

from amaranth.hdl import Shape
from tilewright.families.gemm import GemmSpec
from tilewright.formats import IntFormat
from tilewright.rtl.gemm.engine import GemmEngine
from tilewright.rtl.gemm.stream_top import GemmStream
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.requantize import Requantize


def shape(number: IntFormat) -> Shape:
    return Shape(number.width, number.signed)


def engine(spec: GemmSpec, *, target: str = "generic") -> GemmEngine:
    """The engine of ``spec``; ``target`` selects the form of multipliers and adders."""
    return GemmEngine(
        rows=spec.rows, cols=spec.cols, dataflow=spec.dataflow, pe_pipeline=spec.pe_pipeline,
        act=shape(spec.act), weight=shape(spec.weight),
        act_operand=shape(spec.act_operand), weight_operand=shape(spec.weight_operand),
        act_zero_point=spec.numbers.act_zero_point, weight_zero_point=spec.numbers.weight_zero_point,
        acc_width=spec.acc_width, overflow=spec.acc_overflow,
        requant=spec.rounding if spec.has_requant else None, out=shape(spec.out),
        multiplier_bits=spec.multiplier_bits, activation=spec.activation,
        limits=(spec.limits.m, spec.limits.n, spec.limits.k), target=target)


def result_latency(spec: GemmSpec) -> int:
    """Cycles a sum spends in its lane's requantizer, or in aligning its halves where there is none."""
    split = spec.dataflow == "output_stationary"
    if not spec.has_requant:
        return int(split)
    return Requantize(acc_width=spec.acc_width, out_shape=shape(spec.out), mode=spec.rounding, split=split,
                      multiplier_bits=spec.multiplier_bits, activation=spec.activation, prescale=False).latency


def stream_rtlil(spec: GemmSpec, *, target: str = "generic") -> str:
    """RTLIL of `top: stream`, module ``spec.design``."""
    top = GemmStream(engine(spec, target=target))
    return to_rtlil(top, name=spec.design, ports=top.ports)
