"""Claims about the HLS C++ of schedule `fused2d`: under g++ and the sanitizers it equals the golden model."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attention_kernels import Kernel, run_kernel
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import cases

Builds = Callable[[str], Kernel]

# Between them: grouped heads above and below a tile, a single row or column, each kind of mask, the widest sums.
DESIGNS: dict[str, dict[str, Any]] = {
    "grouped_lambda": {
        "model": {"head_dim": 5, "heads": 4, "kv_heads": 2}, "engine": {"tile_q": 4, "cols": 3},
        "mask": {"kind": "lambda", "sink": 2, "window": 3}, "softmax": {"mantissa_bits": 8, "guard_bits": 1},
        "numbers": {"q": "int16", "k": "int16", "v": "int16", "out": "int16"}, "limits": {"queries": 9, "keys": 300}},
    "shared_keys": {
        "model": {"head_dim": 8, "heads": 6, "kv_heads": 1}, "engine": {"tile_q": 3, "cols": 1},
        "numbers": {"q": "int8", "k": "int4", "v": "int8", "out": "int8"}, "limits": {"queries": 9, "keys": 40}},
    "causal_decode": {
        "model": {"head_dim": 4}, "engine": {"tile_q": 1, "cols": 16}, "mask": {"kind": "causal"},
        "softmax": {"fraction": 12, "mantissa_bits": 15, "guard_bits": 1, "table_bits": 8},
        "numbers": {"q": "int8", "k": "int8", "v": "int16", "out": "int16"}, "limits": {"queries": 9, "keys": 65536}},
    "prefix": {
        "model": {"head_dim": 4, "heads": 2, "kv_heads": 2}, "engine": {"tile_q": 2, "cols": 4},
        "mask": {"kind": "prefix", "prefix": 5}, "limits": {"queries": 9, "keys": 40}},
    "window": {
        "model": {"head_dim": 4}, "engine": {"tile_q": 4, "cols": 4}, "mask": {"kind": "window", "window": 6, "lookahead": 5},
        "limits": {"queries": 20, "keys": 40}},
}


def make_spec(name: str) -> AttentionSpec:
    blocks = DESIGNS[name]
    engine = {"schedule": "fused2d", **blocks["engine"]}
    workload = [{"queries": queries, "keys": keys} for queries, keys in ((9, 40), (1, 33), (5, 12), (4, 4))]
    return AttentionSpec.model_validate(
        {"design": "fused_small", "family": "attention", **blocks, "engine": engine, "workload": workload})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """A design's kernel on its vectors."""
    @cache
    def build(name: str) -> Kernel:
        spec = make_spec(name)
        return run_kernel(tmp_path_factory.mktemp(name), spec, list(cases(spec, seed=5)))

    return build


@pytest.mark.parametrize("name", DESIGNS)
def test_kernel_equals_golden(name: str, built: Builds) -> None:
    built(name).assert_equals_golden()


def test_first_divergence_names_head_position_and_element(built: Builds, tmp_path: Path) -> None:
    kernel = built("grouped_lambda")
    lines = (kernel.vectors("workload") / "result.txt").read_text().splitlines()
    # The second kv head's tiles follow 5 of 2 positions and 2 heads; of its second tile element 3, the last row.
    number = (5 + 1) * 5 + 3
    words = lines[number].split()
    actual = int(words[3])
    workload = next(case for case in kernel.cases if case.name == "workload")
    assert workload.jobs[0].result is not None and actual == workload.jobs[0].result[3, 3, 3]
    words[3] = str(actual + 1)
    lines[number] = " ".join(words)
    result = kernel.rerun(tmp_path, "workload", result="\n".join(lines) + "\n")
    assert result.code == 1 and result.failed == 1
    assert re.findall(r"^MISMATCH .*$", result.output, re.MULTILINE) == [
        f"MISMATCH {tmp_path}: job 0: head 3, position 3, element 3: expected {actual + 1}, actual {actual}"]


def test_a_row_that_is_not_there_does_not_count(built: Builds, tmp_path: Path) -> None:
    kernel = built("grouped_lambda")
    lines = (kernel.vectors("workload") / "result.txt").read_text().splitlines()
    number = 4 * 5  # nine positions of two heads: of the fifth tile two rows are there
    assert lines[number].split()[2:] == ["-", "-"]
    lines[number] = " ".join([*lines[number].split()[:2], "0", "-"])
    result = kernel.rerun(tmp_path, "workload", result="\n".join(lines) + "\n")
    assert result.code == 1
    assert "head 0, position 9, element 0: expected 0, actual 0, not kept" in result.output


@pytest.mark.parametrize("stream", ["q", "k", "v"])
def test_every_operand_reaches_the_results(stream: str, built: Builds, tmp_path: Path) -> None:
    """The first tile of a matrix with all signs turned."""
    kernel = built("grouped_lambda")
    lines = (kernel.vectors("workload") / f"{stream}.txt").read_text().splitlines()
    for number in range(5):
        lines[number] = " ".join(str(-1 - int(word)) for word in lines[number].split())
    result = kernel.rerun(tmp_path, "workload", **{stream: "\n".join(lines) + "\n"})
    assert result.code == 1 and result.failed >= 1
    assert f"MISMATCH {tmp_path}: job 0: head 0, position 0, element " in result.output
