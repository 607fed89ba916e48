"""The hardware of schedule `fused2d`: its engine from a spec, and what the cycle model needs to know of it."""

from amaranth.hdl import Shape
from tilewright.families.attention.fused2d_cycles import FusedTiming
from tilewright.families.attention.spec import AttentionSpec
from tilewright.formats import IntFormat
from tilewright.rtl.attention.fused2d.array_sequencer import distance_delay
from tilewright.rtl.attention.fused2d.engine import PUT_DELAY, FusedEngine
from tilewright.rtl.attention.fused2d.key_tiles import JOBS_MAX
from tilewright.rtl.attention.fused2d.row import partial_latency
from tilewright.rtl.attention.fused2d.vector_lane import RESULT_DELAY, TOTAL_READY, lane_cycles
from tilewright.rtl.attention.normalize_rows import division_cycles
from tilewright.rtl.attention.tile_walker import Mask
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.stream_top import StreamTop

QUEUE_LATENCY = 2  # of the results in front of their port


def _shape(number: IntFormat) -> Shape:
    return Shape(number.width, number.signed)


def engine(spec: AttentionSpec, *, target: str = "generic") -> FusedEngine:
    """The engine that ``spec`` describes."""
    return FusedEngine(
        rows=spec.tile_q, cols=spec.cols, head_dim=spec.head_dim, group=spec.group, kv_heads=spec.kv_heads,
        query=_shape(spec.q), key=_shape(spec.k), value=_shape(spec.v), out=_shape(spec.out), score_width=spec.score_width,
        fraction=spec.fraction, guard_bits=spec.guard_bits, table=spec.table, total_width=spec.total_width,
        mask=Mask(spec.mask.kind, **spec.mask.numbers), limits=(spec.limits.queries, spec.limits.keys), target=target)


def stream_rtlil(spec: AttentionSpec, *, target: str = "generic") -> str:
    """RTLIL of the engine with its stream ports, module ``spec.design``."""
    top = StreamTop(engine(spec, target=target))
    return to_rtlil(top, name=spec.design, ports=top.ports)


def timing(spec: AttentionSpec) -> FusedTiming:
    """The latencies of the engine of ``spec``."""
    return FusedTiming(
        jobs=JOBS_MAX, distance=distance_delay(spec.cols), put=PUT_DELAY + partial_latency(spec.cols),
        lane=lane_cycles(spec.head_dim), total=TOTAL_READY, division=division_cycles(spec.total_width),
        result=RESULT_DELAY + QUEUE_LATENCY)
