"""Claims about the HLS C++ of schedule `window_ring`: under g++ and the sanitizers it equals the golden model."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from attention_kernels import Kernel, run_kernel, write_kernel
from hls_build import csim
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import cases

Builds = Callable[[str], Kernel]

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


def test_a_row_in_the_wrong_core_is_noticed(built: Builds) -> None:
    folder = built("grouped_lambda").hls.parent
    result = csim(write_kernel(folder / "broken", make_spec("grouped_lambda"), {"attention_cores.h": ("? SINK :", "? 0 :")}))
    assert result.code and result.failed, result.output


def test_files_are_those_of_the_ring_and_name_no_other_schedule(built: Builds) -> None:
    hls = built("band").hls
    own = {path.name for path in hls.iterdir() if path.name.startswith("attention")}
    assert own >= FILES and {name for name in own if name.endswith((".h", ".cpp"))} == FILES
    assert not any(re.search(r"tile_t|ROWS", (hls / name).read_text()) for name in FILES)
