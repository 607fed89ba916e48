"""The error of a unit over its abscissa as a picture: the range of the deviation in every column."""

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from tilewright.report_svg import element

WIDTH, HEIGHT = 720, 200
LEFT, RIGHT, TOP, BOTTOM = 70, 12, 14, 36
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #555 }
.range { stroke: #2a78c4 }
.claim { stroke: #c4442a; stroke-dasharray: 5 4 }
.zero { stroke: #999; stroke-width: .6 }
@media (prefers-color-scheme: dark) { text { fill: #bbb } .range { stroke: #6db0f2 } }
"""


def error_plot(x: NDArray[np.floating], deviation: NDArray[np.floating], *, figure: float, quantity: str,
               abscissa: str) -> str:
    """SVG text: least and greatest ``deviation`` in each column of ``x``, between dashed lines at ± ``figure``."""
    columns = WIDTH - LEFT - RIGHT
    low, high = float(x.min()), float(x.max())
    column = np.minimum(((x - low) / ((high - low) or 1.0) * columns).astype(np.int64), columns - 1)
    least, most = np.full(columns, np.inf), np.full(columns, -np.inf)
    np.minimum.at(least, column, deviation)
    np.maximum.at(most, column, deviation)
    limit = 1.1 * max(figure, float(np.abs(deviation).max()))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    scale = (HEIGHT - BOTTOM - TOP) / 2 / limit
    path = "".join(
        f"M{LEFT + place}.5 {middle - float(most[place]) * scale:.1f}v{max(float(most[place] - least[place]) * scale, 0.5):.1f}"
        for place in np.flatnonzero(most >= least).tolist())
    bars = element("path", class_="range", d=path)
    marks = [_across("zero", middle)]
    marks += [_across("claim", middle - sign * figure * scale) for sign in (1, -1)]
    marks += [element("text", f"{value:.3g}", x=LEFT - 6, y=middle - value * scale + 4, text_anchor="end")
              for value in (figure, 0.0, -figure)]
    marks += [element("text", f"{value:.4g}", x=place, y=HEIGHT - BOTTOM + 16, text_anchor=anchor)
              for value, place, anchor in ((low, LEFT, "start"), (high, WIDTH - RIGHT, "end"))]
    words = [element("text", abscissa, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"),
             element("title", f"{quantity} over {abscissa}")]
    return str(element(
        "svg", element("style", Markup(STYLE)), *words, bars, *marks, xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT, role="img")) + "\n"


def _across(class_: str, y: float) -> Markup:
    return element("line", class_=class_, x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y)
