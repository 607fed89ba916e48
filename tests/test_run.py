"""Claims about `tilewright run`: programs in .npz files, good, bad and hostile."""

import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gemm_folder import arguments_of, make_cases
from tilewright import cli
from tilewright.build import build
from tilewright.design import parse_design
from tilewright.errors import UserError
from tilewright.families.gemm.job import ARGUMENTS
from tilewright.run import MAX_BYTES, Program, check_labels, read_arrays, read_program, write_arrays

SEED = 1
MUTATIONS = 400
DESIGN = """
design: tiny
family: gemm
array: {rows: 2, cols: 3}
limits: {m: 7, n: 6, k: 9}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``tiny.yaml`` in it; the command line knows `run`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "COMMANDS", ("run",))
    (tmp_path / "tiny.yaml").write_text(DESIGN)
    return tmp_path


def program(**changes: Any) -> dict[str, Any]:
    """The arrays of one legal job; ``changes`` replace or add arrays, None drops one."""
    arrays = {"a_0": np.array([[1, -2], [3, 4]]), "b_0": np.array([[5, 6, 7], [8, 9, -10]]), "bias_0": 100,
              "multiplier_0": 1, "shift_0": 0}
    arrays |= changes
    return {name: value for name, value in arrays.items() if value is not None}


EXPECTED = np.array([[89, 88, 127], [127, 127, 81]])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, stdout, and the lines of stderr, of `tilewright run tiny.yaml --data x.npz`."""
    code = cli.main(["run", "tiny.yaml", "--data", "x.npz", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()


def test_run_writes_results_and_says_what_it_did(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.npz", **program(labels_0=[0, 0], expected_0=EXPECTED))
    code, out, _ = run(capsys, "--json")
    payload = json.loads(out)
    assert code == 0
    assert {key: payload[key] for key in ("backend", "jobs", "outputs", "accuracy")} == {
        "backend": "golden", "jobs": 1, "outputs": "x.out.npz", "accuracy": 0.5}
    assert payload["cycles"] == sum(job["cycles"] for job in payload["job_cycles"]) > 0
    assert payload["seconds"] >= 0 and payload["measured"] is False
    with np.load(folder / "x.out.npz") as results:
        np.testing.assert_array_equal(results["c_0"], EXPECTED)
    assert run(capsys)[0] == 0


def test_a_build_of_the_design_keeps_what_the_report_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.npz", **program())
    assert run(capsys)[0] == 0 and not (folder / "build").exists()
    built = build(parse_design(DESIGN.encode(), source="tiny.yaml"), folder / "build").folder
    code, out, _ = run(capsys, "--json")
    assert code == 0 and json.loads((built / "report/run.json").read_text()) == json.loads(out)
    (built / "report/run.json").unlink()
    assert run(capsys, "--set", "limits.m=8")[0] == 0 and not (built / "report/run.json").exists()


def test_run_chains_jobs_that_reuse_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = parse_design(DESIGN.encode(), source="tiny.yaml").spec
    jobs = make_cases(spec)[3].jobs
    np.savez(folder / "x.npz", **{f"{name}_{number}": value for number, job in enumerate(jobs)
                                  for name, value in arguments_of(job, spec).items()})
    code, _, _ = run(capsys, "--json", "--out", "deep/results.npz")
    assert code == 0
    with np.load(folder / "deep/results.npz") as results:
        for number, job in enumerate(jobs):
            np.testing.assert_array_equal(results[f"c_{number}"], job.result)


def test_a_result_that_is_not_the_expected_one_fails_the_run(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = EXPECTED.copy()
    expected[1, 2] += 1
    np.savez(folder / "x.npz", **program(expected_0=expected))
    code, out, err = run(capsys, "--json")
    assert code == 1 and json.loads(out)["outputs"] == "x.out.npz"
    assert err[-1] == "job 0: c[1][2] is 81, expected_0 says 82; 1 of 6 values differ"


def one_file(name: str, content: bytes) -> bytes:
    """A .zip with one member."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), **options)
    return stream.getvalue()


def twice() -> bytes:
    stream = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a_0.npy", npy([[1]]))
        archive.writestr("a_0.npy", npy([[2]]))
    return stream.getvalue()


def lying(shape: str) -> bytes:
    """An array whose header promises another shape than the file holds."""
    surplus = len(shape) - len("(2, 2)")  # taken from the spaces that fill up the header
    honest = npy([[1, 2], [3, 4]])
    lie = honest.replace(b"(2, 2), }" + b" " * surplus, f"{shape}, }}".encode())
    assert len(lie) == len(honest) and lie != honest
    return one_file("a_0.npy", lie)


class Evil:
    """Unpickling it would leave a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


BAD_FILES: dict[str, tuple[Any, str]] = {
    "empty": (b"", "x.npz: not a readable .npz file: File is not a zip file"),
    "text": (b"a_0 = 1", "x.npz: not a readable .npz file: File is not a zip file"),
    "bare array": (npy([[1]]), "x.npz: not a readable .npz file: File is not a zip file"),
    "no array": (one_file("x.txt", b""), "x.npz: x.txt: not an array in the .npy format"),
    "pickle": (lambda: one_file("a_0.npy", npy([Evil()], allow_pickle=True)),
               "x.npz: a_0: holds object; only integers are allowed"),
    "float": (one_file("a_0.npy", npy([[1.5]])), "x.npz: a_0: holds float64; only integers are allowed"),
    "text array": (one_file("a_0.npy", npy(["x"])), "x.npz: a_0: holds <U1; only integers are allowed"),
    "record": (one_file("a_0.npy", npy(np.zeros(1, [("x", "i4")]))),
               "x.npz: a_0: holds [('x', '<i4')]; only integers are allowed"),
    "cube": (one_file("a_0.npy", npy(np.zeros((1, 1, 1), int))),
             "x.npz: a_0: has 3 dimensions; at most 2 are allowed"),
    "too short": (lying("(2, 3)"), "x.npz: a_0: 32 bytes of data for shape (2, 3) of int64"),
    "huge": (lying("(9" + "9" * 18 + ", 2)"),
             "x.npz: a_0: 32 bytes of data for shape (9999999999999999999, 2) of int64"),
    "negative": (lying("(-2,-2)"), "x.npz: a_0: 32 bytes of data for shape (-2, -2) of int64"),
    "twice": (twice, "x.npz: array 'a_0' stands twice"),
    "bomb": (lambda: one_file("a_0.npy", bytes(MAX_BYTES + 1)),
             f"x.npz: {MAX_BYTES + 1} bytes when unpacked; at most {MAX_BYTES} are allowed"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_one_line(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, message = BAD_FILES[name]
    (folder / "x.npz").write_bytes(content() if callable(content) else content)
    code, _, err = run(capsys)
    assert (code, err) == (2, [message])
    assert not (folder / "unpickled").exists() and not (folder / "x.out.npz").exists()


BAD_PROGRAMS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "none": (dict.fromkeys(program()), ["x.npz: holds no array; a_0 is needed at least"]),
    "near miss": (program(bais_0=1), ["x.npz: unknown array 'bais_0'; did you mean 'bias_0'?"]),
    "no number": (program(bias=1), ["x.npz: unknown array 'bias'; did you mean 'bias_0'?"]),
    "leading zero": (program(a_00=1), [
        "x.npz: unknown array 'a_00'; allowed are a, b, bias, multiplier, shift, zero_point, low, high, "
        "reuse_weights, act_zero_point, weight_zero_point, labels, expected"]),
    "all mistakes": (program(bais_0=1, shfit_0=2), [
        "x.npz: unknown array 'bais_0'; did you mean 'bias_0'?",
        "x.npz: unknown array 'shfit_0'; did you mean 'shift_0'?"]),
    "gap": (program(a_2=[[1]]), ["x.npz: a_1: missing; jobs are counted from 0 without a gap"]),
    "too many": (program(a_4096=[[1]]), ["x.npz: a_4096: at most 4096 jobs are allowed"]),
    "range": (program(a_0=[[128, 0]]), ["x.npz: a: 128 at [0, 0]; allowed are -128 to 127"]),
    "second job": (program(a_1=[[1]]), ["x.npz: job 1: b: missing"]),
    "shape": (program(a_0=[[1, 2, 3]]), ["x.npz: b: 2 rows; a has 3 columns"]),
    "limit": (program(a_0=np.zeros((8, 2), int)), ["x.npz: m is 8; the design takes 1 to 7"]),
    "labels": (program(labels_0=[0, 3]), ["x.npz: labels_0: 2 numbers from 0 to 2 are needed"]),
    "labels' count": (program(labels_0=[0]), ["x.npz: labels_0: 2 numbers from 0 to 2 are needed"]),
    "expected": (program(expected_0=[[1]]), ["x.npz: expected_0: shape (1, 1); the result has (2, 3)"]),
}


@pytest.mark.parametrize("name", BAD_PROGRAMS)
def test_a_bad_program_is_a_line_for_each_mistake(
        name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, messages = BAD_PROGRAMS[name]
    np.savez(folder / "x.npz", **{key: value for key, value in arrays.items() if value is not None})
    code, _, err = run(capsys)
    assert (code, err) == (2, messages)
    assert not (folder / "x.out.npz").exists()


def test_labels_need_a_matrix() -> None:
    with pytest.raises(UserError) as caught:
        check_labels(Path("x.npz"), Program(labels={0: np.array([1])}), [(4,)])
    assert str(caught.value) == "x.npz: labels_0: the result has shape (4,); only a matrix can be labelled"


def test_a_missing_file_and_a_folder_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[::2] == (2, ["x.npz: no such file or directory"])
    (folder / "x.npz").mkdir()
    assert run(capsys)[::2] == (2, ["x.npz: not a file"])


def test_a_wrong_backend_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.npz", **program())
    assert run(capsys, "--backend", "fpga")[::2] == (
        2, ["--backend: 'fpga'; allowed are golden, sim, cocotb, board"])


def test_results_that_cannot_be_written_are_one_line(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.npz", **program())
    (folder / "in_the_way").write_text("")
    code, _, err = run(capsys, "--out", "in_the_way/c.npz")
    assert code == 3 and len(err) == 1 and err[0].startswith("in_the_way/c.npz: cannot write: ")


def test_results_replace_the_old_ones_whole(tmp_path: Path) -> None:
    target = tmp_path / "c.npz"
    write_arrays(target, {"c_0": np.arange(6).reshape(2, 3)})
    with pytest.raises(TypeError):
        write_arrays(target, {"c_0": np.arange(3), 5: np.arange(3)})  # type: ignore[dict-item]
    np.testing.assert_array_equal(read_arrays(target)["c_0"], np.arange(6).reshape(2, 3))
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


def test_column_order_and_small_types_are_read_as_they_are(tmp_path: Path) -> None:
    arrays = {"a_0": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
              "b_0": np.arange(3, dtype=">u4"), "reuse_weights_0": np.array(True)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    read = read_program(tmp_path / "x.npz", ARGUMENTS).jobs[0]
    np.testing.assert_array_equal(read["a"], arrays["a_0"])
    np.testing.assert_array_equal(read["b"], arrays["b_0"])
    assert read["reuse_weights"] == 1


def test_mutated_files_are_accepted_or_refused(tmp_path: Path) -> None:
    """Flipped, cut and repeated bytes: never anything but a program or a UserError of one line."""
    dice = random.Random(SEED)
    path = tmp_path / "x.npz"
    refused = 0
    for store in (np.savez, np.savez_compressed):
        store(path, **program())
        good = path.read_bytes()
        for _ in range(MUTATIONS // 2):
            bad = bytearray(good)
            for _ in range(dice.randrange(1, 4)):
                at = dice.randrange(len(bad))
                match dice.randrange(3):
                    case 0:
                        bad[at] = dice.randrange(256)
                    case 1:
                        del bad[at:at + dice.randrange(1, 40)]
                    case _:
                        bad[at:at] = bad[at:at + dice.randrange(1, 40)]
            path.write_bytes(bytes(bad))
            try:
                read_program(path, ARGUMENTS)
            except UserError as error:
                refused += 1
                assert all(line.startswith(f"{path}: ") and "\n" not in line for line in error.messages)
    assert refused > MUTATIONS // 4
