"""LayerNorm and RMSNorm: exact integers, and the distance from real arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError
from tilewright.sim.golden.units.normalization import (
    calibrated_shift,
    layer_norm_ibert,
    normalize,
    root_factor,
    round_half_even,
)
from tilewright.units.layer_norm_ibert import IBertLayerNormParameters


def ends(length: int) -> np.ndarray:
    last = np.zeros(length, np.int64)
    last[-1] = 1
    return last


def test_the_mean_is_rounded_half_to_even() -> None:
    for total in range(-40, 41):
        for count in range(1, 9):
            assert round_half_even(total, count) == round(Fraction(total, count))
    assert round_half_even(0, 0) == 0


def test_the_factor_keeps_16_bits_whatever_the_variance() -> None:
    for total in [*range(1, 300), *(3**k for k in range(6, 28)), (1 << 44) - 1]:
        factor, e = root_factor(total)
        assert 1 << 15 <= factor <= 1 << 16
        # The root is floored by less than 2**-15 of itself, the quotient by less than 2**-15 of itself.
        assert factor / 2.0**(e + 16) == pytest.approx(1 / math.sqrt(total), rel=2**-14)


@pytest.mark.parametrize(("width", "bound"), [(8, 2.6e-2), (16, 1.4e-4)])
def test_layer_norm_is_close_to_float64(width: int, bound: float) -> None:
    rng = np.random.default_rng(4)
    for _ in range(4):
        x = rng.normal(0.3, 1.5, 768)
        codes = np.rint(x * ((1 << width - 1) - 1) / np.abs(x).max()).astype(np.int64)
        o = normalize(codes, np.ones(768), ends(768), centered=True, epsilon=0, out_fraction=20, max_beats=1024)[:, 0]
        exact = (codes - codes.mean()) / codes.std()
        assert np.abs(o * math.sqrt(768) / (1 << 20) - exact).max() <= bound


@pytest.mark.parametrize("centered", [True, False])
def test_a_frame_without_variance_and_epsilon_gives_zeros(centered: bool) -> None:
    x = np.full(16, 77 if centered else 0)
    o = normalize(x, np.ones(16), ends(16), centered=centered, epsilon=0, out_fraction=20, max_beats=16)
    assert not o.any()


def published(x: list[int], shift: int) -> list[int]:
    """I-BERT's LayerNorm, section 3.6 of the paper, in Python's integers; its integer root is Newton's iteration."""
    mean = round(Fraction(sum(x), len(x)))
    y = [value - mean for value in x]
    variance = sum((value // 2**shift) ** 2 for value in y)
    root = 1 << (variance.bit_length() + 1) // 2
    while (better := (root + variance // root) // 2) < root:
        root = better
    factor = 2**31 // (root * 2**shift)
    return [value * factor // 2 for value in y]


@pytest.mark.parametrize(("width", "shift"), [(4, 0), (8, 0), (8, 3), (16, 0), (16, 3), (22, 5), (22, 9)])
def test_ibert_layer_norm_gives_what_the_paper_s_algorithm_gives(width: int, shift: int) -> None:
    rng = np.random.default_rng(width + shift)
    high = (1 << width - 1) - 1
    for length in (2, 3, 16, 197, 768, 1024):
        for x in (rng.integers(-high - 1, high, length, endpoint=True), rng.choice([-high - 1, high], length),
                  np.clip(np.rint(rng.normal(high / 10, high / 4, length)), -high - 1, high).astype(np.int64)):
            x[:2] = -high - 1, high  # no std of 0
            o = layer_norm_ibert(x, np.ones(length), ends(length), shift=shift, max_beats=1024)[:, 0]
            assert o.tolist() == published(x.tolist(), shift)


@pytest.mark.parametrize(("width", "shift", "figure"), [(8, 0, 1.02e-2), (16, 3, 3e-4), (22, 9, 2.76e-2)])
def test_ibert_layer_norm_loses_bits_as_the_deviation_grows(width: int, shift: int, figure: float) -> None:
    rng = np.random.default_rng(4)
    worst, calibrated = 0.0, 0
    for _ in range(8):
        x = rng.normal(0.3, 1.5, 768)
        codes = np.rint(x * ((1 << width - 1) - 1) / np.abs(x).max()).astype(np.int64)
        frame = codes, np.ones(768), ends(768)
        calibrated = max(calibrated, calibrated_shift(*frame, max_beats=1024))
        o = layer_norm_ibert(*frame, shift=shift, max_beats=1024)[:, 0]
        worst = max(worst, float(np.abs(o * math.sqrt(768) / (1 << 30) - (codes - codes.mean()) / codes.std()).max()))
    assert calibrated == shift
    assert worst == pytest.approx(figure, rel=0.1)


def test_an_ibert_frame_with_a_deviation_of_0_has_a_factor_of_all_ones() -> None:
    for x, wanted in ((np.full(16, -77), 0), (np.array([5] * 15 + [9]), 4 * ((1 << 29) - 1) >> 1)):
        o = layer_norm_ibert(x, np.ones(16), ends(16), shift=3, max_beats=16)[:, 0]
        assert (o[:15] == 0).all() and o[15] == wanted


def test_an_ibert_shift_that_leaves_too_much_or_nothing_to_square_is_refused() -> None:
    with pytest.raises(ValidationError, match="shift: 4 leaves more than the 18 bits that a multiplier squares; the nearest "
                                              "legal value is 5"):
        IBertLayerNormParameters(width=22, shift=4)
    with pytest.raises(ValidationError, match="shift: 3 leaves nothing to square of 4 bits; the nearest legal value is 2"):
        IBertLayerNormParameters(width=4, shift=3)
