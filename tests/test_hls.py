"""Claims about the generated HLS C++: under g++ and the sanitizers it equals the golden model."""

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest
from hls_build import DATAFLOWS, assert_equal_to_golden, make_case, make_spec, run, write_build
from tilewright.families.gemm.hls import hls_context
from tilewright.families.gemm.spec import GemmSpec
from tilewright.formats import IntFormat
from tilewright.hls import render_hls
from tilewright.sim.golden.gemm import gemm
from tilewright.sim.golden.requantize import MODES, requantize

HEADERS = os.environ.get("TILEWRIGHT_HLS_HEADERS", "")


# ---- configurations: every pair of choices of two factors stands in at least one ----

FACTORS: dict[str, list[Any]] = {
    "array": [(4, 4), (1, 1), (5, 3), (1, 6), (3, 8)],
    "formats": [("int8", "int8"), ("uint8", "int8"), ("int16", "uint16"), ("uint2", "int5")],
    "dataflow": DATAFLOWS,
    "requant": ["rne", "ort", "half_up", "none"],
    "zero_points": [(False, False), (True, False), (False, True), (True, True)],
    "acc": ["exact", "wrap", "saturate"],
    "activation": ["none", "relu", "clip"],
    "out": ["int8", "uint8", "int16", "uint3"],
    "multiplier_bits": [24, 2, 17],
}


def possible(choice: dict[str, Any]) -> bool:
    if choice.get("requant") == "none":
        return (choice.get("activation", "none") == "none" and choice.get("out", "int8") == "int8"
                and choice.get("multiplier_bits", 24) == 24)
    return not (choice.get("requant") == "ort" and choice.get("multiplier_bits", 24) != 24)


def configurations() -> Iterator[dict[str, Any]]:
    """A greedy covering array of FACTORS: each configuration takes as many open pairs as it can."""
    names = list(FACTORS)
    open_pairs = {
        (left, i, right, j)
        for left, right in itertools.combinations(names, 2)
        for i, j in itertools.product(range(len(FACTORS[left])), range(len(FACTORS[right])))
        if possible({left: FACTORS[left][i], right: FACTORS[right][j]})}
    rng = np.random.default_rng(7)
    while open_pairs:
        best: tuple[set[Any], dict[str, int]] = (set(), {})
        for _ in range(300):
            left, i, right, j = sorted(open_pairs)[int(rng.integers(len(open_pairs)))]
            chosen = {name: int(rng.integers(len(levels))) for name, levels in FACTORS.items()}
            chosen |= {left: i, right: j}
            if not possible({name: FACTORS[name][level] for name, level in chosen.items()}):
                continue
            covered = {pair for pair in open_pairs
                       if chosen[pair[0]] == pair[1] and chosen[pair[2]] == pair[3]}
            if len(covered) > len(best[0]):
                best = (covered, chosen)
        open_pairs -= best[0]
        if best[0]:
            yield {name: FACTORS[name][level] for name, level in best[1].items()}


CONFIGURATIONS = list(configurations())


def name_of(choice: dict[str, Any]) -> str:
    return "-".join(re.sub(r"\W+", "_", str(value)).strip("_") for value in choice.values())


def spec_of(choice: dict[str, Any]) -> GemmSpec:
    requant: Any = "none"
    if choice["requant"] != "none":
        requant = {"mode": choice["requant"]} | {key: choice[key] for key in ("multiplier_bits", "out")}
    blocks: dict[str, Any] = {
        "array": {"rows": choice["array"][0], "cols": choice["array"][1], "dataflow": choice["dataflow"]},
        "numbers": {
            "act": choice["formats"][0], "weight": choice["formats"][1], "requant": requant,
            "act_zero_point": choice["zero_points"][0], "weight_zero_point": choice["zero_points"][1],
            "activation": choice["activation"]}}
    spec = make_spec(**blocks)
    if choice["acc"] == "exact":
        return spec
    # Too narrow for about half of the sums of the test.
    job = make_case(spec, SHAPES[:1], seed_of(choice)).jobs[0]
    sums = (job.a - job.act_zero_point) @ (job.b - job.weight_zero_point)
    width = int(np.median(np.abs(sums))).bit_length()
    blocks["numbers"]["acc"] = {"width": max(2, width), "overflow": choice["acc"]}
    return make_spec(**blocks)


# At the limits, one element, tiles beyond the edge of every array; (m,) keeps the weights.
SHAPES = [(13, 11, 17), (1, 1, 1), (2,), (5, 9, 6), (1,), (13,), (4, 7, 10), (10, 1, 3)]


def seed_of(choice: dict[str, Any]) -> int:
    return CONFIGURATIONS.index(choice)


@pytest.mark.parametrize("choice", CONFIGURATIONS, ids=name_of)
def test_kernel_equals_golden(choice: dict[str, Any], tmp_path: Path) -> None:
    spec = spec_of(choice)
    assert spec.acc_overflow == choice["acc"]
    case = make_case(spec, SHAPES, seed_of(choice))
    assert_equal_to_golden(write_build(tmp_path, spec, case), case)


