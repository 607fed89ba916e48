"""Claims about attention engines as hardware: every pair of choices that the schema allows equals the golden model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from attention_bench import memories, prove
from attention_softmax import ALGORITHMS, softmax
from gemm_designs import CACHE
from pairwise import pairwise_rows, spanning_rows
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.families.attention.stimulus import Stimulus
from tilewright.families.attention.vectors import Case, case_files
from tilewright.verify import verify

# Sizes are small, so that pipelines, banks and slots are never long in the same state.
MASKS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"}, "causal": {"kind": "causal"}, "window": {"kind": "window", "window": 5},
    "lambda": {"kind": "lambda", "sink": 2, "window": 4}, "prefix": {"kind": "prefix", "prefix": 3}}
AHEAD = {"window": {"window": 3, "lookahead": 4}, "lambda": {"sink": 3, "window": 2, "lookahead": 3}}
HEADS = {  # heads, kv_heads, tile_q: groups of one; a tile of whole groups, no powers of two; a group of whole tiles
    "mha": (1, 1, 4), "whole_groups": (9, 3, 6), "whole_tiles": (8, 1, 2)}
CHUNKS = {"one": (4, 4), "fewer_than_rows": (6, 2), "many": (16, 2)}  # head_dim, lanes
FORMATS = {
    "int8": ("int8", "int8", "int8", "int8"), "wide": ("int16", "int8", "int16", "int16"),
    "mixed": ("int4", "int16", "int4", "int8")}
ORDERS = ("rows", "tiles")
BIASES = {"none": None, "near": {"reach": 2}, "far": {"reach": 6, "per_head": True}}  # one table where there is one head
ROTARIES = {"none": None, "coarse": {"base": 100, "table_bits": 6}, "fine": {"table_bits": 12},
            "by_place": {"base": 100, "table_bits": 9, "positions": "cache_index"}}
WIDTHS = {"fine": (12, 15, 1, 6), "coarse": (8, 8, 8, 3)}  # fraction, mantissa, guard, table
JOBS = ((7, 11), (1, 40))  # queries, keys
CACHES: dict[str, dict[str, Any] | None] = {"no_cache": None, "kept": {}, "four_bits": {"bits": 4}}
SEQUENCE = ((7, 7), (4, 11), (1, 12), (9, 21))
FACTORS: dict[str, tuple[str, ...]] = {
    "mask": tuple(MASKS), "looks": ("back", "ahead"), "heads": tuple(HEADS), "chunks": tuple(CHUNKS), "formats": tuple(FORMATS),
    "widths": tuple(WIDTHS), "algorithm": ALGORITHMS, "bias": tuple(BIASES), "rotary": tuple(ROTARIES), "order": ORDERS,
    "cache": tuple(CACHES)}


def is_legal(row: Mapping[str, str]) -> bool:
    """Whether the two orders of a row's beats differ, places are no positions, and neither they nor a cache look ahead."""
    if row["looks"] == "ahead" and (row["mask"] not in AHEAD or row["cache"] != "no_cache" or row["rotary"] == "by_place"):
        return False
    if row["rotary"] == "by_place" and (row["mask"] not in ("window", "lambda") or row["heads"] != "whole_tiles"):
        return False
    return row["order"] == "rows" or not (row["heads"] == "whole_tiles" or (row["heads"], row["chunks"]) == ("mha", "one"))


