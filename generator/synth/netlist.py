"""A mapped netlist as Yosys writes it in JSON: which block a cell belongs to, and how many there are."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tilewright.synth.architecture import COLUMNS, Architecture

REST = "control"       # the block of what belongs to no named one
_LABEL = "@"           # in front of a path; Yosys adds its own sources, separated by a bar
_PATH = re.compile(r"(?m)^  cell \S+ (\S+)$")
_OLD_SOURCE = re.compile(r"(?m)^ *attribute \\src .*\n")
_MEMORY = re.compile(r"(?m)^((?:  attribute .*\n)*)  memory .* (\\\S+)$")
_READ_PORT = re.compile(r"(?ms)^  cell \$memrd_v2 .*?^  end$")
_MEMORY_ID = re.compile(r'parameter \\MEMID "([^"]+)"')
_COLLISION = re.compile(r"(parameter \\COLLISION_X_MASK )(\d+)'\d+")

_ELEMENT = re.compile(r"(?m)^  wire .*?(\\\S*\[\S*)$")
_BRACKETED = re.compile(r"\\\S*\[\S*")

Counts = dict[str, int]


def label_cells(flat_rtlil: str) -> str:
    """Write the hierarchical path of every cell into its ``src`` attribute, which mapping carries along.

    ``flat_rtlil`` is one flattened module. Cells of the top get an empty path.
    """
    def label(match: re.Match[str]) -> str:
        return f'  attribute \\src "{_LABEL}{instance_path(match[1])}"\n{match[0]}'

    return _PATH.sub(label, _OLD_SOURCE.sub("", flat_rtlil))


def instance_path(cell_name: str) -> str:
    """``array.row_0`` of the RTLIL names ``\\array.row_0.dsp`` and ``$flatten\\array.\\row_0.$add$1``."""
    name = cell_name
    if name.startswith("$flatten"):
        parts = re.split(r"\.(?=[\\$])", name.removeprefix("$flatten"))
        return ".".join(part.removeprefix("\\") for part in parts[:-1])
    return name.removeprefix("\\").rpartition(".")[0] if name.startswith("\\") else ""


def relax_collisions(flat_rtlil: str) -> str:
    """Make a read that meets a write of the same address don't-care, in memories marked ``no_rw_check``.

    Yosys honours the mark only for read ports whose register it finds itself; Amaranth's come with theirs.
    """
    marked = {match[2] for match in _MEMORY.finditer(flat_rtlil) if "\\no_rw_check 1" in match[1]}

    def relax(match: re.Match[str]) -> str:
        identifier = _MEMORY_ID.search(match[0])
        if identifier is None or identifier[1].replace("\\\\", "\\") not in marked:
            return match[0]
        return _COLLISION.sub(lambda mask: f"{mask[1]}{mask[2]}'{'1' * int(mask[2])}", match[0])

    return _READ_PORT.sub(relax, flat_rtlil)


def rename_elements(flat_rtlil: str) -> str:
    """``\\x[1]``, how Amaranth calls the element of an array, as ``\\x(1)``.

    Yosys hands bit 1 of a wire ``\\x`` to ABC under that name too, and stops when both exist.
    """
    elements = set(_ELEMENT.findall(flat_rtlil))

    def rename(match: re.Match[str]) -> str:
        return match[0].replace("[", "(").replace("]", ")") if match[0] in elements else match[0]

    return _BRACKETED.sub(rename, flat_rtlil)


class Netlist:
    """One flat module of mapped cells."""

    def __init__(self, data: dict[str, Any], top: str, architecture: Architecture) -> None:
        self.data = data
        self.top = top
        self.architecture = architecture
        self.module: dict[str, Any] = data["modules"][top]
        self.cells: dict[str, dict[str, Any]] = self.module["cells"]

    @classmethod
    def load(cls, path: Path, *, top: str, architecture: Architecture) -> "Netlist":
        """The module ``top`` of a JSON file."""
        return cls(json.loads(path.read_bytes()), top, architecture)

    def save(self, path: Path) -> None:
        """Write the file that nextpnr and Yosys read; of all attributes only the paths stay."""
        for name, cell in self.cells.items():
            block = self._path(name, cell)
            cell["attributes"] = {} if block is None else {"src": _LABEL + block}
        for net in self.module["netnames"].values():
            net["attributes"] = {}
        kept = {"creator": "tilewright", "modules": {self.top: self.module}}
        path.write_text(json.dumps(kept, separators=(",", ":")), encoding="utf-8")

    def ports(self) -> list[tuple[str, str, int]]:
        """Name, direction ("input" or "output") and width of every port."""
        return [(name, port["direction"], len(port["bits"])) for name, port in self.module["ports"].items()]

    def total(self) -> Counts:
        """Cells by column."""
        counts: Counter[str] = Counter()
        for cell in self.cells.values():
            if column := self.architecture.column(cell["type"]):
                counts[column] += 1
        return {column: counts[column] for column in COLUMNS}

    def by_block(self, block_of: Callable[[str], str]) -> dict[str, Counts]:
        """Cells by block and column; ``block_of`` names the block of a hierarchical path."""
        blocks: dict[str, Counter[str]] = defaultdict(Counter)
        for name, path in self.paths().items():
            if column := self.architecture.column(self.cells[name]["type"]):
                blocks[block_of(path)][column] += 1
        return {block: {column: counts[column] for column in COLUMNS}
                for block, counts in sorted(blocks.items())}

    def paths(self) -> dict[str, str]:
        """Hierarchical path of every cell.

        Registers, carries, multipliers and memories know theirs. Optimization rebuilds LUTs and forgets, so a
        LUT or multiplexer belongs where most of the cells that it feeds belong.
        """
        known = {name: path for name, cell in self.cells.items()
                 if (path := self._path(name, cell)) is not None}
        sinks = self.sinks()
        feeds: dict[str, list[str]] = {}
        for name, cell in self.cells.items():
            if name not in known:
                feeds[name] = sorted({sink for bit in self.outputs(cell) for sink, _ in sinks.get(bit, ())})
        waiting = dict(feeds)
        while waiting:
            settled = {name: _majority(known[sink] for sink in feeding if sink in known)
                       for name, feeding in waiting.items() if all(sink not in waiting for sink in feeding)}
            if not settled:  # a loop of LUTs: no design of ours has one, but it must not hang here
                settled = dict.fromkeys(waiting, "")
            known |= settled
            waiting = {name: feeding for name, feeding in waiting.items() if name not in settled}
        return known

    def _path(self, name: str, cell: Mapping[str, Any]) -> str | None:
        """The path that a cell carries; a memory's cells have it in their name alone. None for a LUT."""
        for source in str(cell["attributes"].get("src", "")).split("|"):
            if source.startswith(_LABEL):
                return source.removeprefix(_LABEL)
        column = self.architecture.column(cell["type"])
        return None if column in (None, "lut") else name.rpartition(".")[0]

    def sinks(self) -> dict[Any, list[tuple[str, str]]]:
        """Bit to the (cell, port) pairs that read it; an output port of the module counts as cell ""."""
        found: dict[Any, list[tuple[str, str]]] = defaultdict(list)
        for name, cell in self.cells.items():
            for port, bits in cell["connections"].items():
                if cell["port_directions"].get(port) == "input":
                    for bit in bits:
                        if isinstance(bit, int):
                            found[bit].append((name, port))
        for port, description in self.module["ports"].items():
            if description["direction"] != "input":
                for bit in description["bits"]:
                    if isinstance(bit, int):
                        found[bit].append(("", port))
        return found

    @staticmethod
    def outputs(cell: Mapping[str, Any]) -> list[Any]:
        """The bits that a cell drives."""
        return [bit for port, bits in cell["connections"].items()
                if cell["port_directions"].get(port) == "output" for bit in bits if isinstance(bit, int)]


def _majority(paths: Any) -> str:
    counts = Counter(paths)
    return min(counts, key=lambda path: (-counts[path], path)) if counts else ""
