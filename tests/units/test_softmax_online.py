"""Softmax that does not wait for a maximum: online, and below a constant."""

from typing import Any

import numpy as np
import pytest
from amaranth.hdl import signed
from amaranth.sim import Simulator, SimulatorContext
from amaranth.utils import ceil_log2
from numpy.typing import NDArray
from pydantic import ValidationError
from tilewright.rtl.units.softmax_exponent import ExponentScale
from tilewright.rtl.units.softmax_online import SHORTEST_TILE, rescale_latency
from tilewright.rtl.units.softmax_unified import again_latency
from tilewright.sim.golden.units.softmax_maximum import softmax_online, softmax_three_pass, softmax_unified
from tilewright.units import tables
from tilewright.units.base import Unit
from tilewright.units.softmax_online import OnlineSoftmaxParameters, SoftmaxOnline
from tilewright.units.softmax_three_pass import SoftmaxThreePass
from tilewright.units.softmax_unified import SoftmaxUnified, UnifiedSoftmaxParameters

FIXED = {"fraction": 10, "mantissa_bits": 15, "guard_bits": 8, "out_bits": 16, "max_beats": 4096,
         "table": tables.exp2_falling(15, 5)}
WINDOW = {"center": 0, "low": -8192, "high": 8192}


def one_frame(score: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    last = np.zeros(len(score), np.int64)
    last[-1] = 1
    return {"score": score.reshape(-1, 1), "keep": np.ones(len(score), np.int64), "last": last}


def normal_scores(count: int, seed: int, spread: float = 3) -> NDArray[np.int64]:
    return np.rint(np.random.default_rng(seed).normal(0, spread, count) * 1024).astype(np.int64)


def alone(frame: dict[str, NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Arguments of a golden model."""
    return frame["score"], frame["keep"][:, None], frame["last"]


@pytest.mark.parametrize("unit", [SoftmaxOnline(), SoftmaxUnified(), SoftmaxThreePass()], ids=lambda unit: unit.name)
def test_a_single_score_gets_the_highest_code_whatever_it_is(unit: Unit[Any]) -> None:
    for score in (-32768, -8193, 0, 8193, 32767):
        assert unit.golden(unit.parameters_type(), one_frame(np.array([score])))["probability"] == 65535


def test_a_single_score_beside_the_center_loses_no_more_than_the_reciprocal_does() -> None:
    unit = SoftmaxUnified()
    for score in (-8192, -8191, -1, 1, 5000, 8192):  # r has 16 bits, rounded down
        assert unit.golden(UnifiedSoftmaxParameters(), one_frame(np.array([score])))["probability"] >= 65534


def test_the_order_within_a_tile_does_not_matter_to_the_online_softmax() -> None:
    score = normal_scores(64, 5)
    shuffled = np.concatenate([np.random.default_rng(6).permutation(tile) for tile in score.reshape(8, 8)])
    frame, other = one_frame(score), one_frame(shuffled)
    got = [np.sort(softmax_online(*alone(f), tile_beats=8, **FIXED).reshape(8, 8)) for f in (frame, other)]
    np.testing.assert_array_equal(*got)


def test_one_tile_is_the_three_pass_softmax() -> None:
    frame = one_frame(normal_scores(32, 7))
    np.testing.assert_array_equal(
        softmax_online(*alone(frame), tile_beats=32, **FIXED), softmax_three_pass(*alone(frame), **FIXED))


def test_a_rescale_rounds_half_up_or_truncates() -> None:
    frame = one_frame(np.sort(normal_scores(256, 8)))  # rising scores: every tile rescales
    coarse = {**FIXED, "mantissa_bits": 4, "guard_bits": 0, "table": tables.exp2_falling(4, 5)}
    up, down = (softmax_online(*alone(frame), tile_beats=8, rounding=rounding, **coarse).sum()
                for rounding in ("half_up", "truncate"))
    assert up < down  # a truncated sum is smaller, so the shares are larger


def test_probabilities_of_the_online_softmax_sum_to_one() -> None:
    for count in (1, 7, 64, 1000):
        p = softmax_online(*alone(one_frame(normal_scores(count, count))), tile_beats=8, **FIXED)
        assert abs(p.sum() / 65536 - 1) <= 2e-4 + count / 65536


def test_the_widest_sum_is_rescaled_within_the_shortest_tile() -> None:
    widest = OnlineSoftmaxParameters(lanes=16, mantissa_bits=16, guard_bits=8, max_beats=4096)
    total_width = widest.mantissa_bits + widest.guard_bits + 1 + ceil_log2(16 * 4096)
    assert rescale_latency(total_width, widest.mantissa_bits) <= SHORTEST_TILE


def test_rising_scores_take_no_more_cycles_than_falling_ones() -> None:
    """Every tile of the one raises the maximum and multiplies the sum, none of the other: one beat per cycle in both."""
    unit, p = SoftmaxOnline(), OnlineSoftmaxParameters(max_beats=64)
    score = np.sort(normal_scores(64, 4))
    cycles = [unit.schedule(p, {key: np.concatenate([value] * 10) for key, value in one_frame(s).items()})
              for s in (score, score[::-1])]
    np.testing.assert_array_equal(*cycles)
    np.testing.assert_array_equal(np.diff(cycles[0]), 1)


@pytest.mark.parametrize("splits", [1, 2, 4, 8])
def test_any_split_of_the_sum_below_a_constant_gives_the_same_bits(splits: int) -> None:
    score = normal_scores(256, 9, 2)
    parts = np.concatenate([score[place::splits] for place in range(splits)])
    order = np.concatenate([np.arange(256)[place::splits] for place in range(splits)])
    whole, fallback = softmax_unified(*alone(one_frame(score)), **WINDOW, **FIXED)
    split, _ = softmax_unified(*alone(one_frame(parts)), **WINDOW, **FIXED)
    assert not fallback.any()
    np.testing.assert_array_equal(whole[order], split)


def test_a_frame_outside_of_the_window_equals_three_passes_and_costs_one_more_pass() -> None:
    """The RTL's cycles are compared with the schedule by the proof."""
    unit, p = SoftmaxUnified(), UnifiedSoftmaxParameters()
    extra = []
    for count in (1, 20, 100, 1000):
        inside = one_frame(np.clip(normal_scores(count, count, 2), -8192, 8192))
        outside = {**inside, "score": inside["score"].copy()}
        outside["score"][-1] = 8193
        results = [unit.golden(p, frame) for frame in (inside, outside)]
        assert [result["fallback"].all() for result in results] == [False, True]
        np.testing.assert_array_equal(results[1]["probability"], softmax_three_pass(*alone(outside), **FIXED))
        extra.append(int(unit.schedule(p, outside)[0] - unit.schedule(p, inside)[0]) - count)
    assert extra == [again_latency(p.lanes)] * 4


def test_the_ends_of_the_window_belong_to_it() -> None:
    unit, p = SoftmaxUnified(), UnifiedSoftmaxParameters(center=100, low=-7000, high=5000)
    for score, outside in ((-6900, 0), (-6901, 1), (5100, 0), (5101, 1)):
        assert unit.golden(p, one_frame(np.array([score])))["fallback"] == outside
        assert unit.golden(p, {**one_frame(np.array([score])), "keep": np.zeros(1, np.int64)})["fallback"] == 0


@pytest.mark.parametrize(("values", "field", "nearest"), [
    ({"low": -16400}, "low", -16324), ({"high": 40000}, "high", None), ({"center": 40000}, "center", 32767)])
def test_a_window_that_makes_no_sum_is_refused_with_the_nearest_that_does(
    values: dict[str, int], field: str, nearest: int | None
) -> None:
    with pytest.raises(ValidationError) as refused:
        UnifiedSoftmaxParameters(**values)
    text = str(refused.value.errors()[0]["ctx"]["error"])
    legal = int(text.rsplit(" ", 1)[1].rstrip(")"))
    assert nearest in (None, legal)
    UnifiedSoftmaxParameters(**{field: legal})
    if field != "center":
        with pytest.raises(ValidationError):
            UnifiedSoftmaxParameters(**{field: legal + (1 if legal > 0 else -1)})


def test_a_probability_far_below_the_highest_is_0_whatever_its_width() -> None:
    """The product of mantissa and reciprocal is at most 1: as many places as it has bits leave nothing of it."""
    for out_bits in range(2, 17):
        scale = ExponentScale(lanes=1, mantissa_bits=15, octave=signed(8), drop=30 - out_bits, out_bits=out_bits)
        seen: list[int] = []

        async def bench(ctx: SimulatorContext, scale: ExponentScale = scale, seen: list[int] = seen) -> None:
            ctx.set(scale.o.ready, 1)
            ctx.set(scale.i.payload.keep, 1)
            ctx.set(scale.i.payload.mantissa[0], 1 << 15)
            ctx.set(scale.i.payload.reciprocal, 1 << 16)
            for places in range(1, 32):
                ctx.set(scale.i.payload.octave[0], -places)
                await ctx.tick().repeat(scale.latency)
                seen.append(ctx.get(scale.o.payload.probability[0]))

        simulator = Simulator(scale)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        assert seen == [min((2 << out_bits) >> places, (1 << out_bits) - 1) for places in range(1, 32)]
