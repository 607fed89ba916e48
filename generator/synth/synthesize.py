"""RTLIL to a mapped netlist, counted by block."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tilewright.devices import Device
from tilewright.errors import ToolError
from tilewright.sim.build_cache import cached, content_key
from tilewright.synth.architecture import Architecture, architecture_of, require_fit
from tilewright.synth.netlist import REST, Counts, Netlist, label_cells, relax_collisions, rename_elements
from tilewright.synth.output_registers import pack_output_registers
from tilewright.synth.soft_multipliers import soften_multipliers
from tilewright.synth.yosys import run_yosys, yosys_version

FORMAT = "4"  # of what is kept; a change of the flow that the scripts do not show counts it up
NETLIST = "netlist.json"
TRIES = 3    # at keeping within the device's multipliers
_SUMMARY = "summary.json"

_MODULE = re.compile(r"^module \\(\S+)$", re.MULTILINE)
_CELL = re.compile(r"^  cell \\(\S+) ", re.MULTILINE)

_FAULT = re.compile(
    r"Warning: (found logic loop|Wire .* is used but has no driver|multiple conflicting drivers)")

# A signal marked `keep` keeps its register: Yosys looks for the mark at the cell when it merges equal registers.
_KEEP_REGISTERS = "setattr -set keep 1 a:keep %ci1 t:$*dff* %i"

BlockOf = Callable[[str], str]


@dataclass(frozen=True)
class Synthesis:
    """A mapped netlist: module ``top`` of the file ``netlist``, cells by column, and by block and column."""

    netlist: Path
    top: str
    key: str
    total: Counts
    blocks: dict[str, Counts]
    packed_registers: int
    seconds: float


def block_namer(patterns: Mapping[str, str]) -> BlockOf:
    """Path to block: the first of ``patterns`` (regular expression to block) that is found in the path."""
    compiled = [(re.compile(pattern), block) for pattern, block in patterns.items()]

    def block_of(path: str) -> str:
        return next((block for pattern, block in compiled if pattern.search(path)), REST)

    return block_of


def synthesize(rtlil: str, *, top: str, device: Device, blocks: Mapping[str, str], cache: Path,
               seconds: float | None = None) -> Synthesis:
    """Map module ``top`` of ``rtlil`` to the cells of ``device``, for its ports as they are (no pads).

    Kept in ``cache`` by content. CheckFailed, one line, when it does not fit; a design whose instantiated
    multipliers alone are too many is refused before it is mapped. CheckFailed, too, when mapping takes longer than
    ``seconds``; ToolError when Yosys fails.
    """
    architecture = architecture_of(device)
    require_fit(device, _instantiated(rtlil, top, architecture))
    script = architecture.script(top)
    files = repr(architecture.script_files())
    key = content_key([FORMAT, yosys_version(), "\n".join(script), files, str(device.resources.dsp), top, rtlil])

    def build(folder: Path) -> None:
        start = time.monotonic()
        log_path = cache / f"netlist-{key}.log"  # outlives a failed run, whose folder does not
        packed = _map(rtlil, top, device, script, folder, log_path, seconds)
        summary = {"packed": packed, "seconds": round(time.monotonic() - start, 2)}
        (folder / _SUMMARY).write_text(json.dumps(summary), encoding="utf-8")

    folder = cached(cache, f"netlist-{key}", build)
    netlist = Netlist.load(folder / NETLIST, top=top, architecture=architecture)
    summary = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
    total = netlist.total()
    require_fit(device, total)
    return Synthesis(folder / NETLIST, top, key, total, netlist.by_block(block_namer(blocks)),
                     summary["packed"], summary["seconds"])


def _map(rtlil: str, top: str, device: Device, script: list[str], folder: Path, log_path: Path,
         seconds: float | None) -> int:
    """Netlist of ``rtlil`` in ``folder``; how many registers went into block RAM."""
    architecture = architecture_of(device)
    (folder / "design.il").write_text(rtlil, encoding="utf-8")
    for name, text in architecture.script_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    run_yosys(["read_rtlil design.il", f"hierarchy -top {top}", "proc", "flatten -noscopeinfo",
               _KEEP_REGISTERS, "write_rtlil flat.il"], folder=folder, log_path=log_path, timeout=seconds)
    flat = folder / "flat.il"
    text = rename_elements(relax_collisions(label_cells(flat.read_text(encoding="utf-8"))))
    budget = device.resources.dsp
    for _ in range(TRIES):
        flat.write_text(soften_multipliers(text, budget) if architecture.softens else text, encoding="utf-8")
        log = run_yosys(["read_rtlil flat.il", *script, f"write_json {NETLIST}"], folder=folder,
                        log_path=log_path, timeout=seconds)
        _refuse_faults(log, log_path)
        netlist = Netlist.load(folder / NETLIST, top=top, architecture=architecture)
        over = netlist.total()["dsp"] - device.resources.dsp
        if over <= 0 or not architecture.softens:
            break
        budget -= over  # a product took more blocks than its widths let expect
    packed = pack_output_registers(netlist) if architecture.name == "ecp5" else 0
    netlist.save(folder / NETLIST)
    for name in ("design.il", "flat.il", "run.ys", *architecture.script_files()):
        (folder / name).unlink()
    return packed


def _refuse_faults(log: str, log_path: Path) -> None:
    """ToolError for what the check of the mapped netlist found: a netlist other than the design."""
    for line in log.rpartition("Executing CHECK pass")[2].splitlines():
        if _FAULT.match(line):
            raise ToolError(f"yosys: {line.removeprefix('Warning: ').strip()}; log: {log_path}")


def _instantiated(rtlil: str, top: str, architecture: Architecture) -> Counts:
    """Cells that ``rtlil`` instantiates by name, hierarchy multiplied out: a lower bound of the netlist."""
    bodies = _MODULE.split(rtlil)
    cells = {name: _CELL.findall(body) for name, body in zip(bodies[1::2], bodies[2::2], strict=True)}
    known: dict[str, Counts] = {}

    def count(module: str) -> Counts:
        if module not in known:
            total: Counts = {}
            for cell_type in cells[module]:
                if cell_type in cells:
                    inner = count(cell_type)
                else:
                    column = architecture.column(cell_type)
                    inner = {column: 1} if column else {}
                for column, number in inner.items():
                    total[column] = total.get(column, 0) + number
            known[module] = total
        return known[module]

    return count(top) if top in cells else {}
