"""Drawings of the report: inline SVG whose colours are CSS classes, so that dark and light both work.

Charts use percentages across and pixels down: they fill the width they get and text keeps its size.
Everything is escaped on the way in; what comes out is ``Markup``.
"""

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

ROOFLINE_HEIGHT = 320
STRIP_HEIGHT = 64


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """One element. ``class_`` is ``class``, underscores are hyphens, attributes of None are left out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(name.rstrip("_").replace("_", "-")), _number(value))
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), written, inside)


def percent(value: float) -> str:
    """A share of 1 as a coordinate."""
    return f"{100 * value:.3f}".rstrip("0").rstrip(".") + "%"


def _number(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def stacked_bar(parts: Iterable[tuple[str, float, str]], *, start: float = 0.0, height: int = 18) -> Markup:
    """A bar from ``start`` on: (class, share of the full width, tooltip) for each part, left to right."""
    rects, x = [], start
    for class_, share, title in parts:
        if share > 0:
            rects.append(
                element(
                    "rect",
                    element("title", title),
                    class_=class_,
                    x=percent(x),
                    y=0,
                    width=percent(share),
                    height=height,
                )
            )
        x += share
    return element(
        "svg",
        *rects,
        class_="bar",
        width="100%",
        height=height,
        role="img",
        aria_label=", ".join(title for _, share, title in parts if share > 0),
    )


def nice_ticks(limit: float, *, most: int = 6) -> list[float]:
    """Round numbers from 0 up to ``limit``, at most ``most`` steps of 1, 2 or 5 times a power of ten."""
    if limit <= 0:
        return [0.0]
    rough = limit / most
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= rough * (1 - 1e-9))
    return [step * index for index in range(int(limit / step * (1 + 1e-9)) + 1)]


def axis(limit: float, *, unit: str, height: int = 22) -> Markup:
    """A horizontal axis from 0 to ``limit`` with round numbers; the last carries the unit."""
    ticks = nice_ticks(limit)
    marks = []
    for index, tick in enumerate(ticks):
        x = percent(tick / limit if limit else 0)
        last = index == len(ticks) - 1
        anchor = "start" if index == 0 else "end" if tick / limit > 0.9 else "middle"
        text = f"{tick:,.0f}".replace(",", "\u202f") + (f" {unit}" if last else "")
        # Narrow windows have room for the first and the last.
        class_ = None if index == 0 or last else "inner"
        marks.append(
            element(
                "g",
                element("line", class_="rule", x1=x, x2=x, y1=0, y2=5),
                element("text", text, x=x, y=18, text_anchor=anchor),
                class_=class_,
            )
        )
    return element("svg", *marks, class_="axis", width="100%", height=height, aria_hidden="true")


def roofline(
    dots: Sequence[tuple[str, float, float]], *, peak: float, bandwidth: float, height: int = ROOFLINE_HEIGHT
) -> Markup:
    """MACs per cycle over MACs per byte, both axes logarithmic.

    ``dots`` are (label, MACs per byte, MACs per cycle); the roof is ``min(peak, bandwidth * intensity)``
    with ``bandwidth`` in bytes per cycle.
    """
    knee = peak / bandwidth
    lowest_x = math.floor(math.log2(min([knee / 4, *(x for _, x, _ in dots)])))
    highest_x = math.ceil(math.log2(max([knee * 8, *(x * 1.5 for _, x, _ in dots)])))
    highest_y = math.log2(peak) + 0.7
    lowest_y = math.floor(min([math.log2(peak) - 4, *(math.log2(y) - 0.5 for _, _, y in dots if y > 0)]))
    bottom, top = height - 40, 8

    def x_of(value: float) -> float:
        return (math.log2(value) - lowest_x) / (highest_x - lowest_x)

    def y_of(value: float) -> float:
        return bottom - (math.log2(value) - lowest_y) / (highest_y - lowest_y) * (bottom - top)

    drawn: list[Markup] = []
    for power in range(lowest_x, highest_x + 1):
        x = percent(x_of(2.0**power))
        anchor = "start" if power == lowest_x else "end" if power == highest_x else "middle"
        drawn += [
            element("line", class_="grid", x1=x, x2=x, y1=top, y2=bottom),
            element("text", _power_of_two(power), x=x, y=bottom + 16, text_anchor=anchor),
        ]
    for power in range(math.ceil(lowest_y), math.floor(highest_y) + 1):
        y = y_of(2.0**power)
        drawn += [
            element("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y),
            element("text", _power_of_two(power), x=4, y=y - 4),
        ]
    drawn += [
        element(
            "text", "MACs per byte moved \u2192", class_="label", x="100%", y=height - 6, text_anchor="end"
        ),
        element("text", "\u2191 MACs per cycle", class_="label", x=0, y=height - 6),
    ]
    left_x = max(lowest_x, lowest_y - math.log2(bandwidth))
    drawn += [
        element(
            "line",
            class_="roof",
            x1=percent(x_of(2.0**left_x)),
            y1=y_of(bandwidth * 2.0**left_x),
            x2=percent(x_of(knee)),
            y2=y_of(peak),
        ),
        element("line", class_="roof", x1=percent(x_of(knee)), y1=y_of(peak), x2="100%", y2=y_of(peak)),
        element(
            "text",
            f"peak {peak:g} MACs per cycle",
            class_="label",
            x="99%",
            y=y_of(peak) - 8,
            text_anchor="end",
        ),
    ]
    clusters: list[list[int]] = []
    for index, (label, x, y) in enumerate(dots):
        title = f"{label}: {y:.2f} MACs per cycle, {x:.2f} MACs per byte"
        drawn.append(
            element("circle", element("title", title), class_="dot", cx=percent(x_of(x)), cy=y_of(y), r=5)
        )
        near = [
            cluster
            for cluster in clusters
            if abs(x_of(dots[cluster[-1]][1]) - x_of(x)) < 0.05
            and abs(y_of(dots[cluster[-1]][2]) - y_of(y)) < 24
        ]
        if near:
            near[0].append(index)
        else:
            clusters.append([index])
    for cluster in clusters:
        x = sum(x_of(dots[index][1]) for index in cluster) / len(cluster)
        y = max(y_of(dots[index][2]) for index in cluster)
        drawn.append(
            element(
                "text",
                ", ".join(str(index + 1) for index in cluster),
                class_="label",
                x=percent(x),
                y=y + 20,
                text_anchor="middle",
            )
        )
    return element(
        "svg",
        *drawn,
        class_="chart",
        width="100%",
        height=height,
        role="img",
        aria_label=f"Roofline, peak {peak:g} MACs per cycle, {bandwidth:g} bytes per cycle",
    )


def _power_of_two(power: int) -> str:
    return str(1 << power) if power >= 0 else f"1/{1 << -power}"


def strip(values: Sequence[float], *, median: float, unit: str, goal: float | None = None) -> Markup:
    """Every value as a dot on one axis, the median as a bar, the goal as a dashed line."""
    limit = 1.15 * max([*values, median, goal or 0])
    middle = STRIP_HEIGHT - 34
    drawn = [element("line", class_="grid", x1="0%", x2="100%", y1=middle, y2=middle)]
    for tick in nice_ticks(limit):
        x = percent(tick / limit)
        drawn += [
            element("line", class_="rule", x1=x, x2=x, y1=middle + 8, y2=middle + 13),
            element("text", f"{tick:g}", x=x, y=middle + 28, text_anchor="start" if tick == 0 else "middle"),
        ]
    drawn.append(element("text", unit, x="100%", y=middle + 28, text_anchor="end"))
    if goal is not None:
        x = percent(goal / limit)
        drawn.append(
            element(
                "line",
                element("title", f"board clock {goal:g} {unit}"),
                class_="goal",
                x1=x,
                x2=x,
                y1=4,
                y2=middle + 12,
            )
        )
    for value in values:
        drawn.append(
            element(
                "circle",
                element("title", f"{value:g} {unit}"),
                class_="dot",
                cx=percent(value / limit),
                cy=middle,
                r=5,
            )
        )
    x = percent(median / limit)
    drawn += [element("line", class_="median", x1=x, x2=x, y1=middle - 13, y2=middle + 13)]
    return element(
        "svg",
        *drawn,
        class_="chart",
        width="100%",
        height=STRIP_HEIGHT,
        role="img",
        aria_label=f"median {median:g} {unit} of {len(values)} runs",
    )


def confusion(matrix: Sequence[Sequence[int]]) -> Markup:
    """Counts of label (down) against prediction (across), each cell shaded within its row."""
    cell, size = 30, len(matrix)
    drawn: list[Markup] = []
    for row, counts in enumerate(matrix):
        centre = row * cell + cell / 2
        drawn += [
            element("text", row, x=cell / 2, y=centre + cell + 4, text_anchor="middle", class_="label"),
            element("text", row, x=centre + cell, y=cell / 2 + 4, text_anchor="middle", class_="label"),
        ]
        total = max(sum(counts), 1)
        for column, count in enumerate(counts):
            right = row == column
            x, y = (column + 1) * cell, (row + 1) * cell
            shade = (
                0.0
                if count == 0
                else 0.12 + 0.88 * count / total
                if right
                else min(1, 0.35 + 3 * count / total)
            )
            drawn.append(
                element(
                    "rect",
                    class_="right" if right else "wrong",
                    x=x + 1,
                    y=y + 1,
                    width=cell - 2,
                    height=cell - 2,
                    rx=3,
                    fill_opacity=round(shade, 2),
                )
            )
            if count:
                drawn.append(
                    element(
                        "text",
                        element("title", f"{row} read as {column}: {count}"),
                        count,
                        x=x + cell / 2,
                        y=y + cell / 2 + 4,
                        text_anchor="middle",
                        class_="on" if right and shade > 0.5 else None,
                    )
                )
    side = (size + 1) * cell
    return element(
        "svg",
        *drawn,
        class_="confusion",
        viewBox=f"0 0 {side} {side}",
        role="img",
        aria_label="label down, prediction across",
    )


def ink_png(pixels: Sequence[int], *, width: int, levels: int) -> str:
    """Data URI of a PNG: black ink whose opacity is ``pixel / levels``, on nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    if width < 1 or len(pixels) % width or not all(0 <= pixel <= levels for pixel in pixels):
        raise ValueError(f"pixels must be rows of {width} values 0..{levels}")
    height = len(pixels) // width
    # Palette of levels + 1 blacks; their opacities are the tRNS chunk.
    lines = b"".join(b"\0" + bytes(pixels[y * width : (y + 1) * width]) for y in range(height))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", bytes(3 * (levels + 1))),
            chunk(b"tRNS", bytes(round(255 * level / levels) for level in range(levels + 1))),
            chunk(b"IDAT", zlib.compress(lines, 9)),
            chunk(b"IEND", b""),
        ]
    )
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
