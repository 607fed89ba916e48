"""Claims about the testbench of the HLS C++: broken kernels fail, and it says what is wrong and where."""

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hls_build import DATAFLOWS, Run, assert_equal_to_golden, csim, make_case, make_spec, run, write_build
from tilewright.families.gemm.vectors import Case

OUTPUT, WEIGHT, INPUT = DATAFLOWS
BREAKS = {
    "rounding dropped": (OUTPUT, "requantize.h", "quotient = quotient + 1", "quotient = quotient"),
    "ties away from even": (OUTPUT, "requantize.h", "remainder == half && odd", "remainder == half"),
    "a bit of the product lost": (OUTPUT, "requantize.h", "low_product >> 32", "low_product >> 33"),
    "no clamp": (OUTPUT, "requantize.h", "if (clamped > high)", "if (false)"),
    "saturates to another bound": (OUTPUT, "gemm_job.h", "LL) return ", "LL) return 1 + "),
    "a row one step early": (OUTPUT, "gemm_array.h", "west[r][r];", "west[r][r > 0 ? r - 1 : 0];"),
    "sum not cleared": (OUTPUT, "gemm_array.h", "if (next.first)", "if (next.first && r < 2)"),
    "weights not kept": (OUTPUT, "gemm_array.h", "weights[address] = weight_lanes;", ""),
    "unused lanes kept": (WEIGHT, "gemm.cpp", "keep = keep | (one << c);", "} keep = keep | (one << c); {"),
    "last on every beat": (WEIGHT, "gemm.cpp", "beat.last = last_tile &&", "beat.last = last_tile ||"),
    "a column without weights": (WEIGHT, "gemm_array.h", "if (self.row == r)", "if (self.row == r && c > 0)"),
    "k tiles not added": (WEIGHT, "gemm_array.h", "narrow(before.lane[c] + row.lane[c])", "row.lane[c]"),
    "beyond the edge of k": (WEIGHT, "gemm_array.h", "if (held_k < job.k) {", "if (held_k <= job.k) {"),
    "channel of another column": (INPUT, "gemm.cpp", "channels[row]", "channels[row / 2 * 2]"),
    "channels read again": (INPUT, "gemm.cpp", "n < job.n && !job.reuse_weights", "n < job.n"),
    "zero point forgotten": (INPUT, "gemm_array.h", "lanes.lane[i] - job.weight_zero_point", "lanes.lane[i]"),
    "limit not checked": (INPUT, "gemm.cpp", "k > LIMIT_K", "k > 2 * LIMIT_K"),
    "reuse not checked": (INPUT, "gemm.cpp", "k != resident_k", "false"),
    "misplaced last not told": (INPUT, "gemm_job.h", "if (arrival.ended != is_last)", "if (false)"),
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a build of a dataflow, compiled and passed."""
    @cache
    def build(dataflow: str) -> Path:
        spec = make_spec(
            array={"rows": 3, "cols": 4, "dataflow": dataflow},
            numbers={
                "act": "int8", "weight": "uint8", "weight_zero_point": True,
                "acc": {"width": 17, "overflow": "saturate"}, "requant": {"mode": "rne", "out": "int16"}})
        case = make_case(spec, [(13, 11, 17), (3,), (9, 7, 8)], seed=5)
        folder = tmp_path_factory.mktemp(dataflow)
        assert_equal_to_golden(write_build(folder, spec, case), case, "WARNINGS=-w")
        return folder

    return build


@pytest.mark.parametrize("name", BREAKS)
def test_broken_kernel_fails(name: str, intact: Callable[[str], Path], tmp_path: Path) -> None:
    dataflow, path, before, after = BREAKS[name]
    hls = Path(shutil.copytree(intact(dataflow), tmp_path / "build")) / "hls"
    text = (hls / path).read_text()
    assert before in text
    (hls / path).write_text(text.replace(before, after))
    compiled = run(["make", "-s", "csim.bin", "WARNINGS=-w"], hls)
    assert compiled.code == 0, compiled.output
    result = run(["./csim.bin", "../sim/vectors/base"], hls)
    assert result.code in (1, 3), result.output
    told = re.search("^MISMATCH|read while empty|runtime error: index", result.output, re.MULTILINE)
    assert told, result.output


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Case]:
    """A kernel that passed, its folder of vectors, and the case in it."""
    folder = tmp_path_factory.mktemp("hls")
    spec = make_spec()
    case = make_case(spec, [(5, 6, 7), (2,), (4, 3, 9)], seed=11)
    hls = write_build(folder, spec, case)
    assert_equal_to_golden(hls, case)
    return hls, folder / "sim" / "vectors" / "base", case


def run_on(compiled: tuple[Path, Path, Case], folder: Path, **edits: str) -> Run:
    """The compiled kernel on a copy of its vectors with some files replaced."""
    hls, vectors, _ = compiled
    for source in vectors.iterdir():
        (folder / source.name).write_text(edits.get(source.stem, source.read_text()))
    return run(["./csim.bin", folder], hls)


def test_first_divergence_names_job_element_and_values(
        compiled: tuple[Path, Path, Case], tmp_path: Path) -> None:
    _, vectors, case = compiled
    lines = (vectors / "result.txt").read_text().splitlines()
    # Two tiles of n: beat 0 is C[0][0..3], beat 3 is C[0][4..7]; beats 10 to 13 are the two rows of job 1.
    words = lines[4].split()
    actual = int(words[1])
    assert case.jobs[0].result is not None and actual == case.jobs[0].result[1, 5]
    words[1] = str(actual - 1)
    lines[4] = " ".join(words)
    lines[11] = lines[11].replace(lines[11].split()[0], "99", 1)
    result = run_on(compiled, tmp_path, result="\n".join(lines) + "\n")
    assert result.code == 1 and result.failed == 2
    found = re.findall(r"^MISMATCH .*$", result.output, re.MULTILINE)
    assert found == [f"MISMATCH {tmp_path}: job 0: row 1, col 5: expected {actual - 1}, actual {actual}"]
    assert f"reproduce: ./csim.bin {tmp_path}" in result.output


def test_nothing_compared_is_a_failure(compiled: tuple[Path, Path, Case], tmp_path: Path) -> None:
    result = run_on(compiled, tmp_path, jobs="", act="", weight="", channel="", result="")
    assert result.code == 1 and result.compared == 0
    assert "MISMATCH: no value was compared" in result.output


@pytest.mark.parametrize(("edit", "message"), [
    ({"act": "1 2 3\n"}, "act.txt:2: ends before its job does"),
    ({"act": "1 2 x\n"}, "act.txt:1: not an integer"),
    ({"act": "1 2 128\n"}, "act.txt:1: does not fit the port"),
    ({"jobs": "1 1 1 0 0 0\n"}, "act.txt:2: has more beats than the jobs need"),
    ({"jobs": "1 1 1 0 0\n"}, "jobs.txt:2: ends before its job does"),
])
def test_unusable_vectors_are_told_by_file_and_line(
        compiled: tuple[Path, Path, Case], tmp_path: Path, edit: dict[str, str], message: str) -> None:
    result = run_on(compiled, tmp_path, **edit)
    assert result.code == 2 and message in result.output


def test_missing_vectors_are_told(compiled: tuple[Path, Path, Case], tmp_path: Path) -> None:
    hls, _, _ = compiled
    result = run(["./csim.bin", tmp_path / "none"], hls)
    assert result.code == 2 and "none/jobs.txt:1: cannot be opened" in result.output
    assert run(["./csim.bin"], hls).code == 2
    empty = csim(hls, "CASES=")
    assert empty.code != 0 and "no vectors in ../sim/vectors" in empty.output


def test_vendor_targets_say_what_they_need(compiled: tuple[Path, Path, Case], tmp_path: Path) -> None:
    hls, _, _ = compiled
    (tmp_path / "make").symlink_to("/usr/bin/make")
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = subprocess.run(
        ["make", "csynth"], cwd=hls, text=True, capture_output=True, env={"PATH": str(tmp_path)})
    assert done.returncode != 0
    assert "csynth needs Vitis HLS: neither vitis-run nor vitis_hls is on PATH" in done.stderr
