"""Claims about the golden model of the key and value cache."""

import numpy as np
import pytest
from cache_designs import cached_design
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.stimulus import Stimulus
from tilewright.sim.golden.attention_cache import cached, cached_reference, compressed, slot_of
from tilewright.sim.golden.attention_mask import tile_keys

WIDTHS = [(8, 4), (16, 8), (16, 4), (8, 8), (4, 4)]


def rows_of(width: int, seed: int) -> np.ndarray:
    """Rows of 24 of every size, the ends of the range and ties among them."""
    rng = np.random.default_rng(seed)
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    rows = rng.integers(low, high + 1, (400, 24)) >> rng.integers(0, width, (400, 1))
    rows[:4] = [[low], [high], [0], [-1]]
    rows[4:8, :12] = high
    return rows


@pytest.mark.parametrize("group", [1, 4, 12])
@pytest.mark.parametrize(("width", "bits"), WIDTHS)
def test_stored_rows_equal_the_definition_on_integers_of_any_size(width: int, bits: int, group: int) -> None:
    rows = rows_of(width, seed=group)
    found = cached(rows, bits=bits, group=group)
    assert found.tolist() == [cached_reference(row, bits=bits, group=group) for row in rows.tolist()]


@pytest.mark.parametrize(("width", "bits"), WIDTHS)
def test_an_element_is_off_by_half_a_step_or_clamped(width: int, bits: int) -> None:
    rows = rows_of(width, seed=9)
    exponent, stored = compressed(rows, bits=bits, group=4)
    step = np.repeat(1 << exponent, 4, axis=-1)
    off = np.abs(cached(rows, bits=bits, group=4) - rows)
    highest = (1 << bits - 1) - 1
    assert (2 * off <= np.where(step > 1, step, 0))[stored < highest].all()
    assert (off < step)[stored == highest].all()
    if bits < width:
        assert (2 * off > step).any() and (2 * off == step).any()


@pytest.mark.parametrize(("width", "bits"), WIDTHS)
def test_a_group_that_fits_its_bits_is_kept_as_it_is(width: int, bits: int) -> None:
    rows = np.random.default_rng(1).integers(-(1 << bits - 1), 1 << bits - 1, (50, 8))
    np.testing.assert_array_equal(cached(rows, bits=bits, group=4), rows)


def held(keys: int, *, sink: int, ring: int) -> dict[int, int]:
    """The key in each slot when ``keys`` rows were written."""
    return {int(slot_of(key, sink=sink, ring=ring)): key for key in range(keys)}


@pytest.mark.parametrize("sink", [0, 1, 3])
@pytest.mark.parametrize(("window", "tile_q", "ring"), [(1, 1, 1), (4, 1, 4), (5, 2, 8), (5, 4, 8), (6, 4, 16), (3, 6, 8)])
def test_the_least_ring_holds_what_a_tile_sees_and_half_of_it_does_not(
        sink: int, window: int, tile_q: int, ring: int) -> None:
    mask = {"kind": "lambda", "sink": sink, "window": window} if sink else {"kind": "window", "window": window}
    spec = cached_design(mask=mask, model={"head_dim": 8}, engine={"tile_q": tile_q, "lanes": 4}).spec
    assert spec.cache_ring == ring
    missed = 0
    for first in range(60):
        last = first + tile_q - 1
        wanted = set(tile_keys(spec.mask, first, last, last + 1))
        assert wanted <= set(held(last + 1, sink=sink, ring=ring).values())
        missed += ring > 1 and not wanted <= set(held(last + 1, sink=sink, ring=ring // 2).values())
    assert missed or ring == 1


def test_sinks_and_a_ring_equal_full_attention_as_long_as_they_hold_all() -> None:
    ring = cached_design(mask={"kind": "lambda", "sink": 3, "window": 6}).spec
    full = cached_design(mask="causal").spec
    stimulus = Stimulus(ring, np.random.default_rng(2))
    for queries, keys in ((5, 5), (1, 6), (3, 9), (1, 10)):
        job = stimulus.job(queries, keys)
        same = np.array_equal(job.result, schedule_of(full).golden(full, job))
        assert same == (keys <= 3 + 6)


def test_a_step_of_four_bits_is_what_attention_to_stored_rows_gives() -> None:
    few, all_bits = cached_design(cache={"bits": 4}).spec, cached_design().spec
    job = Stimulus(few, np.random.default_rng(3)).job(5, 5)
    k, v = (cached(rows, bits=4, group=8) for rows in (job.k, job.v))
    stored = type(job)(job.q, k, v, job.score_multiplier, job.score_shift, job.out_scale)
    np.testing.assert_array_equal(job.result, schedule_of(all_bits).golden(all_bits, stored))
    assert not np.array_equal(job.result, schedule_of(all_bits).golden(all_bits, job))
