"""Claims about the attention spec: derived widths and sizes, the canonical text, and the text of each refusal."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tilewright.canonical import canonical
from tilewright.diagnose import findings
from tilewright.families.attention.checks import MAX_JOB_MACS
from tilewright.families.attention.fields import Mask
from tilewright.families.attention.spec import AttentionSpec
from tilewright.formats import IntFormat
from tilewright.loader import scan
from tilewright.sim.golden.units.softmax_exponent import mantissa_and_octave
from tilewright.spec import json_schema

SCHEMA = json_schema(AttentionSpec)


def spec(**blocks: Any) -> AttentionSpec:
    return AttentionSpec.model_validate({"design": "attention", "family": "attention"} | blocks)


def refusals(**blocks: Any) -> list[str]:
    """What the user reads, without file and line."""
    data = {"design": "attention", "family": "attention"} | blocks
    with pytest.raises(ValidationError) as caught:
        AttentionSpec.model_validate(data)
    return [finding.text for finding in findings(caught.value, data, SCHEMA)]


# -- structure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heads", "kv_heads", "tile_q", "group", "tiles"),
    [(1, 1, 4, 1, 2), (8, 8, 4, 1, 2), (8, 2, 4, 4, 5), (8, 2, 2, 4, 10), (8, 1, 16, 8, 3), (6, 2, 9, 3, 2)])
def test_groups_fill_tiles(heads: int, kv_heads: int, tile_q: int, group: int, tiles: int) -> None:
    found = spec(model={"heads": heads, "kv_heads": kv_heads}, engine={"tile_q": tile_q})
    assert (found.group, found.tiles(5), found.tile_q) == (group, tiles, tile_q)


@pytest.mark.parametrize(
    ("head_dim", "tile_q", "lanes", "chunks", "interval", "macs"),
    [(64, 4, 8, 8, 8, 64), (32, 4, 8, 4, 5, 64), (32, 16, 32, 1, 16, 1024), (256, 1, 1, 256, 256, 2), (4, 1, 4, 1, 5, 8)])
def test_a_key_takes_its_beats_its_scores_or_the_loop_of_the_sums(
    head_dim: int, tile_q: int, lanes: int, chunks: int, interval: int, macs: int
) -> None:
    found = spec(model={"head_dim": head_dim}, engine={"tile_q": tile_q, "lanes": lanes})
    assert (found.chunks, found.interval, found.macs_per_cycle) == (chunks, interval, macs)


# -- numbers -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100, derandomize=True)
@given(q=st.sampled_from(["int4", "int8", "int16"]), k=st.sampled_from(["int4", "int8", "int16"]),
       head_dim=st.integers(4, 256))
def test_a_score_fits_and_is_not_a_bit_wider(q: str, k: str, head_dim: int) -> None:
    found = spec(model={"head_dim": head_dim}, engine={"lanes": 1}, numbers={"q": q, "k": k})
    extremes = [head_dim * a * b for a in (found.q.low, found.q.high) for b in (found.k.low, found.k.high)]
    holds = [all(number.low <= value <= number.high for value in extremes)
             for number in (IntFormat(found.score_width, True), IntFormat(found.score_width - 1, True))]
    assert holds == [True, False]


def test_widths_at_known_points() -> None:
    found = spec()
    assert (found.score_width, found.weight_width, found.total_width, found.accumulator_width) == (22, 17, 27, 35)
    wide = spec(numbers={"v": "int16"}, limits={"queries": 1, "keys": 65536}, workload=[{"queries": 1, "keys": 1}])
    assert (wide.weight_width, wide.total_width, wide.accumulator_width) == (17, 33, 49)
    assert (found.score_multiplier_width, found.score_shift_width, found.out_scale_width, found.scaled_width) == (24, 6, 16, 16)
    assert spec(limits={"queries": 1, "keys": 1}).total_width == 17


@pytest.mark.parametrize("algorithm", ["two_pass", "online_shift"])
@pytest.mark.parametrize("fraction", [8, 9, 10, 11, 12])
def test_octaves_and_weights_fit_their_widths(algorithm: str, fraction: int) -> None:
    found = spec(softmax={"algorithm": algorithm, "fraction": fraction, "table_bits": 7})
    assert len(found.table) == 129
    mantissa, octave = mantissa_and_octave(
        np.arange(-32768, 32768), fraction=fraction, table=found.table, octave=found.octave)
    width = IntFormat(found.level_width, signed=True)
    narrower = IntFormat(found.level_width - 1, signed=True)
    assert width.low <= octave.min() and octave.max() <= width.high
    assert octave.min() < narrower.low or octave.max() > narrower.high
    assert int(mantissa.max()) << found.guard_bits < 1 << found.weight_width
    assert mantissa.min() >= 1 << found.mantissa_bits - (algorithm == "online_shift")


def test_weights_below_the_greatest_score_keep_scores_and_take_a_cycle_more() -> None:
    found, shifts = (spec(softmax={"algorithm": algorithm, "table_bits": 8}, engine={"tile_q": 4, "lanes": 32})
                     for algorithm in ("online", "online_shift"))
    assert (found.octave, found.level_width, found.row_state_bits) == ("none", 16, 4 * (16 + 27))
    assert found.table == shifts.table and found.table[0] << found.guard_bits == 1 << found.weight_width - 1
    assert (found.total_width, found.accumulator_width) == (shifts.total_width, shifts.accumulator_width)
    assert (found.chunks, found.loop, found.interval, shifts.loop, shifts.interval) == (2, 6, 6, 5, 5)


@pytest.mark.parametrize("algorithm", ["three_pass", "ibert"])
def test_sums_that_are_never_lowered_take_two_cycles_less(algorithm: str) -> None:
    found = spec(softmax={"algorithm": algorithm}, engine={"tile_q": 2, "lanes": 32})
    assert (found.passes, found.chunks, found.loop, found.interval) == (2, 2, 3, 3)
    assert (found.octave, found.level_width) == ("none", 16)


@pytest.mark.parametrize("fraction", [8, 10, 12])
def test_a_parabola_is_that_of_the_paper_in_steps_of_a_score(fraction: int) -> None:
    found = spec(softmax={"algorithm": "ibert", "fraction": fraction})
    assert found.parabola is not None
    steps = 2.0**fraction
    ln2, linear, constant = found.parabola
    assert (ln2, linear, constant) == (
        math.ceil(0.6931 * steps), math.floor(0.96963238 / 0.35815147 * steps), math.floor(1 / 0.35815147 * steps**2))
    assert (found.weight_width, found.total_width, found.accumulator_width) == (15, 25, 33)
    assert (found.table, found.mantissa_bits, found.guard_bits, found.table_bits) == ((), 0, 0, 0)
    weights = [constant * 2**15 // 2**constant.bit_length(), 1 << 15]
    assert 1 << 14 <= weights[0] < weights[1]
    assert spec(softmax={"algorithm": "two_pass"}).parabola is None


def test_weights_below_phi_are_as_much_wider_as_the_window_reaches_above() -> None:
    online = spec(softmax={"algorithm": "online"})
    for high, octaves in ((0, 0), (1, 2), (4, 6), (13, 19)):
        found = spec(**unified(window=[-8, high]))
        assert (found.rise_octaves, found.weight_width, found.total_width, found.accumulator_width) == (
            octaves, 17 + octaves, 27 + octaves, 35 + octaves)
        assert (found.passes, found.loop, found.octave, found.table) == (1, 6, "none", online.table)
    found = spec(**unified())
    assert (found.phi, found.window, online.phi, online.window) == (0, (-8, 4), None, (0, 0))
    assert "  phi: 0\n  window: [-8, 4]\n" in canonical(found) and "phi" not in canonical(online)
    assert AttentionSpec.model_validate(scan(canonical(found).encode()).data) == found


def test_canonical_text_leaves_out_what_an_algorithm_lacks() -> None:
    text = canonical(spec(softmax={"algorithm": "ibert", "fraction": 9}))
    assert "softmax:\n  algorithm: ibert\n  fraction: 9\nnumbers:" in text
    again = AttentionSpec.model_validate(scan(text.encode()).data)
    assert canonical(again) == text and again == spec(softmax={"algorithm": "ibert", "fraction": 9})


def test_memories_do_not_grow_with_the_sequence() -> None:
    short, long = (spec(limits={"queries": size, "keys": size}, workload=[{"queries": 1, "keys": 1}]) for size in (1024, 65536))
    assert short.query_buffer_bits == long.query_buffer_bits == 2 * 4 * 64 * 8
    assert short.accumulator_bits == 2 * 4 * 64 * 35 and long.accumulator_bits == 2 * 4 * 64 * 41
    assert short.row_state_bits == 4 * (7 + 27)
    assert short.on_chip_bits == short.query_buffer_bits + short.accumulator_bits + short.row_state_bits


# -- mask ----------------------------------------------------------------------------------------------


def test_a_mask_is_a_word_or_a_mapping() -> None:
    assert spec().mask == spec(mask="none").mask == Mask(kind="none")
    assert spec(mask="causal").mask == spec(mask={"kind": "causal"}).mask
    window = spec(mask={"kind": "lambda", "sink": 4, "window": 64}).mask
    assert (window.kind, window.sink, window.window, window.prefix) == ("lambda", 4, 64, 0)
    assert window.numbers == {"sink": 4, "window": 64} and window.needs_positions
    assert spec(mask={"kind": "prefix", "prefix": 16}).mask.numbers == {"prefix": 16}
    assert not spec().mask.needs_positions and spec().mask.numbers == {}


def test_a_lookahead_is_a_number_of_the_mask_where_there_is_one() -> None:
    band = spec(mask={"kind": "window", "window": 9, "lookahead": 8})
    assert band.mask.numbers == {"window": 9, "lookahead": 8}
    assert dict(band.summary())["mask"] == "window, window 9, lookahead 8"
    assert "mask:\n  kind: window\n  window: 9\n  lookahead: 8\nsoftmax:" in canonical(band)
    none = spec(mask={"kind": "window", "window": 9, "lookahead": 0})
    assert none == spec(mask={"kind": "window", "window": 9}) and "lookahead" not in canonical(none)


# -- refusals ------------------------------------------------------------------------------------------

def unified(**softmax: Any) -> dict[str, Any]:
    """The block of a softmax below phi."""
    return {"softmax": {"algorithm": "unified_max", **softmax}}


SHORT = {"limits": {"queries": 1, "keys": 1}}
REFUSED: list[tuple[Any, ...]] = [  # blocks, texts
    ({"engine": {"lanes": 12}},
     "engine.lanes: 12 does not divide model.head_dim, which is 64; the nearest that does: 16"),
    ({"model": {"head_dim": 36}, "engine": {"lanes": 8}},
     "engine.lanes: 8 does not divide model.head_dim, which is 36; the nearest that does: 9"),
    ({"model": {"heads": 8, "kv_heads": 3}},
     "model.kv_heads: 3 does not divide model.heads, which is 8; the nearest that does: 4"),
    ({"model": {"heads": 2, "kv_heads": 4}},
     "model.kv_heads: 4 does not divide model.heads, which is 2; the nearest that does: 2"),
    ({"model": {"heads": 6, "kv_heads": 1}},
     "engine.tile_q: 4 is neither a multiple nor a divisor of heads / kv_heads, which is 6; the nearest that is: 3"),
    ({"model": {"heads": 32, "kv_heads": 1}, "engine": {"tile_q": 12}},
     "engine.tile_q: 12 is neither a multiple nor a divisor of heads / kv_heads, which is 32; the nearest that is: 16"),
    ({"engine": {"tile_q": 17}}, "engine.tile_q: 17 is not an integer from 1 to 16"),
    ({"engine": {"lanes": 33}}, "engine.lanes: 33 is not an integer from 1 to 32"),
    ({"engine": {"order": "columns"}}, "engine.order: 'columns' is not one of rows, tiles"),
    ({"model": {"heads": 4}, "engine": {"order": "tiles"}},
     "engine.order: tiles with tile_q 4, and heads / kv_heads 4: a tile has one position, and its beats one order; write rows, "
     "or raise tile_q to 8"),
    ({"model": {"heads": 32}, "engine": {"order": "tiles", "tile_q": 16}},
     "engine.order: tiles with tile_q 16, and heads / kv_heads 32: a tile has one position, and its beats one order; "
     "write rows"),
    ({"model": {"head_dim": 8}, "engine": {"order": "tiles"}},
     "engine.order: tiles with one head to a kv head and one beat to a row is the order of rows; write rows, or lower lanes"),
    ({"engine": {"schedule": "flash"}}, "engine.schedule: 'flash' is not one of streaming, window_ring, fused2d"),
    ({"engine": {"rows": 4}}, "unknown key 'rows' in engine; known are schedule, tile_q, lanes, order, cols"),
    ({"model": {"head_dim": 3}}, "model.head_dim: 3 is not an integer from 4 to 256"),
    ({"model": {"heads": 65}}, "model.heads: 65 is not an integer from 1 to 64"),
    ({"mask": "casual"}, "mask: 'casual' is not one of none, causal or a mapping of kind, window, lookahead, sink, "
                         "prefix; did you mean 'causal'?"),
    ({"mask": {}}, "key 'kind' is missing in mask; one of none, causal, window, lambda, prefix"),
    ({"mask": {"kind": "band"}}, "mask.kind: 'band' is not one of none, causal, window, lambda, prefix"),
    ({"mask": "window"}, "mask.window: there is no window for kind window; write 1 or more"),
    ({"mask": {"kind": "lambda", "window": 4}}, "mask.sink: there is no sink for kind lambda; write 1 or more"),
    ({"mask": {"kind": "lambda", "window": 4, "sink": 0}}, "mask.sink: 0 is no sink for kind lambda; write 1 or more"),
    ({"mask": {"kind": "prefix"}}, "mask.prefix: there is no prefix for kind prefix; write 1 or more"),
    ({"mask": {"kind": "causal", "window": 4}},
     "mask.window: 4 with kind causal, which has no window; remove it, or write kind: window or lambda"),
    ({"mask": {"kind": "window", "window": 4, "sink": 1}},
     "mask.sink: 1 with kind window, which has no sink; remove it, or write kind: lambda"),
    ({"mask": {"kind": "none", "prefix": 9}},
     "mask.prefix: 9 with kind none, which has no prefix; remove it, or write kind: prefix"),
    ({"mask": {"kind": "window", "window": 65537}}, "mask.window: 65537 is not an integer from 0 to 65536"),
    ({"mask": {"kind": "window", "window": 4, "lookahead": 65537}},
     "mask.lookahead: 65537 is not an integer from 0 to 65536"),
    ({"mask": {"kind": "window", "lookahead": 4}}, "mask.window: there is no window for kind window; write 1 or more"),
    ({"mask": {"kind": "causal", "lookahead": 4}},
     "mask.lookahead: 4 with kind causal, which has no lookahead; remove it, or write kind: window or lambda"),
    ({"mask": {"kind": "prefix", "prefix": 4, "lookahead": 1}},
     "mask.lookahead: 1 with kind prefix, which has no lookahead; remove it, or write kind: window or lambda"),
    ({"mask": {"kind": "lambda", "sink": 1, "window": 4, "lookahead": 3}, "cache": {}},
     "mask.lookahead: 3 with a cache, to which keys behind a query come with a later job; remove it, or the cache"),
    ({"softmax": {"fraction": 8, "table_bits": 8}},
     "softmax.table_bits: 8 leaves nothing to interpolate of fraction 8; lower it to 7"),
    ({"softmax": {"mantissa_bits": 15}},
     "softmax.guard_bits: 4 with mantissa_bits 15 makes 19; at most 16: lower it to 1"),
    (SHORT | {"softmax": {"mantissa_bits": 8}},
     "softmax.guard_bits: 4 with mantissa_bits 8 and limits.keys 1 makes a sum of 13 bits; the divider needs 17: "
     "raise it to 8"),
    ({"softmax": {"algorithm": "tree_pass"}},
     "softmax.algorithm: 'tree_pass' is not one of two_pass, online_shift, online, three_pass, ibert, unified_max; did you "
     "mean 'three_pass'?"),
    ({"softmax": {"algorithm": "ibert", "mantissa_bits": 12, "table_bits": 5}},
     "softmax.mantissa_bits: 12 with algorithm ibert, which has no mantissa_bits; remove it, or write algorithm: two_pass or "
     "online_shift or online or three_pass or unified_max",
     "softmax.table_bits: 5 with algorithm ibert, which has no table_bits; remove it, or write algorithm: two_pass or "
     "online_shift or online or three_pass or unified_max"),
    ({"softmax": {"algorithm": "ibert", "guard_bits": 0}},
     "softmax.guard_bits: 0 with algorithm ibert, which has no guard_bits; remove it, or write algorithm: two_pass or "
     "online_shift or online or three_pass or unified_max"),
    ({"softmax": {"phi": 0}},
     "softmax.phi: 0 with algorithm two_pass, which has no phi; remove it, or write algorithm: unified_max"),
    (unified(window=[-12, 4]),
     "softmax.window[0]: -12 gives weights below their last of 16 fraction bits; raise it to -11"),
    (unified(window=[1, 4]),
     "softmax.window: 1 to 4 leaves out phi itself; write a low of 0 or less and a high of 0 or more"),
    (unified(window=[-1, 40]),
     "softmax.window[1]: 40 makes a sum of weights of 85 bits; at most 47: lower it to 13"),
    (unified(phi=33), "softmax.phi: 33 is beyond every score; with fraction 10 they end at 32: bring it there"),
    (unified(phi=32, window=[0, 1]),
     "softmax.window[0]: 0 with phi 32 leaves no score in; with fraction 10 they end below 32: lower it to -1"),
    (unified(window=[-3]), "softmax.window: a list of 1 is not a list of 2 integers"),
    (unified(window=[-3, 129]), "softmax.window[1]: 129 is not an integer from -128 to 128"),
    ({"softmax": {"algorithm": "ibert"}, "limits": {"queries": 1, "keys": 2}},
     "limits.keys: 2 with algorithm ibert makes a sum of 16 bits; the divider needs 17: raise it to 3"),
    ({"softmax": {"fraction": 13}}, "softmax.fraction: 13 is not an integer from 8 to 12"),
    ({"softmax": {"mantissa_bits": 7}}, "softmax.mantissa_bits: 7 is not an integer from 8 to 15"),
    ({"softmax": {"table_bits": 2}}, "softmax.table_bits: 2 is not an integer from 3 to 8"),
    ({"softmax": {"guard_bits": -1}}, "softmax.guard_bits: -1 is not an integer from 0 to 8"),
    ({"numbers": {"q": "uint8"}}, "numbers.q: 'uint8' is not one of int4, int8, int16; did you mean 'int8'?"),
    ({"numbers": {"v": "int12"}}, "numbers.v: 'int12' is not one of int4, int8, int16; did you mean 'int16'?"),
    ({"numbers": {"out": 8}}, "numbers.out: 8 is not one of int4, int8, int16"),
    ({"numbers": {"k": ["int8"]}}, "numbers.k: a list of 1 is not one of int4, int8, int16"),
    ({"limits": {"keys": 65537}}, "limits.keys: 65537 is not an integer from 1 to 65536"),
    ({"mask": "causal", "limits": {"queries": 65, "keys": 64}},
     "limits.queries: 65 is above limits.keys, and with mask causal a job has no more queries than keys; lower it to 64"),
    ({"workload": [{"queries": 1025, "keys": 1}]}, "workload[0].queries: 1025 is above limits.queries, which is 1024"),
    ({"workload": [{"queries": 1, "keys": 1}, {"queries": 1, "keys": 1025}]},
     "workload[1].keys: 1025 is above limits.keys, which is 1024"),
    ({"mask": {"kind": "prefix", "prefix": 9}, "workload": [{"queries": 9, "keys": 8}]},
     "workload[0].queries: 9 with 8 keys; with mask prefix a job has no more queries than keys: lower it to 8"),
    ({"workload": [{"queries": 1}]}, "key 'keys' is missing in workload[0]; an integer from 1 to 65536"),
    ({"workload": []}, "workload: a list of 0 is not a list of 1 to 4096 mappings"),
    ({"limits": {"queries": 65536, "keys": 65536}},
     "limits: one job at the limits, the workload unless one is written, has 274877906944 products of queries and keys; "
     "at most 17179869184: write one"),
    ({"limits": {"queries": 65536, "keys": 65536}, "workload": [{"queries": 8192, "keys": 65536}]},
     "workload[0]: 34359738368 products of queries and keys; at most 17179869184: split the job, with 65536 keys at most "
     "4096 queries"),
    ({"top": "axi"}, "top: 'axi' is not stream"),
    ({"array": {}},
     "unknown key 'array'; known are design, family, model, engine, mask, bias, rotary, softmax, numbers, limits, cache, "
     "top, workload"),
]


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused[1])
def test_what_does_not_fit_is_refused_with_the_nearest_that_does(refused: tuple[Any, ...]) -> None:
    blocks, *texts = refused
    assert refusals(**blocks) == texts


@pytest.mark.parametrize(
    ("heads", "head_dim", "keys"), [(64, 256, 65536), (8, 64, 65536), (1, 64, 65536)])
def test_advice_on_the_work_of_a_job_is_the_largest_that_fits(heads: int, head_dim: int, keys: int) -> None:
    blocks = {"model": {"head_dim": head_dim, "heads": heads, "kv_heads": 1}, "engine": {"tile_q": 1},
              "limits": {"queries": 65536, "keys": keys}}
    (text,) = refusals(**blocks, workload=[{"queries": 65536, "keys": keys}])
    most = int(text.removesuffix(" queries").rpartition(" ")[2])
    assert spec(**blocks, workload=[{"queries": most, "keys": keys}])
    assert heads * (most + 1) * keys * head_dim > MAX_JOB_MACS


# -- the model -----------------------------------------------------------------------------------------


def test_workload_is_one_job_at_the_limits_unless_written() -> None:
    (job,) = spec(limits={"queries": 3, "keys": 5}).workload
    assert (job.queries, job.keys) == (3, 5)


def test_spec_is_frozen_and_hashable() -> None:
    found = spec(mask="causal")
    with pytest.raises(ValidationError, match="frozen"):
        found.top = "axi"  # type: ignore[assignment]
    assert hash(found) == hash(spec(mask={"kind": "causal"})) and found != spec()


def test_canonical_text_does_not_drift_and_leaves_out_what_a_mask_lacks() -> None:
    assert canonical(spec(mask={"kind": "window", "window": 64}, numbers={"k": "int4"})) == """\
