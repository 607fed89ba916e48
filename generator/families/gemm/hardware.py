"""A GEMM spec as hardware: the engine and its tops."""

from dataclasses import dataclass

from amaranth.hdl import Shape
from tilewright.families.gemm.registers import registers
from tilewright.families.gemm.spec import GemmSpec
from tilewright.formats import IntFormat
from tilewright.registers import hardware
from tilewright.rtl.gemm.axi_top import GemmAxi
from tilewright.rtl.gemm.engine import GemmEngine
from tilewright.rtl.gemm.uart_top import GemmUart
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.requantize import requantize_latency
from tilewright.rtl.stream_top import StreamTop
from tilewright.serial_transport import BAUD_RATE


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
    return requantize_latency(acc_width=spec.acc_width, mode=spec.rounding, multiplier_bits=spec.multiplier_bits,
                              split=split)


@dataclass(frozen=True)
class CycleEngine:
    """What the cycle model asks of an engine."""

    rows: int
    cols: int
    dataflow: str
    pe_pipeline: int
    has_requant: bool
    result_latency: int


def cycle_engine(spec: GemmSpec) -> CycleEngine:
    """The engine of ``spec`` as the cycle model sees it."""
    return CycleEngine(spec.rows, spec.cols, spec.dataflow, spec.pe_pipeline, spec.has_requant, result_latency(spec))


def stream_rtlil(spec: GemmSpec, *, target: str = "generic") -> str:
    """RTLIL of `top: stream`, module ``spec.design``."""
    top = StreamTop(engine(spec, target=target))
    return to_rtlil(top, name=spec.design, ports=top.ports)


def axi_rtlil(spec: GemmSpec, design_hash: str, *, target: str = "generic") -> str:
    """RTLIL of `top: axi`, module ``spec.design``."""
    top = GemmAxi(engine=engine(spec, target=target), registers=hardware(registers(spec, design_hash)))
    return to_rtlil(top, name=spec.design)


def uart_rtlil(spec: GemmSpec, design_hash: str, *, clock_hz: int, leds_low: bool = False, target: str = "generic") -> str:
    """RTLIL of a board's top, module ``spec.design``; its LEDs light at 0 where ``leds_low``."""
    top = GemmUart(engine=engine(spec, target=target), registers=hardware(registers(spec, design_hash)),
                   divisor=round(clock_hz / BAUD_RATE), leds_low=leds_low)
    return to_rtlil(top, name=spec.design)
