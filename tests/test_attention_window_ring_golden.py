"""Claims about the arithmetic and the words of schedule `window_ring`: golden model, order of beats, refusals."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tilewright.families.attention.fields import Mask
from tilewright.families.attention.ports import ports
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.vectors import Case, Job, case_files
from tilewright.families.attention.window_ring_fields import MAX_CORES
from tilewright.families.attention.window_ring_vectors import ring_rows
from tilewright.families.attention.work import moved_bits, padded_macs, sent_rows, useful_macs
from tilewright.sim.cosim import attention_ports
from tilewright.sim.golden.attention import attention, float_attention
from tilewright.sim.golden.attention_mask import visible
from tilewright.sim.golden.attention_window_ring import ring_keys, window_ring_attention, window_ring_reference

MASKS: dict[str, dict[str, Any]] = {
    "own_key": {"kind": "window", "window": 1}, "window": {"kind": "window", "window": 4},
    "lambda": {"kind": "lambda", "sink": 2, "window": 3}, "many_sinks": {"kind": "lambda", "sink": 5, "window": 1},
    "band": {"kind": "window", "window": 3, "lookahead": 2},
    "ahead": {"kind": "lambda", "sink": 2, "window": 1, "lookahead": 4}}
SHAPES = [(1, 1), (1, 9), (5, 5), (6, 11), (9, 12), (2, 3)]  # queries, keys


def spec(**blocks: Any) -> AttentionSpec:
    """Head size 8 in two beats, four heads in groups of two, unless ``blocks`` says otherwise."""
    engine = {"schedule": "window_ring", "lanes": 4} | blocks.pop("engine", {})
    base = {"design": "tiny", "family": "attention", "model": {"head_dim": 8, "heads": 4, "kv_heads": 2},
            "mask": MASKS["lambda"], "limits": {"queries": 64, "keys": 64}}
    return AttentionSpec.model_validate(base | blocks | {"engine": engine})


def operands(of: AttentionSpec, queries: int, keys: int, *, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    shapes = ((of.q, of.heads, queries), (of.k, of.kv_heads, keys), (of.v, of.kv_heads, keys))
    return tuple(rng.integers(number.low, number.high + 1, (heads, count, of.head_dim)) for number, heads, count in shapes)


def parameters(of: AttentionSpec, *, score_multiplier: int, score_shift: int, out_scale: int = 4096) -> dict[str, Any]:
    return {"mask": of.mask, "score_multiplier": score_multiplier, "score_shift": score_shift, "out_scale": out_scale,
            "fraction": of.fraction, "guard_bits": of.guard_bits, "table": of.table, "total_width": of.total_width,
            "value_width": of.v.width, "low": of.out.low, "high": of.out.high}


# ---- golden --------------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_golden_equals_cores_that_keep_big_integers(data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([1, 2, 6]))
    group = data.draw(st.sampled_from([one for one in (1, 2, 3, 6) if heads % one == 0]))
    mantissa_bits = data.draw(st.sampled_from([9, 12, 15]))
    of = spec(
        model={"head_dim": 4, "heads": heads, "kv_heads": heads // group},
        numbers={name: data.draw(st.sampled_from(["int4", "int8", "int16"])) for name in ("q", "k", "v", "out")},
        mask=MASKS[data.draw(st.sampled_from(sorted(MASKS)))],
        softmax={"fraction": data.draw(st.integers(8, 12)), "mantissa_bits": mantissa_bits, "guard_bits": 16 - mantissa_bits
                 if mantissa_bits > 9 else 7, "table_bits": data.draw(st.integers(3, 7))})
    keys = data.draw(st.integers(1, 12))
    arrays = operands(of, data.draw(st.integers(1, keys)), keys, seed=data.draw(st.integers(0, 2**32)))
    scales = parameters(
        of, score_multiplier=data.draw(st.integers(0, (1 << 24) - 1)), score_shift=data.draw(st.integers(0, 45)),
        out_scale=data.draw(st.sampled_from([0, 1, 4096, 65535])))
    assert window_ring_attention(*arrays, **scales).tolist() == window_ring_reference(*arrays, **scales)


@pytest.mark.parametrize("name", MASKS)
def test_cores_hold_the_keys_that_a_query_sees(name: str) -> None:
    mask = Mask.model_validate(MASKS[name])
    keys, held = ring_keys(mask, np.arange(14), 14)
    for position in range(14):
        assert sorted(keys[position, held[position]]) == np.flatnonzero(visible(mask, position, np.arange(14))).tolist()


@pytest.mark.parametrize("reach", [1, 4, 20])
@pytest.mark.parametrize(("queries", "keys"), [(30, 30), (7, 30), (1, 30)])
def test_a_symmetric_band_is_attention_to_the_keys_that_are_near(reach: int, queries: int, keys: int) -> None:
    """Each query on its own, with the keys at most ``reach`` away and no other: SWAT's band."""
    of = spec(mask={"kind": "window", "window": reach + 1, "lookahead": reach}, numbers={"out": "int16"})
    q, k, v = operands(of, queries, keys)
    scales = parameters(of, score_multiplier=9000, score_shift=18, out_scale=65535)
    found = window_ring_attention(q, k, v, **scales)
    everything = scales | {"mask": Mask(kind="window", window=keys)}
    for row, position in enumerate(range(keys - queries, keys)):
        near = [key for key in range(keys) if abs(key - position) <= reach]
        alone = window_ring_attention(q[:, row:row + 1], k[:, near], v[:, near], **everything)
        np.testing.assert_array_equal(found[:, row:row + 1], alone)


