"""Attention engines in volume, for `make proof`: heads of BERT, decode steps, draws at random, pairs of choices."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import test_attention_fused2d_rtl
import test_attention_rtl
import test_attention_window_ring
import yaml
from attention_bench import prove
from attention_softmax import ALGORITHMS, softmax
from gemm_designs import CACHE
from pairwise import spanning_rows
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.errors import UserError
from tilewright.families.attention.fields import Job as JobFields
from tilewright.families.attention.stimulus import Stimulus, as_case, with_result
from tilewright.families.attention.vectors import Job, write_case
from tilewright.sim.runner import build_harness, run_harness
from tilewright.verify import verify

LENGTHS = (128, 384, 1024)  # BERT-base, 64 elements a head: Devlin et al., NAACL 2019, table 7 and appendix A
CONFIGURATIONS = 8
DECODE_STEPS = 10_000
BY_PLACE = {"rotary": {"base": 100, "positions": "cache_index"}}
LONGEST = 14


def parsed(fields: dict[str, Any]) -> Design:
    """A design of ``fields``."""
    return parse_design(yaml.safe_dump({"design": "volume", "family": "attention", **fields}).encode(), source="volume.yaml")


@pytest.mark.parametrize(("mask", "algorithm"), [("none", "two_pass"), ("causal", "online")])
def test_heads_of_bert(mask: str, algorithm: str, tmp_path: Path) -> None:
    design = parsed({"mask": mask, "softmax": {"algorithm": algorithm}, "workload": [{"queries": 8, "keys": 8}]})
    harness = build_harness(build(design, tmp_path).folder, cache=CACHE)
    for length in LENGTHS:
        job = Stimulus(design.spec, np.random.default_rng(length)).job(length, length)
        case = as_case(design.spec, "square", (job,))
        folder = tmp_path / str(length)
        write_case(folder, design.spec, case)
        free, stalled = run_harness(harness, folder), run_harness(harness, folder, stall=0.3)
        assert free.passed and stalled.passed, free.message or stalled.message
        assert free.values == length * design.spec.head_dim
        assert free.counters["cycles"] == case.cycles


@pytest.mark.parametrize("blocks", [{}, {"softmax": {"algorithm": "unified_max", "window": [-1, 1]}, **BY_PLACE}],
                         ids=["two_pass", "unified_max-by_place"])
def test_ten_thousand_decode_steps_on_a_ring_of_eight(blocks: dict[str, Any], tmp_path: Path) -> None:
    """What a step gives is attention to the first keys and the latest, whatever went through the ring before.

    With `unified_max` many of the steps are computed anew, and many are not; rows are turned by their places among those keys,
    not by how far the sequence has come.
    """
    sink, window, prefill = 2, 5, 8
    design = parsed({
        "model": {"head_dim": 4}, "engine": {"tile_q": 1, "lanes": 4}, "cache": {"bits": 4},
        "mask": {"kind": "lambda", "sink": sink, "window": window}, "limits": {"queries": prefill, "keys": 16_384}, **blocks})
    spec = design.spec
    assert spec.cache.slots == sink + 8
    stimulus = Stimulus(spec, np.random.default_rng(1))
    first = stimulus.job(prefill, prefill)
    scales = {name: getattr(first, name) for name in ("score_multiplier", "score_shift", "out_scale")}
    length = prefill + DECODE_STEPS
    q, k, v = (stimulus.uniform(number, (1, length, 4)) for number in (spec.q, spec.k, spec.v))
    k[:, :prefill], v[:, :prefill] = first.k, first.v
    jobs = [first]
    for keys in range(prefill + 1, length + 1):
        seen = [*range(sink), *range(keys - window, keys)]
        step = with_result(spec, Job(q[:, keys - 1:keys], k[:, seen], v[:, seen], **scales))  # sinks and the window
        jobs.append(replace(step, k=k[:, :keys], v=v[:, :keys]))
    if spec.phi is not None:
        assert DECODE_STEPS // 10 < sum(job.again.sum() for job in jobs if job.again is not None) < DECODE_STEPS * 9 // 10
    case = as_case(spec, "decode", tuple(jobs))
    write_case(tmp_path / "decode", spec, case)
    run = run_harness(build_harness(build(design, tmp_path / "build").folder, cache=CACHE), tmp_path / "decode")
    assert run.passed, run.message
    assert run.values == 4 * length and run.counters["cycles"] == case.cycles


def drawn(seed: int, rotary: dict[str, Any]) -> Design:
    """A legal design of any shape with the block ``rotary``: draws are repeated until the schema accepts one."""
    rng = np.random.default_rng(seed)

    def one_of(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    while True:
        kv_heads, group = one_of(1, 1, 2, 3), one_of(1, 1, 2, 4, 8)
        kind = one_of("none", "causal", "window", "lambda", "prefix")
        cache = one_of({}, {"cache": {}}, {"cache": {"bits": 4}})
        numbers = {"window": one_of(1, 2, 5, 9), "sink": one_of(1, 2, 4), "prefix": one_of(1, 3, 10),
                   "lookahead": 0 if cache else one_of(4, 30, 1, 0)}
        asked = {"window": ("window", "lookahead"), "lambda": ("sink", "window", "lookahead"), "prefix": ("prefix",)}
        queries = one_of(3, 16, 40)
        formats = {name: one_of("int4", "int8", "int8", "int16") for name in ("q", "k", "v", "out")}
        try:
            return parsed({
                "model": {"head_dim": one_of(4, 6, 8, 12, 16, 32, 64), "heads": kv_heads * group, "kv_heads": kv_heads},
                "engine": {"tile_q": one_of(1, 2, 3, 4, 5, 8, 16), "lanes": one_of(1, 2, 3, 4, 6, 8, 16)},
                "mask": {"kind": kind, **{name: numbers[name] for name in asked.get(kind, ())}},
                "softmax": softmax(one_of(*ALGORITHMS), fraction=one_of(8, 10, 12), table_bits=one_of(3, 5, 6),
                                   mantissa_bits=one_of(8, 10, 12, 15), guard_bits=one_of(0, 1, 4, 8)),
                "numbers": formats, "limits": {"queries": queries, "keys": max(queries, one_of(8, 33, 64))},
                "workload": [{"queries": 1, "keys": 1 if cache else 8}], **cache, **rotary})
        except UserError:
            continue


@pytest.mark.parametrize("rotary", [{}, BY_PLACE], ids=["plain", "by_place"])
@pytest.mark.parametrize("seed", range(CONFIGURATIONS))
def test_drawn_configuration(seed: int, rotary: dict[str, Any], tmp_path: Path) -> None:
    assert prove(drawn(seed, rotary), tmp_path, thorough=True) > 100


@pytest.mark.parametrize("mask", [
    {"kind": "window", "window": 4, "lookahead": 3}, {"kind": "window", "window": 1, "lookahead": 6},
    {"kind": "lambda", "sink": 2, "window": 3, "lookahead": 2}, {"kind": "lambda", "sink": 5, "window": 2, "lookahead": 20}])
@pytest.mark.parametrize("schedule", ["window_ring", "streaming", "fused2d"])
def test_every_shape_of_a_short_job_under_a_mask_that_looks_ahead(schedule: str, mask: dict[str, Any], tmp_path: Path) -> None:
    """In an order drawn at random: what a job leaves behind is of no consequence to the next one."""
    engine = {"window_ring": {"lanes": 4}, "streaming": {"tile_q": 6, "lanes": 4}, "fused2d": {"tile_q": 6, "cols": 3}}
    design = parsed({"model": {"head_dim": 8, "heads": 4, "kv_heads": 2}, "engine": {"schedule": schedule, **engine[schedule]},
                     "mask": mask, "limits": {"queries": LONGEST, "keys": LONGEST}})
    rng = np.random.default_rng(len(mask))
    shapes = [JobFields(queries=queries, keys=keys) for keys in range(1, LONGEST + 1) for queries in range(1, keys + 1)]
    jobs = Stimulus(design.spec, rng).jobs([shapes[number] for number in rng.permutation(len(shapes))])
    case = as_case(design.spec, "shapes", jobs)
    write_case(tmp_path / "shapes", design.spec, case)
    harness = build_harness(build(design, tmp_path / "build").folder, cache=CACHE)
    free, stalled = (run_harness(harness, tmp_path / "shapes", stall=stall) for stall in (0.0, 0.4))
    assert free.passed and stalled.passed, free.message or stalled.message
    assert free.counters["cycles"] == case.cycles


OTHERS = [(schedule, row) for schedule, suite in (
    (test_attention_rtl, test_attention_rtl.SUITE),
    (test_attention_fused2d_rtl, spanning_rows(test_attention_fused2d_rtl.ROWS)),
    (test_attention_window_ring, spanning_rows(test_attention_window_ring.ROWS)),
) for row in schedule.ROWS if row not in suite]


@pytest.mark.parametrize(("schedule", "row"), OTHERS, ids=lambda value: "-".join(value.values()) if isinstance(value, dict)
                         else value.__name__.removeprefix("test_attention_"))
def test_pairs_of_choices(schedule: ModuleType, row: dict[str, str], tmp_path: Path) -> None:
    """Those of each schedule that the suite leaves out."""
    assert prove(schedule.design_of(row), tmp_path, thorough=True) > 1000


def test_verify_proves_a_bias_with_a_table_for_each_head(tmp_path: Path) -> None:
    """What the suite verifies with one table for all, in the order of tiles."""
    row = next(row for row in test_attention_rtl.ROWS
               if row["order"] == "rows" and row["bias"] == "far" and row["heads"] != "mha")
    outcome = verify(build(test_attention_rtl.design_of(row), tmp_path), cache=CACHE.parent)
    assert outcome.passed, outcome.first_divergence
    assert sum(check.vectors for check in outcome.checks) > 1000
