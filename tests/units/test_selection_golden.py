"""Claims about the golden selection models, against sorted() and loops."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tilewright.sim.golden.units import selection

SEED = 21


def stream(lengths: list[int], low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frames of those lengths, flat, with ``last``."""
    rng = np.random.default_rng(SEED)
    last = np.concatenate([[0] * (length - 1) + [1] for length in lengths])
    return rng.integers(low, high, sum(lengths)), last


@pytest.mark.parametrize("k", [1, 3, 8])
def test_topk_is_sorted_by_value_then_index(k: int) -> None:
    lengths = [1, 2, 7, 8, 9, 40, 300]
    values, last = stream(lengths, -4, 4)
    expected, chosen = [], []
    for frame in selection.frames(values, last):
        order = sorted(range(min(len(frame), 256)), key=lambda i: (-frame[i], i))[:k]
        expected += [(i, frame[i], len(frame) > 256, i == order[-1]) for i in order]
        chosen += [(i, frame[i], len(frame) > 256, i == max(order)) for i in sorted(order)]
    assert list(zip(*selection.topk(values, last, k=k, index_bits=8), strict=True)) == expected
    assert list(zip(*selection.topk(values, last, k=k, index_bits=8, in_order=True), strict=True)) == chosen


def test_topk_of_lanes_equals_topk_of_the_frame() -> None:
    values, last = stream([16] * 50, -3, 3)
    value, index = selection.topk_lanes(values.reshape(50, 16), k=5)
    seen = selection.topk(values, last, k=5, index_bits=4)
    np.testing.assert_array_equal(index.reshape(-1), seen[0])
    np.testing.assert_array_equal(value.reshape(-1), seen[1])


@pytest.mark.parametrize("inclusive", [True, False])
def test_prefix_sum_equals_a_loop_and_wraps(inclusive: bool) -> None:
    values, last = stream([1, 3, 20, 2], 0, 16)
    lanes = np.stack([values, values[::-1], values], axis=1)
    expected, total = [], 0
    for beat, end in zip(lanes.tolist(), last, strict=True):
        row = []
        for value in beat:
            row.append((total + value if inclusive else total) % 256)
            total += value
        expected.append(row)
        total = 0 if end else total
    seen = selection.prefix_sum(lanes, last, sum_width=8, inclusive=inclusive)
    np.testing.assert_array_equal(seen, expected)


def test_compaction_keeps_order_at_every_mask_of_eight_lanes() -> None:
    masks = np.arange(256)[:, None] >> np.arange(8) & 1
    values = np.random.default_rng(SEED).integers(-128, 128, (256, 8))
    packed, indices, count = selection.compact(values, masks)
    for mask, value, row, index, kept in zip(masks, values, packed, indices, count, strict=True):
        chosen = [lane for lane in range(8) if mask[lane]]
        assert kept == len(chosen)
        assert row.tolist() == [value[lane] for lane in chosen] + [0] * (8 - kept)
        assert index.tolist() == chosen + [0] * (8 - kept)


def test_counting_sort_is_stable_and_marks_each_queue() -> None:
    keys, last = stream([1, 5, 64, 200], 0, 9)
    values = np.random.default_rng(SEED + 1).integers(-99, 99, len(keys))
    expected = []
    for key, value in zip(selection.frames(keys, last), selection.frames(values, last), strict=True):
        order = sorted(range(min(len(key), 128)), key=lambda i: key[i])
        for place, i in enumerate(order):
            end = place + 1 == len(order)
            expected.append((key[i], value[i], i, end or key[order[place + 1]] != key[i], len(key) > 128, end))
    assert list(zip(*selection.counting_sort(keys, values, last, index_bits=7), strict=True)) == expected


def test_a_stream_without_a_complete_frame_selects_nothing() -> None:
    assert [len(part) for part in selection.topk([1, 2], [0, 0], k=1, index_bits=3)] == [0] * 4
    assert [len(part) for part in selection.counting_sort([], [], [], index_bits=3)] == [0] * 6
