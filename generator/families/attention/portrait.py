"""The portrait of an attention engine: its words, its drawing, the work its jobs mean."""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.work import moved_bits, padded_macs, useful_macs
from tilewright.portrait import Portrait, Work
from tilewright.report_svg import arrow, element

MOST_PITCH = 30.0  # from multiplier to multiplier in the drawing
MOST_DRAWN = 128  # multipliers of a grid drawn one by one; a larger one is drawn as a texture
MOST_ARROWS = 8
MIDDLE, WIDE, HIGH = 210.0, 240.0, 96.0  # of a grid: the centre, and the room it has
NAME_HEIGHT = 76.0  # what the name of a stream beside a grid needs
UNIT_WIDTH, UNIT_HEIGHT = 216.0, 22.0

SEES = {
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
    mask = SEES[spec.mask.kind].format(**spec.mask.numbers)
    return Portrait(
        title=f"{heads_in_words(spec)} of {spec.head_dim}, {spec.tile_q} \u00d7 {spec.lanes} streaming attention",
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
            ("Mask", f"{spec.mask.kind}: a query sees {mask}"),
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
        yield "Rotary", f"base {spec.rotary.base}, pairs of elements turned in steps of 1/{1 << spec.rotary.table_bits} turn"
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
    """Score rows, the softmax between, value rows and the drain, top to bottom, in a box 400 wide."""
    pitch = min(WIDE / spec.lanes, HIGH / spec.tile_q, MOST_PITCH)
    wide, high = pitch * spec.lanes, pitch * spec.tile_q
    left = MIDDLE - wide / 2
    spare = max(0.0, NAME_HEIGHT - high) / 2
    scores = 66.0 + spare
    softmax = scores + high + spare + 26
    values = softmax + UNIT_HEIGHT + spare + 26
    drain = values + high + spare + 26
    below = drain + UNIT_HEIGHT
    parts = [
        *grid(spec.tile_q, spec.lanes, "act", left, scores, pitch),
        *grid(spec.tile_q, spec.lanes, "result", left, values, pitch),
        *unit("scale, exponential, row state", softmax),
        *unit("normalize, divide, round", drain),
        *arrow("result", MIDDLE, scores + high + 4, MIDDLE, softmax - 3),
        *arrow("result", MIDDLE, softmax + UNIT_HEIGHT + 4, MIDDLE, values - 4),
        *arrow("result", MIDDLE, values + high + 4, MIDDLE, drain - 3),
        *arrow("result", MIDDLE, below + 3, MIDDLE, below + 22),
    ]
    for lane in spread(spec.lanes):
        x = left + (lane + 0.5) * pitch
        parts += arrow("weight", x, 38.0, x, scores - 6)
    for row in spread(spec.tile_q):
        for kind, top in (("act", scores), ("weight", values)):
            y = top + (row + 0.5) * pitch
            parts += arrow(kind, left - 30, y, left - 7, y)
    parts += [
        stream_name("weight", f"K \u00b7 {spec.lanes} \u00d7 {spec.k}", MIDDLE, 30.0),
        stream_name("act", f"Q \u00b7 {spec.lanes} \u00d7 {spec.q}", left - 38, scores + high / 2, upright=True),
        stream_name("weight", f"V \u00b7 {spec.lanes} \u00d7 {spec.v}", left - 38, values + high / 2, upright=True),
        stream_name("result", f"O \u00b7 {spec.lanes} \u00d7 {spec.out}", MIDDLE, below + 38),
    ]
    return element(
        "svg",
        *parts,
        class_="array",
        role="img",
        viewBox=f"{MIDDLE - 200:.0f} 14 400 {below + 32:.0f}",
        aria_label=f"{spec.tile_q} rows of {spec.lanes} multipliers for scores, a softmax, and as many multipliers for values",
    )


def spread(count: int) -> list[int]:
    """The lanes or rows that get an arrow: all, or evenly spaced ones of many."""
    if count <= MOST_ARROWS:
        return list(range(count))
    return [count * (2 * index + 1) // (2 * MOST_ARROWS) for index in range(MOST_ARROWS)]


def grid(rows: int, columns: int, kept: str, left: float, top: float, pitch: float) -> Iterator[Markup]:
    """``rows`` x ``columns`` multipliers; ``kept`` is the class of what stays in them."""
    gap = pitch * 0.16
    side = pitch - gap
    if rows * columns > MOST_DRAWN:
        cell = element("rect", class_=f"pe {kept}", x=gap / 2, y=gap / 2, width=side, height=side)
        texture = element(
            "pattern", cell, id=f"rows-{kept}", x=left, y=top, width=pitch, height=pitch, patternUnits="userSpaceOnUse")
        yield element("defs", texture)
        yield element("rect", x=left, y=top, width=pitch * columns, height=pitch * rows, fill=f"url(#rows-{kept})")
        return
    for row in range(rows):
        for column in range(columns):
            x, y = left + column * pitch + gap / 2, top + row * pitch + gap / 2
            yield element("rect", class_="pe", x=x, y=y, width=side, height=side, rx=side * 0.14)
            yield element(
                "rect", class_=f"kept {kept}", x=x + side * 0.3, y=y + side * 0.3, width=side * 0.4, height=side * 0.4,
                rx=side * 0.08, style=f"--wave:{row}")


def unit(words: str, top: float) -> Iterator[Markup]:
    """A box that all rows share."""
    yield element("rect", class_="unit", x=MIDDLE - UNIT_WIDTH / 2, y=top, width=UNIT_WIDTH, height=UNIT_HEIGHT, rx=4.0)
    yield element("text", words, class_="label", x=MIDDLE, y=top + 15, text_anchor="middle")


def stream_name(kind: str, words: str, x: float, y: float, *, upright: bool = False) -> Markup:
    """The name of a stream, read upwards where it is ``upright``."""
    turn = f"rotate(-90 {x:.2f} {y:.2f})" if upright else None
    return element("text", words, class_=f"stream {kind}", x=x, y=y, text_anchor="middle", transform=turn)
