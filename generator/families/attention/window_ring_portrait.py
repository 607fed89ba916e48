"""The portrait of a window ring: its words, its drawing, the work its jobs mean."""

from markupsafe import Markup
from tilewright.families.attention.drawing import stacked
from tilewright.families.attention.portrait import heads_in_words, seen_keys, sharing, work
from tilewright.families.attention.spec import AttentionSpec
from tilewright.portrait import Portrait


def portrait(spec: AttentionSpec) -> Portrait:
    """How the report presents a window ring."""
    return Portrait(
        title=(f"{heads_in_words(spec)} of {spec.head_dim}, a ring of {spec.cores}\u00a0\u00d7\u00a0{spec.lanes} "
               "window attention"),
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
            ("Mask", f"{spec.mask.kind}: a query sees {seen_keys(spec.mask)}"),
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
        padding="multiplying in cores without a key that the query sees",
        idle="filling, draining, between one query and the next",
    )


def figure(spec: AttentionSpec) -> Markup:
    """Cores for scores, the exponentials between, cores for values and the division."""
    return stacked(
        spec, spec.lanes, spec.cores, kept=("weight", "result"),
        units=("scale, exponentials, weights", "adder trees, divide, round"),
        label=f"{spec.cores} cores of {spec.lanes} multipliers for scores, exponentials, and as many for values")
