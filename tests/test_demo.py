"""Claims about the demo: handwritten digits on the generated engine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tilewright import cli
from tilewright.demo import classify_digits
from tilewright.design import Design, parse_design
from tilewright.errors import UserError
from tilewright.starting_point import starting_point


def default_design(*overrides: str) -> Design:
    return parse_design(starting_point("gemm").encode(), source="gemm.yaml", overrides=overrides)


def test_every_logit_of_every_digit_leaves_the_rtl_as_the_golden_model_says(tmp_path: Path) -> None:
    result = classify_digits(default_design(), root=tmp_path)
    assert result["backend"] == "sim" and result["measured"]
    assert result["equal_golden"] == len(result["labels"]) == len(result["predictions"]) == 360
    assert result["outputs"] == 3600
    assert result["accuracy"] == pytest.approx(346 / 360)
    assert result["float_accuracy"] == pytest.approx(347 / 360)
    assert [job["cycles"] for job in result["job_cycles"]] == [job["model"] for job in result["job_cycles"]]
    assert [job["reuse_weights"] for job in result["job_cycles"]] == [False, True, True] * 2


def test_small_engines_take_the_digits_in_small_batches(tmp_path: Path) -> None:
    design = default_design("limits={m: 50, n: 32, k: 64}", "array.rows=5", "workload=[{m: 5, n: 5, k: 5}]")
    result = classify_digits(design, root=tmp_path, backend="golden")
    assert result["jobs"] == 2 * 8 and result["equal_golden"] == 360
    assert max(job["m"] for job in result["job_cycles"]) == 50


@pytest.mark.parametrize(
    "override, reason",
    [
        ("numbers.weight=int7", "b: "),
        ("numbers.weight=uint8", "b: "),
        ("numbers.requant=none", "no requantization"),
        ("numbers.requant={out: int7}", "zero_point: "),
        ("limits.n=16", "n is 32; the design takes 1 to 16"),
        ("limits.k=32", "k is 64; the design takes 1 to 32"),
    ],
)
def test_a_design_that_cannot_take_the_network_is_refused_with_the_reason(tmp_path, override, reason):
    design = default_design(override, "workload=[{m: 8, n: 8, k: 8}]")
    with pytest.raises(UserError, match=r"gemm\.yaml: the digits do not fit this design: job 0: ") as caught:
        classify_digits(design, root=tmp_path, backend="golden")
    assert reason in str(caught.value) and len(str(caught.value).splitlines()) == 1


# -- the command ------------------------------------------------------------------------------------------

BUILT = {"files": {"a": "0", "b": "1"}}
VERIFIED = {"checks": [{"passed": True, "vectors": 4000}], "cycles": [{"model": 5, "measured": 5}]}
ROUTED = {
    "lut": 1,
    "ff": 2,
    "dsp": 3,
    "bram": 4,
    "device": "ecp5-85f",
    "clock_mhz": 25,
    "fmax_median_mhz": 151.25,
    "bitstream": "build/x.bit",
}
READ = {
    "labels": [0] * 360,
    "accuracy": 346 / 360,
    "float_accuracy": 347 / 360,
    "equal_golden": 360,
    "cycles": 14460,
    "backend": "sim",
}


class Commands:
    """Stands in for the command line: answers with canned objects, keeps what was asked."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.asked: list[list[str]] = []
        self.answers = {
            "build": BUILT,
            "verify": VERIFIED,
            "synth": ROUTED,
            "report": {"report": "there.html"},
        }

    def __call__(self, words: list[str]) -> int:
        self.asked.append(words)
        code = self.codes.get(words[0], 0)
        print(json.dumps(self.answers[words[0]] if code < 2 else {"passed": False}))
        return code


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, Commands]]:
    """Run `tilewright demo` with every command but itself replaced."""
    real = cli.main
    monkeypatch.chdir(tmp_path)

    def run(*words: str, read: dict[str, Any] | None = None, **codes: int) -> tuple[int, Commands]:
        commands = Commands(**codes)
        monkeypatch.setattr(cli, "main", commands)
        monkeypatch.setattr("tilewright.demo.classify_digits", lambda design, root: READ | (read or {}))
        return real(["demo", *words]), commands

    return run


def test_the_demo_runs_the_commands_a_user_would_type_and_ends_with_the_report(demo, capsys, tmp_path):
    code, commands = demo()
    assert code == 0
    file = str(Path("build") / "gemm.yaml")
    assert commands.asked == [
        ["build", file, "--json"],
        ["verify", file, "--json"],
        ["synth", file, "--board", "ulx3s-85f", "--seeds", "1", "--json"],
        ["report", file, "--json"],
    ]
    out = capsys.readouterr().out
    assert f"$ tilewright verify {file}\n  1 of 1 checks passed: 4\u202f000 values" in out
    assert "346 of 360 read correctly, 96.11 %; in floating point 96.39 %" in out
    assert "151.2 MHz (the board's clock: 25 MHz), 1 LUT, 2 FF, 3 multipliers" in out
    assert out.splitlines()[-1].endswith("Open the report: there.html")
    assert json.loads((tmp_path / "build/gemm_int8_8x8/report/digits.json").read_text()) == READ


def test_the_demo_takes_a_design_a_folder_and_a_board(demo, tmp_path):
    (tmp_path / "my.yaml").write_text(starting_point("gemm"))
    code, commands = demo("my.yaml", "--build-dir", "out", "--board", "icebreaker", "--seeds", "3")
    assert code == 0
    assert commands.asked[2] == [
        "synth",
        "my.yaml",
        "--build-dir",
        "out",
        "--board",
        "icebreaker",
        "--seeds",
        "3",
        "--json",
    ]


def test_a_quick_demo_leaves_place_and_route_out(demo):
    code, commands = demo("--quick")
    assert code == 0 and [words[0] for words in commands.asked] == ["build", "verify", "report"]


def test_the_json_of_a_demo_is_one_object(demo, capsys):
    code, _ = demo("--json")
    payload = json.loads(capsys.readouterr().out)
    assert code == 0 and payload["passed"] and payload["report"] == "there.html"
    assert [step["command"].split()[0] for step in payload["steps"]] == [
        "tilewright",
        "tilewright",
        "digits",
        "tilewright",
        "tilewright",
    ]
    assert payload["digits"]["equal_golden"] == 360


@pytest.mark.parametrize(
    "codes, exit_code, named",
    [
        ({"verify": 1}, 1, "verify"),
        ({"synth": 1}, 1, "synth"),
        ({"synth": 3}, 3, "synth"),
        ({"verify": 1, "synth": 3}, 3, "verify, synth"),
    ],
)
def test_a_step_that_fails_does_not_keep_the_report_from_being_written(demo, capsys, codes, exit_code, named):
    code, commands = demo(**codes)
    assert code == exit_code and commands.asked[-1][0] == "report"
    assert f"demo: {named} failed; the reason stands above" in capsys.readouterr().err


def test_digits_that_differ_from_golden_fail_the_demo(demo, capsys):
    code, _ = demo(read={"equal_golden": 359})
    assert code == 1 and "demo: digits failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "codes, exit_code",
    [({"build": 2}, 2), ({"build": 3}, 3), ({"verify": 130}, 130), ({"synth": 2}, 2), ({"synth": 70}, 70)],
)
def test_wrong_input_an_interruption_or_a_fault_ends_the_demo(demo, codes, exit_code):
    code, commands = demo(**codes)
    assert code == exit_code and commands.asked[-1][0] == next(iter(codes))
