"""Claims about the block `cache`: what is derived where it is not written, and the text of each refusal."""

from typing import Any

import pytest
from pydantic import ValidationError
from tilewright.canonical import canonical
from tilewright.diagnose import findings
from tilewright.families.attention.spec import AttentionSpec
from tilewright.loader import scan
from tilewright.spec import json_schema

SCHEMA = json_schema(AttentionSpec)
WINDOW = {"kind": "window", "window": 12}
SINKS = {"kind": "lambda", "sink": 4, "window": 12}
LIMITS = {"queries": 16, "keys": 64}


def spec(**blocks: Any) -> AttentionSpec:
    return AttentionSpec.model_validate({"design": "cached", "family": "attention", "limits": LIMITS} | blocks)


def refusals(**blocks: Any) -> list[str]:
    """What the user reads, without file and line."""
    data = {"design": "cached", "family": "attention", "limits": LIMITS} | blocks
    with pytest.raises(ValidationError) as caught:
        AttentionSpec.model_validate(data)
    return [finding.text for finding in findings(caught.value, data, SCHEMA)]


@pytest.mark.parametrize(("blocks", "slots", "ring", "bits", "group"), [
    ({}, 64, 0, 8, 0),
    ({"mask": {"kind": "prefix", "prefix": 3}}, 64, 0, 8, 0),
    ({"mask": WINDOW}, 16, 16, 8, 0),
    ({"mask": WINDOW, "engine": {"tile_q": 8, "lanes": 8}}, 32, 32, 8, 0),
    ({"mask": WINDOW, "engine": {"tile_q": 8, "lanes": 8}, "model": {"heads": 8}}, 16, 16, 8, 0),
    ({"mask": SINKS}, 20, 16, 8, 0),
    ({"mask": SINKS, "cache": {"slots": 36}}, 36, 32, 8, 0),
    ({"cache": {"bits": 4}}, 64, 0, 4, 16),
    ({"cache": {"bits": 4}, "model": {"head_dim": 24}}, 64, 0, 4, 24),
    ({"cache": {"bits": 4, "group": 8}}, 64, 0, 4, 8),
    ({"numbers": {"k": "int4"}}, 64, 0, 4, 16),
    ({"numbers": {"k": "int16", "v": "int16"}}, 64, 0, 16, 0)])
def test_what_is_not_written_is_derived(blocks: dict[str, Any], slots: int, ring: int, bits: int, group: int) -> None:
    found = spec(**{"cache": {}} | blocks)
    assert found.cache is not None
    assert (found.cache.slots, found.cache_ring, found.cache.bits, found.cache.group) == (slots, ring, bits, group)
    assert AttentionSpec.model_validate(scan(canonical(found).encode()).data) == found


def test_the_canonical_text_has_only_what_has_a_meaning() -> None:
    assert "cache:" not in canonical(spec())
    assert "cache:\n  slots: 64\n  bits: 8\ntop:" in canonical(spec(cache={}))
    assert "cache:\n  slots: 20\n  bits: 4\n  group: 16\ntop:" in canonical(spec(cache={"bits": 4}, mask=SINKS))


def test_the_workload_is_a_sequence_unless_written() -> None:
    assert [(job.queries, job.keys) for job in spec(cache={}).workload] == [(16, 16), (1, 17)]
    assert [(job.queries, job.keys) for job in spec(cache={}, limits={"queries": 9, "keys": 9}).workload] == [(9, 9)]


def test_the_bits_of_a_cache_are_counted() -> None:
    assert spec(cache={}).cache_bits == 64 * 64 * (8 + 8)
    few = spec(cache={"bits": 4}, numbers={"v": "int16"}, model={"heads": 4, "kv_heads": 2}, mask=SINKS)
    assert few.cache_bits == 2 * 20 * (64 * 4 + 4 * 3 + 64 * 4 + 4 * 4)
    assert dict(few.summary())["cache"] == (
        "the first 4 keys and a ring of 16 of each kv head, 4 bits an element, an exponent for 16 elements")
    assert dict(spec(cache={}).summary())["cache"] == "64 keys of each kv head, 8 bits an element"


