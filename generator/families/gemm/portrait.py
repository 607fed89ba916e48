"""The portrait of a systolic array: its words, its drawing, the work its jobs mean."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from tilewright.families.gemm.spec import GemmSpec
from tilewright.portrait import Portrait, Work
from tilewright.report_svg import arrow, element

MOST_PITCH = 72.0  # from PE to PE in the drawing
MOST_DRAWN = 16  # PEs drawn one by one; a larger array is drawn as a texture

# Where operands enter and what each PE keeps: (left, top, kept), as the CSS classes of A, B and C.
_STREAMS = {
    "output_stationary": ("act", "weight", "result"),
    "weight_stationary": ("act", "weight", "weight"),
    "input_stationary": ("weight", "act", "act"),
}
_KEEPS = {
    "output_stationary": "keeps the sum of its output while activations move east and weights south",
    "weight_stationary": "keeps a weight while activations move east and partial sums south",
    "input_stationary": "keeps an activation while weights move east and partial sums south",
}
_MODES = {
    "rne": "to nearest, ties to even",
    "ort": "as ONNX Runtime's kernels round",
    "half_up": "to nearest, ties up",
}


def portrait(spec: GemmSpec) -> Portrait:
    """How the report presents a GEMM engine."""
    flow = spec.dataflow.replace("_", "-")
    scaled = f", requantized to {spec.out}" if spec.has_requant else ""
    overflow = (
        "exact: no job can overflow" if spec.acc_overflow == "exact" else f"{spec.acc_overflow}s on overflow"
    )
    return Portrait(
        title=f"{spec.rows}\u00a0\u00d7\u00a0{spec.cols} systolic array, {flow}",
        sentence=(
            f"C = A \u00d7 B on {spec.rows * spec.cols} processing elements: {spec.act} activations times "
            f"{spec.weight} weights, summed in {spec.acc_width} bits{scaled}. "
            f"Every PE {_KEEPS[spec.dataflow]}."
        ),
        facts=(
            ("Array", f"{spec.rows} \u00d7 {spec.cols} PEs, {flow}"),
            ("Operands", f"{spec.act} \u00d7 {spec.weight}"),
            ("Accumulators", f"{spec.acc_width} bit, {overflow}"),
            ("Requantizer", _requantizer(spec)),
            (
                "Activation",
                {"none": "none", "relu": "ReLU at the zero point", "clip": "bounds per channel"}[
                    spec.activation
                ],
            ),
            ("Jobs up to", f"m {spec.limits.m}, n {spec.limits.n}, k {spec.limits.k}"),
            ("Buffers", f"{spec.buffer_bits / 8192:.1f} KiB, double-buffered"),
            ("PE pipeline", f"{spec.pe_pipeline} stage{'s' if spec.pe_pipeline > 1 else ''}"),
            (
                "Ports",
                {"stream": "ready/valid streams", "axi": "AXI4-Stream data, AXI4-Lite registers"}[spec.top],
            ),
        ),
        figure=figure(spec),
        caption=(
            f"Blue: activations, {spec.act_lanes} lanes of {spec.act}. Orange: weights, {spec.weight_lanes} "
            f"lanes of {spec.weight}. Green: results, {spec.result_lanes} lanes of {spec.out}."
            + (
                ""
                if max(spec.rows, spec.cols) > MOST_DRAWN
                else " The pulse is the wavefront that crosses the array."
            )
        ),
        macs_per_cycle=spec.rows * spec.cols,
        bytes_per_cycle=(
            spec.act_lanes * spec.act.width
            + spec.weight_lanes * spec.weight.width
            + spec.result_lanes * spec.out.width
        )
        / 8,
        work=lambda job: work(spec, job),
        engine="array",
        size="m \u00d7 n \u00d7 k",
        padding="multiplying the padding of ragged edges",
        idle="filling, draining, waiting for first operands",
    )


def _requantizer(spec: GemmSpec) -> str:
    requant = spec.numbers.requant
    if isinstance(requant, str):
        return "none: accumulators leave as they are"
    return f"{requant.multiplier_bits}-bit multiplier per channel, {_MODES[requant.mode]}"


def work(spec: GemmSpec, job: Mapping[str, Any]) -> Work:
    """MACs and bytes of ``job``: operands enter once, resident weights not again, results leave once."""
    m, n, k = job["m"], job["n"], job["k"]
    sides = {"output_stationary": (m, n, k), "weight_stationary": (k, n, m), "input_stationary": (k, m, n)}
    down, across, along = sides[spec.dataflow]
    tiles = -(-down // spec.rows) * -(-across // spec.cols)
    bits = m * k * spec.act.width + m * n * spec.out.width
    if not job.get("reuse_weights"):
        bits += k * n * spec.weight.width
    return Work(
        name="\u00a0\u00d7\u00a0".join(map(str, (m, n, k))),
        note="weights resident" if job.get("reuse_weights") else "",
        macs=m * n * k,
        padded_macs=tiles * along * spec.rows * spec.cols,
        bytes_moved=bits / 8,
    )


def figure(spec: GemmSpec) -> Markup:
    """The array as a grid with its streams, in a box 400 wide."""
    left, top, kept = _STREAMS[spec.dataflow]
    origin, extent = 92.0, 320.0
    pitch = min(extent / max(spec.rows, spec.cols), MOST_PITCH)
    wide, high = pitch * spec.cols, pitch * spec.rows
    x0, y0 = origin + (extent - wide) / 2, 76.0
    parts = [_grid(spec, x0, y0, pitch, kept)]
    for row in _lanes(spec.rows):
        y = y0 + (row + 0.5) * pitch
        parts += arrow(left, x0 - 30, y, x0 - 7, y)
    for col in _lanes(spec.cols):
        x = x0 + (col + 0.5) * pitch
        parts += arrow(top, x, y0 - 30, x, y0 - 7)
        parts += arrow("result", x, y0 + high + 5, x, y0 + high + 26)
    below = y0 + high + 31
    if spec.has_requant:
        parts += [
            element("rect", class_="unit", x=x0, y=below, width=wide, height=22.0, rx=4.0),
            element(
                "text",
                f"requantize \u00d7 {spec.cols}" if wide > 90 else "requantize",
                class_="label",
                x=x0 + wide / 2,
                y=below + 15,
                text_anchor="middle",
            ),
        ]
        below += 22
        for col in _lanes(spec.cols):
            x = x0 + (col + 0.5) * pitch
            parts += arrow("result", x, below + 3, x, below + 20)
        below += 22
    names = {
        "act": f"A \u00b7 {spec.act_lanes} \u00d7 {spec.act}",
        "weight": f"B \u00b7 {spec.weight_lanes} \u00d7 {spec.weight}",
    }
    middle = y0 + high / 2
    parts += [
        element("text", names[top], class_=f"stream {top}", x=x0 + wide / 2, y=y0 - 40, text_anchor="middle"),
        element(
            "text",
            names[left],
            class_=f"stream {left}",
            x=x0 - 42,
            y=middle,
            text_anchor="middle",
            transform=f"rotate(-90 {x0 - 42:.2f} {middle:.2f})",
        ),
        element(
            "text",
            f"C \u00b7 {spec.result_lanes} \u00d7 {spec.out}",
            class_="stream result",
            x=x0 + wide / 2,
            y=below + 18,
            text_anchor="middle",
        ),
    ]
    return element(
        "svg",
        *parts,
        class_="array",
        role="img",
        viewBox=f"{origin + extent / 2 - 222:.0f} 18 400 {below + 10:.0f}",
        aria_label=f"{spec.rows} by {spec.cols} processing elements, {spec.dataflow.replace('_', '-')}",
    )


def _lanes(count: int) -> list[int]:
    """The lanes that get an arrow: all, or evenly spaced ones of a large array."""
    if count <= MOST_DRAWN:
        return list(range(count))
    return [count * (2 * index + 1) // 16 for index in range(8)]


def _grid(spec: GemmSpec, x0: float, y0: float, pitch: float, kept: str) -> Markup:
    gap = pitch * 0.16
    if max(spec.rows, spec.cols) > MOST_DRAWN:
        cell = element(
            "rect", class_=f"pe {kept}", x=gap / 2, y=gap / 2, width=pitch - gap, height=pitch - gap
        )
        texture = element(
            "pattern", cell, id="pe", x=x0, y=y0, width=pitch, height=pitch, patternUnits="userSpaceOnUse"
        )
        return element(
            "g",
            element("defs", texture),
            element("rect", x=x0, y=y0, width=pitch * spec.cols, height=pitch * spec.rows, fill="url(#pe)"),
        )
    side = pitch - gap
    cells = []
    for row in range(spec.rows):
        for col in range(spec.cols):
            x, y = x0 + col * pitch + gap / 2, y0 + row * pitch + gap / 2
            cells += [
                element("rect", class_="pe", x=x, y=y, width=side, height=side, rx=side * 0.14),
                element(
                    "rect",
                    class_=f"kept {kept}",
                    x=x + side * 0.3,
                    y=y + side * 0.3,
                    width=side * 0.4,
                    height=side * 0.4,
                    rx=side * 0.08,
                    style=f"--wave:{row + col}",
                ),
            ]
    return element("g", *cells)
