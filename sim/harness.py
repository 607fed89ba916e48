"""What ``templates/sim/harness.cpp.j2`` needs: the streams of an engine as words and bits, ready to print.

The engine has a port ``job``, input streams, one stream ``result`` (data, keep, last), perhaps further ones out, the flags
busy, done and error, and the four event counters. A family describes the text files of its vectors with the classes below:
``jobs.txt`` holds a job a line, ``<stream>.txt`` a beat a line, every line the same number of integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WORD = 32  # the harness keeps a beat as 32-bit words, every port from a word of its own
RESERVED = ("job", "result")


@dataclass(frozen=True)
class Column:
    """Where one number of a line goes: bits of port ``<stream>_<port>``, from ``bit`` up."""

    port: str
    width: int
    bit: int = 0


@dataclass(frozen=True)
class Input:
    """A stream into the engine.

    ``columns`` are those of its file, None for a number that goes nowhere. ``beats`` is a C++ expression, the number
    of beats that belong to ``job``; it may use the columns of ``jobs.txt`` (``job.n``) and ``tiles(size, tile)``.
    ``has_last`` tells of a port ``<name>_last``, set in the final beat of a job, and where ``behind``, an expression too, is
    not 0 also in the beat that has as many behind it.
    """

    name: str
    columns: tuple[Column | None, ...]
    beats: str
    has_last: bool = False
    behind: str = ""


@dataclass(frozen=True)
class Output:
    """A stream out of the engine beside ``result``, whose every beat is compared with its file; fields as for an input."""

    name: str
    columns: tuple[Column | None, ...]
    beats: str


@dataclass(frozen=True)
class Result:
    """The stream ``result``: elements side by side, those in use marked by ``keep``; ``beats`` as for an input."""

    lanes: int
    width: int
    signed: bool
    beats: str


def lanes(count: int, width: int) -> tuple[Column, ...]:
    """Columns of elements side by side in port ``data``."""
    return tuple(Column("data", width, lane * width) for lane in range(count))


def fields(order: Sequence[str], widths: Mapping[str, int]) -> tuple[Column | None, ...]:
    """Columns ``order``, each with a port of its name where ``widths`` has one."""
    return tuple(Column(name, widths[name]) if name in widths else None for name in order)


def harness_context(
    design: str, *, jobs: Sequence[str], job: Mapping[str, int], inputs: Sequence[Input], result: Result,
    outputs: Sequence[Output] = (),
) -> dict[str, Any]:
    """The template's context. ``jobs`` names the columns of ``jobs.txt``, ``job`` the widths of those with a port."""
    for name in (*jobs, *(stream.name for stream in inputs), *(stream.name for stream in outputs)):
        if not name.isidentifier() or name in RESERVED:
            raise ValueError(f"{name!r} cannot be the name of a stream or of a column of jobs.txt")
    keep_word = _words(result.lanes * result.width)
    return {
        "design": design,
        "job": {"columns": list(jobs), **_layout(fields(jobs, job))},
        "inputs": [_input(stream) for stream in inputs],
        "outputs": [{"name": stream.name, "label": _label(stream.name), "beats": stream.beats, **_layout(stream.columns)}
                    for stream in outputs],
        "result": {
            "lanes": result.lanes, "width": result.width, "signed": result.signed, "beats": result.beats,
            "keep_word": keep_word, "last_word": keep_word + _words(result.lanes)},
    }


def _input(stream: Input) -> dict[str, Any]:
    layout = _layout(stream.columns)
    last_word = -1  # none
    if stream.has_last:
        last_word = layout["words"]
        layout["ports"].append({"name": "last", "word": last_word})
        layout["words"] += 1
    return {"name": stream.name, "label": _label(stream.name), "beats": stream.beats, "last_word": last_word,
            "behind": stream.behind, **layout}


def _label(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _layout(columns: Sequence[Column | None]) -> dict[str, Any]:
    """The ports of ``columns`` in words, and as a C++ initializer the place of each column."""
    widths: dict[str, int] = {}
    for column in filter(None, columns):
        widths[column.port] = max(widths.get(column.port, 0), column.bit + column.width)
    start, words = {}, 0
    for name, width in widths.items():
        start[name] = words
        words += _words(width)
    places = [(start[column.port] * WORD + column.bit, column.width) if column else (0, 0) for column in columns]
    width = places[0][1]
    if width and len(widths) == 1 and places == [(lane * width, width) for lane in range(len(places))]:
        text = f"lanes({len(places)}, {width})"
    else:
        text = "{" + ", ".join(f"{{{bit}, {width}}}" for bit, width in places) + "}"
    return {"ports": [{"name": name, "word": word} for name, word in start.items()], "words": words, "places": text}


def _words(bits: int) -> int:
    return -(-bits // WORD)