design: attention
family: attention
model:
  head_dim: 64
  heads: 1
  kv_heads: 1
engine:
  schedule: streaming
  tile_q: 4
  lanes: 8
  order: rows
mask:
  kind: window
  window: 64
softmax:
  algorithm: two_pass
  fraction: 10
  mantissa_bits: 12
  guard_bits: 4
  table_bits: 5
numbers:
  q: int8
  k: int4
  v: int8
  out: int8
limits:
  queries: 1024
  keys: 1024
top: stream
workload:
  - {queries: 1024, keys: 1024}
"""


def test_summary_tells_what_the_design_comes_to() -> None:
    found = spec(model={"head_dim": 64, "heads": 8, "kv_heads": 2}, mask={"kind": "lambda", "sink": 4, "window": 60})
    assert dict(found.summary()) == {
        "model": "head_dim 64, 8 query heads, 4 to each head of keys and values",
        "engine": "streaming, 4 rows x 8 lanes, a key every 8 cycles",
        "top": "stream",
        "mask": "lambda, sink 4, window 60",
        "softmax": "two_pass, mantissa 12 bits, guard 4, table 32 intervals",
        "numbers": "q int8 x k int8 -> int22, weights 17 bits x v int8 -> int35, out int8",
        "limits": "queries 1024, keys 1024",
        "buffers": "21.6 kbit: queries 4.0, sums 17.5, row state 0.1",
        "workload": "1 job, at most 1024 queries x 1024 keys",
    }