def test_the_order_of_the_keys_changes_no_bit() -> None:
    of = spec(mask={"kind": "window", "window": 9}, model={"head_dim": 8, "heads": 2, "kv_heads": 1})
    q, k, v = operands(of, 1, 9)
    scales = parameters(of, score_multiplier=9000, score_shift=16)
    expected = window_ring_attention(q, k, v, **scales)
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(9)
        np.testing.assert_array_equal(window_ring_attention(q, k[:, order], v[:, order], **scales), expected)


def test_it_is_not_the_running_form() -> None:
    """Shifts of a running sum lose bits that exact sums keep; with few guard bits that reaches results."""
    of = spec(softmax={"mantissa_bits": 12, "guard_bits": 3, "table_bits": 5}, numbers={"v": "int16", "out": "int16"})
    arrays = operands(of, 30, 40)
    scales = parameters(of, score_multiplier=9000, score_shift=15, out_scale=65535)
    running = attention(*arrays, octave="below", **scales)
    assert (window_ring_attention(*arrays, **scales) != running).any()


def test_golden_takes_long_jobs_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    of = spec()
    arrays = operands(of, 9, 50)
    scales = parameters(of, score_multiplier=9000, score_shift=18)
    expected = window_ring_attention(*arrays, **scales)
    monkeypatch.setattr("tilewright.sim.golden.attention_window_ring.BLOCK_ELEMENTS", 100)
    np.testing.assert_array_equal(window_ring_attention(*(array.astype(np.int8) for array in arrays), **scales), expected)


def test_golden_refuses_what_it_does_not_know() -> None:
    of = spec()
    q, k, v = operands(of, 2, 4)
    scales = parameters(of, score_multiplier=0, score_shift=0)
    with pytest.raises(ValueError, match="mask must be window or lambda, not 'causal'"):
        window_ring_attention(q, k, v, **scales | {"mask": Mask(kind="causal")})
    with pytest.raises(ValueError, match="4 queries, but 2 keys"):
        window_ring_attention(np.repeat(q, 2, axis=1), k[:, :2], v[:, :2], **scales)
    with pytest.raises(ValueError, match="a sum of weights needs 19 bits; total_width is 18"):
        window_ring_attention(q, k, v, **scales | {"total_width": 18})