def design_of(row: Mapping[str, str], *, queries: int = 9, keys: int = 40,
              jobs: Sequence[tuple[int, int]] | None = None) -> Design:
    """The design of a row."""
    cache = CACHES[row["cache"]]
    jobs = jobs or (JOBS if cache is None else SEQUENCE)
    heads, kv_heads, tile_q = HEADS[row["heads"]]
    mask = MASKS[row["mask"]] | (AHEAD[row["mask"]] if row["looks"] == "ahead" else {})
    head_dim, lanes = CHUNKS[row["chunks"]]
    fraction, mantissa_bits, guard_bits, table_bits = WIDTHS[row["widths"]]
    bias, rotary = BIASES[row["bias"]], ROTARIES[row["rotary"]]
    text = yaml.safe_dump({
        **({"bias": {**bias, **({"per_head": False} if heads == 1 else {})}} if bias else {}),
        **({"rotary": rotary} if rotary else {}),
        "design": "pairs", "family": "attention", "model": {"head_dim": head_dim, "heads": heads, "kv_heads": kv_heads},
        "engine": {"tile_q": tile_q, "lanes": lanes, "order": row["order"]}, "mask": mask,
        "softmax": softmax(row["algorithm"], fraction=fraction, mantissa_bits=mantissa_bits, guard_bits=guard_bits,
                           table_bits=table_bits),
        "numbers": dict(zip(("q", "k", "v", "out"), FORMATS[row["formats"]], strict=True)),
        **({} if cache is None else {"cache": cache}),
        "limits": {"queries": queries, "keys": keys}, "workload": [{"queries": m, "keys": n} for m, n in jobs]})
    return parse_design(text.encode(), source="pairs.yaml")


PLAIN = {"mask": "none", "looks": "back", "heads": "mha", "chunks": "many", "formats": "int8", "widths": "fine",
         "algorithm": "two_pass", "bias": "none", "rotary": "none", "order": "rows", "cache": "no_cache"}
ROWS = list(pairwise_rows(FACTORS, is_legal))
SUITE = spanning_rows(ROWS, "mask", "algorithm")


@pytest.mark.parametrize("row", SUITE, ids=lambda row: "-".join(row.values()))
def test_every_mask_with_every_algorithm_equals_golden(row: dict[str, str], tmp_path: Path) -> None:
    """And every other choice with some of them; every pair of choices: ``volume_attention.py``."""
    assert prove(design_of(row), tmp_path) > 1000


def test_verify_proves_it(tmp_path: Path) -> None:
    row = next(row for row in SUITE if row["order"] == "tiles" and row["bias"] != "none" and row["cache"] == "no_cache")
    outcome = verify(build(design_of(row), tmp_path), cache=CACHE.parent)
    assert outcome.passed, outcome.first_divergence
    assert sum(check.vectors for check in outcome.checks) > 1000


def test_a_workload_that_ends_before_a_reset_could_come_is_verified(tmp_path: Path) -> None:
    outcome = verify(build(design_of(PLAIN, jobs=((1, 1),)), tmp_path / "build"), cache=CACHE.parent)
    assert outcome.passed, outcome.first_divergence
    assert any(check.name == "rtl == golden after reset in cycle 7: workload" for check in outcome.checks)


@pytest.mark.parametrize(("algorithm", "times"), [("two_pass", 2), ("three_pass", 3), ("ibert", 3)])
@pytest.mark.parametrize("length", [1, 4, 7, 9])
def test_keys_and_values_come_once_for_each_tile_and_keys_twice_where_their_maximum_comes_first(
        length: int, algorithm: str, times: int) -> None:
    spec = design_of(PLAIN | {"algorithm": algorithm}).spec
    job = Stimulus(spec, np.random.default_rng(1)).job(length, length)
    files = case_files(spec, Case("square", (job,)))
    words = sum(files[f"{stream}.txt"].count("\n") * spec.lanes for stream in ("q", "k", "v", "result"))
    assert words == length * spec.head_dim * (2 + times * -(-length // spec.tile_q))


@pytest.mark.parametrize("algorithm", FACTORS["algorithm"])
def test_no_memory_grows_with_the_sequence(algorithm: str) -> None:
    short, long = (design_of(PLAIN | {"algorithm": algorithm}, keys=keys) for keys in (64, 65_536))
    few, many = memories(short.spec), memories(long.spec)
    assert few.keys() == many.keys()
    assert {name: depth for name, (_, depth) in few.items()} == {name: depth for name, (_, depth) in many.items()}
    for design, found in ((short, few), (long, many)):
        bits = {name.rpartition(" ")[2]: width * depth for name, (width, depth) in found.items()}
        assert design.spec.tile_q * bits["queries"] == design.spec.query_buffer_bits
        assert design.spec.tile_q * (bits["sums_0"] + bits["sums_1"]) == design.spec.accumulator_bits
