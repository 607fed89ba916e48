"""Register maps as data: what the RTL decodes, and what a driver, a C program and a reader are told.

A family writes its map once, as a tuple of :class:`RegisterInfo`. ``hardware`` hands the plain part to the
RTL; ``description`` is the JSON beside the driver; the templates in ``templates/driver`` print the same
data.
"""

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from types import ModuleType
from typing import Any

from tilewright.rtl.register_file import Register

ACCESS_TEXT = {
    "constant": "read only, constant",
    "status": "read only",
    "control": "read and write",
    "command": "write 1",
    "event": "read; write 1 to clear",
}
HASH_WORDS = 4  # of the design's hash are registers: 128 bits


@dataclass(frozen=True)
class Field:
    """Bits ``low + width - 1`` down to ``low`` of a register."""

    name: str
    low: int
    width: int
    text: str

    @property
    def high(self) -> int:
        """Its highest bit."""
        return self.low + self.width - 1

    @property
    def bits(self) -> str:
        """`7:4`, or `3` for a single bit."""
        return f"{self.high}:{self.low}" if self.width > 1 else str(self.low)

    @property
    def mask(self) -> int:
        """Its bits in the register."""
        return (1 << self.width) - 1 << self.low


@dataclass(frozen=True)
class RegisterInfo:
    """One 32-bit register: the part that is hardware, and the part that explains it."""

    name: str
    offset: int
    access: str
    text: str
    width: int = 32
    value: int = 0
    fields: tuple[Field, ...] = ()

    @property
    def access_text(self) -> str:
        """What software may do with it."""
        return ACCESS_TEXT[self.access]


@dataclass(frozen=True)
class StreamField:
    """An integer in a beat: its value's format, and the bytes it takes there."""

    name: str
    width: int
    signed: bool
    bytes: int


@dataclass(frozen=True)
class StreamInfo:
    """A stream as software sees it: ``lanes`` times ``fields`` in a beat, little-endian.

    ``number`` is its number in the UART's PUSH packet, None for the stream of results.
    """

    name: str
    port: str
    lanes: int
    fields: tuple[StreamField, ...]
    text: str
    number: int | None = None

    @property
    def bytes(self) -> int:
        """Bytes of one beat."""
        return self.lanes * sum(field.bytes for field in self.fields)


@dataclass(frozen=True)
class DriverInfo:
    """All that is written into a build's ``driver`` folder.

    ``values`` are the family's own facts about the design, for its driver (JSON types only); ``modules`` its driver,
    copied as it is. ``device`` is the class in them that drives the engine over a transport, ``errors`` what it and its
    helpers raise; ``example`` is a call of its method ``job``, ``arguments`` what may stand there, in words.
    """

    design: str
    family: str
    hash: str
    registers: tuple[RegisterInfo, ...]
    streams: tuple[StreamInfo, ...]
    values: Mapping[str, Any]
    modules: tuple[ModuleType, ...]
    device: type
    errors: tuple[type[Exception], ...]
    example: str
    arguments: str

    @property
    def macro(self) -> str:
        """The prefix of every name in the C header."""
        return self.design.upper()


def hash_words(design_hash: str) -> tuple[int, ...]:
    """The registers that hold ``design_hash`` (hexadecimal), its first digits in the first word."""
    if len(design_hash) < 8 * HASH_WORDS:
        raise ValueError(f"a design's hash has at least {8 * HASH_WORDS} digits, not {design_hash!r}")
    return tuple(int(design_hash[8 * word:8 * word + 8], 16) for word in range(HASH_WORDS))


def hardware(registers: Iterable[RegisterInfo]) -> tuple[Register, ...]:
    """The map as the RTL takes it."""
    return tuple(Register(info.name, info.offset, info.access, info.width, info.value) for info in registers)


def description(info: DriverInfo) -> dict[str, Any]:
    """``info`` in JSON types: what a driver needs to talk to the design."""
    return {
        "design": info.design,
        "family": info.family,
        "hash": info.hash,
        **info.values,
        "streams": {
            stream.name: {
                "number": stream.number, "lanes": stream.lanes, "bytes": stream.bytes,
                "fields": [asdict(field) for field in stream.fields],
            } for stream in info.streams},
        "registers": {
            register.name: {
                "offset": register.offset, "access": register.access, "width": register.width,
                "value": register.value,
                "fields": {field.name: [field.low, field.width] for field in register.fields},
            } for register in info.registers},
    }


def driver_files(info: DriverInfo) -> dict[str, str]:
    """Path in the build folder -> text, for every file of ``driver/``: a Python package, and the map."""
    import jinja2  # which registers as hardware do not need

    def rendered(template: str, **values: Any) -> str:
        text = (files("tilewright.templates") / "driver" / template).read_text()
        environment = jinja2.Environment(
            undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True,
            keep_trailing_newline=True)
        return environment.from_string(text).render(info=info, **values)

    return {
        "driver/registers.md": rendered("registers.md.j2"),
        f"driver/{info.design}.h": rendered("registers.h.j2"),
        "driver/registers.json": json.dumps(description(info), indent=1) + "\n",
        "driver/__init__.py": rendered("package.py.j2", **_package_values(info)),
        **{f"driver/{_file_name(module.__name__)}.py": inspect.getsource(module) for module in info.modules},
    }


def _package_values(info: DriverInfo) -> dict[str, Any]:
    """The names that the package passes on, by module, and where its device is."""
    imports: dict[str, list[str]] = {}
    for kind in sorted((info.device, *info.errors), key=lambda kind: (kind.__module__, kind.__name__)):
        imports.setdefault(_file_name(kind.__module__), []).append(kind.__name__)
    names = [name for group in imports.values() for name in group]
    return {
        "imports": imports, "device": info.device.__name__, "device_module": _file_name(info.device.__module__),
        "exports": sorted(["DESCRIPTION", "TransportError", "connect", *names])}


def _file_name(module: str) -> str:
    """What a module is called in the driver folder."""
    return module.rpartition(".")[2]
