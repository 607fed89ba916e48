"""The slowest path between two clock edges, out of nextpnr's report, every hop in its block."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

HARNESS_BLOCK = "pin harness"


@dataclass(frozen=True)
class Hop:
    """One step of a path: ``kind`` is "clk-to-q", "logic", "routing" or "setup". Routing counts for the block
    and the cell where it ends."""

    kind: str
    block: str
    cell: str
    delay_ns: float


@dataclass(frozen=True)
class CriticalPath:
    """Hops from a register to a register."""

    hops: tuple[Hop, ...]

    @property
    def delay_ns(self) -> float:
        return sum(hop.delay_ns for hop in self.hops)

    @property
    def routing_ns(self) -> float:
        """What of the delay is wires."""
        return sum(hop.delay_ns for hop in self.hops if hop.kind == "routing")

    @property
    def blocks(self) -> list[str]:
        """Blocks along the path, a change at a time."""
        names = [hop.block for hop in self.hops]
        return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

    @property
    def ends(self) -> tuple[str, str]:
        """First and last cell."""
        return self.hops[0].cell, self.hops[-1].cell

    def as_payload(self) -> list[dict[str, Any]]:
        """The hops as plain data."""
        return [asdict(hop) for hop in self.hops]


def fmax_mhz(report: Mapping[str, Any]) -> float:
    """Routed Fmax of the one clock; 0 for a report without a clock."""
    return min((round(float(clock["achieved"]), 2) for clock in report["fmax"].values()), default=0.0)


def critical_path(report: Mapping[str, Any], block_of_cell: Callable[[str], str]) -> CriticalPath | None:
    """The path from clock edge to clock edge; None in a design that has none."""
    paths = [path for path in report["critical_paths"]
             if path["from"].startswith(("posedge", "negedge")) and path["to"] == path["from"]]
    if not paths:
        return None
    hops = []
    for step in max(paths, key=_delay)["path"]:
        cell = step["to"]["cell"]
        hops.append(Hop(step["type"], block_of_cell(cell), cell, round(float(step["delay"]), 3)))
    return CriticalPath(tuple(hops))


def _delay(path: Mapping[str, Any]) -> float:
    return sum(float(step["delay"]) for step in path["path"])


def cell_resolver(paths: Mapping[str, str], block_of: Callable[[str], str], *,
                  inside: str) -> Callable[[str], str]:
    """nextpnr's cell name to block; ``paths`` are the design's cells, which a harness puts ``inside`` before.

    nextpnr names the halves of a carry ``x$CCU2_COMB0`` and the like; such an ending is dropped until
    the rest is a known cell.
    """
    def resolve(cell: str) -> str:
        if inside and not cell.startswith(inside):
            return HARNESS_BLOCK
        name = cell.removeprefix(inside)
        while name not in paths:
            shorter = re.sub(r"(\$|_)[^$_]*\Z", "", name)
            if shorter == name:
                return block_of("")
            name = shorter
        return block_of(paths[name])

    return resolve
