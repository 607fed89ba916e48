"""A mapped netlist as Verilog that simulates: the netlist, and behind it the model of every cell it uses."""

import re
from importlib import resources
from pathlib import Path

from tilewright.devices import Device
from tilewright.errors import ToolError
from tilewright.sim.build_cache import cached, content_key
from tilewright.synth.architecture import Architecture, architecture_of
from tilewright.synth.compact import compact_verilog
from tilewright.synth.netlist import Netlist
from tilewright.synth.synthesize import NETLIST, Synthesis
from tilewright.synth.yosys import cell_models, run_yosys, yosys_version

_FORMAT = "2"
_INCLUDE = re.compile(r'(?m)^\s*`include "([^"]+)"\s*$')
_MODULE = re.compile(r"(?ms)^module\s+(\\\S+\s|\w+).*?^endmodule\b[^\n]*\n")
_SPECIFY = re.compile(r"(?ms)^\s*specify\b.*?^\s*endspecify\b[^\n]*\n")
_ATTRIBUTE = re.compile(r"\(\*(?!\)).*?\*\)[ \t]*\n?", re.DOTALL)  # and not the (*) of an always


def netlist_verilog(synthesis: Synthesis, *, device: Device, cache: Path, compact: bool = True) -> tuple[Path, Path]:
    """Two Verilog files: module ``synthesis.top`` with the ports of the design, and the cells it is made of.

    The same netlist that is placed and routed. ``compact`` writes LUTs and registers out, which compiles much
    faster; otherwise every cell is an instance of its model. Models are Yosys' own, and those of ``tilewright.boards``
    for cells that Yosys only declares. ToolError when a cell has no model.
    """
    architecture = architecture_of(device)
    models = {name: _model_text(name) for name in architecture.models}
    models |= {name: _own_text(name) for name in architecture.own_models}
    key = content_key([_FORMAT, yosys_version(), synthesis.key, str(compact), *models.values()])

    def build(folder: Path) -> None:
        if compact:
            netlist = Netlist.load(synthesis.netlist, top=synthesis.top, architecture=architecture)
            text = compact_verilog(netlist)
        else:
            text = _instances(synthesis, architecture, folder)
        (folder / "netlist.v").write_text(text, encoding="utf-8")
        (folder / "cells.v").write_text(_used_models(text, models, architecture), encoding="utf-8")

    folder = cached(cache, f"simulation-{key}", build)
    return folder / "netlist.v", folder / "cells.v"


def _instances(synthesis: Synthesis, architecture: Architecture, folder: Path) -> str:
    (folder / NETLIST).write_bytes(synthesis.netlist.read_bytes())
    run_yosys([architecture.library, f"read_json {NETLIST}", f"hierarchy -top {synthesis.top}",
               f"select {synthesis.top}", "opt_clean -purge", "write_verilog -noattr -selected netlist.v"],
              folder=folder)
    for name in (NETLIST, "run.ys", "yosys.log"):
        (folder / name).unlink()
    return (folder / "netlist.v").read_text(encoding="utf-8").split("\n", 1)[1].lstrip("\n")


def _model_text(name: str) -> str:
    """A file of Yosys' share folder with its includes in place."""
    path = cell_models(name)

    def include(match: re.Match[str]) -> str:
        inner = path.parent / match[1]
        return inner.read_text(encoding="utf-8") if inner.is_file() else ""

    return _INCLUDE.sub(include, path.read_text(encoding="utf-8"))


def _own_text(name: str) -> str:
    return (resources.files("tilewright.boards") / name).read_text(encoding="utf-8")


def _used_models(netlist: str, models: dict[str, str], architecture: Architecture) -> str:
    """The models of the cells in ``netlist``, and of the cells those are made of, in order of name.

    Our own models come last and replace a declaration without a body.
    """
    modules: dict[str, str] = {}
    for text in models.values():
        for match in _MODULE.finditer(_ATTRIBUTE.sub("", text)):
            modules[match[1].strip()] = _SPECIFY.sub("", match[0])
    words = {name: set(re.findall(r"\b\w+\b", body)) & set(modules) - {name}
             for name, body in modules.items()}
    wanted = set(re.findall(r"(?m)^  ([A-Z]\w*) (?:#\(|\\|\w)", netlist))
    if unknown := {name for name in wanted if name not in modules and architecture.column(name)}:
        raise ToolError(f"no simulation model for {', '.join(sorted(unknown))}")
    used: set[str] = set()
    pending = wanted & set(modules)
    while pending:
        used |= pending
        pending = set().union(*(words[name] for name in pending)) - used
    directives = [line for text in models.values() for line in text[:text.index("module ")].splitlines()
                  if line.startswith("`") and not line.startswith("`timescale")]
    return "\n".join([*directives, *(modules[name] for name in sorted(used))])
