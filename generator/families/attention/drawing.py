"""The drawings of attention engines: grids of multipliers, what lies between them, the streams around."""

from collections.abc import Iterator

from markupsafe import Markup
from tilewright.families.attention.spec import AttentionSpec
from tilewright.report_svg import arrow, element

MOST_PITCH = 30.0  # from multiplier to multiplier in the drawing
MOST_DRAWN = 128  # multipliers of a grid drawn one by one; a larger one is drawn as a texture
MOST_ARROWS = 8
MIDDLE, WIDE, HIGH = 210.0, 240.0, 96.0  # of a grid: the centre, and the room it has
NAME_HEIGHT = 76.0  # what the name of a stream beside a grid needs
UNIT_WIDTH, UNIT_HEIGHT = 216.0, 22.0


def stacked(spec: AttentionSpec, rows: int, columns: int, *, kept: tuple[str, str], units: tuple[str, str], label: str,
            ) -> Markup:
    """Multipliers of scores, a unit, multipliers of values and another unit, top to bottom, in a box 400 wide.

    ``kept`` are the classes of what stays in the two grids of ``rows`` x ``columns``; ``units`` is what the units do.
    """
    pitch = min(WIDE / columns, HIGH / rows, MOST_PITCH)
    wide, high = pitch * columns, pitch * rows
    left = MIDDLE - wide / 2
    spare = max(0.0, NAME_HEIGHT - high) / 2
    scores = 66.0 + spare
    softmax = scores + high + spare + 26
    values = softmax + UNIT_HEIGHT + spare + 26
    drain = values + high + spare + 26
    below = drain + UNIT_HEIGHT
    parts = [
        *grid(rows, columns, kept[0], left, scores, pitch),
        *grid(rows, columns, kept[1], left, values, pitch),
        *unit(units[0], softmax),
        *unit(units[1], drain),
        *arrow("result", MIDDLE, scores + high + 4, MIDDLE, softmax - 3),
        *arrow("result", MIDDLE, softmax + UNIT_HEIGHT + 4, MIDDLE, values - 4),
        *arrow("result", MIDDLE, values + high + 4, MIDDLE, drain - 3),
        *arrow("result", MIDDLE, below + 3, MIDDLE, below + 22),
    ]
    for column in spread(columns):
        x = left + (column + 0.5) * pitch
        parts += arrow("weight", x, 38.0, x, scores - 6)
    for row in spread(rows):
        for kind, top in (("act", scores), ("weight", values)):
            y = top + (row + 0.5) * pitch
            parts += arrow(kind, left - 30, y, left - 7, y)
    parts += [
        stream_name("weight", f"K \u00b7 {spec.lanes} \u00d7 {spec.k}", MIDDLE, 30.0),
        stream_name("act", f"Q \u00b7 {spec.lanes} \u00d7 {spec.q}", left - 38, scores + high / 2, upright=True),
        stream_name("weight", f"V \u00b7 {spec.lanes} \u00d7 {spec.v}", left - 38, values + high / 2, upright=True),
        stream_name("result", f"O \u00b7 {spec.lanes} \u00d7 {spec.out}", MIDDLE, below + 38),
    ]
    return element("svg", *parts, class_="array", role="img", viewBox=f"{MIDDLE - 200:.0f} 14 400 {below + 32:.0f}",
                   aria_label=label)


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
