"""Claims about schedule `fused2d` before any hardware: cost model, golden model, beats, cycles, fields."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tilewright.canonical import canonical
from tilewright.diagnose import findings
from tilewright.families import family_of
from tilewright.families.attention.cycles import JobCycles
from tilewright.families.attention.fused2d_vectors import pack_key_tiles, pack_queries, result_lines, unpack_result
from tilewright.families.attention.fusemax import Arrays, Layer, cycles, cycles_2d, latency_ms, utilization_2d
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import Stimulus
from tilewright.families.attention.vectors import Job
from tilewright.families.gemm import vectors as gemm_vectors
from tilewright.families.gemm.spec import GemmSpec
from tilewright.sim.golden.attention import attention, float_attention
from tilewright.sim.golden.attention_fused import attention_fused, attention_fused_reference
from tilewright.spec import json_schema

MASKS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"}, "causal": {"kind": "causal"}, "window": {"kind": "window", "window": 3},
    "lambda": {"kind": "lambda", "sink": 2, "window": 3}, "prefix": {"kind": "prefix", "prefix": 4},
    "band": {"kind": "window", "window": 3, "lookahead": 2}}
PUBLISHED = [(1, 2.01314, 0.8896), (4, 29.7004, 0.9648), (16, 465.166, 0.9856), (64, 7402.50, 0.9910)]


def spec(**blocks: Any) -> AttentionSpec:
    """Four rows and three columns, head size 5, four heads in groups of two, unless ``blocks`` says otherwise."""
    base = {"design": "fused", "family": "attention", "model": {"head_dim": 5, "heads": 4, "kv_heads": 2},
            "limits": {"queries": 64, "keys": 64}}
    engine = {"schedule": "fused2d"} | blocks.pop("engine", {"tile_q": 4, "cols": 3})
    return AttentionSpec.model_validate(base | {"engine": engine} | blocks)


def refusals(**blocks: Any) -> list[str]:
    data = {"design": "fused", "family": "attention"} | blocks
    with pytest.raises(ValidationError) as caught:
        AttentionSpec.model_validate(data)
    return [finding.text for finding in findings(caught.value, data, json_schema(AttentionSpec))]


# -- FuseMax's own figures ------------------------------------------------------------------------------


@pytest.mark.parametrize(("thousands", "milliseconds", "utilization"), PUBLISHED)
def test_the_cost_model_gives_the_published_latencies(thousands: int, milliseconds: float, utilization: float) -> None:
    """To every digit that there is: BERT, 64 sequences, 12 heads of 64, 256 x 256 PEs and 256 at 940 MHz."""
    arrays = Arrays(rows=256, cols=256, clock_mhz=940)
    layer = Layer(batch=64, heads=12, queries=thousands * 1024, keys=thousands * 1024, key_dim=64, value_dim=64)
    assert float(f"{latency_ms(arrays, layer):.6g}") == milliseconds
    assert round(utilization_2d(arrays, layer), 4) == utilization


def test_few_columns_leave_the_array_the_slower_one() -> None:
    layer = Layer(batch=1, heads=1, queries=64, keys=64, key_dim=64, value_dim=16)
    arrays = Arrays(rows=8, cols=8, clock_mhz=1)
    assert cycles(arrays, layer) == cycles_2d(arrays, layer) == 64 * (64 + 16 + 9)
    assert utilization_2d(arrays, layer) == 1


# -- golden model ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(list(MASKS)), st.sampled_from([(1, 1), (4, 2), (6, 1)]), st.integers(1, 2), st.integers(1, 5),
       st.integers(0, 2**32 - 1))
def test_golden_is_the_definition(mask: str, heads: tuple[int, int], tiles: int, cols: int, seed: int) -> None:
    """Against Python integers of any size, which also stay within the widths that the engine gives them."""
    rng = np.random.default_rng(seed)
    group = heads[0] // heads[1]
    of = spec(model={"head_dim": 4, "heads": heads[0], "kv_heads": heads[1]}, mask=MASKS[mask],
              engine={"tile_q": min(group * tiles, 16), "cols": cols},
              numbers={"v": str(rng.choice(["int4", "int8", "int16"])), "out": "int16"},
              softmax={"mantissa_bits": int(rng.integers(8, 13)), "guard_bits": int(rng.integers(0, 5))},
              limits={"queries": 8, "keys": 512}, workload=[{"queries": 1, "keys": 1}])
    keys = int(rng.integers(1, 14))
    job = Stimulus(of, rng).job(int(rng.integers(1, min(keys, 8) + 1)), keys, extreme=bool(rng.integers(2)))
    assert job.result is not None
    assert job.result.tolist() == reference(of, job)


def numbers(of: AttentionSpec, job: Job) -> dict[str, Any]:
    return {"mask": of.mask, "score_multiplier": job.score_multiplier, "score_shift": job.score_shift,
            "out_scale": job.out_scale, "fraction": of.fraction, "guard_bits": of.guard_bits, "table": of.table,
            "total_width": of.total_width, "value_width": of.v.width, "low": of.out.low, "high": of.out.high}


def reference(of: AttentionSpec, job: Job) -> list[list[list[int]]]:
    return attention_fused_reference(job.q, job.k, job.v, tile_q=of.tile_q, cols=of.cols, **numbers(of, job))


@pytest.mark.parametrize("mask", MASKS)
def test_key_tiles_of_one_key_are_weights_below_the_greatest_score(mask: str) -> None:
    """The streaming engine's `online`, whose sums come down with every key."""
    of = spec(engine={"tile_q": 4, "cols": 1}, mask=MASKS[mask])
    job = Stimulus(of, np.random.default_rng(2)).job(9, 30)
    found = attention_fused(job.q, job.k, job.v, tile_q=4, cols=1, **numbers(of, job))
    assert found.tolist() == attention(job.q, job.k, job.v, octave="none", **numbers(of, job)).tolist()


