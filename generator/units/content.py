"""What a proof depends on, as one digest: a proof whose digest is known need not run again."""

import ast
import functools
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tilewright.sim.build_cache import content_key
from tilewright.sim.verilator import find_compiler, find_verilator
from tilewright.units.base import Parameters, Unit
from tilewright.units.project import COCOTB_FILES, render

PACKAGE = "tilewright"
REGISTRY = "tilewright.units"  # names every unit: what one unit depends on does not lie there
TOOLS = ("amaranth", "pyosys", "numpy", "cocotb")


def proof_key(unit: Unit[Any], p: Parameters, seed: int) -> str:
    """Digest of every source the unit and its proof import, its C++, its parameters, and the tools."""
    sources: set[Path] = set()
    for module in (type(unit).__module__, "tilewright.units.proof"):
        sources |= imported_sources(module)
    cosim = _file("tilewright.sim.cosim")
    assert cosim is not None
    sources |= {cosim.parent / name for name in COCOTB_FILES}
    verilator = find_verilator()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in TOOLS]
    rendered = [f"{path}\n{text}" for path, text in sorted(render(unit, p).items())]
    return content_key([
        unit.name, p.model_dump_json(), str(seed), platform.python_version(), verilator.digest, find_compiler()[1], *versions,
        *rendered, *sorted(sources)])


def imported_sources(module: str) -> set[Path]:
    """The files of ``module`` and of everything of ours that it imports, directly or not."""
    found: dict[str, Path] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        file = _file(name)
        if name in found or name == REGISTRY or file is None:
            continue
        found[name] = file
        pending += _imports(file)
    return set(found.values())


@functools.cache
def _file(module: str) -> Path | None:
    """The file of one of our modules; None when there is no such module."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the parent is a module, not a package
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


@functools.cache
def _imports(file: Path) -> tuple[str, ...]:
    return tuple(name for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) for name in _imported_by(node))


def _imported_by(node: ast.AST) -> Iterator[str]:
    """Modules of ours that an import statement names; what it takes from a package may be a module too."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
    elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if _file(inner) is not None else node.module
