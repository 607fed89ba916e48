"""Claims about the report: what it shows, what it refuses to show, and that it stands alone."""

import copy
import json
import re
from pathlib import Path

import pytest
from report_folder import DESIGN, DIGITS, EVERYTHING, HOSTILE, SECTIONS, SYNTH, VERIFY, Page, build_folder, page_of
from tilewright.cli import main
from tilewright.errors import UserError
from tilewright.report import RESULTS, write_report


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