@pytest.mark.parametrize("mode", ["rne", "ort", "half_up"])
@pytest.mark.parametrize("depth", [2, 2048])
def test_requantize_equals_golden_on_many_sums(mode: str, depth: int, tmp_path: Path) -> None:
    """Sums up to 2**31, and up to 2**41, whose products exceed 64 bits; the rounding modes differ on them."""
    spec = make_spec(
        array={"rows": 2, "cols": 8}, limits={"m": 128, "n": 64, "k": depth},
        numbers={"act": "int16", "weight": "int16", "requant": {"mode": mode, "out": "int16"}})
    case = make_case(spec, [(128, 64, 2)] * 4 if depth == 2 else [(96, 64, 512), (4, 7, depth)], seed=depth)
    sums = [gemm(job.a, job.b, mode=None) for job in case.jobs]
    assert int(np.abs(sums[-1]).max()) == depth << 30
    job = case.jobs[0]
    assert job.channels is not None
    for other in set(MODES) - {mode}:
        assert (requantize(sums[0], mode=other, **job.channels) != job.result).any(), f"{other} does as well"
    assert_equal_to_golden(write_build(tmp_path, spec, case), case)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_default_array_runs_full_tiles_and_ragged_ones(dataflow: str, tmp_path: Path) -> None:
    array = {"rows": 8, "cols": 8, "dataflow": dataflow}
    spec = make_spec(array=array, limits={"m": 128, "n": 128, "k": 256})
    case = make_case(spec, [(64, 64, 64), (9, 13, 5), (1,), (128, 8, 256)], seed=3)
    assert_equal_to_golden(write_build(tmp_path, spec, case), case)


# ---- our headers against two's complement, and against the published ones ----


def arithmetic_program(count: int) -> str:
    """Random expressions on ap_int and ap_uint, each result compared with what Python's integers give."""
    rng = np.random.default_rng(17)
    lines = []
    for index in range(count):
        operands = []
        for name in "ab":
            width, signed = int(rng.integers(1, 32)), bool(rng.integers(2))
            number = IntFormat(width, signed)
            value = int(rng.choice([number.low, number.high, int(rng.integers(number.low, number.high + 1))]))
            lines.append(f"    const ap_{'' if signed else 'u'}int<{width}> {name}{index} = {value}LL;")
            operands.append(value)
        a, b = operands
        place = int(rng.integers(0, 12))
        expected: dict[str, int] = {
            f"a{index} + b{index}": a + b, f"a{index} - b{index}": a - b, f"a{index} * b{index}": a * b,
            f"-a{index}": -a, f"a{index} & b{index}": a & b, f"a{index} | b{index}": a | b,
            f"a{index} >> {place}": a >> place}
        for expression, value in expected.items():
            width, signed = int(rng.integers(1, 65)), bool(rng.integers(2))
            kept = value & ((1 << width) - 1)
            if signed and kept >> width - 1:
                kept -= 1 << width
            kind = f"ap_{'' if signed else 'u'}int<{width}>"
            wanted = f"(long long){kept & (1 << 64) - 1}ULL"
            lines.append(f"    {{ const {kind} y = {expression}; if (y.to_int64() != {wanted}) "
                         f'{{ std::printf("{kind} = {expression}\\n"); wrong++; }} }}')
        for operator in ("<", "<=", ">", ">=", "==", "!="):
            truth = eval(f"{a} {operator} {b}")
            lines.append(f"    if ((a{index} {operator} b{index}) != {str(truth).lower()}) wrong++;")
    return "#include <cstdio>\n#include <ap_int.h>\nint main() {\n    int wrong = 0;\n" + "\n".join(lines) + (
        '\n    std::printf("%d wrong\\n", wrong);\n    return wrong != 0;\n}\n')


def check_arithmetic(folder: Path, count: int, *flags: str) -> None:
    (folder / "arithmetic.cpp").write_text(arithmetic_program(count))
    built = run(["g++", "-std=c++14", "-fsanitize=undefined", "-fno-sanitize-recover=all", *flags,
                 "arithmetic.cpp", "-o", "arithmetic"], folder)
    assert built.code == 0, built.output
    result = run(["./arithmetic"], folder)
    assert result.code == 0 and result.output == "0 wrong\n", result.output


def test_our_ap_int_is_twos_complement(tmp_path: Path) -> None:
    (tmp_path / "ap_int.h").write_text(render_hls(hls_context(make_spec()))["ap_shim/ap_int.h"])
    check_arithmetic(tmp_path, 60, "-I.")


needs_headers = pytest.mark.skipif(
    not (HEADERS and (Path(HEADERS) / "ap_int.h").is_file()),
    reason="TILEWRIGHT_HLS_HEADERS does not name a folder with the published ap_int.h "
           "(hls4ml/templates/vivado/ap_types of the hls4ml wheel is one)")


