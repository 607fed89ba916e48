"""Claims about the HLS C++ of `family: attention`: under g++ and the sanitizers it equals the golden model."""

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import attention_clamp
import numpy as np
import pytest
from attention_kernels import Kernel, run_kernel, write_kernel
from attention_softmax import softmax
from hls_build import numbers_in, run
from tilewright.families.attention.hls import hls_context
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import with_result
from tilewright.families.attention.vectors import Case, Job
from tilewright.hls import render_hls
from tilewright.sim.golden.attention_mask import tile_keys, visible

Builds = Callable[[str], Kernel]

MASKS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"}, "causal": {"kind": "causal"}, "window": {"kind": "window", "window": 3},
    "lambda": {"kind": "lambda", "sink": 2, "window": 3}, "prefix": {"kind": "prefix", "prefix": 5},
    "band": {"kind": "window", "window": 3, "lookahead": 2},
    "lambda_ahead": {"kind": "lambda", "sink": 2, "window": 2, "lookahead": 4}}

# Between them: grouped heads above and below a tile, ragged tiles, both orders of beats, one and several to a row, each
# algorithm, the widest sums.
DESIGNS: dict[str, dict[str, Any]] = {
    "grouped_lambda_online_shift": {
        "model": {"head_dim": 12, "heads": 4, "kv_heads": 2}, "engine": {"tile_q": 4, "lanes": 3, "order": "tiles"},
        "mask": MASKS["lambda"],
        "softmax": {"algorithm": "online_shift", "mantissa_bits": 8, "guard_bits": 0},
        "numbers": {"q": "int16", "k": "int16", "v": "int16", "out": "int16"}, "limits": {"queries": 9, "keys": 300}},
    "shared_keys_two_pass": {
        "model": {"head_dim": 8, "heads": 6, "kv_heads": 1}, "engine": {"tile_q": 3, "lanes": 8},
        "numbers": {"q": "int8", "k": "int4", "v": "int8", "out": "int8"}, "limits": {"queries": 9, "keys": 40}},
    "prefix_online": {
        "model": {"head_dim": 6, "heads": 2, "kv_heads": 2}, "engine": {"tile_q": 2, "lanes": 3}, "mask": MASKS["prefix"],
        "softmax": {"algorithm": "online", "mantissa_bits": 15, "guard_bits": 1},
        "numbers": {"q": "int8", "k": "int8", "v": "int16", "out": "int16"}, "limits": {"queries": 9, "keys": 65536}},
    "band_three_pass": {
        "model": {"head_dim": 6, "heads": 4, "kv_heads": 1}, "engine": {"tile_q": 2, "lanes": 3}, "mask": MASKS["band"],
        "softmax": {"algorithm": "three_pass", "mantissa_bits": 15, "guard_bits": 1},
        "numbers": {"q": "int8", "k": "int8", "v": "int16", "out": "int16"}, "limits": {"queries": 9, "keys": 65536}},
    "lambda_ibert": {
        "model": {"head_dim": 8, "heads": 2, "kv_heads": 2}, "engine": {"tile_q": 3, "lanes": 8},
        "mask": MASKS["lambda_ahead"],
        "softmax": {"algorithm": "ibert", "fraction": 12}, "limits": {"queries": 9, "keys": 65536}},
    "causal_unified": {
        "model": {"head_dim": 6, "heads": 4, "kv_heads": 2}, "engine": {"tile_q": 2, "lanes": 3}, "mask": MASKS["causal"],
        "softmax": {"algorithm": "unified_max", "phi": 1, "window": [-8, 9]},
        "numbers": {"q": "int8", "k": "int8", "v": "int16", "out": "int16"}, "limits": {"queries": 9, "keys": 40}},
    "far_unified": {
        "model": {"head_dim": 6, "heads": 2, "kv_heads": 2}, "engine": {"tile_q": 2, "lanes": 2}, "rotary": {"base": 10},
        "softmax": {"algorithm": "unified_max", "phi": -12, "window": [-1, 1]},
        "limits": {"queries": 9, "keys": 40}},
}
SHAPES = [(9, 40), (1, 1), (1, 33), (9, 9), (5, 12), (2, 17), (4, 4), (7, 30)]
HEADERS = os.environ.get("TILEWRIGHT_HLS_HEADERS", "")
FILES = {"attention.h", "attention_tile.h", "attention_softmax.h", "attention_rows.h", "attention.cpp", "attention_tb.cpp"}


