"""The hardware of `family: attention`: its engine from a spec, and what the cycle model needs to know of it."""

import math

from amaranth.hdl import Shape
from tilewright.families.attention.cache_index import places
from tilewright.families.attention.cycles import CycleEngine
from tilewright.families.attention.spec import AttentionSpec
from tilewright.formats import IntFormat
from tilewright.rtl.attention.bias_table import Bias
from tilewright.rtl.attention.cache_layout import CacheSize
from tilewright.rtl.attention.cache_memory import READ_LATENCY
from tilewright.rtl.attention.engine import AttentionEngine
from tilewright.rtl.attention.key_timing import key_timing
from tilewright.rtl.attention.normalize_rows import RESULT_LATENCY, division_cycles
from tilewright.rtl.attention.rotary import Turns
from tilewright.rtl.attention.row_cache import append_latency
from tilewright.rtl.attention.softmax import Softmax
from tilewright.rtl.attention.sources import leads
from tilewright.rtl.attention.tile_walker import Mask
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.stream_top import StreamTop


def _shape(number: IntFormat) -> Shape:
    return Shape(number.width, number.signed)


def _softmax(spec: AttentionSpec) -> Softmax:
    return Softmax(
        octave=spec.octave, fraction=spec.fraction, mantissa_bits=spec.mantissa_bits, guard_bits=spec.guard_bits,
        table=spec.table, total_width=spec.total_width, passes=spec.passes, parabola=spec.parabola,
        phi=None if spec.phi is None else spec.phi << spec.fraction,
        window=(spec.window[0] << spec.fraction, spec.window[1] << spec.fraction), rise_octaves=spec.rise_octaves)


def engine(spec: AttentionSpec, *, target: str = "generic") -> AttentionEngine:
    """The engine that ``spec`` describes."""
    return AttentionEngine(
        rows=spec.tile_q, lanes=spec.lanes, chunks=spec.chunks, group=spec.group, kv_heads=spec.kv_heads, query=_shape(spec.q),
        key=_shape(spec.k), value=_shape(spec.v), out=_shape(spec.out), score_width=spec.score_width, softmax=_softmax(spec),
        mask=Mask(spec.mask.kind, **spec.mask.numbers), bias=Bias(*spec.bias_shape) if spec.bias_shape else None,
        rotary=_turns(spec), limits=(spec.limits.queries, spec.limits.keys),
        order=spec.order, cache=_cache(spec), target=target)


def _turns(spec: AttentionSpec) -> Turns | None:
    return Turns(*spec.rotary_tables(), places=places(spec)) if spec.rotary else None


def _cache(spec: AttentionSpec) -> CacheSize | None:
    cache = spec.cache
    if cache is None:
        return None
    return CacheSize(slots=cache.slots, ring=spec.cache_ring, bits=cache.bits, group_chunks=max(cache.group // spec.lanes, 1))


def stream_rtlil(spec: AttentionSpec, *, target: str = "generic") -> str:
    """RTLIL of the engine with its stream ports, module ``spec.design``."""
    top = StreamTop(engine(spec, target=target))
    return to_rtlil(top, name=spec.design, ports=top.ports)


def cycle_engine(spec: AttentionSpec) -> CycleEngine:
    """``spec`` as the cycle model sees it."""
    lead = leads(caches=spec.cache is not None, turns=_turns(spec), keys_max=spec.limits.keys)
    timing = key_timing(
        softmax=_softmax(spec), lanes=spec.lanes, rows=spec.tile_q, chunks=spec.chunks, score_width=spec.score_width,
        biased=spec.bias is not None, cached=spec.cache is not None, lead=lead.keys)
    return CycleEngine(
        spec=spec, loop=timing.loop, settling=timing.settling, interval=timing.interval, key_latency=timing.latency,
        slots=timing.slots, answer=timing.answer, division=division_cycles(spec.total_width), result_latency=RESULT_LATENCY,
        query_lead=lead.queries, key_lead=lead.keys, value_lead=READ_LATENCY if spec.cache else 0,
        append_latency={"k": _append_latency(spec, spec.k, lead.stored), "v": _append_latency(spec, spec.v, 0)},
        bias_entries=math.prod(spec.bias_shape) if spec.bias_shape else 0)


def _append_latency(spec: AttentionSpec, number: IntFormat, lead: int) -> int:
    cache = _cache(spec)
    if cache is None:
        return 0
    return append_latency(compresses=cache.bits < number.width, group_chunks=cache.group_chunks, lead=lead)
