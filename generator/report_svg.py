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


def arrow(kind: str, x1: float, y1: float, x2: float, y2: float) -> list[Markup]:
    """A line with a head at (x2, y2), pointing east or south, in the colour of stream ``kind`` (act, weight, result)."""
    head = f"M{x2:.1f} {y2:.1f}l-6 -3.5v7z" if y1 == y2 else f"M{x2:.1f} {y2:.1f}l-3.5 -6h7z"
    end = {"x2": x2 - 5, "y2": y2} if y1 == y2 else {"x2": x2, "y2": y2 - 5}
    return [
        element("line", class_=f"wire {kind}", x1=x1, y1=y1, **end),
        element("path", class_=f"head {kind}", d=head),
    ]


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


def strip(values: Sequence[float], *, median: float, unit: str, goal: float | None = None) -> Markup:
    """Every value as a dot on one axis, the median as a bar, the goal as a dashed line."""
    limit = 1.15 * max([*values, median, goal or 0])
    middle = STRIP_HEIGHT - 34
    below = middle + 28

    def upright(class_: str, value: float, top: float, bottom: float, title: str | None = None) -> Markup:
        x = percent(value / limit)
        words = [] if title is None else [element("title", title)]
        return element("line", *words, class_=class_, x1=x, x2=x, y1=top, y2=bottom)

    drawn = [element("line", class_="grid", x1="0%", x2="100%", y1=middle, y2=middle)]
    for tick in nice_ticks(limit):
        anchor = "start" if tick == 0 else "middle"
        drawn.append(upright("rule", tick, middle + 8, middle + 13))
        drawn.append(element("text", f"{tick:g}", x=percent(tick / limit), y=below, text_anchor=anchor))
    drawn.append(element("text", unit, x="100%", y=below, text_anchor="end"))
    if goal is not None:
        drawn.append(upright("goal", goal, 4, middle + 12, f"{goal:g} {unit}"))
    for value in values:
        title = element("title", f"{value:g} {unit}")
        drawn.append(element("circle", title, class_="dot", cx=percent(value / limit), cy=middle, r=5))
    drawn.append(upright("median", median, middle - 13, middle + 13, f"median {median:g} {unit}"))
    label = f"median {median:g} {unit} of {len(values)} runs"
    return element(
        "svg", *drawn, class_="chart", width="100%", height=STRIP_HEIGHT, role="img", aria_label=label
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
