"""The portrait of an attention engine: its words, its drawing, the work its jobs mean."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup
from tilewright.families.attention.cache_index import places
from tilewright.families.attention.drawing import stacked
from tilewright.families.attention.fields import Mask
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.work import moved_bits, padded_macs, useful_macs
from tilewright.portrait import Portrait, Work

_SEES = {
    "none": "every key",
    "causal": "keys up to its own position",
    "window": "the {window} keys up to its own position",
    "lambda": "the first {sink} keys and the {window} up to its own position",
    "prefix": "the first {prefix} keys, and keys up to its own position",
}
_EXPONENTIALS = {
    "two_pass": "a mantissa from 1 to 2 and an octave rounded down",
    "online_shift": "a mantissa from 1/2 to 1 and an octave rounded up",
    "online": "of scores below the greatest so far",
    "three_pass": "of scores below the greatest of all",
    "ibert": "of scores below the greatest of all: I-BERT's parabola, 15 bit",
    "unified_max": "of scores below or above phi",
}
_WEIGHTS = {
    "two_pass": "Weights are a mantissa and a power of two",
    "online_shift": "Weights are a mantissa and a power of two",
    "online": "Where the greatest score rises, a product lowers what was summed before",
    "three_pass": "The greatest score of a row comes first, so no sum is ever lowered",
    "ibert": "The greatest score of a row comes first, so no sum is ever lowered",
    "unified_max": "Weights are relative to a constant; a tile with a score too far from it comes once more",
}


def portrait(spec: AttentionSpec) -> Portrait:
    """How the report presents an attention engine."""
    return Portrait(
        title=f"{heads_in_words(spec)} of {spec.head_dim}, {spec.tile_q}\u00a0\u00d7\u00a0{spec.lanes} streaming attention",
        sentence=(
            f"O = softmax(Q \u00d7 K\u1d40) \u00d7 V: {spec.q} queries in tiles of {spec.tile_q} rows stay while {spec.k} keys "
            f"{_coming(spec)}. {_WEIGHTS[spec.algorithm]}, rows are divided "
            f"by their sum at the end, and {_growth(spec)}."
        ),
        facts=(
            ("Heads", sharing(spec)),
            ("Query tile", f"{spec.tile_q} rows, {spec.chunks} beats each"),
            ("Multipliers", f"{spec.tile_q} \u00d7 {spec.lanes} for scores, as many for values"),
            ("A key takes", f"{spec.interval} cycles"),
            ("Mask", f"{spec.mask.kind}: a query sees {seen_keys(spec.mask)}"),
            *_positions(spec),
            ("Scores", f"{spec.q} \u00d7 {spec.k} in {spec.score_width} bit, scaled to 16, {spec.fraction} of them a fraction"),
            ("Exponential", _EXPONENTIALS[spec.algorithm]
             + (f"; {1 << spec.table_bits} intervals, {spec.mantissa_bits} bit" if spec.has_table else "")),
            ("Sums", f"weights in {spec.total_width} bit, weighted values in {spec.accumulator_width}"),
            *_cache(spec),
            ("On chip", f"{spec.on_chip_bits / 8192:.1f} KiB of queries, sums{', cache' if spec.cache else ''} and row state"),
            ("Jobs up to", f"{spec.limits.queries} queries, {spec.limits.keys} keys"),
            ("Ports", "ready/valid streams"),
        ),
        figure=figure(spec),
        caption=(
            "Blue: queries. Orange: keys and values. Green: weights and results. "
            "In the upper rows of multipliers a tile's queries stay, in the lower ones its sums."
        ),
        macs_per_cycle=spec.macs_per_cycle,
        bytes_per_cycle=spec.lanes * (spec.q.width + spec.k.width + spec.v.width + spec.out.width) / 8,
        work=lambda job: work(spec, job),
        engine="engine",
        size="queries \u00d7 keys",
        padding="multiplying masked pairs and rows that a tile lacks" + (", and scores again" if spec.passes > 1 else ""),
        idle="filling, draining, between one key and the next",
    )


def seen_keys(mask: Mask) -> str:
    """The keys that a query sees, in words."""
    behind = f", and the {mask.lookahead} behind that" if mask.lookahead else ""
    return _SEES[mask.kind].format(**mask.numbers) + behind


def _coming(spec: AttentionSpec) -> str:
    """How keys and values reach the tiles."""
    if spec.cache:
        return f"and {spec.v} values come once, stay on the chip and pass by from there"
    if spec.passes > 1:
        return f"stream past twice and {spec.v} values once for each tile"
    return f"and {spec.v} values stream past once for each tile"


def _growth(spec: AttentionSpec) -> str:
    if not spec.cache or spec.cache_ring:
        return "no memory grows with the sequence"
    return f"{spec.cache.slots} keys of a sequence find room"


def _cache(spec: AttentionSpec) -> Iterator[tuple[str, str]]:
    """The line on the cache, if there is one."""
    if not spec.cache:
        return
    kept = f"{spec.cache.slots} keys and values of each kv head"
    if spec.cache_ring:
        sinks = f"the first {spec.mask.sink}, " if spec.mask.sink else ""
        kept = f"{sinks}the latest {spec.cache_ring} keys and values of each kv head"
    group = f", an exponent for {spec.cache.group}" if spec.cache.group else ""
    yield "Cache", f"{kept}, {spec.cache.bits} bit{group}; {spec.cache_bits / 8192:.1f} KiB"


def work(spec: AttentionSpec, job: Mapping[str, Any]) -> Work:
    """MACs and bytes of ``job``, all heads: scores and values of the pairs that the mask leaves, keys and values per tile."""
    queries, keys = job["queries"], job["keys"]
    return Work(
        name=f"{queries}\u00a0\u00d7\u00a0{keys}",
        note="",
        macs=useful_macs(spec, queries, keys),
        padded_macs=padded_macs(spec, queries, keys),
        bytes_moved=moved_bits(spec, queries, keys) / 8,
    )


def _positions(spec: AttentionSpec) -> Iterator[tuple[str, str]]:
    if spec.rotary:
        by_place = ", by their place among the keys that a query sees" if places(spec) else ""
        yield "Rotary", (f"base {spec.rotary.base}, pairs of elements turned in steps of 1/{1 << spec.rotary.table_bits} turn"
                         f"{by_place}")
    if spec.bias and spec.bias_shape:
        heads, entries = spec.bias_shape
        tables = "a table for each head" if heads > 1 else "one table"
        yield "Bias", f"{tables}, {entries} entries: distances of {spec.bias.reach} and beyond on both sides"


def heads_in_words(spec: AttentionSpec) -> str:
    return "1 head" if spec.heads == 1 else f"{spec.heads} heads"


def sharing(spec: AttentionSpec) -> str:
    """The heads in the words of the field."""
    if spec.group == 1:
        return f"{heads_in_words(spec)} of {spec.head_dim}"
    kind = "multi-query" if spec.kv_heads == 1 else "grouped-query"
    return f"{spec.heads} of {spec.head_dim}, {spec.group} to each of {spec.kv_heads} of keys and values: {kind}"


def figure(spec: AttentionSpec) -> Markup:
    """Score rows, the softmax between, value rows and the drain."""
    return stacked(
        spec, spec.tile_q, spec.lanes, kept=("act", "result"),
        units=("scale, exponential, row state", "normalize, divide, round"),
        label=f"{spec.tile_q} rows of {spec.lanes} multipliers for scores, a softmax, and as many multipliers for values")
