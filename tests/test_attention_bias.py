"""Claims about the bias of attention engines: spec, golden model, RTL, HLS C++, and how jobs load and keep it."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from amaranth.sim import Simulator
from gemm_designs import TEST_BUILD
from hls_build import csim
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attention import ALGORITHMS, MASKS, bound, operands, parameters, reference, spec
from test_attention_rtl import PLAIN, design_of, memories
from test_spec_attention import refusals
from tilewright.build import build
from tilewright.canonical import canonical
from tilewright.design import parse_design
from tilewright.driver import open_driver
from tilewright.families import family_of
from tilewright.families.attention.cycles import JobCycles
from tilewright.families.attention.fields import Job
from tilewright.families.attention.runtime import JobError, make_job
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.stimulus import cases
from tilewright.rtl.attention.bias_table import Bias, BiasTable
from tilewright.sim.golden.attention import attention, float_attention
from tilewright.sim.golden.attention_mask import visible
from tilewright.sim.golden.attention_reference import attention_reference
from tilewright.synth.synthesize import block_namer

SCORES = 1 << 15


# ---- golden --------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_golden_equals_big_integers_with_tables_of_any_height(data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([1, 2, 4, 6]))
    group = data.draw(st.sampled_from([one for one in (1, 2, 3, 6) if heads % one == 0]))
    of = spec(
        model={"head_dim": 4, "heads": heads, "kv_heads": heads // group}, engine={"tile_q": 6, "lanes": 4},
        mask=MASKS[data.draw(st.sampled_from(sorted(MASKS)))], softmax={"algorithm": data.draw(st.sampled_from(ALGORITHMS))})
    queries = data.draw(st.integers(1, 7))
    arrays = operands(of, queries, queries + data.draw(st.integers(0, 5)), seed=data.draw(st.integers(0, 2**32)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    most = data.draw(st.sampled_from([1, 300, 5000, SCORES]))
    bias = rng.integers(-most, most, (data.draw(st.sampled_from([1, heads])), 2 * data.draw(st.integers(1, 9)) + 1))
    scales = parameters(of, score_multiplier=data.draw(st.integers(0, 9000)), score_shift=data.draw(st.integers(14, 20)))
    given_all = scales | {"bias": bias}
    assert attention(*arrays, **given_all).tolist() == reference(of, arrays, given_all)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("per_head", [False, True])
def test_a_key_has_the_entry_of_its_clipped_distance(name: str, per_head: bool) -> None:
    """Scores are 0; one entry is far above all others: the result is the mean of the values that have it."""
    of = spec(mask=MASKS[name])
    q, k, v = operands(of, 5, 9)
    reach, heads = 3, of.heads if per_head else 1
    entries = np.arange(heads) * 2 % (2 * reach + 1)  # the high one of each head
    bias = np.full((heads, 2 * reach + 1), -SCORES)
    bias[np.arange(heads), entries] = SCORES - 1
    result = attention(q, k, v, **parameters(of, score_multiplier=0, score_shift=0), bias=bias)
    for head in range(of.heads):
        entry = int(entries[head if per_head else 0])
        for query in range(5):
            position = query + 4
            seen = [j for j in range(9) if visible(of.mask, position, j)]
            high = [j for j in seen if min(max(j - position, -reach), reach) + reach == entry]
            values = v[head // of.group, high or seen]
            assert np.abs(result[head, query] - values.mean(axis=0)).max() <= 0.6, (head, query)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_biased_score_saturates_instead_of_wrapping(sign: int) -> None:
    of = spec(model={"head_dim": 8, "heads": 1, "kv_heads": 1})
    q, k, v = np.full((1, 2, 8), 127), np.full((1, 2, 8), sign * 127), np.arange(16).reshape(1, 2, 8)
    scales = parameters(of, score_multiplier=(1 << 24) - 1, score_shift=0)
    bias = np.full((1, 3), sign * (SCORES - 1))
    assert attention(q, k, v, **scales, bias=bias).tolist() == [[list(range(4, 12))] * 2]


@pytest.mark.parametrize("algorithm", ["online", "three_pass", "ibert"])
@pytest.mark.parametrize("heads", [1, 4])
def test_a_table_that_is_level_changes_nothing_below_the_greatest_score(heads: int, algorithm: str) -> None:
    of = spec(mask=MASKS["causal"], softmax={"algorithm": algorithm})
    arrays = operands(of, 9, 12)
    scales = parameters(of, score_multiplier=9000, score_shift=18)
    bias = np.repeat(np.linspace(-500, 700, heads).astype(int)[:, None], 7, axis=1)
    np.testing.assert_array_equal(attention(*arrays, **scales, bias=bias), attention(*arrays, **scales))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_error_with_slopes_by_head_is_within_the_bound_without(algorithm: str) -> None:
    """A bias comes in the steps of a score, exact: slopes as in Press et al., "Train Short, Test Long", 2022."""
    of = spec(mask=MASKS["causal"], softmax={"algorithm": algorithm})
    arrays = operands(of, 48, 48)
    slopes = np.exp2(-2.0 * np.arange(1, 5))[:, None] * np.arange(-20, 21).clip(max=0)
    bias = np.rint(slopes * 2**of.fraction).astype(int)
    scales = parameters(of, score_multiplier=9000, score_shift=18, out_scale=8 * 4096)
    exact = float_attention(*arrays, mask=of.mask, score_scale=9000 / 2**18 / 2**of.fraction, out_scale=8,
                            bias=bias / 2**of.fraction)
    plain = float_attention(*arrays, mask=of.mask, score_scale=9000 / 2**18 / 2**of.fraction, out_scale=8)
    error = np.abs(attention(*arrays, **scales, bias=bias) - exact.clip(of.out.low, of.out.high)).max()
    assert error < bound(of, 48, 8) < np.abs(exact - plain).max()


def test_golden_refuses_tables_of_another_shape() -> None:
    of = spec()
    arrays = operands(of, 2, 3)
    for shape in ((4, 6), (2, 7), (7,)):
        with pytest.raises(ValueError, match=r"bias has shape .*, not \(4 or 1, 2 \* reach \+ 1\)"):
            attention(*arrays, **parameters(of, score_multiplier=0, score_shift=0), bias=np.zeros(shape, int))


# ---- spec ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blocks", "text"), [
    ({"bias": {}}, "key 'reach' is missing in bias; an integer from 1 to 1024"),
    ({"bias": {"reach": 0}}, "bias.reach: 0 is not an integer from 1 to 1024"),
    ({"bias": {"reach": 1025}}, "bias.reach: 1025 is not an integer from 1 to 1024"),
    ({"bias": None}, "bias: nothing is not a mapping of reach, per_head"),
    ({"bias": {"reach": 4, "slopes": 1}}, "unknown key 'slopes' in bias; known are reach, per_head"),
    ({"bias": {"reach": 9}, "limits": {"queries": 8, "keys": 8}},
     "bias.reach: 9 with limits.keys 8, where distances are 7 at most; lower it to 7"),
    ({"bias": {"reach": 1}, "limits": {"queries": 1, "keys": 1}},
     "bias.reach: 1 with limits.keys 1, where distances are 0 at most; remove the bias"),
    ({"bias": {"reach": 4, "per_head": True}}, "bias.per_head: true with one head, whose table is one for all; remove it"),
    ({"bias": {"reach": 4}, "limits": {"queries": 9, "keys": 8}},
     "limits.queries: 9 is above limits.keys, and with a bias a job has no more queries than keys; lower it to 8"),
    ({"bias": {"reach": 4}, "workload": [{"queries": 9, "keys": 8}]},
     "workload[0].queries: 9 with 8 keys; with a bias a job has no more queries than keys: lower it to 8"),
])
def test_a_bias_without_a_meaning_is_refused(blocks: dict[str, Any], text: str) -> None:
    assert refusals(**blocks) == [text]


def test_a_bias_is_written_down_only_where_there_is_one() -> None:
    assert "bias" not in canonical(spec()) and spec().bias_bits == 0
    of = spec(bias={"reach": 5, "per_head": True})
    assert "mask:\n  kind: none\nbias:\n  reach: 5\n  per_head: true\nsoftmax:\n" in canonical(of)
    assert of.bias_shape == (4, 11) and of.bias_bits == 4 * 11 * 16 == of.on_chip_bits - spec().on_chip_bits
    assert dict(of.summary())["bias"] == "a table for each head, distances up to 5: 44 entries"


# ---- jobs ----------------------------------------------------------------------------------------


def test_stimulus_loads_keeps_and_reloads_tables_that_saturate_scores() -> None:
    of = spec(bias={"reach": 3, "per_head": True})
    found = {case.name: case.jobs for case in cases(of, seed=1)}
    for name, jobs in found.items():
        assert jobs[0].load_bias
        for before, job in pairwise(jobs):
            assert job.load_bias or job.bias is before.bias
            assert job.fields["load_bias"] == int(job.load_bias)
        assert name == "workload" or {job.load_bias for job in jobs} == {False, True}
    sides = set()
    for job in found["corners"]:
        scores = np.einsum("hid,hjd->hij", job.q, np.repeat(job.k, of.group, axis=0)) * job.score_multiplier
        scaled = np.clip(np.rint(scores / 2.0**job.score_shift), -SCORES, SCORES - 1)
        for entry in (-SCORES, SCORES - 1):
            if job.bias is not None and entry in job.bias and (np.sign(scaled) == np.sign(entry)).any():
                sides.add(entry)
    assert sides == {-SCORES, SCORES - 1}


BIASED = {"design": "biased", "family": "attention", "model": {"head_dim": 4, "heads": 2, "kv_heads": 1},
          "engine": {"tile_q": 4, "lanes": 2}, "mask": "causal", "bias": {"reach": 3, "per_head": True},
          "limits": {"queries": 6, "keys": 12}, "workload": [{"queries": 3, "keys": 5}, {"queries": 1, "keys": 9}]}
DESIGN = parse_design(yaml.safe_dump(BIASED).encode(), source="biased.yaml")


def arguments(queries: int, keys: int, **changes: Any) -> dict[str, Any]:
    q, k, v = operands(DESIGN.spec, queries, keys, seed=keys)
    return {"q": q, "k": k, "v": v, "score_multiplier": 9000, "score_shift": 17} | changes


TABLES = [np.random.default_rng(seed).integers(-4000, 4000, (2, 7)) for seed in (1, 2)]
PROGRAM = [arguments(3, 5, bias=TABLES[0]), arguments(1, 9), arguments(6, 12, bias=TABLES[1]), arguments(2, 2)]


def test_a_job_without_a_bias_uses_that_of_the_job_before() -> None:
    driver = open_driver(DESIGN)
    outputs = [*driver.run(PROGRAM).outputs, driver.job(**arguments(4, 4))]
    for job, table, output in zip([*PROGRAM, arguments(4, 4)], [0, 0, 1, 1, 1], outputs, strict=True):
        given_scales = parameters(DESIGN.spec, score_multiplier=9000, score_shift=17) | {"bias": TABLES[table]}
        expected = attention_reference(job["q"], job["k"], job["v"], tile_q=4, **given_scales)
        assert output.tolist() == expected


def test_the_compiled_rtl_keeps_a_bias_and_takes_as_many_cycles_as_the_model() -> None:
    simulated = open_driver(DESIGN, "sim", root=TEST_BUILD)
    run, model = simulated.run(PROGRAM), open_driver(DESIGN).run(PROGRAM)
    for output, wanted in zip(run.outputs, model.outputs, strict=True):
        np.testing.assert_array_equal(output, wanted)
    assert run.measured and run.cycles == model.cycles
    again = simulated.job(**arguments(2, 2))  # from reset: the table comes along
    np.testing.assert_array_equal(again, model.outputs[3])


@pytest.mark.parametrize(("changes", "message"), [
    ({}, "bias: missing; the first job has to bring one"),
    ({"bias": np.zeros((1, 7), int)}, "bias: shape (1, 7); (2, 7) is needed"),
    ({"bias": np.full((2, 7), SCORES)}, "bias: 32768 at [0, 0]; allowed are -32768 to 32767"),
    ({"bias": np.zeros((2, 7))}, "bias: holds float64; only integers are allowed"),
    ({"slopes": 1}, "slopes: not an argument of a job; allowed: q, k, v, score_multiplier, score_shift, out_scale, bias"),
    ({"bias": TABLES[0], "k": np.zeros((1, 2, 4), int), "v": np.zeros((1, 2, 4), int)},
     "q: 3 positions; k has 2, and mask causal needs as many at least"),
])
def test_a_bad_bias_is_told_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        make_job(DESIGN.spec, arguments(3, 5, **changes))
    assert str(caught.value) == message


# ---- hardware ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "group", "heads"), [(6, 2, 8), (2, 4, 8), (3, 1, 1), (4, 4, 1), (1, 1, 2)])
def test_the_table_gives_every_row_its_entry(rows: int, group: int, heads: int) -> None:
    """Keys of any distance on both sides, as close as rows permit; then another table."""
    keys_max, latency = 20, 5
    bias = Bias(heads=heads, entries=7)
    table = BiasTable(bias=bias, rows=rows, group=group, keys_max=keys_max, latency=latency)
    rng = np.random.default_rng(5)
    failures = []

    async def bench(context: Any) -> None:
        for _ in range(2):
            held = rng.integers(-SCORES, SCORES, bias.words).tolist()
            context.set(table.take, 1)
            await context.tick()
            context.set(table.take, 0)
            for number, entry in enumerate(held):
                context.set(table.available, 0)
                assert not context.get(table.step) and context.get(table.loading) and context.get(table.held)
                await context.tick()
                context.set(table.available, 1)
                context.set(table.entry, entry)
                assert context.get(table.step) and context.get(table.final) == (number == bias.words - 1)
                await context.tick()
            assert not context.get(table.loading) and not context.get(table.step)
            expected = {}
            for cycle in range(40 * rows + latency + 1):
                begins = cycle % rows == 0 and cycle < 40 * rows
                context.set(table.valid, begins)
                if begins:
                    ahead = int(rng.integers(1 - keys_max, keys_max))
                    first = 0 if heads == 1 else int(rng.integers(heads // min(rows, group))) * min(rows, group)
                    first = first // group * group if rows >= group else first
                    context.set(table.ahead, ahead)
                    if heads > 1:
                        context.set(table.base, first * bias.entries)
                    for row in range(rows):
                        head = 0 if heads == 1 else first + row % group
                        distance = min(max(-(ahead + row // group), -3), 3)
                        expected[cycle + 1 + row + latency] = held[head * bias.entries + distance + 3]
                if cycle in expected and context.get(table.added) != expected[cycle]:
                    failures.append((cycle, context.get(table.added), expected[cycle]))
                await context.tick()

    simulator = Simulator(table)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert not failures


def test_the_report_finds_the_table_and_tells_of_it() -> None:
    of = spec(bias={"reach": 5, "per_head": True})
    named = block_namer(family_of(of).blocks(of))
    assert {named(path) for path in ("engine.bias.table", "engine.bias_reader.skid")} == {"bias"}
    facts = dict(family_of(of).portrait(of).facts)
    assert facts["Bias"] == "a table for each head, 11 entries: distances of 5 and beyond on both sides"


def test_the_table_has_a_word_for_each_entry_however_long_the_sequence() -> None:
    for keys in (64, 65_536):
        design = design_of(PLAIN | {"heads": "whole_groups", "bias": "far"}, keys=keys)
        words = [depth for name, (width, depth) in memories(design.spec).items() if name.endswith(" table") and width == 16]
        assert words == [9 * 13] and design.spec.bias_bits == 9 * 13 * 16


@pytest.mark.parametrize("reach", [1, 6])
def test_the_first_key_waits_for_the_table_and_the_last_result_comes_two_cycles_later(reach: int) -> None:
    def walked(**blocks: Any) -> list[JobCycles]:
        of = spec(**blocks)
        return list(schedule_of(of).walk(of, [Job(queries=4, keys=30)] * 2))

    plain, biased = walked(), walked(bias={"reach": reach, "per_head": True})
    assert biased[0].first_step == max(plain[0].first_step, 4 * (2 * reach + 1) + 2)
    assert biased[0].done - biased[0].first_step == plain[0].done - plain[0].first_step + 2
    assert biased[1].done - biased[0].done == plain[1].done - plain[0].done


# ---- HLS C++ -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "tile_q", "per_head"), [
    ("two_pass", 4, True), ("online", 1, False), ("three_pass", 2, True)])
def test_kernel_equals_golden_and_keeps_its_table(algorithm: str, tile_q: int, per_head: bool, tmp_path: Path) -> None:
    fields = BIASED | {"softmax": {"algorithm": algorithm}, "engine": {"tile_q": tile_q, "lanes": 2}, "mask": "none",
                       "bias": {"reach": 3, "per_head": per_head}}
    built = build(parse_design(yaml.safe_dump(fields).encode(), source="biased.yaml"), tmp_path)
    result = csim(built.folder / "hls")
    assert result.code == 0 and result.failed == 0, result.output
    refusals_and_faults = 5 + 1 + 1 + 8 * 2  # shapes; no bias yet; a kept one; misplaced ends, each with a good job behind
    jobs = sum(len(path.read_text().splitlines()) for path in (built.folder / "sim" / "vectors").glob("*/jobs.txt"))
    assert result.passed >= jobs + refusals_and_faults and result.compared > 300
