"""The fields of a beat: their formats, their layout in hardware, their words in a vector file.

A beat is a row of fields, the first one in the lowest bits. Values of many beats are ``Beats``: an int64
array per field, of shape ``(beats,)``, or ``(beats, count)`` for a field of several lanes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Shape, ShapeLike, signed, unsigned
from amaranth.lib import data
from numpy.typing import NDArray
from tilewright.formats import IntFormat

WORD_BITS = 32


@dataclass(frozen=True)
class Lanes:
    """``count`` values of one format side by side; ``[0]`` in the lowest bits."""

    format: IntFormat
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count!r}")


Field = IntFormat | Lanes
Fields = Mapping[str, Field]
Beats = dict[str, NDArray[np.int64]]

flag = IntFormat(1, signed=False)


def uint(width: int) -> IntFormat:
    """Unsigned, ``width`` bits."""
    return IntFormat(width, signed=False)


def sint(width: int) -> IntFormat:
    """Two's complement, ``width`` bits."""
    return IntFormat(width, signed=True)


def format_of(field: Field) -> IntFormat:
    """The format of a field's values."""
    return field.format if isinstance(field, Lanes) else field


def lanes_of(field: Field) -> int:
    """How many values a field has in each beat."""
    return field.count if isinstance(field, Lanes) else 1


def beat_width(fields: Fields) -> int:
    """Bits of a beat."""
    return sum(format_of(field).width * lanes_of(field) for field in fields.values())


def beat_words(fields: Fields) -> int:
    """32-bit words of a beat in a vector file."""
    return -(-beat_width(fields) // WORD_BITS)


def layout(fields: Fields) -> data.StructLayout:
    """The payload that a component with these fields has: ``ArrayLayout`` for lanes."""
    members: dict[str, ShapeLike] = {}
    for name, field in fields.items():
        shape = shape_of(format_of(field))
        members[name] = data.ArrayLayout(shape, field.count) if isinstance(field, Lanes) else shape
    return data.StructLayout(members)


def shape_of(number: IntFormat) -> Shape:
    """The Amaranth shape of a format."""
    return signed(number.width) if number.signed else unsigned(number.width)


def count_beats(fields: Fields, beats: Mapping[str, NDArray[np.int64]]) -> int:
    """Number of beats; ValueError where names, shapes or values are not those of the fields."""
    if list(beats) != list(fields):
        raise ValueError(f"fields are {', '.join(fields)}, not {', '.join(beats)}")
    counts = {len(values) for values in beats.values()}
    if len(counts) != 1:
        raise ValueError(f"fields differ in length: { {name: len(values) for name, values in beats.items()} }")
    count = counts.pop()
    for name, field in fields.items():
        values, number = beats[name], format_of(field)
        shape = (count, field.count) if isinstance(field, Lanes) else (count,)
        if values.shape != shape or values.dtype != np.int64:
            raise ValueError(f"{name} must be int64 of shape {shape}, not {values.dtype} of {values.shape}")
        if count and not (number.low <= values.min() and values.max() <= number.high):
            raise ValueError(f"{name} must be {number.low}..{number.high}, not {values.min()}..{values.max()}")
    return count


def pack(fields: Fields, beats: Mapping[str, NDArray[np.int64]]) -> NDArray[np.uint32]:
    """The words of every beat, of shape ``(beats, words)``, as the vector files hold them (little-endian)."""
    count = count_beats(fields, beats)
    words = np.zeros((count, beat_words(fields)), np.uint64)
    for name, column, offset, width in _places(fields):
        values = beats[name].reshape(count, -1)[:, column].astype(np.uint64)
        done = 0
        while done < width:
            word, shift = divmod(offset + done, WORD_BITS)
            bits = min(WORD_BITS - shift, width - done)
            words[:, word] |= (values >> np.uint64(done) & np.uint64((1 << bits) - 1)) << np.uint64(shift)
            done += bits
    return words.astype("<u4")


def unpack(fields: Fields, words: NDArray[np.uint32]) -> Beats:
    """The beats that :func:`pack` made these words from."""
    count = len(words)
    beats = {name: np.zeros((count, lanes_of(field)), np.int64) for name, field in fields.items()}
    wide = words.astype(np.uint64)
    for name, column, offset, width in _places(fields):
        values = np.zeros(count, np.uint64)
        done = 0
        while done < width:
            word, shift = divmod(offset + done, WORD_BITS)
            bits = min(WORD_BITS - shift, width - done)
            values |= (wide[:, word] >> np.uint64(shift) & np.uint64((1 << bits) - 1)) << np.uint64(done)
            done += bits
        number = values.astype(np.int64)
        if format_of(fields[name]).signed and width < 64:
            number -= (number >> width - 1) << width
        beats[name][:, column] = number
    return {name: beats[name] if isinstance(field, Lanes) else beats[name][:, 0] for name, field in fields.items()}


def _places(fields: Fields) -> list[tuple[str, int, int, int]]:
    """Name, lane, first bit and width of every value of a beat."""
    places, offset = [], 0
    for name, field in fields.items():
        width = format_of(field).width
        for lane in range(lanes_of(field)):
            places.append((name, lane, offset, width))
            offset += width
    return places
