"""Edge-MoE's softmax: row by row its published recurrence, truncation and order, and what is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from tilewright.sim.golden.units.exponential import exp
from tilewright.units import tables
from tilewright.units.softmax_edge_moe import EdgeMoeSoftmaxParameters, SoftmaxEdgeMoe

ONE = 1 << 22


def falling(distance: int) -> int:
    return int(exp(distance, table=tables.exp2_falling(22, 10), fraction_bits=22, octave_bits=22, table_bits=10, value_bits=22,
                   guard_bits=0))


def published(row: list[int]) -> list[int]:
    """One row as the program's loop takes it, score by score, in Python's integers."""
    total, bias = 0, -(1 << 31) - 1
    for score in row:
        d = bias - score
        if d < 0:
            total, bias = (total * falling(-d) >> 22) + ONE, score
        else:
            total += falling(d)
    return [falling(bias - score) * (ONE * ONE // total) >> 22 for score in row]


def of(p: EdgeMoeSoftmaxParameters, score: NDArray[np.int64], keep: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The golden model's probabilities of one frame."""
    count = len(score)
    last = np.zeros(count, np.int64)
    last[-1] = 1
    keep = np.full(count, (1 << p.lanes) - 1, np.int64) if keep is None else keep
    return SoftmaxEdgeMoe().golden(p, {"score": score, "keep": keep, "last": last})["probability"]


@pytest.mark.parametrize(("rows", "lanes", "count"), [(8, 1, 8 * 20), (8, 1, 3), (16, 4, 16 * 5 + 7), (8, 4, 8)])
def test_every_row_gives_what_the_program_s_loop_gives(rows: int, lanes: int, count: int) -> None:
    rng = np.random.default_rng(rows + lanes + count)
    p = EdgeMoeSoftmaxParameters(rows=rows, lanes=lanes)
    for spread in (1, ONE, 5 * ONE, 1 << 30):
        score = np.clip(np.rint(rng.normal(0, spread, (count, lanes))), -(1 << 31), (1 << 31) - 1).astype(np.int64)
        got = of(p, score)
        for row in range(min(rows, count)):
            for lane in range(lanes):
                assert got[row::rows, lane].tolist() == published(score[row::rows, lane].tolist())


def test_a_row_s_sum_depends_on_the_order_of_its_scores_and_not_on_other_rows() -> None:
    rng = np.random.default_rng(1)
    p = EdgeMoeSoftmaxParameters()
    score = np.rint(rng.normal(0, 3 * ONE, (64, 8, 1))).astype(np.int64)
    got = of(p, score.reshape(-1, 1)).reshape(64, 8)
    other = score.copy()
    other[:, 1:] = rng.integers(-(1 << 31), 1 << 31, (64, 7, 1))
    np.testing.assert_array_equal(of(p, other.reshape(-1, 1)).reshape(64, 8)[:, 0], got[:, 0])
    turned = of(p, score[::-1].reshape(-1, 1)).reshape(64, 8)[::-1]
    assert (turned != got).any() and np.abs(turned - got).max() <= 16


def test_scores_left_out_count_for_nothing_and_a_single_score_gets_1() -> None:
    rng = np.random.default_rng(2)
    p = EdgeMoeSoftmaxParameters(lanes=4)
    score = np.rint(rng.normal(0, 3 * ONE, (100, 4))).astype(np.int64)
    keep = rng.integers(0, 15, 100, endpoint=True)
    mask = keep[:, None] >> np.arange(4) & 1 == 1
    other = np.where(mask, score, rng.integers(-(1 << 31), 1 << 31, score.shape))
    np.testing.assert_array_equal(of(p, score, keep), of(p, other, keep))
    assert not of(p, score, keep)[~mask].any()
    for low in (-(1 << 31), 0, (1 << 31) - 1):
        assert of(p, np.full((8, 4), low)).tolist() == [[ONE] * 4] * 8


def test_a_frame_shorter_than_a_round_of_rows_is_refused() -> None:
    with pytest.raises(ValidationError, match="is less than a score for each of 32 rows; the nearest legal value is 32"):
        EdgeMoeSoftmaxParameters(rows=32, max_beats=8)
    with pytest.raises(ValidationError, match="is more than the 16 bits of a score; the nearest legal value is 16"):
        EdgeMoeSoftmaxParameters(score_width=16, fraction=20)
