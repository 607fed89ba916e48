"""Claims about `softmax.algorithm: unified_max`: sums of any order, the fallback, its stream and its cycles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator
from gemm_designs import CACHE, TEST_BUILD
from hypothesis import given, settings
from hypothesis import strategies as st
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.driver import open_driver
from tilewright.families.attention.cycles import walk
from tilewright.families.attention.fields import Job as JobFields
from tilewright.families.attention.hardware import cycle_engine
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import Stimulus, as_case, cases, with_result
from tilewright.families.attention.vectors import Job, case_files, write_case
from tilewright.rtl.attention.unified_weights import SignedExponential
from tilewright.sim.golden.attention import Scores, attention, float_attention, normalised
from tilewright.sim.golden.attention_reference import attention_reference
from tilewright.sim.golden.attention_unified import attention_unified, tiles_again, unified_reference, unified_sums
from tilewright.sim.golden.units.exponential import exp
from tilewright.sim.runner import Harness, build_harness, run_harness

DESIGN = """\
design: unified
family: attention
model: {head_dim: 8, heads: 4, kv_heads: 2}
engine: {tile_q: 4, lanes: 4}
softmax: {algorithm: unified_max, mantissa_bits: 9, guard_bits: 2, window: [-7, 4]}
numbers: {out: int16}
limits: {queries: 32, keys: 64}
workload: [{queries: 4, keys: 8}]
"""


def spec(**blocks: Any) -> AttentionSpec:
    base = {"design": "unified", "family": "attention", "model": {"head_dim": 8, "heads": 4, "kv_heads": 2},
            "engine": {"tile_q": 4, "lanes": 4}, "limits": {"queries": 32, "keys": 64}}
    return AttentionSpec.model_validate(base | {"softmax": {"algorithm": "unified_max"}} | blocks)


def operands(of: AttentionSpec, queries: int, keys: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (rng.integers(of.q.low, of.q.high + 1, (of.heads, queries, of.head_dim)),
            rng.integers(of.k.low, of.k.high + 1, (of.kv_heads, keys, of.head_dim)),
            rng.integers(of.v.low, of.v.high + 1, (of.kv_heads, keys, of.head_dim)))


def parameters(of: AttentionSpec, *, score_multiplier: int, score_shift: int, out_scale: int = 4096) -> dict[str, Any]:
    return {"mask": of.mask, "score_multiplier": score_multiplier, "score_shift": score_shift, "out_scale": out_scale,
            "fraction": of.fraction, "guard_bits": of.guard_bits, "table": of.table, "total_width": of.total_width,
            "value_width": of.v.width, "low": of.out.low, "high": of.out.high}


def window(of: AttentionSpec) -> dict[str, Any]:
    return {"phi": of.phi, "window": of.window}


# ---- golden --------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data())
def test_golden_equals_big_integers_or_online_where_a_score_leaves_the_window(data: st.DataObject) -> None:
    mantissa_bits = data.draw(st.sampled_from([8, 12, 15]))
    guard_bits = data.draw(st.integers(max(0, 10 - mantissa_bits), min(8, 16 - mantissa_bits)))
    low = -data.draw(st.integers(0, int((mantissa_bits + guard_bits) * 0.69)))
    of = spec(
        model={"head_dim": 4, "heads": 4, "kv_heads": 2}, mask=data.draw(st.sampled_from(["none", "causal"])),
        numbers={name: data.draw(st.sampled_from(["int4", "int8", "int16"])) for name in ("q", "k", "v", "out")},
        softmax={"algorithm": "unified_max", "fraction": data.draw(st.integers(8, 12)), "mantissa_bits": mantissa_bits,
                 "guard_bits": guard_bits, "table_bits": data.draw(st.integers(3, 7)),
                 "phi": data.draw(st.integers(-3, 3)), "window": [low, data.draw(st.integers(0, 9))]})
    queries = data.draw(st.integers(1, 6))
    arrays = operands(of, queries, data.draw(st.integers(queries, 9)), seed=data.draw(st.integers(0, 2**32)))
    products = int(np.abs(arrays[0]).max() * np.abs(arrays[1]).max() * 4)
    reach = data.draw(st.sampled_from([0, 1, 3, 8, 100]))
    scales = parameters(
        of, score_multiplier=min(int(reach * 2**of.fraction * 2**30 / max(products, 1)), (1 << 24) - 1), score_shift=30,
        out_scale=data.draw(st.sampled_from([0, 1, 4096, 65535])))
    result, again = attention_unified(*arrays, **scales, **window(of), tile_q=of.tile_q)
    exact = attention_reference(*arrays, **scales, octave="none", tile_q=of.tile_q)
    flagged = np.zeros((queries, of.heads), bool)
    for head, rows in enumerate(unified_reference(*arrays, **scales, **window(of))):
        for index, row in enumerate(rows):
            flagged[index, head] = row is None
            assert result[head, index].tolist() == (exact[head][index] if row is None else row)
    assert again.tolist() == tiles_again(flagged, kv_heads=2, tile_q=of.tile_q).tolist()


def test_keys_may_be_summed_in_any_order_and_in_any_parts() -> None:
    """Parts of 1, 2, 4 and 8: the same bits, which no algorithm with a running reference has."""
    of = spec(numbers={"out": "int16"},
              softmax={"algorithm": "unified_max", "mantissa_bits": 9, "guard_bits": 2, "window": [-7, 4]})
    q, k, v = operands(of, 5, 64)
    scales = parameters(of, score_multiplier=9000, score_shift=20, out_scale=65535)
    expected, again = attention_unified(q, k, v, **scales, **window(of), tile_q=of.tile_q)
    assert not again.any()
    order = np.random.default_rng(1).permutation(64)
    common = {"fraction": of.fraction, "guard_bits": of.guard_bits, "table": of.table, **window(of)}
    for parts in (1, 2, 4, 8):
        total, sums = 0, 0
        for part in np.split(order, parts):
            scores = Scores(q, k[:, part], v[:, part], mask=of.mask, score_multiplier=9000, score_shift=20)
            found = unified_sums(scores, **common)
            total, sums = total + found[0], sums + found[1]
        result = normalised(total, sums, out_scale=65535, total_width=of.total_width, value_width=8, low=-32768, high=32767)
        np.testing.assert_array_equal(result.transpose(1, 0, 2), expected)
    online = [attention(q, k[:, keys], v[:, keys], octave="none", **scales) for keys in (np.arange(64), order)]
    assert (online[0] != online[1]).any()


@pytest.mark.parametrize("edge", ["low", "high"])
def test_a_score_at_the_edge_of_the_window_stays_and_one_step_beyond_falls_back(edge: str) -> None:
    of = spec(model={"head_dim": 4, "heads": 1, "kv_heads": 1}, engine={"tile_q": 2, "lanes": 4},
              numbers={"q": "int16", "k": "int16"}, softmax={"algorithm": "unified_max", "phi": 2})
    score = (2 + of.window[edge == "high"]) << of.fraction
    sign = 1 if edge == "high" else -1
    for beyond in (0, 1):
        q, k = np.zeros((1, 1, 4), int), np.zeros((1, 3, 4), int)
        q[0, 0, 0], k[0, :, 0] = 1, [2 << of.fraction, score + sign * beyond, 0]
        scales = parameters(of, score_multiplier=1, score_shift=0)
        _, again = attention_unified(q, k, np.ones((1, 3, 4), int), **scales, **window(of), tile_q=2)
        assert again.tolist() == [[beyond]]


@pytest.mark.parametrize("shift", [16, 18, 23])
@pytest.mark.parametrize("out_scale", [1, 8])
def test_results_are_as_near_to_real_attention_as_those_of_online(shift: int, out_scale: int) -> None:
    """0.1 of a value's unit at most where results resolve that, inside the window and beyond it."""
    of = spec(numbers={"out": "int16"}, model={"head_dim": 64, "heads": 2, "kv_heads": 1}, engine={"tile_q": 4, "lanes": 8})
    arrays = operands(of, 33, 64, seed=shift)
    scales = parameters(of, score_multiplier=9000, score_shift=shift, out_scale=4096 * out_scale)
    exact = float_attention(*arrays, mask=of.mask, score_scale=9000 / 2**shift / 2**of.fraction, out_scale=out_scale)
    result, again = attention_unified(*arrays, **scales, **window(of), tile_q=4)
    assert np.abs(result - exact).max() <= 0.5 + 0.1 * out_scale
    assert again.all() == (shift == 16) and again.any() == (shift != 23)


