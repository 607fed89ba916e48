"""The numeric unit library: every unit by its name.

A unit is one class: its fields, its twins (RTL, golden model, HLS C++), its stimulus, its timing and its
error claim. A line here is all that makes it known to ``tilewright verify --unit`` and to the tests.
"""

from typing import Any

from tilewright.units.argmax import ArgMax
from tilewright.units.base import Unit
from tilewright.units.exp2 import Exp2

_UNITS: tuple[Unit[Any], ...] = (
    Exp2(),
    ArgMax(),
)

UNITS: dict[str, Unit[Any]] = {unit.name: unit for unit in _UNITS}
