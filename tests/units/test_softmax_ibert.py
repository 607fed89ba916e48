"""I-BERT's softmax: equal to its published algorithm in whole numbers, and as far from float64 as its parabola."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from tilewright.sim.golden.units.exponential import i_exp
from tilewright.units.softmax_ibert import IBertSoftmaxParameters, SoftmaxIBert

A, B, LN2 = Fraction("0.35815147"), Fraction("0.96963238"), Fraction("0.6931")


def published(scores: list[int], scale: Fraction, out_bits: int) -> list[int]:
    """Algorithm 3 and section 3.5 of the paper in Python's integers: negative distances, floors, no array, no width."""
    q0, qb, qc = math.floor(-LN2 / scale), math.floor(B / A / scale), math.floor(1 / A / scale**2)
    exponentials = []
    for score in scores:
        x = max(score - max(scores), 30 * q0)
        z = x // q0
        r = x - q0 * z
        exponentials.append(max((r * (r + qb) + qc) * 2**(30 - z), 0))
    unit = Fraction(2) ** (qc.bit_length() + 30 - 15)
    e16 = [math.floor(e / unit) for e in exponentials]
    factor = 2**32 // sum(e16)
    return [min(e * factor // 2**(32 - out_bits), 2**out_bits - 1) for e in e16]


def of(p: IBertSoftmaxParameters, scores: list[int]) -> NDArray[np.int64]:
    """The golden model's probabilities of one frame, one lane."""
    count = len(scores)
    last = np.zeros(count, np.int64)
    last[-1] = 1
    beats = {"score": np.array(scores, np.int64)[:, None], "keep": np.ones(count, np.int64), "last": last}
    return SoftmaxIBert().golden(p, beats)["probability"][:, 0]


@pytest.mark.parametrize("out_bits", [8, 16])
def test_every_distance_of_8_bit_scores_gives_what_the_paper_s_algorithm_gives(out_bits: int) -> None:
    p = IBertSoftmaxParameters(score_width=8, reach=16, out_bits=out_bits)
    for top in (-128, -1, 0, 127):
        scores = [top, *range(-128, top)]
        assert of(p, scores).tolist() == published(scores, Fraction(16, 127), out_bits)
        for score in range(-128, top):
            assert of(p, [score, top]).tolist() == published([score, top], Fraction(16, 127), out_bits)


@pytest.mark.parametrize(("width", "reach"), [(16, 32), (16, 8), (18, 16), (12, 64)])
def test_wide_scores_give_what_the_paper_s_algorithm_gives(width: int, reach: int) -> None:
    rng = np.random.default_rng(width + reach)
    high = (1 << width - 1) - 1
    p = IBertSoftmaxParameters(score_width=width, reach=reach, out_bits=16)
    for length in (1, 2, 17, 197, 1024):
        for spread in (1, 4, 1000):
            scores = np.clip(np.rint(rng.normal(0, spread, length) * high / reach), -high - 1, high).astype(int).tolist()
            assert of(p, scores).tolist() == published(scores, Fraction(reach, high), 16)


@pytest.mark.parametrize(("bits", "exponential", "probability"), [(16, 1.9e-3, 4.1e-3), (8, 2.9e-2, 7.2e-2)])
def test_the_error_is_that_of_the_parabola(bits: int, exponential: float, probability: float) -> None:
    rng = np.random.default_rng(0)
    p = IBertSoftmaxParameters(score_width=bits, reach=8)
    step = float(p.step)
    worst = 0.0
    for _ in range(40):
        x = np.clip(np.rint(rng.normal(0, 3, 128) / step), -127 if bits == 8 else -32767, None).astype(int)
        x = np.minimum(x, (1 << bits - 1) - 1)
        exact = np.exp((x - x.max()) * step)
        worst = max(worst, float(np.abs(of(p, x.tolist()) / 256 - exact / exact.sum()).max()))
    distance = np.arange(1 << bits)
    numbers = {name: p.numbers[name] for name in ("ln2", "linear", "constant")}
    unit = 0.35815147 * step**2 / 2**30
    assert np.abs(i_exp(distance, **numbers) * unit - np.exp(-distance * step)).max() == pytest.approx(exponential, rel=0.1)
    assert worst == pytest.approx(probability, rel=0.1)


def test_a_common_offset_changes_nothing_and_one_score_gets_the_highest_code() -> None:
    rng = np.random.default_rng(3)
    p = IBertSoftmaxParameters(out_bits=16)
    scores = rng.integers(-3000, 3000, 64)
    for offset in (-29000, -1, 29000):
        np.testing.assert_array_equal(of(p, (scores + offset).tolist()), of(p, scores.tolist()))
    assert of(p, [-32768]).tolist() == [65535]


def test_a_scale_too_coarse_or_too_fine_for_the_parabola_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValidationError, match="ln 2 only 3 steps, too few for a parabola; the nearest legal value is 22"):
        IBertSoftmaxParameters(score_width=8, reach=32)
    assert IBertSoftmaxParameters(score_width=8, reach=22).numbers["ln2"] == 5
    with pytest.raises(ValidationError, match="a step this small; the nearest legal value is 4"):
        IBertSoftmaxParameters(score_width=18, reach=2)
    assert IBertSoftmaxParameters(score_width=18, reach=4).numbers["constant"].bit_length() == 32
