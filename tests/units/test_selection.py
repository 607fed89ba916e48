"""Claims about the selection units that no generic proof makes."""

import numpy as np
import pytest
from pydantic import ValidationError
from tilewright.rtl.units.topk_bitonic import bitonic_columns, bitonic_latency
from tilewright.rtl.units.topk_quickselect import round_cycles
from tilewright.units.compact import Compact, CompactParameters
from tilewright.units.counting_sort import CountingSort, CountingSortParameters
from tilewright.units.prefix_sum import PrefixSumParameters
from tilewright.units.topk import TopK, TopKParameters
from tilewright.units.topk_bitonic import TopKBitonic, TopKBitonicParameters
from tilewright.units.topk_quickselect import TopKQuickselect, TopKQuickselectParameters, rounds


@pytest.mark.parametrize(("lanes", "k"), [(2, 1), (4, 4), (8, 3), (16, 4), (16, 16)])
def test_bitonic_network_selects_every_arrangement_of_two_values(lanes: int, k: int) -> None:
    """The 0-1 principle: a network that selects from zeros and ones selects from anything."""
    entries = np.arange(1 << lanes)[:, None] >> np.arange(lanes) & 1
    columns = bitonic_columns(lanes, k)
    for pairs, _ in columns:
        for a, b in pairs:
            entries[:, a], entries[:, b] = np.maximum(entries[:, a], entries[:, b]), np.minimum(entries[:, a], entries[:, b])
    best = entries[:, sorted(columns[-1][1])[:k]]
    ones = np.minimum((np.arange(1 << lanes)[:, None] >> np.arange(lanes) & 1).sum(axis=1), k)
    np.testing.assert_array_equal(best, np.arange(k) < ones[:, None])


def test_bitonic_latency_is_the_number_of_columns_in_the_contract() -> None:
    for log_lanes in range(1, 7):
        for d in range(log_lanes + 1):
            assert bitonic_latency(1 << log_lanes, 1 << d) == d * (d + 1) // 2 + (log_lanes - d) * (d + 1)


def test_a_short_frame_waits_for_the_results_of_the_one_before() -> None:
    beats = {"x": np.arange(9, dtype=np.int64), "last": np.array([0] * 7 + [1, 1], np.int64)}
    assert TopK().schedule(TopKParameters(k=4), beats).tolist() == [9, 10, 11, 12, 13]


def test_quick_select_halves_a_sorted_frame_and_ends_at_once_on_equal_values() -> None:
    rising = np.arange(1024, dtype=np.int64)
    for values in (rising, -rising):
        assert list(rounds(values, 64, 8))[:8] == [128, 64, 32, 16, 8, 4, 2, 1]
    assert list(rounds(np.zeros(1024, np.int64), 64, 8)) == [128]
    assert list(rounds(rising[:64], 64, 8)) == []


def test_quick_select_takes_the_rounds_of_the_contract_on_random_values() -> None:
    rng = np.random.default_rng(2021)
    taken = [list(rounds(rng.integers(-(1 << 15), 1 << 15, 1024), 64, 8)) for _ in range(300)]
    assert np.mean([len(words) for words in taken]) == pytest.approx(11, rel=0.05)
    assert np.mean([sum(round_cycles(n, 8) for n in words) for words in taken]) == pytest.approx(471, rel=0.05)


def test_a_frame_that_is_picked_whole_has_the_latency_of_the_contract() -> None:
    unit, p = TopKQuickselect(), TopKQuickselectParameters(lanes=8, k=16)
    beats = {"x": np.zeros((2, 8), np.int64), "unused": np.array([5, 7], np.int64), "last": np.array([0, 1], np.int64)}
    assert unit.golden(p, beats)["index"].tolist() == list(range(9))
    assert unit.schedule(p, beats).tolist() == list(range(1 + 3 * 2 + 11, 1 + 3 * 2 + 11 + 9))


def test_frames_sort_at_the_rate_of_the_contract() -> None:
    unit, p = CountingSort(), CountingSortParameters(key_bits=3, index_bits=5)
    beats = {"key": np.zeros(40, np.int64), "value": np.zeros(40, np.int64), "last": np.tile([0] * 9 + [1], 4)}
    first = unit.schedule(p, beats).reshape(4, 10)[:, 0]
    assert first[0] == 9 + 10 + 8 + 7
    assert np.diff(first).tolist() == [2 * 10 + 8 + 1] * 3


def test_a_sample_of_compaction_holds_every_mask_of_eight_lanes() -> None:
    beats = Compact().stimulus(CompactParameters(), np.random.default_rng(1), 1024)
    assert set(beats["keep"].tolist()) == set(range(256))


def test_a_full_proof_of_the_bitonic_unit_holds_every_arrangement() -> None:
    p = TopKBitonicParameters(lanes=8, k=8, width=6)
    beats = TopKBitonic().stimulus(p, np.random.default_rng(1), 100_000)
    extremes = beats["x"][np.isin(beats["x"], (-32, 31)).all(axis=1)]
    assert len(np.unique(extremes, axis=0)) == 256


@pytest.mark.parametrize(("parameters", "message"), [
    (lambda: PrefixSumParameters(lanes=8, width=8, sum_width=10),
     "10 does not hold the sum of one beat of 8 values of 8 bits; the nearest legal value is 11"),
    (lambda: TopKBitonicParameters(lanes=12), "12 is no power of two; the nearest legal value is 16"),
    (lambda: TopKBitonicParameters(lanes=9), "9 is no power of two; the nearest legal value is 8"),
    (lambda: TopKBitonicParameters(lanes=8, k=9), "9 is above the 8 lanes; the nearest legal value is 8"),
    (lambda: TopKQuickselectParameters(max_beats=100),
     "100 is not a power of two, which the addresses need; the nearest legal value is 128"),
    (lambda: TopKQuickselectParameters(k=65, max_beats=8),
     "65 is above the 64 values of the longest frame; the nearest legal value is 64"),
])
def test_what_makes_no_unit_is_refused_with_the_nearest_legal_value(parameters: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        parameters()  # type: ignore[operator]