def bound(of: AttentionSpec, out_scale: float) -> float:
    """How far a result may be from softmax attention in real numbers: derived, not measured.

    A weight is off by a factor of at most ``1 + e``: score and exponent each rounded to half a unit, log2(e) rounded, the
    table rounded and interpolated. That moves a weighted mean by ``2 * e / (1 - e)`` of the values' range. Each weight loses
    less than 1 to its shift, of a sum of at least ``2**(mantissa_bits + guard_bits)``.
    """
    values = -of.v.low
    unit = 2.0**-of.fraction / 2
    table = 3 * 2.0**-of.mantissa_bits + (np.log(2) * 2.0**-of.table_bits) ** 2 / 8
    e = np.expm1(unit + unit * np.log(2) + table + 2.0 ** (15 - of.fraction) * 0.5 / 94548)
    lost = 2 * values * of.cores / 2 ** (of.mantissa_bits + of.guard_bits)
    mean = 2 * e / (1 - e) * values + lost + 2.0**-10
    return 0.5 + out_scale * mean + values * 2.0**-12


@pytest.mark.parametrize("name", ["window", "lambda", "band"])
@pytest.mark.parametrize("out_scale", [1, 8])
def test_results_stay_within_the_bound_of_real_attention(name: str, out_scale: int) -> None:
    """Full attention under the mask in float64. Measured on int8 values: 0.05 of their unit at most."""
    sizes = {"window": {"kind": "window", "window": 16}, "lambda": {"kind": "lambda", "sink": 4, "window": 12},
             "band": {"kind": "window", "window": 9, "lookahead": 8}}
    of = spec(mask=sizes[name], numbers={"out": "int16"}, model={"head_dim": 64, "heads": 2, "kv_heads": 1},
              engine={"lanes": 8})
    for seed, shift in enumerate((17, 19, 20, 21, 23)):
        arrays = operands(of, 33, 64, seed=seed)
        scales = parameters(of, score_multiplier=9000, score_shift=shift, out_scale=4096 * out_scale)
        exact = float_attention(*arrays, mask=of.mask, score_scale=9000 / 2**shift / 2**of.fraction, out_scale=out_scale)
        error = np.abs(window_ring_attention(*arrays, **scales) - exact).max()
        assert error <= bound(of, out_scale), (shift, error)
        assert error <= 0.5 + 0.05 * out_scale, (shift, error)


# ---- beats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MASKS)
def test_each_key_that_a_query_sees_is_sent_once(name: str) -> None:
    of = spec(mask=MASKS[name])
    described = ports(of)
    for queries, keys in SHAPES:
        positions = range(keys - queries, keys)
        seen = [key for key in range(keys) if any(visible(of.mask, i, key) for i in positions)]
        assert ring_rows(of.mask, queries, keys).tolist() == seen
        assert sent_rows(of, queries, keys) == len(seen)
        k = np.arange(2 * keys * 8).reshape(2, keys, 8)
        q = np.zeros((4, queries, 8), np.int64)
        files = case_files(of, Case("one", (Job(q=q, k=k, v=k, score_multiplier=0, score_shift=0, out_scale=0),)))
        beats = [line.split() for line in files["k.txt"].splitlines()]
        assert beats == [list(map(str, k[head, key, start:start + 4])) for head in (0, 1) for key in seen for start in (0, 4)]
        assert described.count("k", attention_ports.Job(queries, keys, 0, 0, 0)) == len(beats)