@needs_headers
def test_published_ap_int_agrees_with_ours(tmp_path: Path) -> None:
    check_arithmetic(tmp_path, 12, "-fno-sanitize=shift-base", "-isystem", HEADERS)


@needs_headers
@pytest.mark.parametrize("choice", CONFIGURATIONS[:3], ids=name_of)
def test_kernel_equals_golden_with_the_published_headers(choice: dict[str, Any], tmp_path: Path) -> None:
    spec = spec_of(choice)
    case = make_case(spec, [(13, 11, 17), (1, 1, 1), (2,), (5, 9, 6)], seed=23)
    assert_equal_to_golden(write_build(tmp_path, spec, case), case, f"HLS_INCLUDE={HEADERS}")


# ---- rendering ----


def test_rendering_is_reproducible_and_complete() -> None:
    context = hls_context(make_spec())
    rendered = render_hls(context)
    assert rendered == render_hls(hls_context(make_spec()))
    assert set(rendered) == {
        "gemm.h", "gemm_job.h", "gemm_array.h", "requantize.h", "gemm.cpp", "gemm_tb.cpp", "vector_text.h",
        "Makefile", "README.md", "hls_config.cfg", "run_hls.tcl",
        "ap_shim/ap_int.h", "ap_shim/streams/hls_stream.h", "ap_shim/streams/ap_axi_sdata.h"}
    for path, text in rendered.items():
        assert text.endswith("\n") and not text.endswith("\n\n"), path
        for number, line in enumerate(text.splitlines(), 1):
            assert line == line.rstrip() and len(line) <= 132, f"{path}:{number}"
            assert not re.search(r"\{\{|\{%|%\}", line), f"{path}:{number}"


@pytest.mark.parametrize("choice", CONFIGURATIONS, ids=name_of)
def test_kernel_is_hls_code(choice: dict[str, Any]) -> None:
    """Every argument has its interface, every stream one writer and one reader; no floating point."""
    spec = spec_of(choice)
    rendered = render_hls(hls_context(spec))
    kernel = rendered["gemm.cpp"]
    ports = re.findall(r"(\w+)[,)]", kernel[kernel.index("int gemm_small_hls("):].split("{")[0])
    expected = {"act", "weight", "result", "m", "n", "k", "reuse_weights"}
    expected |= {"channel"} if spec.has_requant else set()
    expected |= {f"{operand}_zero_point" for operand, has_one in zip(
        ("act", "weight"), choice["zero_points"], strict=True) if has_one}
    assert set(ports) == expected
    interfaces = dict(re.findall(r"#pragma HLS INTERFACE mode=(axis|s_axilite) port=(\w+)", kernel))
    assert interfaces
    for port in [*ports, "return"]:
        mode = "axis" if port in ("act", "weight", "channel", "result") else "s_axilite"
        assert f"#pragma HLS INTERFACE mode={mode} port={port}" in kernel
    region = kernel[kernel.index("#pragma HLS DATAFLOW"):].split("}\n")[0]
    for stream in re.findall(r"hls::stream<\w+> (\w+)\(", region):
        assert len(re.findall(rf"[(,] ?{stream}[,)]", region)) == 2, stream
    sources = "".join(rendered[path] for path in rendered if re.fullmatch(r"\w+\.(h|cpp)", path))
    assert not re.search(r"\b(float|double)\b", re.sub(r"//.*", "", sources))
    for pragma in ("ARRAY_PARTITION variable=pe complete dim=0", "PIPELINE II=1", "UNROLL",
                   "STREAM variable=steps"):
        assert f"#pragma HLS {pragma}" in sources


def test_what_no_vendor_tool_has_run_says_so() -> None:
    rendered = render_hls(hls_context(make_spec()))
    for path in ("Makefile", "hls_config.cfg", "run_hls.tcl", "README.md"):
        assert re.search("not run", rendered[path], re.IGNORECASE), path


@pytest.mark.parametrize("value", [
    'int8"; system("x")', "a b", "x\n", "", "1x", "é", 0.5, None, ["ok", "not ok"], {"name": "a-b"}])
def test_only_identifiers_and_integers_reach_the_templates(value: Any) -> None:
    with pytest.raises(ValueError, match="is not an i"):
        render_hls(hls_context(make_spec()) | {"act_type": value})


@pytest.mark.parametrize("path", ["../gemm.h", "/tmp/x", "a/b.h", ".hidden", "a b"])
def test_a_file_outside_the_folder_is_refused(path: str) -> None:
    context = hls_context(make_spec())
    with pytest.raises(ValueError, match="is not a file name"):
        render_hls(context | {"templates": context["templates"] | {path: "gemm.h.j2"}})


@pytest.mark.parametrize("key", ["rows", "top", "acc_width", "tiled", "requant_mode"])
def test_a_missing_value_is_an_error(key: str) -> None:
    context = hls_context(make_spec())
    del context[key]
    with pytest.raises(jinja2.UndefinedError, match=key):
        render_hls(context)
