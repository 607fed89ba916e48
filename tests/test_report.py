"""Claims about the report: what it shows, what it refuses to show, and that it stands alone."""

import base64
import copy
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tilewright import report_jobs, report_svg, report_view, report_words
from tilewright.cli import main
from tilewright.design import parse_design
from tilewright.errors import UserError
from tilewright.families.gemm.portrait import MOST_DRAWN, portrait
from tilewright.report import RESULTS, write_report

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


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return build_folder(tmp_path / "gemm_int8_8x8", EVERYTHING)


# -- the page ---------------------------------------------------------------------------------------------


def test_every_section_is_there_and_every_element_is_closed(full):
    page = page_of(full)
    assert [attrs["id"] for tag, attrs in page.elements if tag == "section"] == list(SECTIONS)


@pytest.mark.parametrize("present", [(), *((name,) for name in RESULTS), RESULTS])
def test_the_page_is_well_formed_whatever_was_run(tmp_path, present):
    page = page_of(build_folder(tmp_path / "x", {name: EVERYTHING[name] for name in present}))
    assert len([tag for tag, _ in page.elements if tag == "section"]) == len(SECTIONS)


def test_the_page_needs_nothing_but_itself(full):
    text = write_report(full).html.read_text(encoding="utf-8")
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "data:", text)
    assert not re.search(r"https?:|//[a-z]|@import|<script|<iframe|<object", text, re.IGNORECASE)
    assert all(target.startswith(("data:", "#")) for target in re.findall(r"url\(([^)]*)\)", text))
    for _, attrs in Page(text).elements:
        for name in ("src", "href"):
            assert attrs.get(name) is None or str(attrs[name]).startswith("data:")
        assert not [name for name in attrs if name.startswith("on")]


def test_equal_inputs_give_equal_bytes_wherever_the_folder_lies(tmp_path):
    first = write_report(build_folder(tmp_path / "a" / "x", EVERYTHING))
    second = write_report(build_folder(tmp_path / "somewhere" / "else", EVERYTHING))
    assert first.html.read_bytes() == second.html.read_bytes()
    assert first.json.read_bytes() == second.json.read_bytes()
    assert str(tmp_path) not in first.html.read_text() + first.json.read_text()


def test_figures_on_the_page_are_those_of_the_files(full):
    text = page_of(full).text
    for claim in (
        "8 \u00d7 8 systolic array, output-stationary",
        "2 of 2 checks passed, 40960 values compared",
        "routed at 151.0 MHz on ulx3s-85f, whose clock is 25 MHz",
        "2 of 3 handwritten digits read correctly",
        "99.5 %",
        "4118 = model",
        "19.3 GOPS",
        "4000 of 83640 4.8 %",
        "2 of 2 faults put into the RTL were caught",
        "4.00 ns, 38 % of it in wires",
        "Every logit of every image equals the golden model's",
    ):
        assert claim in text


def test_a_section_without_data_names_the_command_that_gives_it_and_shows_no_number(tmp_path):
    text = page_of(build_folder(tmp_path / "x", {})).text
    for command in ("verify", "synth", "demo"):
        assert f"Run tilewright {command}" in text
    assert "not verified yet" in text and "not synthesized yet" in text
    assert "MHz" not in text and "GOPS" not in text and "%" not in text


def test_a_failed_check_is_shown_as_failed_with_its_first_divergence(tmp_path):
    verify = copy.deepcopy(VERIFY) | {
        "passed": False,
        "first_divergence": {"job": 2, "index": "(3, 5)", "expected": "17", "actual": "-4"},
    }
    verify["checks"][0] |= {"passed": False, "message": "17 expected, -4 seen"}
    page = page_of(build_folder(tmp_path / "x", {"verify": verify}))
    assert "1 of 2 checks passed" in page.text and "Not every check passed" in page.text
    assert "expected: 17 actual: -4" in page.text and "17 expected, -4 seen" in page.text
    marks = [
        attrs["aria-label"]
        for tag, attrs in page.elements
        if "mark" in str(attrs.get("class")).split() and "aria-label" in attrs
    ]
    assert marks[:2] == ["failed", "passed"]


def test_wrong_predictions_are_marked_and_collected(full):
    page = page_of(full)
    cards = [
        str(attrs["class"]).split()
        for tag, attrs in page.elements
        if tag == "li" and str(attrs.get("class")).startswith("digit")
    ]
    assert [("wrong" in classes) for classes in cards] == [
        False,
        True,
        False,
        True,
    ]  # three, then the mistake
    assert "3, is 8" in page.text and "The one mistake" in page.text


