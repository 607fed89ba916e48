"""Claims about reciprocals, quotients and roots: equal to Python's integers, figures against float64."""

import math
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from pydantic import ValidationError
from tilewright.sim.golden.units import reciprocal as golden
from tilewright.units import tables
from tilewright.units.reciprocal import (
    Divide,
    DivideParameters,
    Isqrt,
    IsqrtParameters,
    Reciprocal,
    ReciprocalExact,
    ReciprocalExactParameters,
    ReciprocalParameters,
    RsqrtDegree,
    RsqrtDegreeParameters,
)

SEED = 20260731


def largest_deviation(unit: Any, p: Any, beats: Any) -> float:
    return float(np.abs(unit.error(p).deviation(beats, unit.golden(p, beats))[1]).max())


def test_reciprocal_reproduces_its_error_for_every_significand() -> None:
    p = ReciprocalParameters()
    assert largest_deviation(Reciprocal(), p, {"d": np.arange(1, 1 << 17)}) == pytest.approx(3.4e-5, rel=0.1)


def test_reciprocal_follows_its_definition_in_whole_numbers() -> None:
    rng = np.random.default_rng(SEED)
    table = tables.reciprocal(16, 7)
    d = np.concatenate([np.arange(1, 2000), rng.integers(1, 1 << 48, 2000)])
    r, shift = golden.reciprocal(d, table=table, table_bits=7)
    for value, significand, places in zip(d.tolist(), r.tolist(), shift.tolist(), strict=True):
        assert places == value.bit_length() - 16
        x = value >> places if places >= 0 else value << -places
        start = table[(x - (1 << 15)) >> 8]
        assert significand == start * ((1 << 32) - x * start) >> 31
        assert significand.bit_length() == 16


def test_reciprocal_of_0_counts_as_that_of_1() -> None:
    r, shift = golden.reciprocal([0, 1], table=tables.reciprocal(16, 7), table_bits=7)
    assert r.tolist() == [65535, 65535] and shift.tolist() == [-15, -15]


def test_reciprocal_exact_is_a_floor() -> None:
    d = np.concatenate([np.arange(1, 3000), (1 << np.arange(31)) - 1, 1 << np.arange(32)]).astype(np.int64)
    d = d[d > 0]
    q = ReciprocalExact().golden(ReciprocalExactParameters(), {"d": d})["q"]
    assert q.tolist() == [(1 << 32) // value for value in d.tolist()]


def test_division_by_0_gives_all_ones() -> None:
    assert golden.reciprocal_exact(0, power=32) == (1 << 33) - 1
    assert golden.divide(5, 0, numerator_width=16, fraction_bits=16) == (1 << 32) - 1


def test_divide_is_a_floor_for_every_pair_of_bytes() -> None:
    p = DivideParameters(numerator_width=8, denominator_width=8, fraction_bits=4)
    beats = Divide().exhaustive(p)
    q = Divide().golden(p, beats)["q"]
    for numerator, denominator, quotient in zip(*(v.tolist() for v in beats.values()), q.tolist(), strict=True):
        assert quotient == ((numerator << 4) // denominator if denominator else (1 << 12) - 1)


def test_isqrt_equals_math_isqrt_for_every_16_bit_number_and_at_every_square_of_31_bit_roots() -> None:
    n = np.arange(1 << 16)
    assert golden.isqrt(n, width=16).tolist() == [math.isqrt(value) for value in n.tolist()]
    roots = np.random.default_rng(SEED).integers(1, 1 << 31, 20000)
    near = (roots[:, None] ** 2 + np.arange(-1, 2)).ravel()
    assert golden.isqrt(near, width=62).tolist() == [math.isqrt(value) for value in near.tolist()]


def test_rsqrt_of_a_degree_is_rounded_correctly() -> None:
    p = RsqrtDegreeParameters(width=12)
    y = RsqrtDegree().golden(p, RsqrtDegree().exhaustive(p))["y"].tolist()
    for degree, value in enumerate(y):  # value - 1/2 <= 2**16 / sqrt(degree + 1) < value + 1/2, squared
        assert (2 * value - 1) ** 2 * (degree + 1) <= 1 << 34 < (2 * value + 1) ** 2 * (degree + 1)


@pytest.mark.parametrize("make, text", [
    (lambda: IsqrtParameters(width=15), "width: 15 is odd: a digit of the root takes two bits; the nearest legal value is 16"),
    (lambda: DivideParameters(numerator_width=40, fraction_bits=30), "fraction_bits: 30 makes a quotient of more than 62 bits"),
    (lambda: DivideParameters(numerator_width=1, fraction_bits=0), "fraction_bits: 0 leaves a quotient of a single bit"),
    (lambda: ReciprocalParameters(table_bits=6), "table_bits"),
])
def test_parameters_that_make_no_unit_are_refused(make: Any, text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        make()
    assert text in str(refusal.value)


def test_schedules_say_a_digit_per_cycle() -> None:
    assert Isqrt().timing(IsqrtParameters(width=32)).interval == 17
    assert Divide().timing(DivideParameters()).interval == 33
    assert ReciprocalExact().timing(ReciprocalExactParameters()).interval == 33


def test_digit_recurrences_and_the_degree_s_table_take_no_multiplier() -> None:
    for unit in (Divide(), ReciprocalExact(), Isqrt(), RsqrtDegree()):
        netlist = rtlil.convert(unit.component(unit.parameters_type()), name=unit.name, emit_src=False)
        assert "cell $mul " not in netlist and "cell $div" not in netlist, unit.name
