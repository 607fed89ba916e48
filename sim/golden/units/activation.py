"""Activation functions on integers, bit for bit as the hardware computes them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def sigmoid(x: ArrayLike, *, table: ArrayLike, step_bits: int, value_bits: int) -> NDArray[np.int64]:
    """``2**value_bits * sigmoid(x)``: ``table`` holds every ``2**step_bits``-th value from 0 up, linear in between.

    ``abs(x)`` counts as at most the end of the table; interpolation rounds half up; ``sigmoid(-x) = 1 - sigmoid(x)``.
    """
    values = np.asarray(table).astype(np.int64)
    signed = np.asarray(x).astype(np.int64)
    magnitude = np.minimum(np.abs(signed), len(values) - 1 << step_bits)
    index, rest = magnitude >> step_bits, magnitude & (1 << step_bits) - 1
    slope = values[np.minimum(index + 1, len(values) - 1)] - values[index]
    positive = values[index] + _round_half_up(slope * rest, step_bits)
    return np.where(signed < 0, (1 << value_bits) - positive, positive)


def tanh(x: ArrayLike, *, table: ArrayLike, step_bits: int, value_bits: int) -> NDArray[np.int64]:
    """``2**value_bits * tanh(x)``, as ``2 * sigmoid(2 * x) - 1``."""
    doubled = np.asarray(x).astype(np.int64) * 2
    return 2 * sigmoid(doubled, table=table, step_bits=step_bits, value_bits=value_bits) - (1 << value_bits)


def silu(x: ArrayLike, *, table: ArrayLike, step_bits: int, value_bits: int) -> NDArray[np.int64]:
    """``x * sigmoid(x)`` in the steps of ``x``, rounded half up."""
    gate = sigmoid(x, table=table, step_bits=step_bits, value_bits=value_bits)
    return _round_half_up(np.asarray(x).astype(np.int64) * gate, value_bits)


def gelu(x: ArrayLike, *, table: ArrayLike, step_bits: int) -> NDArray[np.int64]:
    """``x * Phi(x)`` in the steps of ``x``, as ``relu(x) - abs(x) * Phi(-abs(x))``.

    ``table`` holds the second term at every ``2**step_bits``-th ``abs(x)``, linear in between, floor; beyond it the
    term is 0.
    """
    values = np.asarray(table).astype(np.int64)
    signed = np.asarray(x).astype(np.int64)
    magnitude = np.abs(signed)
    index, rest = magnitude >> step_bits, magnitude & (1 << step_bits) - 1
    inside = index < len(values) - 1
    index = np.where(inside, index, 0)
    delta = values[index] + ((values[index + 1] - values[index]) * rest >> step_bits)
    return np.maximum(signed, 0) - np.where(inside, delta, 0)


def i_gelu(q: ArrayLike, *, clip: int, constant: int, shift: int, one: int) -> NDArray[np.int64]:
    """I-BERT's GELU: ``q * (erf + one)`` with a parabola for erf; ``clip``, ``constant``, ``one`` in their own steps.

    ``erf = floor(sign(q) * ((min(abs(q), clip) - clip)**2 + constant) / 2**shift)``. The polynomial opens downwards, so
    ``constant`` is negative and so is the step of ``erf``, of ``one`` and of the result.
    """
    signed = np.asarray(q).astype(np.int64)
    polynomial = np.square(np.minimum(np.abs(signed), clip) - clip) + constant
    erf = np.sign(signed) * polynomial >> shift
    return signed * (erf + one)


def _round_half_up(value: NDArray[np.int64], places: int) -> NDArray[np.int64]:
    return value + (1 << places >> 1) >> places
