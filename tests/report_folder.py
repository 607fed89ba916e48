"""A build folder with results in it, and the page that its report is, for tests."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from tilewright.design import parse_design
from tilewright.report import write_report

DESIGN = """\
design: {name}
family: gemm
array: {{rows: {rows}, cols: {cols}, dataflow: {dataflow}}}
workload: [{{m: 64, n: 64, k: 64}}]
"""
SECTIONS = ("design", "cycles", "roofline", "resources", "verification", "digits", "reproduce")
VOID = {"meta", "link", "img", "br"}
HOSTILE = """<script>alert(1)</script>"><img src=x onerror=alert(1)> & ' {{ 7 * 7 }}"""


def job(m: int, n: int, k: int, cycles: int, **more: Any) -> dict[str, Any]:
    return {"m": m, "n": n, "k": k, "reuse_weights": False, "cycles": cycles, **more}


VERIFY = {
    "passed": True,
    "checks": [
        {"name": "RTL against golden", "passed": True, "vectors": 40960, "seconds": 2.5},
        {"name": "silence after the last result", "passed": True, "vectors": 0, "seconds": 0.25},
    ],
    "cycles": [
        {
            "job": "64x64x64",
            "model": 4118,
            "measured": 4118,
            "ideal": 4096.0,
            "first_step": 1,
            "last_step": 4096,
            "done": 4118,
        }
    ],
    "first_divergence": None,
    "mutations": [{"name": "rounding dropped", "caught": True}, {"name": "ready tied high", "caught": True}],
}
SYNTH = {
    "device": "LFE5U-85F",
    "board": "ulx3s-85f",
    "clock_mhz": 25,
    "passed": True,
    "seeds": [1, 2, 3],
    "fmax_mhz": [151.0, 144.5, 158.5],
    "fmax_median_mhz": 151.0,
    "lut": 4000,
    "ff": 9000,
    "dsp": 80,
    "bram": 16,
    "carry": 1500,
    "bitstream": "x.bit",
    "available": {"lut": 83640, "ff": 83640, "dsp": 156, "bram": 208},
    "blocks": [
        {"name": "PE array", "lut": 3000, "ff": 6000, "dsp": 64, "bram": 0, "carry": 1000},
        {"name": "control", "lut": 1000, "ff": 3000, "dsp": 16, "bram": 16, "carry": 500},
    ],
    "critical_path": [
        {"block": "control", "kind": "clk-to-q", "delay_ns": 0.5},
        {"block": "control", "kind": "routing", "delay_ns": 1.5},
        {"block": "PE array", "kind": "logic", "delay_ns": 2.0},
    ],
    "versions": {"nextpnr-ecp5": "0.11.1"},
}
RUN = {
    "backend": "harness",
    "jobs": 1,
    "job_cycles": [job(8, 8, 16, 40, input_stall=4, output_stall=2)],
    "outputs": 64,
    "cycles": 40,
    "seconds": 0.1,
    "accuracy": None,
}
DIGITS = {
    "backend": "compiled harness",
    "jobs": 1,
    "job_cycles": [job(128, 32, 64, 4200, label="hidden", model=4200)],
    "cycles": 4200,
    "seconds": 1.0,
    "pixels": ["0123456789abcdefg" + "0" * 47] * 3,
    "labels": [3, 8, 1],
    "predictions": [3, 3, 1],
    "accuracy": 2 / 3,
    "float_accuracy": 2 / 3,
    "equal_golden": 3,
}
EVERYTHING = {"verify": VERIFY, "synth": SYNTH, "run": RUN, "digits": DIGITS}


def build_folder(
    path: Path,
    results: dict[str, Any],
    *,
    name: str = "gemm_int8_8x8",
    rows: int = 8,
    cols: int = 8,
    dataflow: str = "output_stationary",
    more: str = "",
) -> Path:
    text = DESIGN.format(name=name, rows=rows, cols=cols, dataflow=dataflow) + more
    design = parse_design(text.encode(), source="test.yaml")
    (path / "report").mkdir(parents=True)
    (path / "design.yaml").write_text(design.text)
    manifest = {"hash": design.content_hash, "versions": {"amaranth": "0.5.10"}}
    (path / "manifest.json").write_text(json.dumps(manifest))
    for result, value in results.items():
        (path / "report" / f"{result}.json").write_text(json.dumps(value))
    return path


class Page(HTMLParser):
    """A page that is read strictly: every element is closed by its own end tag, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"attribute twice in <{tag}>"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words += data

    @property
    def text(self) -> str:
        return " ".join(self.words.replace("\u202f", "").replace("\u2011", "-").split())


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).html.read_text(encoding="utf-8"))
