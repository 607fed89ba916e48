"""Multiplication by a constant: shifted copies, added and subtracted; no multiplier block."""

from amaranth.hdl import Cat, Const, Value
from amaranth.utils import ceil_log2
from tilewright.rtl.units.pipeline import Stages


def signed_digits(constant: int) -> list[tuple[int, int]]:
    """``(place, 1 or -1)`` of the nonzero digits of a positive constant, no two of them adjacent, lowest first."""
    digits, place = [], 0
    while constant:
        if constant & 1:
            digit = 2 - constant % 4
            digits.append((place, digit))
            constant -= digit
        constant >>= 1
        place += 1
    return digits


def constant_multiply_latency(constant: int) -> int:
    """Stages of :func:`times_constant`: one per level of adders."""
    return ceil_log2(len(signed_digits(constant)) + 1)


def times_constant(stages: Stages, value: Value, constant: int, *, drop: int, name: str) -> Value:
    """``value * constant / 2**drop`` to nearest, halves up; ``drop`` at least 1; signed.

    A registered tree adds the nonzero digits' copies of ``value`` and the rounding's half, neighbours first, so that low
    bits pass beside the carry chains.
    """
    terms: list[tuple[int, bool, Value]] = [(place, digit < 0, value) for place, digit in signed_digits(constant)]
    terms = sorted([*terms, (drop - 1, False, Const(1, 1))], key=lambda term: term[0])
    level = 0
    while len(terms) > 1:
        level += 1
        pairs = [terms[start:start + 2] for start in range(0, len(terms), 2)]
        terms = [_sum(stages, pair, f"{name}_{level}_{place}") for place, pair in enumerate(pairs)]
    place, _, total = terms[0]
    return total >> drop - place if drop > place else total << place - drop


def _sum(stages: Stages, pair: list[tuple[int, bool, Value]], name: str) -> tuple[int, bool, Value]:
    """One term or two as one: place of its lowest bit, whether it counts negative, value."""
    low_place, low_negative, low = pair[0]
    if len(pair) == 1:
        return low_place, low_negative, stages.stage(low, name)
    high_place, high_negative, high = pair[1]
    apart = high_place - low_place
    if low_negative != high_negative:
        difference = (high << apart) - low if low_negative else low - (high << apart)
        return low_place, False, stages.stage(difference, name)
    upper = (low >> apart) + high
    total = Cat(low[:apart], Const(0, max(apart - len(low), 0)), upper)
    return low_place, low_negative, stages.stage(total.as_signed() if upper.shape().signed else total, name)