def make_spec(**blocks: Any) -> AttentionSpec:
    return AttentionSpec.model_validate({
        "design": "attention_small", "family": "attention", "model": {"head_dim": 8}, "engine": {"tile_q": 2, "lanes": 4},
        "limits": {"queries": 9, "keys": 20}, **blocks})


def make_case(spec: AttentionSpec, seed: int) -> Case:
    """A job of each shape, its scores closer together or further apart, every other with ties; then the ends of every field.

    With the multiplier 0 the results are plain means of a few values, halved: ties again.
    """
    rng = np.random.default_rng(seed)
    largest = spec.head_dim * spec.q.low * spec.k.low
    ends = [(0, 63, 1 << 11), ((1 << 24) - 1, 0, (1 << 16) - 1), ((1 << 24) - 1, 63, 1), (1, 1, 0)]
    jobs = []
    for index, (queries, keys) in enumerate([*SHAPES, *[(4, 4)] * len(ends)]):
        q = numbers_in(rng, spec.q, (spec.heads, queries, spec.head_dim))
        k = numbers_in(rng, spec.k, (spec.kv_heads, keys, spec.head_dim))
        v = numbers_in(rng, spec.v, (spec.kv_heads, keys, spec.head_dim))
        if index % 3 == 1:
            v[:] = spec.v.low  # the lowest sums there can be
        if index < len(SHAPES):
            shift = largest.bit_length() + 24 - spec.fraction - 2 * (index % 4) - 1
            multiplier = int(rng.integers(1 << 23, 1 << 24)) if index % 2 else 1 << 23
            scales = multiplier, shift, int(rng.integers(1 << 11, 1 << 14))
        else:
            scales = ends[index - len(SHAPES)]
        jobs.append(with_result(spec, Job(q, k, v, *scales)))
    return Case("base", tuple(jobs))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """A design's kernel on its vectors."""
    @cache
    def build(name: str) -> Kernel:
        spec = make_spec(**DESIGNS[name])
        return run_kernel(tmp_path_factory.mktemp(name), spec, [make_case(spec, seed=5)])

    return build


@pytest.mark.parametrize("name", DESIGNS)
def test_kernel_equals_golden(name: str, built: Builds) -> None:
    kernel, spec = built(name), make_spec(**DESIGNS[name])
    kernel.assert_equals_golden()
    elements = np.concatenate([job.result.ravel() for job in kernel.cases[0].jobs if job.result is not None])
    assert {spec.out.low, 0, spec.out.high} <= set(elements.tolist())
    assert len(np.unique(elements)) > 100


@pytest.mark.skipif(
    not (HEADERS and (Path(HEADERS) / "ap_int.h").is_file()),
    reason="TILEWRIGHT_HLS_HEADERS does not name a folder with the published ap_int.h")
@pytest.mark.parametrize("name", DESIGNS)
def test_kernel_equals_golden_with_the_published_headers(name: str, tmp_path: Path) -> None:
    spec = make_spec(**DESIGNS[name])
    kernel = run_kernel(tmp_path, spec, [make_case(spec, seed=23)], f"HLS_INCLUDE={HEADERS}")
    kernel.assert_equals_golden(refusals=0)


def test_a_mean_beyond_its_values_is_clamped(tmp_path: Path) -> None:
    spec = make_spec(**attention_clamp.blocks("int16"))
    jobs = [with_result(spec, Job(*attention_clamp.operands(value), **attention_clamp.SCALES)) for value in (-32768, 32767)]
    kernel = run_kernel(tmp_path, spec, [Case("base", tuple(jobs))])
    kernel.assert_equals_golden()
    assert kernel.outcome.compared == 8


