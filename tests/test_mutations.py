"""The checks can fail: RTL that is broken in one place is noticed (all places: benchmarks/mutations.py)."""

import importlib.util
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from mutations import MUTATIONS, Mutation, caught_by


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what.replace(" ", "_"))
def test_a_mutation_finds_its_place_in_the_source(mutation: Mutation) -> None:
    found = importlib.util.find_spec(mutation.module)
    assert found is not None and found.origin is not None
    assert Path(found.origin).read_text().count(mutation.old) == 1


@pytest.mark.parametrize("number", [1, 5, 18], ids=lambda number: MUTATIONS[number].what.replace(" ", "_"))
def test_a_mutation_is_caught(number: int) -> None:
    assert caught_by(number) is not None