@pytest.mark.parametrize("name", ["lambda", "band"])
@pytest.mark.parametrize("length", [1, 3, 9])
def test_everything_crosses_the_ports_once(length: int, name: str) -> None:
    of = spec(model={"head_dim": 8, "heads": 1, "kv_heads": 1}, mask=MASKS[name])
    q, k, v = operands(of, length, length)
    job = Job(q=q, k=k, v=v, score_multiplier=0, score_shift=0, out_scale=4096, result=q)
    files = case_files(of, Case("square", (job,)))
    words = sum(files[f"{stream}.txt"].count("\n") * of.lanes for stream in ("q", "k", "v", "result"))
    assert words == length * of.head_dim * (2 + 2)
    assert moved_bits(of, length, length) == words * 8


def test_work_counts_idle_cores_as_padding() -> None:
    of = spec()
    assert useful_macs(of, 4, 4) == 2 * 4 * 8 * (1 + 2 + 3 + 4) and padded_macs(of, 4, 4) == 2 * 4 * 8 * 4 * 5
    assert padded_macs(of, 2, 30) == useful_macs(of, 2, 30) == 2 * 4 * 8 * 2 * 5
    band = spec(mask=MASKS["band"])
    assert useful_macs(band, 4, 4) == 2 * 4 * 8 * (3 + 4 + 4 + 3) and padded_macs(band, 4, 4) == 2 * 4 * 8 * 4 * 5


# ---- the words of a design -----------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"engine": {"tile_q": 4}},
     "engine.tile_q: 4 with schedule window_ring, which has no tile_q; remove it, or write schedule: streaming"),
    ({"engine": {"order": "rows"}},
     "engine.order: rows with schedule window_ring, which has no order; remove it, or write schedule: streaming"),
    ({"bias": {"reach": 4}}, "bias: has no meaning with schedule window_ring; remove it, or write schedule: streaming"),
    ({"rotary": {}}, "rotary: has no meaning with schedule window_ring; remove it, or write schedule: streaming"),
    ({"mask": {"kind": "causal"}},
     "mask.kind: causal with schedule window_ring, whose cores hold the keys of a window; write window or lambda, or schedule: "
     "streaming"),
    ({"mask": {"kind": "window", "window": 513}}, "mask.window: 513 makes 513 cores; at most 512: lower it to 512"),
    ({"mask": {"kind": "lambda", "sink": 12, "window": 512}},
     "mask.window: 12 + 512 makes 524 cores; at most 512: lower it to 500"),
    ({"mask": {"kind": "lambda", "sink": 512, "window": 4}},
     "mask.sink: 512 + 4 makes 516 cores; at most 512: lower it to 508"),
    ({"mask": {"kind": "window", "window": 200, "lookahead": 400}},
     "mask.lookahead: 200 + 400 makes 600 cores; at most 512: lower it to 312"),
    ({"softmax": {"algorithm": "online"}},
     "softmax.algorithm: online with schedule window_ring, which knows the greatest octave of all keys before the first "
     "weight; write two_pass"),
    ({"softmax": {"mantissa_bits": 8}},
     "softmax.guard_bits: 4 with mantissa_bits 8 and 5 cores makes a sum of 16 bits; the divider needs 17: raise it to 5"),
    ({"mask": {"kind": "lambda", "window": 4}}, "mask.sink: there is no sink for kind lambda; write 1 or more"),
]


