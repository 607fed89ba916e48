"""What every family in the registry brings along."""

from importlib import import_module
from pathlib import Path

import pytest
from tilewright.design import load_design
from tilewright.families import FAMILIES, family_of
from tilewright.families.base import Family
from tilewright.starting_point import starting_points

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_all_its_places(name: str) -> None:
    import_module(f"tilewright.sim.golden.{name}")
    import_module(f"tilewright.rtl.{name}")
    assert (ROOT / "templates/hls" / f"{name}.cpp.j2").exists()
    assert (ROOT / "templates/hls" / f"{name}_tb.cpp.j2").exists()
    assert (ROOT / "sim/cosim" / f"{name}_tests.py").exists()
    assert (ROOT / "templates/new" / f"{name}.yaml").exists()
    assert (ROOT / "docs/families" / f"{name}.md").exists()
    assert (ROOT / "tests" / f"test_{name}.py").exists()
    assert list((ROOT / "examples").glob(f"{name}_*.yaml"))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_implements_every_method(name: str) -> None:
    assert isinstance(FAMILIES[name], Family)
    assert FAMILIES[name].name == name


def test_the_starting_points_are_those_of_the_registry() -> None:
    assert starting_points() == sorted(FAMILIES)


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_is_accepted_and_has_a_cycle_model(path: Path) -> None:
    design = load_design(path)
    jobs = family_of(design.spec).cycles(design.spec)
    assert len(jobs) == len(design.spec.workload)
    assert all(job.done > job.last_step >= job.first_step for job in jobs)