def test_logits_that_differ_from_golden_are_a_failure_on_the_page(tmp_path):
    page = page_of(build_folder(tmp_path / "x", {"digits": DIGITS | {"equal_golden": 2}}))
    verdicts = [attrs["class"] for tag, attrs in page.elements if str(attrs.get("class")).startswith("mark ")]
    assert "mark bad" in verdicts and "All logits of 2 images equal" in page.text


def test_names_from_files_are_text_and_never_markup(tmp_path):
    hostile = copy.deepcopy(EVERYTHING)
    hostile["verify"]["checks"][0] |= {"name": HOSTILE, "message": HOSTILE}
    hostile["verify"] |= {"first_divergence": {HOSTILE: HOSTILE}}
    hostile["verify"]["mutations"][0]["name"] = HOSTILE
    hostile["synth"] |= {
        "board": HOSTILE,
        "device": HOSTILE,
        "bitstream": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
    }
    hostile["synth"]["blocks"][0]["name"] = HOSTILE
    hostile["synth"]["critical_path"][0]["block"] = HOSTILE
    hostile["run"] |= {"backend": HOSTILE}
    hostile["digits"] |= {"backend": HOSTILE}
    hostile["digits"]["job_cycles"][0]["label"] = HOSTILE
    folder = build_folder(tmp_path / "x", hostile)
    plain = Page(write_report(build_folder(tmp_path / "y", EVERYTHING)).html.read_text())
    page = Page(write_report(folder, source=HOSTILE).html.read_text())
    assert {tag for tag, _ in page.elements} - {"br"} == {tag for tag, _ in plain.elements}  # br: a message
    assert not [tag for tag, attrs in page.elements if tag == "script" or "onerror" in attrs]
    assert "{{ 7 * 7 }}" in page.words and page.words.count("<script>alert(1)</script>") > 10


# -- files ------------------------------------------------------------------------------------------------


def test_report_json_holds_the_results_and_what_follows_from_them(full):
    report = write_report(full)
    data = json.loads(report.json.read_text())
    assert data["verify"] == VERIFY and data["synth"] == SYNTH
    assert "pixels" not in data["digits"] and data["digits"]["labels"] == [3, 8, 1]
    workload, run, read = data["jobs"]
    assert (
        workload
        | {
            "m": 64,
            "n": 64,
            "k": 64,
            "reuse_weights": False,
            "cycles": 4118,
            "model": 4118,
            "ideal": 4096.0,
            "utilization": 0.994658,
            "macs": 262144,
            "bytes": 12288.0,
        }
        == workload
    )
    assert (run["cycles"], read["cycles"]) == (40, 4200)
    assert data["versions"] == {"amaranth": "0.5.10", "nextpnr-ecp5": "0.11.1"}
    assert report.sections == dict.fromkeys(RESULTS, True)


def test_a_result_of_an_earlier_version_of_the_design_is_not_shown(tmp_path):
    folder = build_folder(tmp_path / "x", {"synth": SYNTH | {"hash": "0" * 64}})
    report = write_report(folder)
    text = Page(report.html.read_text()).text
    assert "synth.json belongs to an earlier version of this design. Run tilewright synth" in text
    assert "MHz" not in text and not report.sections["synth"]


@pytest.mark.parametrize("content", ["", "[]", "{", '"text"', "\ufeff{}", "null"])
def test_a_broken_result_is_refused_in_one_line_that_names_the_command(tmp_path, content):
    folder = build_folder(tmp_path / "x", {})
    (folder / "report" / "synth.json").write_text(content)
    with pytest.raises(
        UserError, match=r"synth\.json: not a JSON object; write it again with 'tilewright synth'"
    ):
        write_report(folder)


@pytest.mark.parametrize(
    "result, broken",
    [
        ("verify", {"checks": [1]}),
        ("verify", {"checks": [{"vectors": "many"}]}),
        ("synth", {"lut": "few", "available": {"lut": 10}}),
        ("synth", {"fmax_mhz": 3}),
        ("synth", {"blocks": [{"lut": 4}]}),
        ("run", {"job_cycles": [{"m": 1, "n": "x", "k": 2, "cycles": 4}]}),
        ("digits", {"pixels": ["0" * 64]}),
        ("digits", {"pixels": ["z" * 64], "labels": [1], "predictions": [1]}),
        ("digits", {"pixels": ["0" * 64], "labels": [77], "predictions": [77]}),
        (
            "verify",
            {"cycles": [{"job": {"m": 1}, "measured": 5, "done": "x", "first_step": 1, "last_step": 2}]},
        ),
    ],
)
def test_results_of_the_wrong_shape_are_refused_in_one_line(tmp_path, result, broken):
    folder = build_folder(tmp_path / "x", {result: broken})
    with pytest.raises(UserError, match=rf"cannot read {result}\.json") as caught:
        write_report(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert not (folder / "report" / "report.html").exists()


def test_a_folder_that_is_no_build_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"not a build folder, it has no design\.yaml"):
        write_report(tmp_path)


