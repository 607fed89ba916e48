"""The portrait of a window ring: its words, its drawing, the work its jobs mean."""

from markupsafe import Markup
from tilewright.families.attention.portrait import (
    HIGH,
    MIDDLE,
    MOST_PITCH,
    NAME_HEIGHT,
    SEES,
    UNIT_HEIGHT,
    WIDE,
    grid,
    heads_in_words,
    sharing,
    spread,
    stream_name,
    unit,
    work,
)
from tilewright.families.attention.spec import AttentionSpec
from tilewright.portrait import Portrait
from tilewright.report_svg import arrow, element


def portrait(spec: AttentionSpec) -> Portrait:
    """How the report presents a window ring."""
    mask = SEES[spec.mask.kind].format(**spec.mask.numbers)
    return Portrait(
        title=f"{heads_in_words(spec)} of {spec.head_dim}, a ring of {spec.cores} \u00d7 {spec.lanes} window attention",
        sentence=(
            f"O = softmax(Q \u00d7 K\u1d40) \u00d7 V: {spec.cores} cores hold an {spec.k} key and its {spec.v} value each, "
            f"and {spec.q} queries stream past and meet all of them at once. A key is read once and stays until the window has "
            f"left it behind. Weights are a mantissa and a power of two, rows are divided by their sum."
        ),
        facts=(
            ("Heads", sharing(spec)),
            ("Cores", f"{spec.cores}, {spec.mask.sink} of them for the first keys" if spec.mask.sink else f"{spec.cores}"),
            ("Multipliers", f"{spec.cores} \u00d7 {spec.lanes} for scores, as many for values"),
            ("A query takes", f"{spec.interval} cycles"),
            ("Mask", f"{spec.mask.kind}: a query sees {mask}"),
            ("Scores", f"{spec.q} \u00d7 {spec.k} in {spec.score_width} bit, scaled to 16, {spec.fraction} of them a fraction"),
            ("Exponentials", f"at most {spec.interval} cores take turns at one; {1 << spec.table_bits} intervals, "
                             f"{spec.mantissa_bits} bit"),
            ("Sums", f"weights in {spec.total_width} bit, weighted values in {spec.accumulator_width}"),
            ("On chip", f"{spec.on_chip_bits / 8192:.1f} KiB of keys and values"),
            ("Jobs up to", f"{spec.limits.queries} queries, {spec.limits.keys} keys"),
            ("Ports", "ready/valid streams"),
        ),
        figure=figure(spec),
        caption=("Blue: queries. Orange: keys and values. Green: weights and results. A column of multipliers is a core: "
                 "in the upper ones keys stay, in the lower ones values."),
        macs_per_cycle=spec.macs_per_cycle,
        bytes_per_cycle=spec.lanes * (spec.q.width + spec.k.width + spec.v.width + spec.out.width) / 8,
        work=lambda job: work(spec, job),
        engine="engine",
        size="queries \u00d7 keys",
        padding="multiplying in cores that have no key yet",
        idle="filling, draining, between one query and the next",
    )


def figure(spec: AttentionSpec) -> Markup:
    """Cores for scores, the exponentials between, cores for values and the division, top to bottom, in a box 400 wide."""
    pitch = min(WIDE / spec.cores, HIGH / spec.lanes, MOST_PITCH)
    wide, high = pitch * spec.cores, pitch * spec.lanes
    left = MIDDLE - wide / 2
    spare = max(0.0, NAME_HEIGHT - high) / 2
    scores = 66.0 + spare
    softmax = scores + high + spare + 26
    values = softmax + UNIT_HEIGHT + spare + 26
    drain = values + high + spare + 26
    below = drain + UNIT_HEIGHT
    parts = [
        *grid(spec.lanes, spec.cores, "weight", left, scores, pitch),
        *grid(spec.lanes, spec.cores, "result", left, values, pitch),
        *unit("scale, exponentials, weights", softmax),
        *unit("adder trees, divide, round", drain),
        *arrow("result", MIDDLE, scores + high + 4, MIDDLE, softmax - 3),
        *arrow("result", MIDDLE, softmax + UNIT_HEIGHT + 4, MIDDLE, values - 4),
        *arrow("result", MIDDLE, values + high + 4, MIDDLE, drain - 3),
        *arrow("result", MIDDLE, below + 3, MIDDLE, below + 22),
    ]
    for core in spread(spec.cores):
        x = left + (core + 0.5) * pitch
        parts += arrow("weight", x, 38.0, x, scores - 6)
    for lane in spread(spec.lanes):
        for kind, top in (("act", scores), ("weight", values)):
            y = top + (lane + 0.5) * pitch
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
        aria_label=f"{spec.cores} cores of {spec.lanes} multipliers for scores, exponentials, and as many for values",
    )
