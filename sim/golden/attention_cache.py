"""Golden model of the key and value cache: where rows lie, and what is left of them in few bits.

Elements of a row in groups of ``group`` share an exponent: the least one with which the widest of them fits ``bits``
bits. ``e = max(0, need - bits)``, where ``need`` is how many bits the widest element has in two's complement; each is stored as
``s = min(round(x / 2**e), 2**(bits - 1) - 1)``, to nearest even, and read back as ``s * 2**e``. So it is off by at most
``2**(e - 1)``, and by less than ``2**e`` where the highest code was not high enough; with e = 0 by nothing.

A cache of ``sink + ring`` slots keeps the first ``sink`` rows for good and the latest ``ring`` of the others.

Source of the shared exponent: OCP Microscaling Formats (MX) Specification v1.0, 2023, section 5; here of integers, with
groups and bits that a design chooses. First rows beside the latest ones: Xiao et al., "Efficient Streaming Language Models
with Attention Sinks", arXiv:2309.17453, 2023.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]


def slot_of(key: ArrayLike, *, sink: int, ring: int) -> IntArray:
    """Where the row of ``key`` lies; ``ring`` 0: every row has a slot of its own."""
    index = np.asarray(key, np.int64)
    return np.where(index < sink, index, sink + (index - sink) % ring) if ring else index


def compressed(rows: ArrayLike, *, bits: int, group: int) -> tuple[IntArray, IntArray]:
    """``(exponents, stored)`` of rows whose last axis is head_dim; the exponents have ``head_dim / group`` there."""
    array = np.asarray(rows).astype(np.int64)
    groups = array.reshape(*array.shape[:-1], -1, group)
    widest = np.where(groups < 0, ~groups, groups).max(axis=-1)
    need = 1 + np.frexp(widest.astype(np.float64))[1].astype(np.int64)  # exact: elements have fewer bits than a significand
    exponent = np.maximum(need - bits, 0)
    places = exponent[..., None]
    floor, rest = groups >> places, groups & (1 << places) - 1
    half = np.where(places > 0, 1 << np.maximum(places - 1, 0), 1)
    rounded = floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))
    return exponent, np.minimum(rounded, (1 << bits - 1) - 1).reshape(array.shape)


def expanded(exponents: ArrayLike, stored: ArrayLike) -> IntArray:
    """What :func:`compressed` rows are read back as."""
    exponent, elements = np.asarray(exponents).astype(np.int64), np.asarray(stored).astype(np.int64)
    groups = elements.reshape(*exponent.shape, -1) << exponent[..., None]
    return groups.reshape(elements.shape)


def cached(rows: ArrayLike, *, bits: int, group: int) -> IntArray:
    """Rows, last axis head_dim, as a cache hands them out again."""
    return expanded(*compressed(rows, bits=bits, group=group))


def cached_reference(row: list[int], *, bits: int, group: int) -> list[int]:
    """:func:`cached` once more, of one row, on Python integers and fractions of them.

    AssertionError where a stored element does not fit its bits, or is further off than the module's docstring says.
    """
    result = []
    for start in range(0, len(row), group):
        members = row[start:start + group]
        exponent = 0
        while not all(-(1 << bits - 1 + exponent) <= x < 1 << bits - 1 + exponent for x in members):
            exponent += 1
        for x in members:
            below = x // 2**exponent
            above = below + 1
            twice = 2 * x - (below + above) * 2**exponent  # of the distance to the middle
            nearest = above if twice > 0 or (twice == 0 and above % 2 == 0) else below
            if exponent == 0:
                nearest = below
            code = min(nearest, 2 ** (bits - 1) - 1)
            assert -(1 << bits - 1) <= code
            off = abs(x - code * 2**exponent)
            assert 2 * off <= 2**exponent if code == nearest else off < 2**exponent
            result.append(code * 2**exponent)
    return result
