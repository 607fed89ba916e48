"""What a key weighs in a query's sums, and how those come down where the reference of the weights rises.

A form is made for a block of scaled scores, (queries, heads, keys). ``levels`` are what the keys offer as a reference.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tilewright.sim.golden.units.exponential import exp, i_exp
from tilewright.sim.golden.units.softmax_exponent import mantissa_and_octave

IntArray = NDArray[np.int64]

MAX_SHIFT = 62      # of a 64-bit integer; what is shifted has fewer bits
PARABOLA_BITS = 15  # of I-BERT's exponentials: 16 with a sign
PARABOLA_OCTAVES = 30


class Form(Protocol):
    """Weights of one block of keys."""

    levels: IntArray

    def weight(self, above: IntArray, run: slice, key: int) -> IntArray:
        """Of ``key`` for the queries ``run``, (queries, heads), whose reference is ``above``."""

    def lowered(self, value: IntArray, fall: IntArray) -> IntArray:
        """Sums ``value`` after their reference has risen by ``fall``."""


class ByOctaves:
    """Weights below the greatest octave; what comes down from it is shifted."""

    def __init__(self, scaled: IntArray, *, fraction: int, guard_bits: int, table: tuple[int, ...], octave: str) -> None:
        mantissa, self.levels = mantissa_and_octave(scaled, fraction=fraction, table=table, octave=octave)
        self.raised = mantissa << guard_bits

    def weight(self, above: IntArray, run: slice, key: int) -> IntArray:
        return self.raised[run, :, key] >> np.minimum(above - self.levels[run, :, key], MAX_SHIFT)

    def lowered(self, value: IntArray, fall: IntArray) -> IntArray:
        return value >> np.minimum(fall, MAX_SHIFT)


class ByScores:
    """Weights below the greatest score; what comes down from it is multiplied.

    A sum that a factor of at most 1 meets has at most 63 bits with the factor's.
    """

    def __init__(self, scaled: IntArray, *, fraction: int, guard_bits: int, table: tuple[int, ...]) -> None:
        self.levels = scaled
        self.fraction = fraction
        self.guard_bits = guard_bits
        self.table = table
        self.value_bits = table[0].bit_length() - 1

    def exponential(self, t: IntArray) -> IntArray:
        return exp(t, table=self.table, fraction_bits=self.fraction, octave_bits=self.fraction, value_bits=self.value_bits,
                   table_bits=(len(self.table) - 1).bit_length() - 1, guard_bits=self.guard_bits)

    def weight(self, above: IntArray, run: slice, key: int) -> IntArray:
        return self.exponential(above - self.levels[run, :, key])

    def lowered(self, value: IntArray, fall: IntArray) -> IntArray:
        places = self.value_bits + self.guard_bits
        return value * self.exponential(fall) + (1 << places - 1) >> places


class BelowMaximum(ByScores):
    """Weights below the greatest score of all keys, which was known before: no sum ever comes down."""

    def lowered(self, value: IntArray, fall: IntArray) -> IntArray:
        return value


class Parabola:
    """As :class:`BelowMaximum`, the exponential I-BERT's: ``parabola`` is ln 2, linear and constant in steps of a score."""

    def __init__(self, scaled: IntArray, *, parabola: tuple[int, int, int]) -> None:
        self.levels = scaled
        self.ln2, self.linear, self.constant = parabola

    def weight(self, above: IntArray, run: slice, key: int) -> IntArray:
        e = i_exp(above - self.levels[run, :, key], ln2=self.ln2, linear=self.linear, constant=self.constant,
                  shift_bits=PARABOLA_OCTAVES)
        return e >> self.constant.bit_length() + PARABOLA_OCTAVES - PARABOLA_BITS

    def lowered(self, value: IntArray, fall: IntArray) -> IntArray:
        return value
