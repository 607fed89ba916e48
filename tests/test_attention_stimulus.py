"""Claims about the jobs that attention engines are tested with."""

import numpy as np
import pytest
from test_attention import MASKS, spec
from tilewright.families.attention.stimulus import Stimulus, cases, golden
from tilewright.families.attention.vectors import case_files


@pytest.mark.parametrize("name", MASKS)
def test_stimulus_is_legal_and_reaches_edges_rescales_and_both_bounds(name: str) -> None:
    of = spec(mask=MASKS[name])
    jobs = [job for case in cases(of, seed=3) if case.name != "workload" for job in case.jobs]
    assert {"corners", "workload", "random_0", "random_1"} == {case.name for case in cases(of, seed=3)}
    for job in jobs:
        assert 1 <= job.queries <= 64 and 1 <= job.keys <= 64 and (name == "none" or job.queries <= job.keys)
        np.testing.assert_array_equal(job.result, golden(of, job))
    assert any(job.queries * of.group % of.tile_q for job in jobs) and any(job.queries * of.group > of.tile_q for job in jobs)
    assert any(job.keys == 1 for job in jobs)
    results = np.concatenate([job.result.ravel() for job in jobs if job.result is not None])
    assert results.min() == of.out.low and results.max() == of.out.high and np.unique(results).size > 150


def test_the_same_seed_gives_the_same_bytes() -> None:
    of = spec(mask=MASKS["causal"])
    first, second, other = ([case_files(of, case) for case in cases(of, seed=seed)] for seed in (1, 1, 2))
    assert first == second != other


def test_rising_jobs_have_the_keys_in_order_of_the_first_querys_scores() -> None:
    of = spec(model={"head_dim": 8, "heads": 1, "kv_heads": 1})
    job = Stimulus(of, np.random.default_rng(1)).job(1, 64, rising=True)
    scores = (job.k[0] @ job.q[0, 0]).tolist()
    assert scores == sorted(scores)


def test_a_corner_job_has_results_between_two_integers() -> None:
    of = spec(mask=MASKS["none"])
    job = next(case for case in cases(of, seed=1) if case.name == "corners").jobs[-1]
    assert (job.queries, job.keys, job.score_multiplier, job.out_scale) == (2, 2, 0, 1 << 11)
    quarters = job.v.sum(axis=1)  # of a result: the mean of two values, halved
    assert (quarters % 4 == 2).any()
    rounded = np.rint(quarters / 4)  # to nearest, ties to even
    np.testing.assert_array_equal(job.result[:, 0], np.repeat(rounded, of.group, axis=0))