@pytest.mark.parametrize("cols", [1, 4, 16])
def test_results_are_near_those_of_real_numbers(cols: int) -> None:
    """A unit is a sixteenth of a value's: half of one is rounding, the rest that of scores, weights and factors."""
    of = spec(model={"head_dim": 16}, engine={"tile_q": 4, "cols": cols}, numbers={"out": "int16"},
              limits={"queries": 32, "keys": 256})
    rng = np.random.default_rng(5)
    q, k, v = (rng.integers(-128, 128, (1, count, 16)) for count in (32, 256, 256))
    multiplier, shift = 1 << 23, 23 + 5
    job = Job(q=q, k=k, v=v, score_multiplier=multiplier, score_shift=shift, out_scale=4096 * 8)
    found = schedule_of(of).golden(of, job)
    wanted = float_attention(q, k, v, mask=of.mask, score_scale=2.0**-5 / (1 << of.fraction), out_scale=8)
    assert np.abs(found - wanted).max() < 1.5


# -- beats ----------------------------------------------------------------------------------------------


def test_queries_and_results_are_activations_and_keys_are_weights_of_a_gemm() -> None:
    """One head: A is Q, B is K or V transposed; where a lane is beyond the edge, anything may stand."""
    of = spec(model={"head_dim": 5}, engine={"tile_q": 4, "cols": 3})
    gemm = GemmSpec.model_validate({
        "design": "gemm", "family": "gemm", "array": {"rows": 4, "cols": 3, "dataflow": "output_stationary"}})
    rng = np.random.default_rng(0)
    q, k = rng.integers(-8, 8, (1, 8, 5)), rng.integers(-8, 8, (1, 9, 5))
    assert pack_queries(of, q).tolist() == gemm_vectors.pack_act(gemm, q[0]).tolist()
    (first, second) = np.split(pack_key_tiles(of, k, 8), 2)
    assert first.tolist() == second.tolist() == gemm_vectors.pack_weight(gemm, k[0].T).tolist()


def test_the_result_of_an_input_stationary_gemm_is_a_stream_of_queries() -> None:
    of = spec(model={"head_dim": 5}, engine={"tile_q": 3, "cols": 3})
    gemm = GemmSpec.model_validate({
        "design": "gemm", "family": "gemm", "array": {"rows": 4, "cols": 3, "dataflow": "input_stationary"}})
    index = gemm_vectors.result_index(gemm, 6, 5)
    q = np.random.default_rng(0).integers(-8, 8, (1, 6, 5))
    assert pack_queries(of, q).tolist() == q[0].ravel()[index].tolist()


@pytest.mark.parametrize(("heads", "tile_q", "queries"), [((1, 1), 4, 6), ((6, 2), 3, 5), ((4, 1), 2, 3), ((4, 2), 8, 5)])
def test_results_come_back_from_their_beats(heads: tuple[int, int], tile_q: int, queries: int) -> None:
    of = spec(model={"head_dim": 5, "heads": heads[0], "kv_heads": heads[1]}, engine={"tile_q": tile_q, "cols": 2})
    result = np.arange(heads[0] * queries * 5).reshape(heads[0], queries, 5)
    lines = result_lines(of, result)
    assert len(lines) == schedule_of(of).result_beats(of, queries)
    assert sum(word != "-" for line in lines for word in line) == result.size
    beats = [[0 if word == "-" else word for word in line] for line in lines]
    assert unpack_result(of, beats, queries).tolist() == result.tolist()
    with pytest.raises(ValueError, match="result beats have shape"):
        unpack_result(of, beats[1:], queries)


@pytest.mark.parametrize("mask", MASKS)
def test_the_ports_count_the_beats_there_are_and_name_their_elements(mask: str) -> None:
    of = spec(mask=MASKS[mask])
    ports = schedule_of(of).ports(of)
    job = Stimulus(of, np.random.default_rng(1)).job(7, 11)
    beats = schedule_of(of).operands(of, job)
    assert {name: ports.count(name, job) for name in beats} == {name: len(lines) for name, lines in beats.items()}
    assert job.result is not None
    for number, line in enumerate(result_lines(of, job.result)):
        for lane, word in enumerate(line):
            if word != "-":
                assert job.result[ports.index(job, number, lane)] == word
    assert ports.unit(job, 5, 2) == "tile 1, row 2"