# ---- RTL -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mantissa_bits", "guard_bits", "high"), [(12, 4, 4), (8, 2, 0), (15, 1, 9)])
def test_an_exponential_below_and_above_one_is_that_of_exp(mantissa_bits: int, guard_bits: int, high: int) -> None:
    """Every octave's ends and random distances; above one as many octaves to the left."""
    of = spec(softmax={"algorithm": "unified_max", "mantissa_bits": mantissa_bits, "guard_bits": guard_bits,
                       "window": [-3, high]})
    unit = SignedExponential(fraction=of.fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits, table=of.table,
                             rise_octaves=of.rise_octaves, target="generic")
    lowest = -(high << of.fraction)
    octaves = np.arange(-of.rise_octaves, 40)[:, None] * 0.693147 * 2**of.fraction + np.arange(-2, 3)
    drawn = np.random.default_rng(1).integers(lowest, 1 << 16, 300)
    distances = np.unique(np.clip([*octaves.ravel().astype(int), *drawn, 0, lowest], lowest, (1 << 16) - 1)).tolist()
    found: list[int] = []

    async def bench(context: Any) -> None:
        for distance in [*distances, *[0] * unit.LATENCY]:
            context.set(unit.distance, distance)
            found.append(context.get(unit.value))
            await context.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for distance, value in zip(distances, found[unit.LATENCY:], strict=True):
        if distance >= 0:
            assert value == exp(distance, table=of.table, fraction_bits=of.fraction, octave_bits=of.fraction,
                                table_bits=of.table_bits, value_bits=mantissa_bits, guard_bits=guard_bits), distance
        else:
            ideal = np.exp(-distance / 2**of.fraction) * 2 ** (mantissa_bits + guard_bits)
            assert abs(value - ideal) <= ideal * (3e-3 + 4 / 2**mantissa_bits), distance
    assert max(found).bit_length() <= of.weight_width


