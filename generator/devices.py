"""Boards and devices: the YAML files of ``tilewright.boards``, loaded and checked.

A file that starts with ``device:`` is a part, one that starts with ``board:`` a part with pins.
"""

from functools import cache
from importlib import resources
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tilewright.errors import UserError


class _Data(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Resources(_Data):
    """How many cells of a kind a part has."""

    lut: int = Field(gt=0)
    ff: int = Field(gt=0)
    dsp: int = Field(ge=0)
    bram: int = Field(ge=0)
    spram: int = Field(default=0, ge=0)


class Device(_Data):
    """One part in one package and speed grade.

    ``architecture`` names the synthesis flow, ``size`` and ``package`` are the words of nextpnr.
    """

    device: str
    part: str
    architecture: str
    size: str
    package: str
    speed: str
    aim_mhz: int = Field(gt=0)
    resources: Resources


class Pin(_Data):
    """Where a port lies: one ``site``, or ``sites`` from bit 0 up. ``mhz`` makes it a clock; ``low``: it is active at 0."""

    site: str = ""
    sites: tuple[str, ...] = ()
    mhz: int = Field(default=0, ge=0)
    low: bool = False
    io: dict[str, str] = {}

    @model_validator(mode="before")
    @classmethod
    def _as_tuple(cls, data: Any) -> Any:
        return {**data, "sites": tuple(data["sites"])} if isinstance(data, dict) and "sites" in data else data

    @model_validator(mode="after")
    def _one_of_both(self) -> "Pin":
        if bool(self.site) == bool(self.sites):
            raise ValueError("a pin has either `site` or `sites`")
        return self

    @property
    def bits(self) -> tuple[str, ...]:
        """The site of every bit."""
        return self.sites or (self.site,)


class Board(_Data):
    """A part on a board: the pins that designs may use, and what all of them have in common (``io``)."""

    board: str
    aliases: tuple[str, ...] = ()
    device: str
    io: dict[str, str] = {}
    pins: dict[str, Pin]

    @model_validator(mode="before")
    @classmethod
    def _as_tuple(cls, data: Any) -> Any:
        has_aliases = isinstance(data, dict) and "aliases" in data
        return {**data, "aliases": tuple(data["aliases"])} if has_aliases else data

    @property
    def clock(self) -> tuple[str, int]:
        """Name and MHz of the clock pin."""
        clocks = [(name, pin.mhz) for name, pin in self.pins.items() if pin.mhz]
        assert len(clocks) == 1, f"board {self.board} has {len(clocks)} clocks"
        return clocks[0]

    @property
    def leds_low(self) -> bool:
        """Whether the LEDs light at 0."""
        return "led" in self.pins and self.pins["led"].low


@cache
def _all() -> tuple[dict[str, Device], dict[str, Board]]:
    devices: dict[str, Device] = {}
    boards: dict[str, Board] = {}
    for entry in sorted(resources.files("tilewright.boards").iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".yaml"):
            continue
        data = yaml.safe_load(entry.read_text(encoding="utf-8"))
        try:
            if "board" in data:
                boards[data["board"]] = Board.model_validate(data)
            else:
                devices[data["device"]] = Device.model_validate(data)
        except ValidationError as error:
            raise ValueError(f"boards/{entry.name}: {error}") from error
    for board in boards.values():
        if board.device not in devices:
            raise ValueError(f"boards/{board.board}.yaml: device {board.device!r} has no file")
    return devices, boards


def device_names() -> tuple[str, ...]:
    """Every known device."""
    return tuple(_all()[0])


def board_names() -> tuple[str, ...]:
    """Every known board, aliases left out."""
    return tuple(_all()[1])


def load_device(name: str) -> Device:
    """A device by name. UserError lists the known ones."""
    devices = _all()[0]
    if name not in devices:
        raise UserError(f"device {name!r} is not known; known are {', '.join(devices)}")
    return devices[name]


def load_board(name: str) -> Board:
    """A board by name or alias. UserError lists the known ones."""
    boards = _all()[1]
    for board in boards.values():
        if name == board.board or name in board.aliases:
            return board
    raise UserError(f"board {name!r} is not known; known are {', '.join(boards)}")
