"""The hardware of schedule `window_ring`: its engine from a spec, and what the cycle model needs to know of it."""

from amaranth.hdl import Shape
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.window_ring_cycles import RingCycles
from tilewright.formats import IntFormat
from tilewright.rtl.attention.window_ring.engine import WindowRing, ring_timing
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.stream_top import StreamTop


def _shape(number: IntFormat) -> Shape:
    return Shape(number.width, number.signed)


def engine(spec: AttentionSpec, *, target: str = "generic") -> WindowRing:
    """The engine that ``spec`` describes."""
    return WindowRing(
        cores=spec.cores, fixed=spec.mask.sink, lookahead=spec.mask.lookahead, lanes=spec.lanes, chunks=spec.chunks,
        group=spec.group, kv_heads=spec.kv_heads, interval=spec.interval, query=_shape(spec.q), key=_shape(spec.k),
        value=_shape(spec.v), out=_shape(spec.out), score_width=spec.score_width, fraction=spec.fraction,
        mantissa_bits=spec.mantissa_bits, guard_bits=spec.guard_bits, table=spec.table, total_width=spec.total_width,
        limits=(spec.limits.queries, spec.limits.keys), target=target)


def stream_rtlil(spec: AttentionSpec, *, target: str = "generic") -> str:
    """RTLIL of the engine with its stream ports, module ``spec.design``."""
    top = StreamTop(engine(spec, target=target))
    return to_rtlil(top, name=spec.design, ports=top.ports)


def cycle_engine(spec: AttentionSpec) -> RingCycles:
    """``spec`` as the cycle model sees it."""
    timing = ring_timing(cores=spec.cores, lanes=spec.lanes, interval=spec.interval, score_width=spec.score_width,
                         total_width=spec.total_width)
    return RingCycles(spec=spec, interval=spec.interval, latency=timing.latency, results=timing.results, slots=timing.slots)
