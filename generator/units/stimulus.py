"""Input beats for proofs: corners, random values, every code, frames."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tilewright.formats import IntFormat
from tilewright.units.fields import Beats, Fields, Lanes, beat_width, format_of, unpack


def edges(number: IntFormat) -> NDArray[np.int64]:
    """The ends of a format and of its halves, and the neighbours of zero."""
    middle = (number.high + 1) // 2
    wanted = {number.low, number.low + 1, -1, 0, 1, middle - 1, middle, number.high - 1, number.high}
    return np.array(sorted(value for value in wanted if number.low <= value <= number.high), np.int64)


def random_values(number: IntFormat, rng: np.random.Generator, shape: int | tuple[int, ...]) -> NDArray[np.int64]:
    """Uniform over bit lengths for one third, uniform over codes for the rest: small values matter as much."""
    values = rng.integers(number.low, number.high, shape, dtype=np.int64, endpoint=True)
    return np.where(rng.random(shape) < 1 / 3, values >> rng.integers(0, number.width, shape), values)


def random_beats(fields: Fields, rng: np.random.Generator, count: int) -> Beats:
    """``count`` beats of independent random values."""
    return {name: random_values(format_of(field), rng, (count, field.count) if isinstance(field, Lanes) else count)
            for name, field in fields.items()}


def corner_beats(fields: Fields, count: int) -> Beats:
    """Every combination of the fields' edges, at most ``count`` of them, spread evenly; all lanes of a field alike."""
    choices = [edges(format_of(field)) for field in fields.values()]
    total = min(math.prod(len(values) for values in choices), 1 << 62)
    kept = np.unique(np.linspace(0, total - 1, min(total, max(count // 2, 1))).astype(np.int64))
    beats: Beats = {}
    for (name, field), values in zip(fields.items(), choices, strict=True):
        column = values[kept % len(values)]
        kept = kept // len(values)
        beats[name] = np.repeat(column[:, None], field.count, axis=1) if isinstance(field, Lanes) else column
    return beats


def all_codes(fields: Fields) -> Beats:
    """Every code of a beat once, counting up."""
    width = beat_width(fields)
    return unpack(fields, np.arange(1 << width, dtype=np.uint32)[:, None])


def joined(parts: Sequence[Beats]) -> Beats:
    """The beats of ``parts`` one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def frame_lengths(rng: np.random.Generator, count: int, longest: int) -> list[int]:
    """Lengths of frames that make about ``count`` beats in all: 1, 2, the longest, then random ones."""
    lengths = [1, 2, longest, 1, max(longest - 1, 1), longest]
    left = count - sum(lengths)
    while left > 0:
        lengths.append(int(rng.integers(1, longest, endpoint=True)))
        left -= lengths[-1]
    return lengths


def frame_ends(lengths: Sequence[int]) -> NDArray[np.int64]:
    """The field ``last`` of frames of these lengths."""
    last = np.zeros(sum(lengths), np.int64)
    last[np.cumsum(lengths) - 1] = 1
    return last


def frame_slices(last: NDArray[np.int64]) -> list[slice]:
    """The frames of a stream, by its field ``last``."""
    ends = [0, *(np.flatnonzero(last) + 1).tolist()]
    return [slice(start, stop) for start, stop in itertools.pairwise(ends)]

