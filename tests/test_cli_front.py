"""Claims about the command line: exit codes, one line per mistake, JSON, new, check, schema."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tilewright import __version__, cli
from tilewright.design import load_design
from tilewright.errors import CheckFailed, ToolError, UserError
from tilewright.families import SPECS
from tilewright.starting_point import starting_point

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "gemm_int8_8x8.yaml"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text("design: gemm\nfamily: gemm\narray: {rows: 0, colz: 8}\n")
    return path


# -- the command line itself ---------------------------------------------------------------------------


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["-h"]):
        code, out, err = run(capsys, *arguments)
        assert (code, err) == (0, "")
        assert all(f" {name} " in out for name in cli.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"tilewright {__version__}\n", "")


def test_help_imports_nothing_heavy() -> None:
    """Start time is what is imported: --help answers in about 0.1 s."""
    script = (
        "import sys; from tilewright.cli import main; main(['--help']); "
        "heavy = {'amaranth', 'pyosys', 'numpy', 'cocotb', 'pydantic', 'jinja2', 'yaml'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(("arguments", "line"), [
    (["chek"], "tilewright: No such command 'chek'"),
    (["--bogus"], "tilewright: No such option: --bogus"),
    (["check"], "tilewright check: Missing argument 'FILE'"),
    (["check", "a.yaml", "b.yaml"], "tilewright check: Got unexpected extra argument"),
    (["check", "a.yaml", "--set"], "tilewright: Option '--set' requires an argument"),
])  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(line) and err.count("\n") == 1
    assert err.endswith(f"; see {line.partition(':')[0]} --help\n")


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[BaseException]]:
    """A command that raises what the list holds, in place of all others."""
    errors: list[BaseException] = []

    def make_app() -> typer.Typer:
        app = typer.Typer(pretty_exceptions_enable=False)

        @app.command()
        def fail(as_json: bool = typer.Option(False, "--json")) -> None:
            raise errors[0]

        return app

    monkeypatch.setattr(cli, "make_app", make_app)
    yield errors


@pytest.mark.parametrize(("error", "code", "err"), [
    (CheckFailed("a: 1 is not 2"), 1, "a: 1 is not 2\n"),
    (UserError("x.yaml:1:1: a", "x.yaml:2:1: b"), 2, "x.yaml:1:1: a\nx.yaml:2:1: b\n"),
    (ToolError("verilator ended with signal 9"), 3, "verilator ended with signal 9\n"),
    (KeyboardInterrupt(), 130, "interrupted\n"),
    (OSError(errno.ENOSPC, "No space left on device", "build/x"), 3, "build/x: no space left on device\n"),
    (PermissionError(errno.EACCES, "Permission denied", "build"), 3, "build: permission denied\n"),
    (OSError(errno.EROFS, "Read-only file system"), 3, "read-only file system\n"),
    (typer.Exit(3), 3, ""),
])  # fmt: skip
def test_every_ending_has_its_exit_code_and_no_traceback(
    capsys: pytest.CaptureFixture[str],
    raising: list[BaseException],
    error: BaseException,
    code: int,
    err: str,
) -> None:
    raising.append(error)
    assert run(capsys) == (code, "", err)


def test_our_own_fault_is_not_swallowed(
    capsys: pytest.CaptureFixture[str], raising: list[BaseException]
) -> None:
    raising.append(ZeroDivisionError("division by zero"))
    code, out, err = run(capsys)
    assert (code, out) == (70, "")
    assert "Traceback" in err and "ZeroDivisionError" in err and "a fault of Tilewright" in err


@pytest.mark.parametrize(("error", "expected"), [
    (UserError("x.yaml:1:1: a"), {"passed": False, "exit_code": 2, "messages": ["x.yaml:1:1: a"]}),
    (ToolError("gone"), {"passed": False, "exit_code": 3, "messages": ["gone"]}),
])  # fmt: skip
def test_failures_are_json_too_when_asked(
    capsys: pytest.CaptureFixture[str], raising: list[BaseException], error: BaseException, expected: object
) -> None:
    raising.append(error)
    _, out, err = run(capsys, "--json")
    assert json.loads(out) == expected
    assert err


def test_failed_check_adds_no_second_object(
    capsys: pytest.CaptureFixture[str], raising: list[BaseException]
) -> None:
    """Its command printed one already."""
    raising.append(CheckFailed("wrong"))
    assert run(capsys, "--json") == (1, "", "wrong\n")


@pytest.mark.parametrize(
    "arguments", [["schema"], ["new", "gemm"], ["check", str(EXAMPLE)], ["check", "nofile", "--json"]]
)
def test_reader_that_goes_away_is_no_error_message(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "tilewright.cli", *arguments],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


# -- new -----------------------------------------------------------------------------------------------


def test_new_prints_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "new", "gemm") == (0, EXAMPLE.read_text(), "")


@pytest.mark.parametrize("family", SPECS)
def test_every_family_has_a_starting_point_that_is_right(family: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(starting_point(family))
    assert load_design(path).spec.family == family
    assert "#" in path.read_text()


def test_new_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "new", "gemm", "--json")
    assert json.loads(out) == {"family": "gemm", "text": EXAMPLE.read_text()}


@pytest.mark.parametrize("command", [["new", "gem"], ["schema", "--family", "gem"]])
def test_unknown_family_is_one_line(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run(capsys, *command) == (2, "", "family: 'gem' is not one of gemm, attention; did you mean 'gemm'?\n")


# -- check ---------------------------------------------------------------------------------------------


def test_check_tells_what_the_design_comes_to(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", str(EXAMPLE))
    assert (code, err) == (0, "")
    assert out.splitlines()[:-1] == [
        "ok        gemm_int8_8x8",
        "array     8 x 8 PEs, output_stationary, pipeline 2",
        "top       stream",
        "numbers   int8 x int8 -> int24 (exact), requantized (rne) to int8",
        "limits    m 128, n 128, k 256",
        "buffers   561.8 kbit: act 32.0, weight 512.0, channel 17.8",
        "workload  1 job, 262144 MACs",
    ]
    assert out.splitlines()[-1] == f"hash      {load_design(EXAMPLE).content_hash}"


def test_check_in_json_holds_hash_overrides_and_derived_values(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(
        capsys,
        "check",
        str(EXAMPLE),
        "--set",
        "array.rows=5",
        "--set",
        "workload.0.k=1",
        "--set",
        "limits.k=1",
        "--json",
    )
    found = json.loads(out)
    assert found["passed"] is True
    assert found["name"] == "gemm_int8_8x8" and found["family"] == "gemm"
    assert found["overrides"] == ["array.rows=5", "workload.0.k=1", "limits.k=1"]
    assert found["derived"]["rows"] == 5 and found["derived"]["acc_width"] == 16
    assert found["hash"] != load_design(EXAMPLE).content_hash


def test_check_tells_every_mistake_and_nothing_else(capsys: pytest.CaptureFixture[str], broken: Path) -> None:
    assert run(capsys, "check", str(broken), "--set", "top=x") == (
        2,
        "",
        (
            f"{broken}:3:15: array.rows: 0 is not an integer from 1 to 64\n"
            f"{broken}:3:18: unknown key 'colz' in array; did you mean 'cols'?\n"
            "--set top=x: 'x' is not one of stream, axi\n"
        ),
    )


def test_check_of_a_broken_file_in_json(capsys: pytest.CaptureFixture[str], broken: Path) -> None:
    code, out, err = run(capsys, "check", str(broken), "--json")
    assert code == 2
    assert json.loads(out) == {"passed": False, "exit_code": 2, "messages": err.splitlines()}


def test_check_of_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", "nowhere.yaml") == (2, "", "nowhere.yaml: no such file\n")


def test_file_names_are_not_read_as_markup(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "[bold]my[0].yaml"
    path.write_text("x")
    assert run(capsys, "check", str(path))[2].startswith(f"{path}:1:1: ")


def test_check_reads_a_pipe() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tilewright.cli", "check", "/dev/stdin"],
        input=EXAMPLE.read_bytes(),
        capture_output=True,
        timeout=60,
    )
    assert result.stdout.startswith(b"ok        gemm_int8_8x8") and result.returncode == 0


# -- schema --------------------------------------------------------------------------------------------


def test_schema_is_json_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    _, plain, _ = run(capsys, "schema")
    _, asked, _ = run(capsys, "schema", "--family", "gemm", "--json")
    assert plain == asked
    assert json.loads(plain)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