@pytest.fixture(scope="module")
def design() -> Design:
    return parse_design(DESIGN.encode(), source="unified.yaml")


@pytest.fixture(scope="module")
def harness(design: Design) -> Harness:
    return build_harness(build(design, TEST_BUILD).folder, cache=CACHE)


def calm_and_wild(of: AttentionSpec, wild: tuple[int, ...], queries: int = 8, keys: int = 9) -> Job:
    """A job whose ``wild`` tiles, of all kv heads one behind the other, have a row with a score above the window or below.

    Results are fine enough to tell the weights of a row that stays in the window from those of ``online``.
    """
    q, k, v = operands(of, queries, keys, seed=4)
    q, k = np.clip(q, -20, 20), np.clip(k, -20, 20)
    positions = of.tile_q // of.group
    tiles = queries // positions
    for tile in wild:
        head, first = tile // tiles * of.group, tile % tiles * positions
        q[head, first], k[tile // tiles, 3] = (-100 if tile % 2 else 100), 100
    return with_result(of, Job(q=q, k=np.clip(k, -100, 100), v=v, score_multiplier=1 << 19, score_shift=22, out_scale=65535))


@pytest.mark.parametrize("wild", [(), (0,), (3,), (7,), (1, 2, 6), tuple(range(8))])
def test_only_tiles_with_a_flagged_row_come_once_more_and_cost_their_keys(
        wild: tuple[int, ...], design: Design, harness: Harness, tmp_path: Path) -> None:
    """None, the first, one in the middle, the job's last, some, all; free and stalled, to the cycle where free."""
    of = design.spec
    assert isinstance(of, AttentionSpec)
    job = calm_and_wild(of, wild)
    assert job.again is not None and np.flatnonzero(job.again.ravel()).tolist() == list(wild)
    case = as_case(of, "wild", (job, job))
    write_case(tmp_path / "wild", of, case)
    files = case_files(of, case)
    for stream in ("k", "v"):
        assert files[f"{stream}.txt"].count("\n") == 2 * (8 + len(wild)) * 9 * of.chunks
    assert files["again.txt"].count("\n") == 16 and files["again.txt"].count("1 ") == 2 * len(wild)
    for stall in (0.0, 0.5, 0.9):
        run = run_harness(harness, tmp_path / "wild", stall=stall)
        assert run.passed and run.values == 2 * job.q.size, run.message
        assert stall or run.counters["cycles"] == case.cycles
    calm = next(walk(cycle_engine(of), [replace(job, again=np.zeros_like(job.again))]))
    model = next(walk(cycle_engine(of), [job]))
    assert model.active - calm.active == len(wild) * 9 * of.chunks


def test_an_answer_that_is_wrong_is_seen(design: Design, harness: Harness, tmp_path: Path) -> None:
    """The harness compares the stream: with one answer of the golden model turned, the run fails."""
    of = design.spec
    assert isinstance(of, AttentionSpec)
    write_case(tmp_path / "wild", of, as_case(of, "wild", (calm_and_wild(of, (1,)),)))
    answers = (tmp_path / "wild" / "again.txt").read_text().splitlines()
    answers[5] = "1 0"
    (tmp_path / "wild" / "again.txt").write_text("\n".join(answers) + "\n")
    run = run_harness(harness, tmp_path / "wild")
    assert not run.passed and run.message.startswith("again: beat 5 differs from the golden model")


def test_a_run_on_the_rtl_gives_the_results_and_cycles_of_golden(design: Design) -> None:
    of = design.spec
    assert isinstance(of, AttentionSpec)
    program = [{name: getattr(job, name) for name in ("q", "k", "v", "score_multiplier", "score_shift", "out_scale")}
               for job in (calm_and_wild(of, (0, 5)), calm_and_wild(of, ()))]
    run, model = open_driver(design, "sim", root=TEST_BUILD).run(program), open_driver(design).run(program)
    for output, wanted in zip(run.outputs, model.outputs, strict=True):
        np.testing.assert_array_equal(output, wanted)
    assert run.measured and run.cycles == model.cycles


def test_the_answer_costs_a_bubble_that_depends_on_rows_and_lanes_alone() -> None:
    """From a tile's last score step to the next tile's first one: the figure of the docs."""
    for rows, lanes, bubble in ((4, 8, 21), (1, 4, 17), (8, 16, 26)):
        of = spec(model={"head_dim": 64, "heads": 1, "kv_heads": 1}, engine={"tile_q": rows, "lanes": lanes})
        one, two = (next(walk(cycle_engine(of), [JobFields(queries=count * rows, keys=32)])) for count in (1, 2))
        taken = two.last_step - one.last_step - 32 * of.interval
        assert taken + of.interval - of.chunks == cycle_engine(of).answer == bubble == 14 + rows + int(np.log2(lanes))


def test_stimulus_has_jobs_of_which_no_some_and_all_tiles_come_once_more() -> None:
    shares = [float(job.again.mean()) for case in cases(spec(), seed=1) for job in case.jobs if job.again is not None
              if job.again.size > 1]
    assert 0.0 in shares and 1.0 in shares and any(0 < share < 1 for share in shares)
    assert Stimulus(spec(), np.random.default_rng(1)).job(3, 5).again is not None


@pytest.mark.parametrize(("phi", "window"), [(0, [0, 0]), (7, [0, 0]), (-9, [-2, 2]), (32, [-1, 0]), (-32, [0, 4])])
@pytest.mark.parametrize("blocks", [
    {}, {"rotary": {"base": 2}}, {"bias": {"reach": 2}},
    {"rotary": {}, "mask": "causal", "numbers": {"q": "int4", "k": "int16"}},
    {"limits": {"queries": 1, "keys": 8}}, {"limits": {"queries": 2, "keys": 1}}])
def test_some_job_of_a_design_comes_once_wherever_phi_is(blocks: dict[str, Any], phi: int, window: list[int]) -> None:
    """It is what frames of the wrong length are tested with."""
    of = spec(**{"model": {"head_dim": 8}, "softmax": {"algorithm": "unified_max", "phi": phi, "window": window}} | blocks)
    job = Stimulus(of, np.random.default_rng(1)).tied()
    assert job.again is not None and not job.again.any()
    assert (job.queries, job.keys) == (min(2, of.limits.queries), min(2, of.limits.keys))