# -- cycles ---------------------------------------------------------------------------------------------


def square(of: AttentionSpec, length: int) -> JobCycles:
    """The walk of a job of as many queries as keys."""
    (walked,) = schedule_of(of).walk(of, [Job(*np.zeros((3, 1, length, of.head_dim), int), 0, 0, 0)])
    return walked


@pytest.mark.parametrize("head_dim", [13, 16, 32, 64])
@pytest.mark.parametrize("length", [64, 128, 256])
def test_a_square_takes_the_closed_form_and_a_fill_that_does_not_grow(head_dim: int, length: int) -> None:
    of = spec(model={"head_dim": head_dim}, engine={"tile_q": 8, "cols": 8}, limits={"queries": 1024, "keys": 1024})
    layer = Layer(batch=1, heads=1, queries=length, keys=length, key_dim=head_dim, value_dim=head_dim)
    assert square(of, length).done - cycles(Arrays(rows=8, cols=8, clock_mhz=1), layer) == 5 * head_dim + 43


def test_lanes_wait_for_the_division_of_a_short_head() -> None:
    short, long = (spec(model={"head_dim": head_dim}, engine={"tile_q": 8, "cols": 8}, limits={"queries": 1024, "keys": 1024})
                   for head_dim in (12, 13))
    for of, waits in ((short, 1), (long, 0)):
        closed = 8 * (8 * of.interval + of.head_dim)
        assert square(of, 128).done - square(of, 64).done == 2 * 8 * (16 * of.interval + of.head_dim) - closed + 8 * waits


@pytest.mark.parametrize("tiles", [1, 2, 5])
def test_a_causal_square_meets_the_key_tiles_up_to_its_own(tiles: int) -> None:
    steps = {mask: square(spec(model={"head_dim": 4}, engine={"tile_q": 3, "cols": 3}, mask=mask), 3 * tiles).active
             for mask in ("none", "causal")}
    assert steps == {"none": 4 * tiles**2, "causal": 4 * tiles * (tiles + 1) // 2}


# -- fields ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blocks", "text"), [
    ({"engine": {"schedule": "fused2d", "lanes": 4}},
     "engine.lanes: 4 with schedule fused2d, which has no lanes; remove it, or write schedule: streaming or window_ring"),
    ({"engine": {"cols": 8}},
     "engine.cols: 8 with schedule streaming, which has no cols; remove it, or write schedule: fused2d"),
    ({"engine": {"schedule": "fused2d", "order": "rows"}},
     "engine.order: rows with schedule fused2d, which has no order; remove it, or write schedule: streaming"),
    ({"engine": {"schedule": "fused2d"}, "bias": {"reach": 4}},
     "bias: has no meaning with schedule fused2d; remove it, or write schedule: streaming"),
    ({"engine": {"schedule": "fused2d"}, "model": {"head_dim": 5}, "rotary": {}},
     "rotary: has no meaning with schedule fused2d; remove it, or write schedule: streaming"),
    ({"engine": {"schedule": "fused2d", "cols": 17}}, "engine.cols: 17 is not an integer from 1 to 16"),
    ({"engine": {"schedule": "fused2d"}, "softmax": {"algorithm": "two_pass"}},
     "softmax.algorithm: two_pass with schedule fused2d, whose weights are below the greatest score; write online"),
    ({"engine": {"schedule": "fused2d", "tile_q": 3}, "model": {"heads": 2}},
     "engine.tile_q: 3 is neither a multiple nor a divisor of heads / kv_heads, which is 2; the nearest that is: 4"),
])
def test_what_a_fused_array_lacks_is_refused(blocks: dict[str, Any], text: str) -> None:
    assert refusals(**blocks) == [text]


def test_canonical_text_has_the_fields_of_the_schedule() -> None:
    text = canonical(spec())
    assert "engine:\n  schedule: fused2d\n  tile_q: 4\n  cols: 3\nmask:" in text
    assert "softmax:\n  algorithm: online\n" in text
    assert "cols" not in canonical(AttentionSpec.model_validate({"design": "streaming", "family": "attention"}))


def test_the_summary_and_the_portrait_speak_of_an_array() -> None:
    of = spec(mask=MASKS["causal"])
    assert dict(of.summary())["engine"] == "fused2d, 4 x 3 PEs, a key tile every 20 cycles"
    assert of.macs_per_cycle == 12
    portrait = family_of(of).portrait(of)
    assert str(portrait.figure).count('class="kept') == 12
    wide = spec(model={"head_dim": 16}, engine={"tile_q": 16, "cols": 16})
    assert str(family_of(wide).portrait(wide).figure).count("<pattern") == 1
    work = portrait.work({"queries": 3, "keys": 5})
    # Two kv heads of two tiles of two positions; the first meets 4 keys in two key tiles, the second 5 in two.
    assert work.padded_macs == 2 * 5 * 2 * 4 * 3 * (2 + 2)
    assert work.bytes_moved == 5 * (2 * 2 * 4 * 2 + 2 * (2 + 2) * 3 * 2)
    assert work.macs == 2 * 5 * 4 * (3 + 4 + 5)