def test_first_divergence_names_head_position_and_element(built: Builds, tmp_path: Path) -> None:
    kernel = built("grouped_lambda_online_shift")
    case = kernel.cases[0]
    lines = (kernel.vectors("base") / "result.txt").read_text().splitlines()
    # The second kv head follows 9 positions of 2 heads in 4 chunks, its second tile 2 positions; there the second head follows
    # 4 chunks of 2 positions: its third chunk, the tile's second position.
    number = (9 + 2) * 2 * 4 + 4 * 2 + 2 * 2 + 1
    words = lines[number].split()
    actual = int(words[1])
    assert case.jobs[0].result is not None and actual == case.jobs[0].result[3, 3, 7]
    words[1] = str(actual + 1)
    lines[number] = " ".join(words)
    lines[-1] = "0 1 2"
    result = kernel.rerun(tmp_path, "base", result="\n".join(lines) + "\n")
    assert result.code == 1 and (result.passed, result.failed) == (len(case.jobs) - 2, 2)
    assert re.findall(r"^MISMATCH .*$", result.output, re.MULTILINE) == [
        f"MISMATCH {tmp_path}: job 0: head 3, position 3, element 7: expected {actual + 1}, actual {actual}"]
    assert f"reproduce: ./csim.bin {tmp_path}" in result.output


@pytest.mark.parametrize("stream", ["q", "k", "v"])
def test_every_operand_reaches_the_results(stream: str, built: Builds, tmp_path: Path) -> None:
    """The first row of a matrix with all signs turned."""
    kernel = built("grouped_lambda_online_shift")
    lines = (kernel.vectors("base") / f"{stream}.txt").read_text().splitlines()
    for number in range(4):
        lines[number] = " ".join(str(-1 - int(word)) for word in lines[number].split())
    result = kernel.rerun(tmp_path, "base", **{stream: "\n".join(lines) + "\n"})
    assert result.code == 1 and result.failed == 1
    assert re.search(f"^MISMATCH {tmp_path}: job 0: head 0, position 0, element 0: ", result.output, re.MULTILINE)


@pytest.mark.parametrize(("edits", "code", "message"), [
    ({"k": "1 2 3\n"}, 2, "k.txt:2: ends before its job does"),
    ({"v": "1 2 32768\n"}, 2, "v.txt:1: does not fit the port"),
    ({"jobs": "1 1 1 64 1\n"}, 2, "jobs.txt:1: does not fit the port"),
    ({"jobs": "1 1 1 0 1\n"}, 2, "q.txt:17: has more beats than the jobs need"),
    (dict.fromkeys(["jobs", "q", "k", "v", "result"], ""), 1, "MISMATCH: no value was compared"),
])
def test_unusable_vectors_are_told(
        edits: dict[str, str], code: int, message: str, built: Builds, tmp_path: Path) -> None:
    kernel = built("grouped_lambda_online_shift")
    result = kernel.rerun(tmp_path, "base", **edits)
    assert result.code == code and message in result.output


# ---- which keys a tile meets ----

WALK = """
static void walk_%(name)s(unsigned queries, unsigned keys) {
    using namespace %(name)s_engine;
    job_t job;
    job.queries = queries;
    job.keys = keys;
    for (unsigned base = 0; base < queries * GROUP; base += ROWS) {
        const tile_t tile = tile_at(job, base);
        for (int key = tile.first_key; key <= tile.last_key; key = key_after(tile, key)) {
            std::printf("%(name)s %%u %%u %%u %%d ", queries, keys, base, key);
            for (int row = 0; row < ROWS; row++) std::printf("%%d", sees(tile, row, key));
            std::printf("\\n");
        }
    }
}
"""


def walk_program(specs: dict[str, AttentionSpec], shapes: list[tuple[int, int]]) -> str:
    """Prints, for every mask, shape, tile and key of the tile: name, queries, keys, first row, key, who sees it."""
    lines = ["#include <cstdio>"]
    for name in specs:
        lines += [f"#define engine {name}_engine", f'#include "{name}/attention_tile.h"', "#undef engine"]
        lines.append(WALK % {"name": name})
    lines.append("int main() {")
    for name, spec in specs.items():
        lines += [f"    walk_{name}({queries}, {keys});" for queries, keys in shapes
                  if keys >= queries or not spec.mask.needs_positions]
    return "\n".join([*lines, "    return 0;", "}", ""])


