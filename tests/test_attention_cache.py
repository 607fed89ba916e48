"""Claims about the key and value cache as hardware: rows stay on the chip, and what is computed from them is exact."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_bench import memories, prove
from attention_kernels import run_kernel
from cache_designs import MET_AGAIN, cached_design
from gemm_designs import CACHE
from tilewright.build import build
from tilewright.families import family_of
from tilewright.families.attention.fields import Job
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import cases
from tilewright.families.attention.vectors import case_files
from tilewright.families.attention.work import moved_bits
from tilewright.verify import verify

# Beside the pairs of test_attention_rtl: several groups of several beats to a row, a ring of one row, several kv heads.
DESIGNS: dict[str, dict[str, Any]] = {
    "ring_of_one": {"mask": {"kind": "window", "window": 1}, "engine": {"tile_q": 1, "lanes": 8}},
    "three_heads": {"mask": {"kind": "lambda", "sink": 3, "window": 4}, "model": {"head_dim": 8, "heads": 6, "kv_heads": 3}},
    "groups_of_three_beats": {
        "cache": {"bits": 4, "group": 6}, "model": {"head_dim": 12, "heads": 3, "kv_heads": 1},
        "engine": {"tile_q": 3, "lanes": 2}, "numbers": {"v": "int16"}},
    "only_keys_compressed": MET_AGAIN,
}
KERNELS: dict[str, dict[str, Any]] = {
    "ring_of_four_bits_turned_behind_it": {
        "cache": {"bits": 4}, "mask": {"kind": "lambda", "sink": 3, "window": 4}, "numbers": {"k": "int16"},
        "engine": {"tile_q": 1, "lanes": 4}, "rotary": {"base": 100, "positions": "cache_index"},
        "softmax": {"algorithm": "three_pass"}},
    "turned_biased_and_met_twice": {
        "cache": {"bits": 4, "group": 4}, "mask": {"kind": "window", "window": 5}, "rotary": {"base": 100},
        "bias": {"reach": 3}, "softmax": {"algorithm": "ibert"}, "engine": {"tile_q": 2, "lanes": 2}},
    "ring_met_again": {
        "cache": {"bits": 4}, "mask": {"kind": "lambda", "sink": 3, "window": 4}, "numbers": {"k": "int16"},
        "softmax": {"algorithm": "unified_max", "phi": 1}, "bias": {"reach": 3}},
    "all_as_they_are": {"model": {"head_dim": 4, "heads": 4, "kv_heads": 1}, "mask": "none"},
}
WINDOW = {"kind": "window", "window": 5}


@pytest.mark.parametrize("name", DESIGNS)
def test_rows_that_came_once_are_met_by_every_tile(name: str, tmp_path: Path) -> None:
    assert prove(cached_design(**DESIGNS[name]), tmp_path) > 1000


def test_verify_proves_a_cache_and_what_it_refuses(tmp_path: Path) -> None:
    design = cached_design(mask={"kind": "lambda", "sink": 1, "window": 3}, cache={"bits": 4},
                           softmax={"algorithm": "unified_max"})
    outcome = verify(build(design, tmp_path), cache=CACHE.parent)
    assert outcome.passed, outcome.first_divergence
    assert any("a_job_that_leaves_a_gap_is_refused" in check.name for check in outcome.checks)


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_keeps_rows_as_the_engine_does(name: str, tmp_path: Path) -> None:
    spec = cached_design(**KERNELS[name]).spec
    run_kernel(tmp_path, spec, list(cases(spec, seed=3))).assert_equals_golden()


def test_jobs_cross_the_ring_many_times_and_begin_anew() -> None:
    spec = cached_design(mask=WINDOW).spec
    jobs = [job for case in cases(spec, seed=1) for job in case.jobs]
    assert max(job.keys for job in jobs) >= 4 * spec.cache_ring
    assert sum(job.keys == job.queries for job in jobs) > 5
    assert sum(job.queries == 1 < job.keys for job in jobs) > 10
    assert any(1 < job.queries < job.keys for job in jobs)
    assert any(job.queries > spec.cache_ring for job in jobs)


def test_keys_and_values_come_once() -> None:
    spec = cached_design().spec
    for case in cases(spec, seed=1):
        words = {name: len(text.splitlines()) for name, text in case_files(spec, case).items()}
        positions = sum(job.queries for job in case.jobs)
        assert words["k.txt"] == words["v.txt"] == positions * spec.kv_heads * spec.chunks


@pytest.mark.parametrize(("blocks", "slots", "bits"), [
    ({}, 40, (8, 8)),
    ({"cache": {"slots": 50}}, 50, (8, 8)),
    ({"mask": WINDOW}, 8, (8, 8)),
    ({"mask": WINDOW, "cache": {"slots": 16}}, 16, (8, 8)),
    ({"mask": {"kind": "lambda", "sink": 3, "window": 5}, "cache": {"bits": 4}}, 11, (4, 4)),
    ({"mask": {"kind": "lambda", "sink": 3, "window": 6}, "numbers": {"v": "int16"}}, 11, (8, 8)),
])
def test_a_cache_has_a_row_for_each_slot(blocks: dict[str, Any], slots: int, bits: tuple[int, int]) -> None:
    """In every design with a ring also for 65 536 keys."""
    spec = cached_design(**blocks).spec
    limits = (40, 65_536) if spec.cache_ring else (40,)
    for keys in limits:
        spec = cached_design(**blocks | {"limits": {"queries": 9, "keys": keys}}).spec
        assert spec.cache is not None and spec.cache.slots == slots
        found = memories(spec)
        bits_found = 0
        for name, width in zip(("k", "v"), bits, strict=True):
            memory = f"engine_{name}_cache_memory"
            assert found[f"{memory} words"] == (width * spec.lanes, spec.kv_heads * slots * spec.chunks)
            assert (f"{memory} exponents" in found) == (width < getattr(spec, name).width)
            bits_found += sum(w * d for w, d in (found[f"{memory} words"], found.get(f"{memory} exponents", (0, 0))))
        assert bits_found == spec.cache_bits


def test_what_is_on_the_chip_includes_the_cache() -> None:
    with_cache, without = cached_design().spec, cached_design(cache=None).spec
    assert with_cache.cache_bits == 2 * 40 * 2 * 8 * 8 and without.cache_bits == 0
    assert with_cache.on_chip_bits == without.on_chip_bits + with_cache.cache_bits


def test_a_sequence_without_a_mask_costs_what_its_keys_cost() -> None:
    """The rows of a prefill come while its first tile is at work: nobody waits for the last of them."""
    blocks: dict[str, Any] = {"mask": "none", "limits": {"queries": 32, "keys": 40}, "workload": [{"queries": 32, "keys": 32}]}
    cycles = []
    for cache in ({}, None):
        spec = cached_design(**blocks, cache=cache).spec
        cycles.append(family_of(spec).cycles(spec)[0].done)
    assert cycles[0] - cycles[1] < 20
    np.testing.assert_array_less(cycles[1], cycles[0])


LAMBDA = {"kind": "lambda", "sink": 4, "window": 124}


@pytest.mark.parametrize(("mask", "cache", "words", "cycles", "bits"), [
    ("causal", {}, (286_720, 16_973_824), (17_119, 1_052_895), 0),
    ("causal", {"cache": {}}, (32_768, 262_144), (17_128, 1_052_904), 1024 << 10),
    ("causal", {"cache": {"bits": 4}}, (32_768, 262_144), (17_128, 1_052_904), 536 << 10),
    (LAMBDA, {}, (286_720, 4_157_440), (17_119, 251_871), 0),
    (LAMBDA, {"cache": {}}, (32_768, 262_144), (17_128, 251_880), 132 << 10),
])
def test_the_page_tells_what_a_cache_costs_and_saves(
        mask: Any, cache: Any, words: tuple[int, int], cycles: tuple[int, int], bits: int) -> None:
    spec = AttentionSpec.model_validate({"design": "page", "family": "attention", "mask": mask, **cache})
    assert spec.cache_bits == bits
    for length, moved, done in zip((128, 1024), words, cycles, strict=True):
        assert moved_bits(spec, length, length) == 8 * moved
        (job,) = schedule_of(spec).walk(spec, [Job(queries=length, keys=length)])
        assert job.done == done
    decode = [Job(queries=1000, keys=1000), *(Job(queries=1, keys=keys) for keys in range(1001, 1020))]
    *_, before, last = schedule_of(spec).walk(spec, decode)
    assert last.done - before.done == (8152 if mask == "causal" else 1024)
    assert moved_bits(spec, 1, 1019) == 8 * (256 if spec.cache else 130_560 if mask == "causal" else 16_512)
