"""Claims about proofs of equality: RTL and specification agree for every input; a break is found, with an input showing it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tilewright.units import UNITS
from tilewright.units.project import Project, make_case, write_project
from tilewright.units.proof import equality


def project_of(name: str, parameters: dict[str, Any], folder: Path) -> Project:
    unit = UNITS[name]
    p = unit.parameters_type(**parameters)
    return write_project(folder, unit, p, {"sample": make_case(unit, p, unit.stimulus(p, np.random.default_rng(1), 50))})


FAST: list[tuple[str, dict[str, Any], tuple[str, str]]] = [  # the last: a line's text, and what breaks it
    ("isqrt", {"width": 16}, ("2'h1 }", "2'h2 }")),
    ("compact", {}, ("4'h8 - ", "4'h9 - ")),
    ("requantize", {"mode": "half_up", "out_signed": False, "activation": "relu"}, ("coarse >= 3'h4", "coarse > 3'h4")),
]


@pytest.mark.parametrize(("name", "parameters", "change"), FAST, ids=lambda value: value if isinstance(value, str) else "")
def test_rtl_equals_its_specification_for_every_input(
    name: str, parameters: dict[str, Any], change: tuple[str, str], tmp_path: Path
) -> None:
    project = project_of(name, parameters, tmp_path)
    found = equality(project)
    assert found is not None and found.passed, found
    verilog = project.sources()[0]
    text = verilog.read_text(encoding="utf-8")
    assert text.count(change[0]) == 1
    verilog.write_text(text.replace(*change), encoding="utf-8")
    broken = equality(project)
    assert broken is not None and not broken.passed and " gives " in broken.message


def test_a_counterexample_is_one(tmp_path: Path) -> None:
    """What the message says is what the golden model does not: root of n."""
    project = project_of("isqrt", {"width": 8}, tmp_path)
    verilog = project.sources()[0]
    text = verilog.read_text(encoding="utf-8")
    verilog.write_text(text.replace("2'h1 }", "2'h2 }"), encoding="utf-8")
    found = equality(project)
    assert found is not None and found.name == "formal: equals its specification"
    n, root = (int(part.rsplit(" ", 1)[1]) for part in found.message.split(" gives "))
    assert not root**2 <= n < (root + 1) ** 2


def test_wrong_operands_of_a_cut_multiplier_are_told(tmp_path: Path) -> None:
    project = project_of("requantize", {}, tmp_path)
    verilog = project.sources()[0]
    text = verilog.read_text(encoding="utf-8")
    broken, breaks = re.subn(r"(assign total = \S+) \+", r"\1 -", text)
    assert breaks == 1
    verilog.write_text(broken, encoding="utf-8")
    found = equality(project)
    assert found is not None and "operands of the multiplier are wrong" in found.message


def test_a_unit_without_a_specification_has_no_such_check(tmp_path: Path) -> None:
    assert equality(project_of("requantize", {"mode": "ort"}, tmp_path)) is None