def expected_walk(name: str, spec: AttentionSpec, queries: int, keys: int) -> list[str]:
    rows, group = queries * spec.group, spec.group
    lines = []
    for base in range(0, rows, spec.tile_q):
        tile = range(base, base + spec.tile_q)
        positions = [row // group + keys - queries for row in tile]
        for key in tile_keys(spec.mask, positions[0], positions[min(spec.tile_q, rows - base) - 1], keys):
            seen = [int(row < rows and bool(visible(spec.mask, position, key)))
                    for row, position in zip(tile, positions, strict=True)]
            assert any(seen)
            lines.append(f"{name} {queries} {keys} {base} {key} {''.join(map(str, seen))}")
    return lines


def test_tiles_meet_the_keys_of_the_golden_model(tmp_path: Path) -> None:
    """Every mask, with a tile of several positions and with several tiles of one."""
    engines = {"wide": {"heads": 2, "tile_q": 6}, "narrow": {"heads": 4, "tile_q": 2}}
    specs = {
        f"{kind}_{size}": make_spec(
            design=f"{kind}_{size}", mask=mask, model={"head_dim": 8, "heads": engine["heads"]},
            engine={"tile_q": engine["tile_q"], "lanes": 4})
        for kind, mask in MASKS.items() for size, engine in engines.items()}
    shapes = [(1, 1), (1, 2), (1, 7), (1, 20), (2, 2), (4, 4), (4, 9), (5, 6), (7, 8), (9, 9), (9, 10), (9, 20), (3, 2)]
    for name, spec in specs.items():
        write_kernel(tmp_path / name, spec)
    (tmp_path / "walk.cpp").write_text(walk_program(specs, shapes))
    shim = tmp_path / "none_wide" / "ap_shim"
    built = run(["g++", "-std=c++14", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function", "-Werror",
                 f"-I{shim}", f"-I{shim / 'streams'}", "walk.cpp", "-o", "walk"], tmp_path)
    assert built.code == 0, built.output
    expected = [line for name, spec in specs.items() for queries, keys in shapes
                if keys >= queries or not spec.mask.needs_positions for line in expected_walk(name, spec, queries, keys)]
    assert run(["./walk"], tmp_path).output.splitlines() == expected


# ---- rendering ----

EXPONENTIALS = [("two_pass", 5), ("online_shift", 8), ("online", 3), ("three_pass", 5), ("ibert", 8), ("two_pass", 8),
                ("online", 5)]
RENDERED = [
    {"mask": mask, "softmax": softmax(algorithm, table_bits=table_bits)}
    for mask, (algorithm, table_bits) in zip(MASKS.values(), EXPONENTIALS, strict=True)]


@pytest.mark.parametrize("blocks", [*RENDERED, *DESIGNS.values()], ids=[*MASKS, *DESIGNS])
def test_rendering_is_reproducible_and_complete(blocks: dict[str, Any]) -> None:
    rendered = render_hls(hls_context(make_spec(**blocks)))
    assert rendered == render_hls(hls_context(make_spec(**blocks)))
    assert set(rendered) > FILES
    for path, text in rendered.items():
        assert text.endswith("\n") and not text.endswith("\n\n"), path
        for number, line in enumerate(text.splitlines(), 1):
            assert line == line.rstrip() and len(line) <= 132, f"{path}:{number}"
            assert not re.search(r"\{\{|\{%|%\}", line), f"{path}:{number}"


@pytest.mark.parametrize("blocks", RENDERED, ids=MASKS)
def test_kernel_is_hls_code(blocks: dict[str, Any]) -> None:
    """Every port has its interface, every stream one writer and one reader; no floating point."""
    rendered = render_hls(hls_context(make_spec(**blocks)))
    kernel = rendered["attention.cpp"]
    ports = re.findall(r"(\w+)[,)]", kernel[kernel.index("int attention_small_hls("):].split("{")[0])
    assert ports == ["q", "k", "v", "job", "result"]
    for port in ports:
        assert f"#pragma HLS INTERFACE mode=axis port={port}\n" in kernel
    assert "#pragma HLS INTERFACE mode=s_axilite port=return bundle=control\n" in kernel
    region = kernel[kernel.index("#pragma HLS DATAFLOW"):].split("}\n")[0]
    streams = re.findall(r"hls::stream<\w+> (\w+)\(", region)
    assert streams == ["queries", "scores", "exponentials", "weights", "totals", "sums"]
    for stream in streams:
        assert len(re.findall(rf"[(,] ?{stream}[,)]", region)) == 2, stream
        assert f"#pragma HLS STREAM variable={stream} depth=" in region
    sources = "".join(rendered[path] for path in rendered if re.fullmatch(r"\w+\.(h|cpp)", path))
    assert not re.search(r"\b(float|double)\b", re.sub(r"//.*", "", sources))
    assert sources.count("#pragma HLS PIPELINE II=1") >= 10
