"""What the simulator runner asks of a family's ports, and how a build folder names them.

``sim/design.json`` describes the ports of one design. Its key ``ports`` names the module of
:mod:`tilewright.sim.cosim` that reads it: ``load_ports(path)`` there returns a :class:`Ports`.
"""

import json
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from tilewright.errors import ToolError
from tilewright.sim.cosim.beats import Place, ResultBeat

PACKAGE = "tilewright.sim.cosim"


class Ports(Protocol):
    """The ports of one design, as its family describes them; jobs are the family's own objects."""

    @property
    def design(self) -> str:
        """Name of the design and of its top module."""

    @property
    def module(self) -> str:
        """The module with the stream ports: the top, or the engine inside a bus wrapper."""

    @property
    def bench(self) -> str:
        """The cocotb module that drives these streams, as the ``sim`` folder imports it: `cosim.<name>`."""

    def to_json(self) -> str:
        """Text of ``design.json``."""

    def jobs(self, vectors: Path) -> Sequence[Any]:
        """The jobs of a vectors folder."""

    def divergence(
        self, number: int, job: Any, beat: int, expected: ResultBeat, actual: ResultBeat, cycle: int
    ) -> Place:
        """What is wrong with result beat ``beat`` of ``job``, which is number ``number`` of its folder."""


def load_ports(path: Path) -> Ports:
    """The ports that ``path``, a ``design.json``, describes. ToolError when no module reads it."""
    name = json.loads(path.read_text()).get("ports")
    if not isinstance(name, str) or not name.isidentifier() or find_spec(f"{PACKAGE}.{name}") is None:
        raise ToolError(f"{path}: ports: {name!r} is not a module of {PACKAGE}; build the design again")
    ports: Ports = import_module(f"{PACKAGE}.{name}").load_ports(path)
    return ports
