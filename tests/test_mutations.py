"""The checks can fail: RTL that is broken in one place is noticed (all places: benchmarks/mutations.py)."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from mutations import MUTATIONS, caught_by


@pytest.mark.parametrize("number", [1, 8, 16], ids=lambda number: MUTATIONS[number].what.replace(" ", "_"))
def test_a_mutation_is_caught(number: int) -> None:
    assert caught_by(number) is not None