def test_rendering_again_replaces_and_leaves_nothing_else(full):
    write_report(full)
    (full / "report" / "synth.json").unlink()
    assert "not synthesized yet" in page_of(full).text
    assert sorted(path.name for path in (full / "report").iterdir()) == [
        "digits.json",
        "report.html",
        "report.json",
        "run.json",
        "verify.json",
    ]


# -- parts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary", "input_stationary"])
@pytest.mark.parametrize("rows, cols", [(1, 1), (3, 5), (8, 8), (MOST_DRAWN, 2), (64, 64), (1, 64)])
def test_the_array_is_drawn_for_every_shape_pe_by_pe_or_as_a_texture(dataflow, rows, cols):
    text = DESIGN.format(name="x", rows=rows, cols=cols, dataflow=dataflow)
    drawing = Page(str(portrait(parse_design(text.encode(), source="x").spec).figure))
    elements = [str(attrs.get("class", "")).split() for _, attrs in drawing.elements]
    cells = sum("kept" in classes for classes in elements)
    assert cells == (rows * cols if max(rows, cols) <= MOST_DRAWN else 0)
    assert sum(tag == "pattern" for tag, _ in drawing.elements) == (max(rows, cols) > MOST_DRAWN)
    kept = {"output_stationary": "result", "weight_stationary": "weight", "input_stationary": "act"}[dataflow]
    assert [classes for classes in elements if kept in classes and ("kept" in classes or "pe" in classes)]


@pytest.mark.parametrize(
    "dataflow, padded",
    [
        ("output_stationary", 2 * 2 * 7 * 12),  # m 5 in rows of 3, n 6 in columns of 4, k 7 steps
        ("weight_stationary", 3 * 2 * 5 * 12),  # k 7 in rows of 3, n 6 in columns of 4, m 5 steps
        ("input_stationary", 3 * 2 * 6 * 12),  # k 7 in rows of 3, m 5 in columns of 4, n 6 steps
    ],
)
def test_work_counts_ragged_tiles_as_the_array_walks_them(dataflow, padded):
    text = DESIGN.format(name="x", rows=3, cols=4, dataflow=dataflow)
    view = portrait(parse_design(text.encode(), source="x").spec)
    fresh = view.work({"m": 5, "n": 6, "k": 7})
    assert (fresh.macs, fresh.padded_macs, fresh.bytes_moved) == (210, padded, 35 + 42 + 30)
    assert view.work({"m": 5, "n": 6, "k": 7, "reuse_weights": True}).bytes_moved == 35 + 30


@pytest.mark.parametrize(
    "counters",
    [
        {},
        {"active": 150},
        {"active": 150, "input_stall": 20, "output_stall": 7},
        {"active": 9999},
        {"input_stall": 9999, "output_stall": 9999},
    ],
)
def test_the_parts_of_a_measured_job_add_up_to_its_cycles(counters):
    text = DESIGN.format(name="x", rows=3, cols=4, dataflow="output_stationary")
    view = portrait(parse_design(text.encode(), source="x").spec)
    begin, parts = report_jobs.job_parts(view, job(5, 6, 7, 200, **counters), free=30)
    assert begin == 30 and sum(parts.values()) == pytest.approx(200) and min(parts.values()) >= 0


def test_a_scheduled_job_is_drawn_from_the_end_of_the_one_before_to_its_last_result():
    text = DESIGN.format(name="x", rows=3, cols=4, dataflow="output_stationary")
    view = portrait(parse_design(text.encode(), source="x").spec)
    scheduled = job(5, 6, 7, 60, first_step=103, last_step=132, done=150)
    begin, parts = report_jobs.job_parts(view, scheduled, free=100)
    # 210 MACs on 12 PEs; 4 tiles of 7 steps with their padding; 30 steps from first to last.
    assert begin == 100
    assert parts == {"fill": 3, "useful": 17.5, "ragged": 10.5, "overhead": 2, "drain": 17}