@pytest.mark.parametrize(("blocks", "text"), [
    ({"cache": {"slots": 63}, "mask": "causal"},
     "cache.slots: 63 is below limits.keys, and with mask causal every key stays; raise it to 64"),
    ({"cache": {"slots": 15}, "mask": WINDOW},
     "cache.slots: 15 makes a ring of 15; it has to be a power of two, and at least 16 for a window of 12 and 4 positions of "
     "a tile: write 16"),
    ({"cache": {"slots": 30}, "mask": SINKS},
     "cache.slots: 30 makes a ring of 26 behind 4 sinks; it has to be a power of two, and at least 16 for a window of 12 and "
     "4 positions of a tile: write 36"),
    ({"cache": {"slots": 2}, "mask": SINKS},
     "cache.slots: 2 makes a ring of 0 behind 4 sinks; it has to be a power of two, and at least 16 for a window of 12 and "
     "4 positions of a tile: write 20"),
    ({"cache": {"slots": 0}}, "cache.slots: 0 is not an integer from 1 to 196608"),
    ({"cache": None}, "cache: nothing is not a mapping of slots, bits, group"),
    ({"cache": 5}, "cache: 5 is not a mapping of slots, bits, group"),
    ({"cache": {"bits": 5}}, "cache.bits: 5 is not one of 4, 8, 16"),
    ({"cache": {"bits": 8}, "numbers": {"v": "int4"}}, "cache.bits: 8 is above numbers.v, which is int4; lower it to 4"),
    ({"cache": {"bits": 16}}, "cache.bits: 16 is above numbers.k, which is int8; lower it to 8"),
    ({"cache": {"group": 16}}, "cache.group: 16 with bits 8, which keeps k and v as they are; remove it, or lower bits"),
    ({"cache": {"bits": 4, "group": 24}},
     "cache.group: 24 is not a multiple of engine.lanes, which is 8, that divides model.head_dim, which is 64; the nearest "
     "that is: 32"),
    ({"cache": {"bits": 4, "group": 4}},
     "cache.group: 4 is not a multiple of engine.lanes, which is 8, that divides model.head_dim, which is 64; the nearest "
     "that is: 8"),
    ({"cache": {}, "model": {"heads": 8, "kv_heads": 8, "head_dim": 128}, "limits": {"queries": 16, "keys": 8192}},
     "cache: 128.0 Mbit of keys and values; at most 64: lower limits.keys to 4096"),
    ({"cache": {"slots": 8192}, "model": {"heads": 8, "kv_heads": 8, "head_dim": 128}},
     "cache: 128.0 Mbit of keys and values; at most 64: lower cache.slots to 4096"),
    ({"cache": {}, "model": {"heads": 8, "kv_heads": 8, "head_dim": 128}, "mask": {"kind": "window", "window": 5000}},
     "cache: 128.0 Mbit of keys and values; at most 64: lower mask.window or mask.sink"),
    ({"cache": {}, "engine": {"schedule": "window_ring", "lanes": 8}, "mask": WINDOW},
     "cache: has no meaning with schedule window_ring; remove it, or write schedule: streaming"),
    ({"cache": {}, "engine": {"schedule": "fused2d"}},
     "cache: has no meaning with schedule fused2d; remove it, or write schedule: streaming"),
    ({"cache": {}, "limits": {"queries": 9, "keys": 8}},
     "limits.queries: 9 is above limits.keys, and with a cache a job has no more queries than keys; lower it to 8"),
    ({"cache": {}, "workload": [{"queries": 3, "keys": 2}]},
     "workload[0].queries: 3 with 2 keys; with a cache a job has no more queries than keys: lower it to 2"),
    ({"cache": {}, "workload": [{"queries": 3, "keys": 4}]},
     "workload[0].keys: 4 with 3 queries; the sequence has 0 positions before: write 3"),
    ({"cache": {}, "workload": [{"queries": 3, "keys": 3}, {"queries": 2, "keys": 6}]},
     "workload[1].keys: 6 with 2 queries; the sequence has 3 positions before: write 5, or 2 to begin another"),
])
def test_what_does_not_fit_is_refused_with_the_nearest_that_does(blocks: dict[str, Any], text: str) -> None:
    assert refusals(**blocks) == [text]
