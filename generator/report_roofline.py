"""The roofline chart: what array and ports allow, and where each job lies below it.

Source: Williams, Waterman, Patterson, "Roofline: An Insightful Visual Performance Model for Multicore
Architectures", CACM 52(4), 2009; here in MACs per cycle, so that no clock needs to be known.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from tilewright.report_svg import element, percent

Dot = tuple[str, float, float]  # label, MACs per byte, MACs per cycle

HEIGHT = 320
LABEL_ROOM = (0.05, 24.0)  # labels of dots nearer than this, across and down, would collide


@dataclass(frozen=True)
class _Plane:
    """Both axes as powers of two; across in shares of the width, down in pixels."""

    left: int
    right: int
    low: int
    high: float
    top: int = 8
    bottom: int = HEIGHT - 40

    def x(self, value: float) -> float:
        return (math.log2(value) - self.left) / (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (math.log2(value) - self.low) / (self.high - self.low) * (self.bottom - self.top)


def roofline(dots: Sequence[Dot], *, peak: float, bandwidth: float) -> Markup:
    """``dots`` below the roof ``min(peak, bandwidth * intensity)``; ``bandwidth`` is in bytes per cycle."""
    knee = peak / bandwidth
    plane = _Plane(
        left=math.floor(math.log2(min([knee / 4, *(intensity for _, intensity, _ in dots)]))),
        right=math.ceil(math.log2(max([knee * 8, *(intensity * 1.5 for _, intensity, _ in dots)]))),
        low=math.floor(min([math.log2(peak) - 4, *(math.log2(rate) - 0.5 for _, _, rate in dots)])),
        high=math.log2(peak) + 0.7,
    )
    return element(
        "svg",
        *_grid(plane),
        *_roof(plane, peak, bandwidth),
        *_dots(plane, dots),
        class_="chart",
        width="100%",
        height=HEIGHT,
        role="img",
        aria_label=f"Roofline, peak {peak:g} MACs per cycle, {bandwidth:g} bytes per cycle",
    )


def _grid(plane: _Plane) -> Iterator[Markup]:
    for power in range(plane.left, plane.right + 1):
        x = percent(plane.x(2.0**power))
        anchor = {plane.left: "start", plane.right: "end"}.get(power, "middle")
        yield element("line", class_="grid", x1=x, x2=x, y1=plane.top, y2=plane.bottom)
        yield element("text", _power_of_two(power), x=x, y=plane.bottom + 16, text_anchor=anchor)
    for power in range(plane.low, math.floor(plane.high) + 1):
        y = plane.y(2.0**power)
        yield element("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y)
        yield element("text", _power_of_two(power), x=4, y=y - 4)
    yield element("text", "\u2191 MACs per cycle", class_="label", x=0, y=HEIGHT - 6)
    yield element(
        "text", "MACs per byte moved \u2192", class_="label", x="100%", y=HEIGHT - 6, text_anchor="end"
    )


def _roof(plane: _Plane, peak: float, bandwidth: float) -> Iterator[Markup]:
    start = 2.0 ** max(plane.left, plane.low - math.log2(bandwidth))
    knee, ceiling = percent(plane.x(peak / bandwidth)), plane.y(peak)
    foot = {"x1": percent(plane.x(start)), "y1": plane.y(bandwidth * start)}
    yield element("line", class_="roof", **foot, x2=knee, y2=ceiling)
    yield element("line", class_="roof", x1=knee, y1=ceiling, x2="100%", y2=ceiling)
    yield element(
        "text", f"peak {peak:g} MACs per cycle", class_="label", x="99%", y=ceiling - 8, text_anchor="end"
    )


def _dots(plane: _Plane, dots: Sequence[Dot]) -> Iterator[Markup]:
    """The dots, and their numbers; dots that lie close share one label."""
    clusters: list[list[int]] = []
    places = [(plane.x(intensity), plane.y(rate)) for _, intensity, rate in dots]
    for index, ((label, intensity, rate), (x, y)) in enumerate(zip(dots, places, strict=True)):
        title = f"{label}: {rate:.2f} MACs per cycle, {intensity:.2f} MACs per byte"
        yield element("circle", element("title", title), class_="dot", cx=percent(x), cy=y, r=5)
        for cluster in clusters:
            last_x, last_y = places[cluster[-1]]
            if abs(x - last_x) < LABEL_ROOM[0] and abs(y - last_y) < LABEL_ROOM[1]:
                cluster.append(index)
                break
        else:
            clusters.append([index])
    for cluster in clusters:
        centre = sum(places[index][0] for index in cluster) / len(cluster)
        below = max(places[index][1] for index in cluster) + 20
        numbers = ", ".join(str(index + 1) for index in cluster)
        yield element("text", numbers, class_="label", x=percent(centre), y=below, text_anchor="middle")


def _power_of_two(power: int) -> str:
    return str(1 << power) if power >= 0 else f"1/{1 << -power}"