def test_checks_of_one_claim_are_one_row_and_a_failed_one_stands_apart():
    def check(name: str, passed: bool = True) -> dict[str, Any]:
        return {
            "name": name,
            "passed": passed,
            "vectors": 10,
            "seconds": 0.5,
            "message": "" if passed else "why",
        }

    view = report_view.verification(
        {
            "passed": False,
            "checks": [
                check("rtl == golden: corners"),
                check("rtl == golden: random_0"),
                check("rtl == golden: random_1", False),
                check("cocotb: stalls_lose_nothing/pattern=both"),
                check("cocotb: stalls_lose_nothing/pattern=one"),
                check("lint: no unwaived warning"),
            ],
        }
    )
    assert view is not None and (view["held"], view["checks"]) == (5, 6)
    assert [(row["name"], row["cases"], row["passed"], row["vectors"]) for row in view["groups"]] == [
        ("rtl == golden", 2, True, "20"),
        ("rtl == golden: random_1", 1, False, "10"),
        ("cocotb: stalls lose nothing", 2, True, "20"),
        ("lint: no unwaived warning", 1, True, "10"),
    ]
    assert view["groups"][1]["message"] == "why"


@pytest.mark.parametrize(
    "value, shown", [(1, "100.0 %"), (0.99999, "99.9 %"), (0.5, "50.0 %"), (0.99949, "99.9 %")]
)
def test_a_share_below_one_is_never_shown_as_all(value, shown):
    assert report_words.share(value) == shown


def test_a_digit_is_a_png_whose_opacity_is_the_ink():
    pixels = [0, 8, 16, 4]
    uri = report_svg.ink_png(pixels, width=2, levels=16)
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += 12 + length
    assert struct.unpack_from(">IIBB", chunks[b"IHDR"]) == (2, 2, 8, 3)
    assert zlib.decompress(chunks[b"IDAT"]) == bytes([0, 0, 8, 0, 16, 4])
    assert [chunks[b"tRNS"][pixel] for pixel in pixels] == [0, 128, 255, 64]


@pytest.mark.parametrize("pixels, width", [([17, 0], 2), ([-1, 0], 2), ([0, 0, 0], 2), ([0], 0)])
def test_pixels_outside_the_picture_are_refused(pixels, width):
    with pytest.raises(ValueError, match="pixels must be rows of"):
        report_svg.ink_png(pixels, width=width, levels=16)


@pytest.mark.parametrize(
    "limit, ticks",
    [
        (4118, [0, 1000, 2000, 3000, 4000]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, [0]),
        (100, [0, 20, 40, 60, 80, 100]),
    ],
)
def test_axes_carry_round_numbers(limit, ticks):
    assert report_svg.nice_ticks(limit) == pytest.approx(ticks)


def test_svg_attributes_are_escaped():
    drawn = str(report_svg.element("text", HOSTILE, class_='a"b', x=1.5))
    assert drawn.startswith('<text class="a&#34;b" x="1.5">&lt;script&gt;')


# -- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with my.yaml and its build."""
    monkeypatch.chdir(tmp_path)
    build_folder(tmp_path / "build" / "x", {"verify": VERIFY}, name="x")
    text = DESIGN.format(name="x", rows=8, cols=8, dataflow="output_stationary")
    (tmp_path / "my.yaml").write_text(text)
    return tmp_path


def test_the_command_writes_both_files_and_names_what_was_not_run(project, capsys):
    assert main(["report", "my.yaml"]) == 0
    out = capsys.readouterr().out
    assert str(Path("build/x/report/report.html")) in out and "synth, run, digits: not run yet" in out
    text = Page((project / "build/x/report/report.html").read_text()).text
    assert "Run tilewright synth my.yaml --board" in text


def test_the_command_prints_one_object(project, capsys):
    assert main(["report", "my.yaml", "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["sections"] == {"verify": True, "synth": False, "run": False, "digits": False}
    assert Path(payload["report"]).is_file() and Path(payload["json"]).is_file()


def test_a_design_that_was_not_built_is_refused(project, capsys):
    assert main(["report", "my.yaml", "--build-dir", "elsewhere"]) == 2
    assert capsys.readouterr().err == "elsewhere/x: not built yet; run 'tilewright build my.yaml' first\n"


def test_a_build_of_another_version_of_the_design_is_refused(project, capsys):
    assert main(["report", "my.yaml", "--set", "array.rows=5"]) == 2
    expected = "build/x: built from another version of my.yaml; run 'tilewright build my.yaml' again\n"
    assert capsys.readouterr().err == expected
