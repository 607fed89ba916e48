"""Claims about the order of tiles: which beats of a GEMM engine are beats of attention, and what that costs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_chain import as_matrix, design, gemm
from tilewright.emit import rtlil_to_verilog
from tilewright.families.attention.fields import Job
from tilewright.families.attention.hardware import stream_rtlil
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.vectors import pack_keys, pack_rows
from tilewright.families.gemm.vectors import pack_act, result_index

Array = Any


def blocks(*, lanes: int = 2, tile_q: int = 6, kv_heads: int = 2, group: int = 2, head_dim: int = 4, order: str = "tiles",
           mask: str = "causal", positions: int = 64) -> Any:
    """The spec of an attention engine."""
    heads = kv_heads * group
    return design("wired", family="attention", model={"head_dim": head_dim, "heads": heads, "kv_heads": kv_heads}, mask=mask,
                  engine={"tile_q": tile_q, "lanes": lanes, "order": order},
                  limits={"queries": positions, "keys": positions}).spec


def results_of(matrix: Array, *, rows: int, cols: int, dataflow: str) -> list[list[int]]:
    """Beats of ``matrix`` out of a GEMM engine."""
    index = result_index(gemm("made", rows=rows, cols=cols, dataflow=dataflow).spec, *matrix.shape)
    assert (index >= 0).all()
    beats: list[list[int]] = matrix.ravel()[index].tolist()
    return beats


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary"])
@pytest.mark.parametrize(("group", "tile_q"), [(1, 3), (2, 6), (3, 9)])
@pytest.mark.parametrize("queries", [1, 2, 3])
def test_a_tile_of_queries_is_a_matrix_that_a_gemm_made_and_its_results_one_that_a_gemm_takes(
        dataflow: str, group: int, tile_q: int, queries: int) -> None:
    of = blocks(group=group, tile_q=tile_q)
    q = np.arange(of.heads * queries * of.head_dim).reshape(of.heads, queries, of.head_dim)
    beats = pack_rows(of, q).tolist()
    assert beats == results_of(as_matrix(q), rows=3, cols=of.lanes, dataflow=dataflow)
    assert beats == pack_act(gemm("taken", rows=of.lanes, cols=5, dataflow="weight_stationary").spec, as_matrix(q)).tolist()


@pytest.mark.parametrize("queries", [1, 3, 4, 8])
def test_one_kv_head_takes_a_matrix_of_any_length(queries: int) -> None:
    of = blocks(kv_heads=1)
    q = np.arange(of.heads * queries * of.head_dim).reshape(of.heads, queries, of.head_dim)
    assert pack_rows(of, q).tolist() == results_of(as_matrix(q), rows=3, cols=of.lanes, dataflow="output_stationary")


@pytest.mark.parametrize("mask", ["none", "causal", {"kind": "prefix", "prefix": 3}])
@pytest.mark.parametrize("keys", [3, 9])
def test_keys_of_one_beat_are_a_matrix_that_a_gemm_made(mask: Any, keys: int) -> None:
    of = blocks(lanes=4, mask=mask)
    k = np.arange(of.kv_heads * keys * of.head_dim).reshape(of.kv_heads, keys, of.head_dim)
    made = results_of(as_matrix(k), rows=3, cols=of.head_dim, dataflow="weight_stationary")
    assert pack_keys(of, k, 3).tolist() == made


@pytest.mark.parametrize("positions", [128, 1024])
@pytest.mark.parametrize(("mask", "later"), [("none", 24), ("causal", 48)])
def test_the_order_of_tiles_costs_no_throughput(mask: str, later: int, positions: int) -> None:
    job = [Job(queries=positions, keys=positions)]
    engine = {"lanes": 8, "tile_q": 4, "kv_heads": 1, "group": 1, "head_dim": 64, "positions": 1024}
    rows, tiles = (cycles(blocks(order=order, mask=mask, **engine), job) for order in ("rows", "tiles"))
    assert tiles - rows == later


def test_factors_of_two_tiles_are_kept() -> None:
    of = blocks(lanes=8, tile_q=4, kv_heads=1, group=1, head_dim=64)
    found = re.findall(r"memory width \d+ size (\d+) \S*factors", stream_rtlil(of))
    assert found == [str(2 * of.tile_q)]


def test_a_job_for_each_tile_takes_about_as_long_as_one_for_all() -> None:
    of = blocks(lanes=8, tile_q=4, kv_heads=1, group=1, head_dim=64, positions=1024)
    each = [Job(queries=4, keys=end) for end in range(4, 129, 4)]
    assert (cycles(of, each), cycles(of, [Job(queries=128, keys=128)])) == (17_351, 17_167)


def cycles(spec: Any, jobs: Sequence[Job]) -> int:
    """Until the last result leaves."""
    return list(schedule_of(spec).walk(spec, jobs))[-1].done


def test_the_ports_are_those_of_the_docs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "families" / "attention.md").read_text()
    table = text[text.index("| ports, `clk`"):].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+[a-z])`", table)) - {"clk", "rst", "lanes", "unified_max"}
    named |= {f"{other}{name[1:]}" for name in named if name.startswith("q_") for other in "kv"}
    spec = design("attention_ports_named", family="attention", softmax={"algorithm": "unified_max"}).spec
    verilog = rtlil_to_verilog(stream_rtlil(spec))
    found = re.search(r"^module attention_ports_named\((.*?)\);", verilog, re.DOTALL | re.MULTILINE)
    assert found and named | {"clk", "rst"} == set(re.findall(r"\w+", found[1]))
