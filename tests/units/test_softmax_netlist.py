"""What the netlist of a softmax says of its structure."""

import re

import pytest
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.units import UNITS

MODULE = re.compile(r"^module \\(\S+)$(.*?)^end$", re.MULTILINE | re.DOTALL)
MULTIPLIER = re.compile(r"^  cell (\$mul|\\MULT18X18D) ", re.MULTILINE)


def _multipliers(name: str, target: str) -> dict[str, int]:
    unit = UNITS[name]
    rtlil = to_rtlil(unit.component(unit.parameters_type(), target), name=name)
    return {module: len(MULTIPLIER.findall(body)) for module, body in MODULE.findall(rtlil)}


@pytest.mark.parametrize("target", ["generic", "ecp5"])
@pytest.mark.parametrize("name", ["softmax_two_pass", "softmax_online_shift"])
def test_a_sum_of_octaves_is_rescaled_without_a_multiplier(name: str, target: str) -> None:
    found = _multipliers(name, target)
    rescale = {module: count for module, count in found.items() if "_rescale" in module}
    assert rescale and not any(rescale.values())
    assert sum(found.values()) >= 3  # the exponential's two and the division's one: the query sees multipliers