@pytest.mark.parametrize(("blocks", "message"), REFUSED, ids=lambda case: "")
def test_a_ring_refuses_what_it_cannot_be(blocks: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        spec(**blocks)
    assert message in str(caught.value)


def test_a_mask_that_is_not_written_is_refused_too() -> None:
    with pytest.raises(ValueError, match=r"mask\.kind: none with schedule window_ring, whose cores hold"):
        AttentionSpec.model_validate({"design": "tiny", "family": "attention", "engine": {"schedule": "window_ring"}})


def test_a_field_without_a_meaning_is_not_serialized() -> None:
    assert spec().model_dump()["engine"] == {"schedule": "window_ring", "lanes": 4}
    assert AttentionSpec.model_validate(spec().model_dump()) == spec()


def test_widths_follow_from_the_cores_and_not_from_the_length() -> None:
    short, long = spec(limits={"queries": 8, "keys": 8}), spec(limits={"queries": 8, "keys": 65536})
    for of in (short, long):
        assert (of.cores, of.interval, of.macs_per_cycle, of.total_width, of.accumulator_width) == (5, 4, 40, 20, 28)
        assert of.ring_bits == of.on_chip_bits == 2 * 5 * 8 * 16
    assert spec(engine={"lanes": 1}).interval == 8
    assert spec(mask={"kind": "window", "window": MAX_CORES}).total_width == 17 + 9
    assert (spec(mask=MASKS["band"]).cores, spec(mask=MASKS["ahead"]).cores) == (3 + 2, 2 + 1 + 4)


def test_summary_tells_what_the_ring_comes_to() -> None:
    found = dict(spec().summary())
    assert found["engine"] == "window_ring, 5 cores x 4 lanes, a query every 4 cycles"
    assert found["buffers"] == "1.2 kbit: keys and values 1.2"
    assert dict(schedule_of(of := spec(mask=MASKS["band"])).portrait(of).facts)["Mask"] == (
        "window: a query sees the 3 keys up to its own position, and the 2 behind that")


def test_the_cycle_model_takes_an_interval_for_each_query_whatever_the_window() -> None:
    """N positions of a group: N * group * interval, and a fill that does not depend on N."""
    for group in (1, 2):
        for head_dim, interval in ((8, 4), (32, 8)):
            slopes, fills = set(), []
            for window, lookahead in ((4, 0), (8, 0), (16, 0), (64, 0), (4, 3), (8, 7), (16, 15)):
                of = spec(mask={"kind": "window", "window": window, "lookahead": lookahead},
                          model={"head_dim": head_dim, "heads": group, "kv_heads": 1})
                shapes = [attention_ports.Job(n, n, 0, 0, 0) for n in (20, 60)]
                short, long = (next(iter(schedule_of(of).walk(of, [shape]))).done for shape in shapes)
                slopes.add((long - short) / 40)
                rows = lookahead * of.chunks  # that a head's first query waits for beside its own
                fills.append(short - 20 * group * interval - rows)
            assert slopes == {group * interval}
            assert max(fills) <= 100 and fills[:4] == sorted(fills[:4])


@pytest.mark.parametrize(("window", "lookahead", "cycles"), [
    (4, 0, [1111, 2135, 4183, 8279]), (16, 0, [1121, 2145, 4193, 8289]), (64, 0, [1125, 2149, 4197, 8293]),
    (256, 0, [1129, 2153, 4201, 8297]), (17, 16, [1251, 2275, 4323, 8419])])
def test_the_cycles_of_the_docs_are_those_of_the_model(window: int, lookahead: int, cycles: list[int]) -> None:
    of = spec(mask={"kind": "window", "window": window, "lookahead": lookahead}, engine={"lanes": 8},
              model={"head_dim": 64, "heads": 1, "kv_heads": 1}, limits={"queries": 1024, "keys": 1024})
    shapes = [attention_ports.Job(n, n, 0, 0, 0) for n in (128, 256, 512, 1024)]
    assert [next(iter(schedule_of(of).walk(of, [shape]))).done for shape in shapes] == cycles


@pytest.mark.parametrize("name", ["lambda", "band", "ahead"])
def test_the_rows_of_the_next_job_come_while_this_one_computes(name: str) -> None:
    """Queries of whole sequences follow each other across jobs without a gap; so do those of a job's kv heads."""
    of = spec(model={"head_dim": 32, "heads": 2, "kv_heads": 2}, engine={"lanes": 4}, mask=MASKS[name])
    shapes = [attention_ports.Job(n, n, 0, 0, 0) for n in (30, 20, 40)]
    jobs = list(schedule_of(of).walk(of, shapes))
    assert [b.done - a.done for a, b in pairwise(jobs)] == [2 * 20 * 8, 2 * 40 * 8]
