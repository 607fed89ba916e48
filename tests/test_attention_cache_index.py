"""Claims about rotary position embedding by cache index: rows turned by their places among the keys that a query sees."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attention_bench import prove
from attention_softmax import ALGORITHMS
from cache_designs import cached_design
from test_attention import parameters, spec
from test_attention_rotary import bounds, turns, whole_turn
from test_attention_unified import window
from test_spec_attention import refusals
from tilewright.canonical import canonical
from tilewright.families import family_of
from tilewright.families.attention.fields import Job as Shape
from tilewright.families.attention.hardware import cycle_engine, stream_rtlil
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import Stimulus, cases, golden
from tilewright.families.attention.vectors import Job
from tilewright.rtl.attention.score_sequencer import ScoreSequencer
from tilewright.rtl.attention.tile_walker import Mask
from tilewright.sim.golden.attention import float_attention
from tilewright.sim.golden.attention_cache import cached_reference
from tilewright.sim.golden.attention_mask import visible
from tilewright.sim.golden.attention_reference import attention_reference
from tilewright.sim.golden.attention_rotary import float_rotated, rotated_reference
from tilewright.sim.golden.attention_unified import unified_reference

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")  # components that refuse their parameters

BY_PLACE = {"base": 100, "table_bits": 9, "positions": "cache_index"}
MASKS: dict[str, dict[str, Any]] = {
    "window": {"kind": "window", "window": 3}, "lambda": {"kind": "lambda", "sink": 2, "window": 3},
    "one": {"kind": "window", "window": 1}, "wide": {"kind": "lambda", "sink": 1, "window": 40}}
NONE = spec().mask


# ---- golden --------------------------------------------------------------------------------------


def fresh(of: AttentionSpec, job: Job, position: int) -> tuple[list[int], list[list[list[int]]], np.ndarray, np.ndarray]:
    """The keys that the query at ``position`` sees; q, k, v of a sequence that has no others, k as a cache returns it."""
    seen = [key for key in range(job.keys) if visible(of.mask, position, key)]
    k, v = (rows[:, seen] for rows in (job.k, job.v))
    if of.cache:
        k, v = (np.array([[cached_reference(row, bits=of.cache.bits, group=of.cache.group or 8) for row in head]
                          for head in rows.tolist()]) for rows in (k, v))
    return seen, job.q[:, [position - job.keys + job.queries]].tolist(), k, v


def by_big_integers(of: AttentionSpec, job: Job) -> np.ndarray:
    """Each query is the last one of a sequence that it sees all of: keys at 0, 1, ... and itself at the place of the last."""
    tables = turns(of.head_dim, base=100, table_bits=9)["steps"], whole_turn(9)
    results = []
    for position in range(job.keys - job.queries, job.keys):
        seen, q, k, v = fresh(of, job, position)
        last = len(seen) - 1
        q = rotated_reference(q, [last], steps=tables[0], **tables[1], **bounds(of.q.name))
        turned = rotated_reference(k, range(len(seen)), steps=tables[0], **tables[1], **bounds(of.k.name))
        given_all = parameters(of, score_multiplier=job.score_multiplier, score_shift=job.score_shift,
                               out_scale=job.out_scale) | {"mask": NONE}
        if job.bias is not None:  # by the distances of before: the entry of place c is at distance c - last
            reach = job.bias.shape[1] // 2
            given_all["bias"] = np.zeros((len(job.bias), 2 * last + 1), int)
            given_all["bias"][:, :last + 1] = job.bias[:, np.clip(np.array(seen) - position, -reach, reach) + reach]
        result = attention_reference(q, turned, v, tile_q=1, **given_all)
        if of.phi is not None:
            common = {name: value for name, value in given_all.items() if name not in ("octave", "passes", "parabola")}
            near = unified_reference(q, turned, v, **common, **window(of))
            result = [exact if row == [None] else row for row, exact in zip(near, result, strict=True)]
        results.append(np.array(result)[:, 0])
    return np.stack(results, axis=1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", MASKS)
def test_golden_equals_big_integers_on_the_keys_that_are_seen(name: str, algorithm: str) -> None:
    """Streamed with a bias that reaches the sinks, and out of a cache, there as they are and in few bits."""
    stored = [] if algorithm == "unified_max" else [{"cache": {}}, {"cache": {"bits": 4}}]
    for number, blocks in enumerate([{"bias": {"reach": 9, "per_head": True}}, *stored]):
        heads, kv_heads, tile_q = ((4, 2, 2), (2, 2, 1), (3, 1, 1))[number]
        of = spec(model={"head_dim": 8, "heads": heads, "kv_heads": kv_heads}, engine={"tile_q": tile_q, "lanes": 4},
                  mask=MASKS[name], rotary=BY_PLACE, softmax={"algorithm": algorithm},
                  numbers={"k": "int16" if number else "int8", "out": "int16"}, **blocks)
        stimulus = Stimulus(of, np.random.default_rng(number))
        first = stimulus.job(7, 7)
        for job in (first, stimulus.job(4, 11, kept=first.bias)):
            np.testing.assert_array_equal(golden(of, job), by_big_integers(of, job))


def test_keys_in_blocks_are_as_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    of = spec(engine={"tile_q": 2, "lanes": 4}, mask=MASKS["lambda"], rotary=BY_PLACE)
    job = Stimulus(of, np.random.default_rng(1)).job(9, 20)
    monkeypatch.setattr("tilewright.sim.golden.attention_cache_index.BLOCK_ELEMENTS", 2 * 9 * 8 * 2)
    np.testing.assert_array_equal(golden(of, job), job.result)


@pytest.mark.parametrize("cache", [{}, {"cache": {}}])
def test_positions_and_places_are_the_same_until_a_key_is_forgotten(cache: dict[str, Any]) -> None:
    """Steps of a sequence: at position i all of i + 1 keys are seen while i < sink + window."""
    sink, size = 2, 5
    both = [spec(engine={"tile_q": 2, "lanes": 4}, rotary=BY_PLACE | {"positions": positions}, **cache,
                 numbers={"out": "int16"}, mask={"kind": "lambda", "sink": sink, "window": size})
            for positions in ("cache_index", "original")]
    stimulus = Stimulus(both[0], np.random.default_rng(1))
    equal = []
    for keys in range(1, 41):
        job = stimulus.job(1, keys)
        equal.append(np.array_equal(*(golden(of, job) for of in both)))
    assert equal[:sink + size] == [True] * (sink + size) and not any(equal[sink + size:])


def test_error_against_float_attention_with_float_rotations_by_places() -> None:
    """The bound of rotary by positions; places stay below it, however far the sequence has come."""
    of = spec(mask={"kind": "lambda", "sink": 4, "window": 28}, numbers={"q": "int16", "k": "int16"},
              engine={"tile_q": 2, "lanes": 4}, limits={"queries": 64, "keys": 4096},
              rotary={"table_bits": 12, "positions": "cache_index"})
    rng = np.random.default_rng(4)
    queries, keys = 4, 4096
    q, k = rng.integers(-20_000, 20_001, (4, queries, 8)), rng.integers(-20_000, 20_001, (2, keys, 8))
    v = rng.integers(-128, 128, (2, keys, 8))
    scale = 1.5 / (20_000**2 / 3 * math.sqrt(8))
    job = Job(q, k, v, score_multiplier=round(scale * 2**10 * 2**40), score_shift=40, out_scale=4096)
    result, exact, unturned = golden(of, job), [], []
    for index, position in enumerate(range(keys - queries, keys)):
        seen = [*range(4), *range(position - 27, position + 1)]
        turned = float_rotated(k[:, seen], np.arange(32), base=10_000)
        query = float_rotated(q[:, [index]], np.array([31]), base=10_000)
        for found, rows in ((exact, (query, turned)), (unturned, (q[:, [index]], k[:, seen]))):
            found.append(float_attention(*rows, v[:, seen], mask=NONE, score_scale=scale, out_scale=1)[:, 0])
    element = 20_000 * math.sqrt(2) * math.pi / 4096 + 40_000 * 2.0**-15 + 0.5 + 0.1
    most = np.abs(q).max() * math.sqrt(2)
    score = 8 * element * (2 * most + element) * scale
    off, other = (np.abs(result - np.stack(rows, axis=1)).max() for rows in (exact, unturned))
    assert off < 1 + 256 * math.expm1(2 * score) < other


# ---- spec ----------------------------------------------------------------------------------------


LAMBDA = {"kind": "lambda", "sink": 4, "window": 60}


@pytest.mark.parametrize(("blocks", "text"), [
    ({"rotary": {"positions": "relative"}}, "rotary.positions: 'relative' is not one of original, cache_index"),
    *(({"rotary": BY_PLACE, "mask": mask, "engine": {"tile_q": 1}},
       f"rotary.positions: cache_index with mask {kind}, which forgets no key: places are positions; write original, or mask "
       "window or lambda")
      for kind, mask in (("none", "none"), ("causal", "causal"), ("prefix", {"kind": "prefix", "prefix": 3}))),
    ({"rotary": BY_PLACE, "mask": LAMBDA | {"lookahead": 3}, "engine": {"tile_q": 1}},
     "rotary.positions: cache_index with mask.lookahead 3, where a query is not the last of the keys that it sees; write "
     "original, or remove the lookahead"),
    ({"rotary": BY_PLACE, "mask": LAMBDA},
     "engine.tile_q: 4 with rotary.positions cache_index, where the rows of a tile share each turned key, and "
     "heads / kv_heads 1: a tile has 4 positions; write 1"),
    ({"rotary": BY_PLACE, "mask": LAMBDA, "model": {"heads": 6, "kv_heads": 1}, "engine": {"tile_q": 12}},
     "engine.tile_q: 12 with rotary.positions cache_index, where the rows of a tile share each turned key, and "
     "heads / kv_heads 6: a tile has 2 positions; write 6"),
    ({"rotary": BY_PLACE, "mask": LAMBDA, "engine": {"schedule": "window_ring"}},
     "rotary: has no meaning with schedule window_ring; remove it, or write schedule: streaming"),
])
def test_places_that_cannot_be_are_refused(blocks: dict[str, Any], text: str) -> None:
    assert refusals(**blocks) == [text]


@pytest.mark.parametrize("group", [1, 3, 8])
def test_the_tile_that_a_refusal_names_is_accepted(group: int) -> None:
    blocks = {"rotary": BY_PLACE, "mask": LAMBDA, "model": {"heads": 2 * group, "kv_heads": 2}}
    (text,) = refusals(**blocks, engine={"tile_q": 2 * group})
    assert spec(**blocks, engine={"tile_q": int(text.rpartition(" ")[2])}).tile_positions == 1


def test_positions_are_written_down_only_where_they_are_places() -> None:
    of = spec(rotary=BY_PLACE, mask=MASKS["lambda"], engine={"tile_q": 2, "lanes": 4})
    assert "\nrotary:\n  base: 100\n  table_bits: 9\n  positions: cache_index\nsoftmax:\n" in canonical(of)
    assert canonical(spec(rotary={"positions": "original"})) == canonical(spec(rotary={}))
    assert dict(of.summary())["rotary"] == "base 100, 512 angles, by place among the 5 keys that are seen"
    (fact,) = (text for topic, text in family_of(of).portrait(of).facts if topic == "Rotary")
    assert fact == "base 100, pairs of elements turned in steps of 1/512 turn, by their place among the keys that a query sees"


# ---- hardware ------------------------------------------------------------------------------------


def rotary_modules(of: AttentionSpec) -> list[str]:
    """The RTL of all that turns rows, without where it stands in the source."""
    modules, inside = [], False
    for line in stream_rtlil(of).splitlines():
        if line.startswith("module"):
            inside = "rotary" in line
        if inside and not line.lstrip().startswith("attribute"):
            modules.append(line)
    return modules


def test_angles_do_not_grow_with_the_sequence() -> None:
    """The very same modules for 64 keys and 65 536, whose factor is a place among 11."""
    few, many = (rotary_modules(spec(
        mask={"kind": "lambda", "sink": 2, "window": 9}, engine={"tile_q": 2, "lanes": 4}, cache={}, rotary=BY_PLACE,
        limits={"queries": 8, "keys": keys})) for keys in (64, 65_536))
    assert few == many and len(few) > 500
    assert any("wire width 4 " in line and r"\position" in line for line in few)


def test_a_key_takes_no_longer_and_a_cache_hands_it_on_before_it_is_turned() -> None:
    blocks = {"mask": MASKS["lambda"], "engine": {"tile_q": 2, "lanes": 4}}
    jobs = [Shape(queries=9, keys=9), Shape(queries=3, keys=12), *(Shape(queries=1, keys=keys) for keys in range(13, 30))]
    for cache in ({}, {"cache": {"bits": 4}}):
        places, positions = (spec(**blocks, **cache, rotary=BY_PLACE | {"positions": name})
                             for name in ("cache_index", "original"))
        done, others = (list(schedule_of(of).walk(of, jobs)) for of in (places, positions))
        assert [job.active for job in done] == [job.active for job in others]
        if not cache:
            assert done == others
        leads = [cycle_engine(of) for of in (places, positions)]
        assert [(one.query_lead, one.key_lead) for one in leads] == ([(12, 15), (12, 3)] if cache else [(12, 12)] * 2)
        assert leads[1].append_latency["k"] - leads[0].append_latency["k"] == (12 if cache else 0)


def test_the_sequencer_refuses_rows_that_do_not_see_the_same_keys() -> None:
    with pytest.raises(ValueError, match="rows must divide group where keys have places, not 4 and 2"):
        ScoreSequencer(rows=4, group=2, chunks=1, interval=5, mask=Mask("window", window=3), keys_max=9, places=3)


@pytest.mark.parametrize("rotary", [{}, {"rotary": {}}, {"rotary": {"positions": "cache_index"}}])
def test_the_page_tells_what_a_step_takes(rotary: dict[str, Any]) -> None:
    of = AttentionSpec.model_validate({
        "design": "page", "family": "attention", "mask": {"kind": "lambda", "sink": 4, "window": 124}, "cache": {},
        "engine": {"tile_q": 1}, **rotary})
    jobs = [Shape(queries=1000, keys=1000), *(Shape(queries=1, keys=keys) for keys in range(1001, 1020))]
    *_, before, last = schedule_of(of).walk(of, jobs)
    assert last.done - before.done == 1024


STEPS = [{"queries": 7, "keys": 7}, *({"queries": 1, "keys": keys} for keys in range(8, 49))]


def test_decoding_goes_over_the_end_of_a_ring_with_sinks_many_times(tmp_path: Path) -> None:
    """41 steps behind a prompt of 7, through a ring of 4 of compressed keys; two heads of keys, each a tile of two rows."""
    design = cached_design(
        model={"head_dim": 8, "heads": 4, "kv_heads": 2}, mask={"kind": "lambda", "sink": 2, "window": 4},
        cache={"bits": 4}, numbers={"k": "int16"}, rotary=BY_PLACE, limits={"queries": 9, "keys": 48}, workload=STEPS)
    assert design.spec.cache_ring == 4
    (decode,) = (case for case in cases(design.spec, seed=1) if case.name == "workload")
    assert len(decode.jobs) == 42 and decode.jobs[-1].keys > 10 * design.spec.cache_ring
    assert prove(design, tmp_path) > 1000
