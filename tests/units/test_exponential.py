"""Claims about exponentials and the logarithm: figures against float64, tables, what is refused."""

import math
import re
from typing import Any

import numpy as np
import pytest
from amaranth.back import rtlil
from pydantic import ValidationError
from tilewright.sim.golden.units import exponential as golden
from tilewright.units import tables
from tilewright.units.exponential import Exp, ExpParameters, ExpParts, ExpPartsParameters, Log2, Log2Parameters
from tilewright.units.ibert import IExp, IExpParameters


def largest_deviation(unit: Any, p: Any, beats: Any = None) -> float:
    """Largest |error| over every input code, or over ``beats``."""
    beats = unit.exhaustive(p) if beats is None else beats
    return float(np.abs(unit.error(p).deviation(beats, unit.golden(p, beats))[1]).max())


def test_exp_is_within_a_unit_of_15_bits_at_its_defaults() -> None:
    assert largest_deviation(Exp(), ExpParameters()) < 2**-15


@pytest.mark.parametrize("numbers, figure", [
    (dict(fraction_bits=8, value_bits=8, guard_bits=0), 5.61e-3), (dict(fraction_bits=8, value_bits=8), 5.61e-3),
    (dict(fraction_bits=8, value_bits=12), 1.32e-3), (dict(fraction_bits=10, value_bits=15), 3.99e-4),
    (dict(fraction_bits=12, value_bits=15, table_bits=6), 1.19e-4),
])
def test_exp_reproduces_its_error_where_octaves_have_the_input_s_fraction(numbers: dict[str, int], figure: float) -> None:
    p = ExpParameters(**{"table_bits": 5, "octave_bits": numbers["fraction_bits"], **numbers})
    assert largest_deviation(Exp(), p) == pytest.approx(figure, rel=0.1)


def test_exp_is_monotone_and_vanishes() -> None:
    p = ExpParameters()
    e = Exp().golden(p, {"t": np.arange(1 << 16)})["e"]
    assert e[0] == 1 << p.value_bits + p.guard_bits
    assert (np.diff(e) <= 0).all() and e[-1] == 0


def test_exp_parts_keep_the_mantissa_between_1_and_2_for_every_x() -> None:
    for p in (ExpPartsParameters(), *ExpParts.variants):
        parts = ExpParts().golden(p, ExpParts().exhaustive(p))
        assert (parts["mantissa"] >> p.value_bits == 1).all()


def test_exp_parts_of_0_are_exactly_1() -> None:
    mantissa, exponent = golden.exp_parts(0, table=tables.exp2_rising(15, 5), fraction_bits=10, table_bits=5)
    assert (mantissa, exponent) == (1 << 15, 0)


def test_log2_is_exact_at_powers_of_two_and_0_counts_as_1() -> None:
    p = Log2Parameters()
    d = np.concatenate([[0], 1 << np.arange(32)]).astype(np.int64)
    y = Log2().golden(p, {"d": d})["y"]
    np.testing.assert_array_equal(y, np.concatenate([[0], np.arange(32) << 16]))


def test_log2_reproduces_its_error() -> None:
    beats = Log2().stimulus(Log2Parameters(), np.random.default_rng(1), 1_000_000)
    assert largest_deviation(Log2(), Log2Parameters(), beats) == pytest.approx(7.8e-5, rel=0.1)


@pytest.mark.parametrize("width, reach, figure", [(17, 8, 1.9e-3), (17, 16, 1.9e-3), (9, 8, 3e-2)])
def test_i_exp_reproduces_its_error(width: int, reach: int, figure: float) -> None:
    assert largest_deviation(IExp(), IExpParameters(width=width, reach=reach)) == pytest.approx(figure, rel=0.1)


def test_i_exp_equals_its_definition_in_whole_numbers() -> None:
    p = IExpParameters(width=9, reach=8)
    ln2, linear, constant = (p.numbers[name] for name in ("ln2", "linear", "constant"))
    assert (ln2, linear, constant) == (12, 42, 703)
    for t in range(1 << 9):
        x = max(-t, -30 * ln2)
        z, r = divmod(x, -ln2)  # I-BERT divides two negative numbers: the floor, and a remainder of the same sign
        assert golden.i_exp(t, ln2=ln2, linear=linear, constant=constant) == max((r * (r + linear) + constant) << 30 - z, 0)


def test_tables_are_what_float_rounds_to_where_no_value_is_close_to_a_half() -> None:
    for i, value in enumerate(tables.exp2_falling(15, 5)):
        assert value == math.floor(2 ** (15 - i / 32) + 0.5)
    for i, value in enumerate(tables.exp2_rising(15, 5)):
        assert value == math.floor(2 ** (15 + i / 32) + 0.5)
    for i, value in enumerate(tables.log2(16, 6)):
        assert value == math.floor(65536 * math.log2(1 + i / 64) + 0.5)


@pytest.mark.parametrize("parameters, values, text", [
    (ExpParameters, dict(table_bits=8, octave_bits=8), "table_bits: 8 leaves nothing of 8 octave bits to interpolate in; "
     "the nearest legal value is 7"),
    (ExpParameters, dict(fraction_bits=2, octave_bits=20), "octave_bits: 20 exceeds"),
    (ExpPartsParameters, dict(table_bits=9, fraction_bits=9), "table_bits: 9 leaves nothing of 9 fraction bits"),
    (Log2Parameters, dict(table_bits=6, mantissa_bits=4), "table_bits: 6 leaves nothing of 4 mantissa bits"),
    (ExpPartsParameters, dict(width=8, fraction_bits=8), "width: 8 leaves no integer part beside 8 fraction bits"),
    (ExpPartsParameters, dict(width=20, fraction_bits=6), "width: 20 lets x exceed 2**11"),
    (ExpPartsParameters, dict(value_bits=4), "value_bits: 4 makes neighbours of a table of 2**5 intervals equal"),
    (IExpParameters, dict(width=20, reach=1), "reach: 1 makes a result of more than 62 bits from a step this small; "
     "the nearest legal value is 7"),
    (IExpParameters, dict(width=8, reach=16), "reach: 16 leaves ln 2 only 3 steps, too few for a parabola"),
])
def test_parameters_that_make_no_unit_are_refused(parameters: Any, values: dict[str, int], text: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        parameters(**values)
    assert text in str(refusal.value)


def test_exp_takes_one_multiplier_and_one_block_ram() -> None:
    """18 kbit as 512 words of 36 bits, an ECP5's block; the product with log2(e) is sums of shifted copies."""
    for unit in (Exp(), ExpParts(), Log2(), IExp()):
        netlist = rtlil.convert(unit.component(unit.parameters_type()), name=unit.name, emit_src=False)
        assert netlist.count("cell $mul ") == 1, unit.name
        memories = re.findall(r"memory width (\d+) size (\d+)", netlist)
        assert len(memories) == (0 if unit.name == "i_exp" else 1)
        assert all(int(width) <= 36 and int(words) <= 512 for width, words in memories)
