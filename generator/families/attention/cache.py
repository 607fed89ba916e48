"""The block `cache` of an attention design: what is derived where it is not written, and what it contradicts."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tilewright.families.attention.fields import RINGS, Cache, Engine, Limits, Mask, Model, Numbers
from tilewright.spec import Problem

if TYPE_CHECKING:
    from tilewright.families.attention.spec import AttentionSpec

MAX_CACHE_BITS = 1 << 26  # far above any part that the open tools route
LEAST_GROUP = 16          # elements to an exponent, unless one is written


def filled_cache(cache: Cache, fields: Mapping[str, Any]) -> Cache:
    """``cache`` with a value for what is not written and has a meaning, from the blocks before it that are valid."""
    written = cache.model_fields_set
    model, engine, numbers = fields.get("model", Model()), fields.get("engine", Engine()), fields.get("numbers", Numbers())
    mask, limits = fields.get("mask", Mask(kind="none")), fields.get("limits", Limits())
    widths = numbers.k.width, numbers.v.width
    found: dict[str, int] = {}
    if "bits" not in written:
        found["bits"] = min(widths)
    if "slots" not in written:
        least = least_ring(model, engine, mask)
        found["slots"] = mask.sink + least if mask.kind in RINGS else limits.keys
    if "group" not in written and found.get("bits", cache.bits) < max(widths):
        groups = groups_of(model.head_dim, engine.lanes)
        found["group"] = next((group for group in groups if group >= LEAST_GROUP), model.head_dim)
    return cache.model_copy(update=found)


def least_ring(model: Model, engine: Engine, mask: Mask) -> int:
    """The smallest power of two that holds what the positions of a tile see."""
    positions = max(engine.tile_q // max(model.heads // model.kv_heads, 1), 1)
    return 1 << (mask.window + positions - 2).bit_length()


def groups_of(head_dim: int, lanes: int) -> list[int]:
    """Elements that may share an exponent: whole beats, and whole groups in a row."""
    return [group for group in range(lanes, head_dim + 1, lanes) if head_dim % group == 0]


def stored_bits(cache: Cache, head_dim: int, width: int) -> int:
    """Bits of a cached row of elements of ``width`` bits."""
    if cache.bits >= width:
        return head_dim * width
    return head_dim * cache.bits + head_dim // cache.group * (width - cache.bits).bit_length()


def cache_summary(spec: "AttentionSpec") -> Iterator[tuple[str, str]]:
    """The line on the cache, if there is one."""
    if not spec.cache:
        return
    slots, ring = f"{spec.cache.slots} keys", f"a ring of {spec.cache_ring}"
    if spec.cache_ring:
        slots = f"the first {spec.mask.sink} keys and {ring}" if spec.mask.sink else ring
    group = f", an exponent for {spec.cache.group} elements" if spec.cache.group else ""
    yield "cache", f"{slots} of each kv head, {spec.cache.bits} bits an element{group}"


def cache_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    """Slots, bits, group, and the size of it all; that other schedules have no cache is told by them."""
    cache = spec.cache
    if not cache or spec.schedule != "streaming" or spec.head_dim % spec.lanes or spec.heads % spec.kv_heads:
        return
    problems = [*_slots(spec, cache), *_bits(spec, cache)]
    yield from problems
    if not problems and spec.cache_bits > MAX_CACHE_BITS:
        name = "cache.slots" if cache.slots > spec.limits.keys else "limits.keys"
        most = cache.slots * MAX_CACHE_BITS // spec.cache_bits
        advice = "lower mask.window or mask.sink" if spec.cache_ring else f"lower {name} to {most}"
        yield Problem(("cache",), (
            f"{spec.cache_bits / (1 << 20):.1f} Mbit of keys and values; at most {MAX_CACHE_BITS >> 20}: {advice}"))


def _slots(spec: "AttentionSpec", cache: Cache) -> Iterator[Problem]:
    if spec.mask.kind not in RINGS:
        if cache.slots < spec.limits.keys:
            yield Problem(("cache", "slots"), (
                f"{cache.slots} is below limits.keys, and with mask {spec.mask.kind} every key stays; "
                f"raise it to {spec.limits.keys}"))
        return
    sink, least = spec.mask.sink, least_ring(spec.model, spec.engine, spec.mask)
    ring = cache.slots - sink
    if ring < least or ring & (ring - 1):
        nearest = least if ring < least else 1 << ring.bit_length()
        behind = f" behind {sink} sinks" if sink else ""
        yield Problem(("cache", "slots"), (
            f"{cache.slots} makes a ring of {max(ring, 0)}{behind}; it has to be a power of two, and at least {least} for a "
            f"window of {spec.mask.window} and {spec.tile_positions} positions of a tile: write {sink + nearest}"))


def _bits(spec: "AttentionSpec", cache: Cache) -> Iterator[Problem]:
    for name, number in (("k", spec.k), ("v", spec.v)):
        if cache.bits > number.width:
            yield Problem(("cache", "bits"), (
                f"{cache.bits} is above numbers.{name}, which is {number}; lower it to {number.width}"))
            return
    if cache.bits == max(spec.k.width, spec.v.width):
        if cache.group:
            yield Problem(("cache", "group"), (
                f"{cache.group} with bits {cache.bits}, which keeps k and v as they are; remove it, or lower bits"))
        return
    fitting = groups_of(spec.head_dim, spec.lanes)
    if cache.group not in fitting:
        nearest = min(fitting, key=lambda group: (abs(group - cache.group), -group))
        yield Problem(("cache", "group"), (
            f"{cache.group} is not a multiple of engine.lanes, which is {spec.lanes}, that divides model.head_dim, which is "
            f"{spec.head_dim}; the nearest that is: {nearest}"))
