"""Claims about the HLS C++ of schedule `window_ring`: under g++ and the sanitizers it equals the golden model."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hls_build import Run, csim
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import cases
from tilewright.families.attention.vectors import Case, write_case
from tilewright.families.attention.window_ring_hls import hls_context
from tilewright.hls import render_hls

Builds = Callable[[str], tuple[Path, list[Case], Run]]

# Between them: grouped and single heads, both masks, one core, one beat and several, the narrowest and the widest sums.
DESIGNS: dict[str, dict[str, Any]] = {
    "grouped_lambda": {
        "model": {"head_dim": 12, "heads": 4, "kv_heads": 2}, "engine": {"lanes": 3},
        "mask": {"kind": "lambda", "sink": 2, "window": 3, "lookahead": 4}, "softmax": {"mantissa_bits": 8, "guard_bits": 8},
        "numbers": {"q": "int16", "k": "int16", "v": "int16", "out": "int16"}},
    "band": {
        "model": {"head_dim": 4, "heads": 2, "kv_heads": 2}, "engine": {"lanes": 4},
        "mask": {"kind": "window", "window": 3, "lookahead": 5},
        "softmax": {"mantissa_bits": 8, "guard_bits": 5},
        "numbers": {"q": "int8", "k": "int8", "v": "int8", "out": "int16"}},
    "own_key": {
        "model": {"head_dim": 6, "heads": 3, "kv_heads": 1}, "engine": {"lanes": 2}, "mask": {"kind": "window", "window": 1},
        "softmax": {"fraction": 12, "mantissa_bits": 15, "guard_bits": 1, "table_bits": 8},
        "numbers": {"q": "int8", "k": "int4", "v": "int4", "out": "int8"}},
}
FILES = {"attention.h", "attention_cores.h", "attention.cpp", "attention_tb.cpp"}


def make_spec(name: str) -> AttentionSpec:
    blocks = DESIGNS[name]
    workload = [{"queries": queries, "keys": keys} for queries, keys in ((9, 40), (1, 33), (5, 12), (4, 4))]
    return AttentionSpec.model_validate({
        "design": "ring_small", "family": "attention", "limits": {"queries": 9, "keys": 40}, "workload": workload, **blocks,
        "engine": {"schedule": "window_ring", **blocks["engine"]}})


def write_hls(folder: Path, name: str, **edits: tuple[str, str]) -> Path:
    """The ``hls`` folder of a design, in each file of ``edits`` (dots are ``_dot_``) one text replaced."""
    for path, text in render_hls(hls_context(make_spec(name))).items():
        old, new = edits.get(path.replace(".", "_dot_"), ("", ""))
        assert old in text, f"{path} has no {old!r}"
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace(old, new) if old else text)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """The ``hls`` folder of a design, compiled; its vectors in ``../sim/vectors``, and how they went."""
    @cache
    def build(name: str) -> tuple[Path, list[Case], Run]:
        spec = make_spec(name)
        folder = tmp_path_factory.mktemp(name)
        vectors = list(cases(spec, seed=5))
        for case in vectors:
            write_case(folder / "sim" / "vectors" / case.name, spec, case)
        hls = write_hls(folder / "hls", name)
        return hls, vectors, csim(hls)

    return build


@pytest.mark.parametrize("name", DESIGNS)
def test_kernel_equals_golden(name: str, built: Builds) -> None:
    _, vectors, result = built(name)
    assert result.code == 0 and result.failed == 0, result.output
    results = [job.result for case in vectors for job in case.jobs if job.result is not None]
    assert result.compared == sum(values.size for values in results)
    refusals = 5 + 6 * 2  # illegal shapes; six misplaced ends, each with a good job behind it
    assert result.passed >= len(results) + refusals


def test_a_row_in_the_wrong_core_is_noticed(built: Builds) -> None:
    hls, _, _ = built("grouped_lambda")
    broken = write_hls(hls.parent / "broken", "grouped_lambda", attention_cores_dot_h=("? SINK :", "? 0 :"))
    result = csim(broken)
    assert result.code and result.failed, result.output


def test_files_are_those_of_the_ring_and_name_no_other_schedule(built: Builds) -> None:
    hls, _, _ = built("band")
    own = {path.name for path in hls.iterdir() if path.name.startswith("attention")}
    assert own >= FILES and {name for name in own if name.endswith((".h", ".cpp"))} == FILES
    assert not any(re.search(r"tile_t|ROWS", (hls / name).read_text()) for name in FILES)
