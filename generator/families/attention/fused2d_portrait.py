"""The portrait of a fused attention engine: its words, its drawing, the work its jobs mean."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from tilewright.families.attention.drawing import MIDDLE, MOST_PITCH, grid, spread, stream_name
from tilewright.families.attention.portrait import heads_in_words, seen_keys, sharing
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.work import padded_macs, sent_rows, useful_macs
from tilewright.portrait import Portrait, Work
from tilewright.report_svg import arrow, element

WIDE, HIGH = 190.0, 150.0  # of the array: the room it has
LANE_WIDTH, GAP = 26.0, 30.0
TOP = 66.0


def portrait(spec: AttentionSpec) -> Portrait:
    """How the report presents a fused engine."""
    return Portrait(
        title=f"{heads_in_words(spec)} of {spec.head_dim}, {spec.tile_q}\u00a0\u00d7\u00a0{spec.cols} fused attention",
        sentence=(
            f"O = softmax(Q \u00d7 K\u1d40) \u00d7 V: a tile of {spec.tile_q} {spec.q} queries meets {spec.k} keys and "
            f"{spec.v} values {spec.cols} at a time, on one array whose PEs do scores, exponentials and values in turn. A lane "
            f"for each row adds up what comes out and divides at the end, and no memory grows with the sequence."
        ),
        facts=(
            ("Heads", sharing(spec)),
            ("Array", f"{spec.tile_q} \u00d7 {spec.cols} PEs, one multiplier each; {spec.tile_q} lanes beside it"),
            ("A key tile takes", f"{2 * spec.head_dim + 9} cycles of the array, {spec.interval} of the lanes"),
            ("Mask", f"{spec.mask.kind}: a query sees {seen_keys(spec.mask)}"),
            ("Scores", f"{spec.q} \u00d7 {spec.k} in {spec.score_width} bit, scaled to 16, {spec.fraction} of them a fraction"),
            ("Exponential", f"of scores below the greatest so far; {1 << spec.table_bits} intervals, {spec.mantissa_bits} bit"),
            ("Sums", f"weights in {spec.total_width} bit, weighted values in {spec.accumulator_width}"),
            ("On chip", f"{spec.on_chip_bits / 8192:.1f} KiB of queries, sums and row state"),
            ("Jobs up to", f"{spec.limits.queries} queries, {spec.limits.keys} keys"),
            ("Ports", "ready/valid streams"),
        ),
        figure=figure(spec),
        caption=(
            "Blue: queries. Orange: keys and values. Green: sums and results. A row is a query, a column a key of the tile."
        ),
        macs_per_cycle=spec.macs_per_cycle,
        bytes_per_cycle=(spec.tile_q * (spec.q.width + spec.out.width) + spec.cols * (spec.k.width + spec.v.width)) / 8,
        work=lambda job: work(spec, job),
        engine="engine",
        size="queries \u00d7 keys",
        padding="multiplying masked pairs, and rows and columns that a tile lacks",
        idle="scaling and taking exponentials, waiting for the lanes, filling, draining",
    )


def work(spec: AttentionSpec, job: Mapping[str, Any]) -> Work:
    """MACs and bytes of ``job``, all heads: whole tiles of queries, and of keys for each of them."""
    queries, keys = job["queries"], job["keys"]
    rows = spec.kv_heads * spec.tiles(queries) * spec.tile_q
    columns = spec.kv_heads * sent_rows(spec, queries, keys)
    bits = spec.head_dim * (rows * (spec.q.width + spec.out.width) + columns * (spec.k.width + spec.v.width))
    return Work(
        name=f"{queries}\u00a0\u00d7\u00a0{keys}",
        note="",
        macs=useful_macs(spec, queries, keys),
        padded_macs=padded_macs(spec, queries, keys),
        bytes_moved=bits / 8,
    )


def figure(spec: AttentionSpec) -> Markup:
    """The array with keys and values from above and queries from the left, and its lanes, in a box 400 wide."""
    pitch = min(WIDE / spec.cols, HIGH / spec.tile_q, MOST_PITCH)
    wide, high = pitch * spec.cols, pitch * spec.tile_q
    left = MIDDLE - 40 - wide / 2
    lanes = left + wide + GAP
    parts = [*grid(spec.tile_q, spec.cols, "result", left, TOP, pitch)]
    for col in spread(spec.cols):
        x = left + (col + 0.5) * pitch
        parts += arrow("weight", x, 38.0, x, TOP - 6)
    for row in range(spec.tile_q):
        y = TOP + (row + 0.5) * pitch
        parts.append(element("rect", class_="unit", x=lanes, y=y - pitch * 0.4, width=LANE_WIDTH, height=pitch * 0.8, rx=3.0))
    for row in spread(spec.tile_q):
        y = TOP + (row + 0.5) * pitch
        parts += arrow("act", left - 30, y, left - 7, y)
        parts += arrow("result", left + wide + 3, y, lanes - 3, y)
        parts += arrow("result", lanes + LANE_WIDTH + 3, y, lanes + LANE_WIDTH + 24, y)
    middle = TOP + high / 2
    parts += [
        stream_name("weight", f"K, V \u00b7 {spec.cols} \u00d7 {spec.k}, {spec.v}", left + wide / 2, 30.0),
        stream_name("act", f"Q \u00b7 {spec.tile_q} \u00d7 {spec.q}", left - 38, middle, upright=True),
        stream_name("result", f"O \u00b7 {spec.tile_q} \u00d7 {spec.out}", lanes + LANE_WIDTH + 40, middle, upright=True),
    ]
    return element(
        "svg",
        *parts,
        class_="array",
        role="img",
        viewBox=f"{MIDDLE - 200:.0f} 14 400 {TOP + high:.0f}",
        aria_label=f"{spec.tile_q} rows of {spec.cols} PEs, and a lane for each row",
    )
