"""LayerNorm and RMSNorm: exact integers, and the distance from real arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from tilewright.sim.golden.units.normalization import normalize, root_factor, round_half_even


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
