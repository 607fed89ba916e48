"""Claims about `unified_max` with a cache: a tile that is computed anew reads its rows once more, and nobody has to know."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_designs import MET_AGAIN, cached_design
from gemm_designs import CACHE, TEST_BUILD
from tilewright.build import build
from tilewright.families.attention.cycles import walk
from tilewright.families.attention.fields import Job as JobFields
from tilewright.families.attention.hardware import cycle_engine
from tilewright.families.attention.ports import ports
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import Stimulus, as_case, cases, with_result
from tilewright.families.attention.vectors import Job, case_files, write_case
from tilewright.sim.golden.attention_cache import cached_reference
from tilewright.sim.golden.attention_reference import attention_reference
from tilewright.sim.golden.attention_unified import tiles_again, unified_reference
from tilewright.sim.runner import build_harness, run_harness

STEPS = ((9, 9), (1, 10), (3, 13), (1, 14), (4, 18), (1, 19), (1, 20), (5, 5), (1, 6))  # queries, keys: the ring has 4 rows
WILD: dict[str, Callable[[int], bool]] = {  # whether tile t, counted from the first job on, has a row beyond the window
    "none": lambda tile: False, "some": lambda tile: tile % 3 == 1, "others": lambda tile: tile % 4 in (0, 3),
    "all": lambda tile: True}


def calm_and_wild(of: AttentionSpec, is_wild: Callable[[int], bool]) -> tuple[Job, ...]:
    """The jobs of STEPS; scores stay in the window but for those of the last row of a wild tile with the key beside it."""
    rng, numbers = np.random.default_rng(7), count()
    jobs: list[Job] = []
    for queries, keys in STEPS:
        q = rng.integers(-20, 21, (2, queries, 8))
        k, v = rng.integers(-2000, 2001, (2, queries, 8)), rng.integers(-128, 128, (2, queries, 8))
        for head in range(2):
            for row in [*range(1, queries - 1, 2), queries - 1]:
                if is_wild(next(numbers)):
                    q[head, row] = (127 if row % 2 else -127) * np.where(k[head, row] < 0, -1, 1)
        if queries < keys:
            k, v = (np.concatenate(parts, axis=1) for parts in ((jobs[-1].k, k), (jobs[-1].v, v)))
        jobs.append(with_result(of, Job(q=q, k=k, v=v, score_multiplier=10486, score_shift=20, out_scale=4096)))
    return tuple(jobs)


@pytest.mark.parametrize("wild", WILD)
def test_tiles_of_a_prefill_a_chunk_and_a_decode_step_are_met_once_more(wild: str, tmp_path: Path) -> None:
    """None, some and all, across the ring's end and in another sequence behind; free to the cycle, and stalled."""
    design = cached_design(**MET_AGAIN)
    of = design.spec
    assert isinstance(of, AttentionSpec) and of.cache_ring == 4
    jobs = calm_and_wild(of, WILD[wild])
    marks = np.concatenate([job.again.ravel() for job in jobs if job.again is not None])
    assert marks.tolist() == [WILD[wild](tile) for tile in range(marks.size)]
    case = as_case(of, "wild", jobs)
    files = case_files(of, case)
    assert "again.txt" not in files
    assert all(files[f"{name}.txt"].count("\n") == sum(step for step, _ in STEPS) * 2 * of.chunks for name in ("k", "v"))
    write_case(tmp_path / "wild", of, case)
    harness = build_harness(build(design, TEST_BUILD).folder, cache=CACHE, optimize=False)
    for stall in (0.0, 0.3, 0.8):
        run = run_harness(harness, tmp_path / "wild", stall=stall)
        assert run.passed and run.values == sum(job.q.size for job in jobs), run.message
        assert stall or run.counters["cycles"] == case.cycles


def test_there_is_no_stream_that_tells_of_it() -> None:
    design = cached_design(**MET_AGAIN)
    assert not ports(design.spec).again and not ports(design.spec).outputs
    assert ports(cached_design(**MET_AGAIN | {"cache": None}).spec).again
    assert "again_" not in (build(design, TEST_BUILD).folder / "rtl" / "cached.v").read_text().partition(");")[0]


@pytest.mark.parametrize("blocks", [{}, {"cache": {"bits": 4}}, MET_AGAIN])
def test_golden_is_that_of_the_stored_rows_on_integers_of_any_size(blocks: dict[str, Any]) -> None:
    spec = cached_design(**{"softmax": {"algorithm": "unified_max"}} | blocks).spec
    stimulus, seen = Stimulus(spec, np.random.default_rng(1)), set()
    for queries, keys in ((5, 5), (1, 6), (3, 9), *((1, number) for number in range(10, 30))):
        job = stimulus.job(queries, keys)
        k, v = ([[cached_reference(row, bits=min(spec.cache.bits, number.width), group=spec.cache.group or 8) for row in head]
                 for head in rows.tolist()] for rows, number in ((job.k, spec.k), (job.v, spec.v)))
        scales = {
            "mask": spec.mask, "score_multiplier": job.score_multiplier, "score_shift": job.score_shift,
            "out_scale": job.out_scale, "fraction": spec.fraction, "guard_bits": spec.guard_bits, "table": spec.table,
            "total_width": spec.total_width, "value_width": spec.v.width, "low": spec.out.low, "high": spec.out.high}
        found = unified_reference(job.q, k, v, **scales, phi=spec.phi, window=spec.window)
        anew = attention_reference(job.q, k, v, **scales, octave="none", tile_q=spec.tile_q)
        flagged = np.array([[row is None for row in head] for head in found]).T
        assert job.result is not None and job.again is not None
        assert job.result.tolist() == [[row or other for row, other in zip(*head, strict=True)]
                                       for head in zip(found, anew, strict=True)]
        assert job.again.tolist() == tiles_again(flagged, kv_heads=spec.kv_heads, tile_q=spec.tile_q).tolist()
        seen |= {(queries, flag) for flag in flagged.ravel().tolist()}
    assert seen >= {(1, False), (1, True)}


def test_stimulus_has_steps_of_which_no_some_and_all_tiles_are_met_once_more() -> None:
    spec = cached_design(**MET_AGAIN).spec
    jobs = [job for case in cases(spec, seed=1) for job in case.jobs if job.again is not None]
    for kind in ([job for job in jobs if job.queries == 1 and job.keys > spec.cache.slots],
                 [job for job in jobs if 1 < job.queries < job.keys]):
        shares = {float(job.again.mean()) for job in kind if job.again is not None}
        assert {0.0, 1.0} < shares


@pytest.mark.parametrize("rotary", [None, {"base": 100}])
def test_the_answer_costs_two_cycles_more_than_from_a_stream_and_as_many_with_rotary(rotary: dict[str, Any] | None) -> None:
    """The figure of the docs, from a tile's last score step to the next tile's first one."""
    for rows, lanes, bubble in ((4, 8, 23), (1, 4, 19)):
        engine = cycle_engine(cached_design(
            mask="none", model={"head_dim": 64}, engine={"tile_q": rows, "lanes": lanes}, softmax={"algorithm": "unified_max"},
            rotary=rotary, limits={"queries": 64, "keys": 64}, workload=None).spec)
        steps = [next(walk(engine, [JobFields(queries=32, keys=32)])),
                 *walk(engine, [JobFields(queries=64 - rows, keys=64 - rows), JobFields(queries=rows, keys=64)])]
        assert engine.answer == bubble == 16 + rows + int(np.log2(lanes))
        one = engine.spec.chunks + (32 - 1) * engine.interval
        assert steps[0].last_step - steps[0].first_step + 1 == 32 // rows * (one + bubble) - bubble
