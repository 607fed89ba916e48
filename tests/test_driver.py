"""Claims about the driver object: its arguments, its backends, its device."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gemm_designs import TEST_BUILD
from gemm_folder import HASH, arguments_of, make_cases, make_spec
from tilewright.design import parse_design
from tilewright.driver import BoardBackend, Driver, GoldenBackend, open_driver
from tilewright.errors import ToolError, UserError
from tilewright.families.gemm import device
from tilewright.families.gemm.job import JobError, make_job
from tilewright.families.gemm.registers import driver_info
from tilewright.families.gemm.runtime import GemmRuntime
from tilewright.registers import description, driver_files
from tilewright.serial_transport import TransportError, open_serial

DESIGN = b"""
design: tiny
family: gemm
array: {rows: 2, cols: 3}
numbers: {requant: {mode: half_up, multiplier_bits: 13}}
limits: {m: 7, n: 6, k: 9}
"""
CLIP = {"numbers": {"act": "uint4", "act_zero_point": True, "weight_zero_point": True, "activation": "clip"}}
ACCUMULATORS = {"numbers": {"requant": "none"}}


def told(**changes: Any) -> dict[str, Any]:
    return description(driver_info(make_spec(**changes), HASH))


def arguments(**changes: Any) -> dict[str, Any]:
    """A legal job of 3 x 2 x 4; ``changes`` replace arguments, None drops one."""
    given = {"a": np.ones((3, 4), int), "b": np.ones((4, 2), int), "bias": 0, "multiplier": 1, "shift": 0}
    given |= changes
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(("changes", "message"), [
    ({"a": None}, "a: missing"),
    ({"b": None}, "b: missing"),
    ({"bias": None}, "bias: missing; the design requantizes"),
    ({"a": np.ones((3, 4))}, "a: holds float64; only integers are allowed"),
    ({"a": np.ones(3, int)}, "a: shape (3,); a matrix is needed"),
    ({"a": np.full((3, 4), 128)}, "a: 128 at [0, 0]; allowed are -128 to 127"),
    ({"a": np.full((3, 4), -129)}, "a: -129 at [0, 0]; allowed are -128 to 127"),
    ({"a": np.full((3, 4), 2**64 - 1, np.uint64)},
     "a: 18446744073709551615 at [0, 0]; allowed are -128 to 127"),
    ({"a": np.ones((3, 5), int)}, "b: 4 rows; a has 5 columns"),
    ({"a": np.ones((13, 4), int)}, "m is 13; the design takes 1 to 12"),
    ({"a": np.ones((0, 4), int)}, "m is 0; the design takes 1 to 12"),
    ({"b": np.ones((4, 13), int)}, "n is 13; the design takes 1 to 12"),
    ({"bias": [0, 1, 2]}, "bias: shape (3,); allowed are one value, or one for each of 2 channels"),
    ({"bias": 1 << 31}, "bias: 2147483648; allowed are -2147483648 to 2147483647"),
    ({"multiplier": [1, 1 << 24]}, "multiplier: 16777216 at [1]; allowed are 0 to 16777215"),
    ({"shift": 64}, "shift: 64; allowed are 0 to 63"),
    ({"zero_point": 128}, "zero_point: 128; allowed are -128 to 127"),
    ({"low": 0}, "low: only with numbers.activation: clip"),
    ({"act_zero_point": 1}, "act_zero_point: the design has none; write numbers.act_zero_point: true"),
    ({"reuse_weights": True}, "reuse_weights: no job before this one"),
    ({"reuse_weights": 2}, "reuse_weights: 2; allowed are 0 to 1"),
    ({"scale": 1}, "scale: not an argument of a job; allowed: a, b, bias, multiplier, shift, zero_point, "
                   "low, high, reuse_weights, act_zero_point, weight_zero_point"),
])
def test_a_bad_argument_is_told_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        make_job(told(), arguments(**changes))
    assert str(caught.value) == message


def test_reuse_takes_everything_that_belongs_to_the_weights() -> None:
    first = make_job(told(**CLIP), arguments(weight_zero_point=5, low=-3, high=3))
    more = {"a": np.ones((1, 4), int), "reuse_weights": True}
    second = make_job(told(**CLIP), {**more, "act_zero_point": 15}, first)
    assert second.b is first.b and second.channels is first.channels and second.weight_zero_point == 5
    for name in ("b", "shift", "weight_zero_point"):
        with pytest.raises(JobError, match=f"^{name}: not with reuse_weights"):
            make_job(told(**CLIP), {**more, name: 1}, first)


def test_an_engine_without_requantization_takes_no_channels() -> None:
    with pytest.raises(JobError, match=r"^bias: the design has no requantization"):
        make_job(told(**ACCUMULATORS), arguments())
    job = make_job(told(**ACCUMULATORS), arguments(bias=None, multiplier=None, shift=None))
    assert job.channels is None


@pytest.mark.parametrize(("activation", "low"), [("none", -128), ("relu", 3)])
def test_bounds_follow_the_activation(activation: str, low: int) -> None:
    job = make_job(told(numbers={"activation": activation}), arguments(zero_point=3))
    assert job.channels is not None
    assert set(job.channels["low"]) == {low} and set(job.channels["high"]) == {127}


def test_the_golden_backend_is_the_golden_model() -> None:
    spec = make_spec(**CLIP)
    driver = Driver(GoldenBackend(GemmRuntime(spec, HASH)))
    for case in make_cases(spec):
        run = driver.run([arguments_of(job, spec) for job in case.jobs])
        for output, job in zip(run.outputs, case.jobs, strict=True):
            np.testing.assert_array_equal(output, job.result)
        assert sum(run.cycles) == case.cycles and not run.measured


def test_the_driver_remembers_the_weights_of_the_job_before() -> None:
    spec = make_spec()
    driver = Driver(GoldenBackend(GemmRuntime(spec, HASH)))
    first, second, _ = make_cases(spec)[3].jobs
    np.testing.assert_array_equal(driver.job(**arguments_of(first, spec)), first.result)
    np.testing.assert_array_equal(driver.job(a=second.a, reuse_weights=True), second.result)
    with pytest.raises(ValueError, match=r"^job 1: a: missing$"):
        driver.run([arguments_of(first, spec), {}])


def test_the_compiled_rtl_gives_the_same_results_as_golden() -> None:
    design = parse_design(DESIGN.replace(b"tiny", b"driven"), source="driven.yaml")
    driver = open_driver(design, "sim", root=TEST_BUILD)
    cases = make_cases(design.spec)
    program = [arguments_of(job, design.spec) for case in cases for job in case.jobs]
    run = driver.run(program)
    golden = open_driver(design).run(program)
    assert len(run.outputs) == len(program) and run.measured
    for output, expected in zip(run.outputs, golden.outputs, strict=True):
        np.testing.assert_array_equal(output, expected)
    assert run.cycles == golden.cycles
    # Each call starts from reset; the driver sends the resident weights again.
    first, second, _ = cases[3].jobs
    driver.job(**arguments_of(first, design.spec))
    np.testing.assert_array_equal(driver.job(a=second.a, reuse_weights=True), second.result)


class FakeBoard:
    """A transport to a board that has all registers of a description and computes nothing."""

    def __init__(self, described: dict[str, Any], **values: int) -> None:
        self.values = {register["offset"]: values.get(name, register["value"])
                       for name, register in described["registers"].items()}

    def write(self, address: int, words: Sequence[int]) -> None:
        assert address in self.values

    def read(self, address: int, count: int = 1) -> list[int]:
        return [self.values[address + 4 * word] for word in range(count)]

    def push(self, stream: str, beats: bytes, last: bool) -> int:
        return 0

    def pop(self, count: int) -> tuple[bytes, int, bool]:
        return b"", 0, False


@pytest.mark.parametrize(("values", "message"), [
    ({"magic": 0xFFFFFFFF}, "board: no GEMM engine answers: magic is 0xffffffff, not 0x544c4752"),
    ({"version": 9}, "board: the device has version 9 of the register map, this driver 1"),
    ({"hash_3": 0}, f"board: the device holds another design: hash {HASH[:24]}00000000, "
                    f"this driver is for tiny, {HASH[:32]}"),
])
def test_another_device_is_refused(values: dict[str, int], message: str) -> None:
    runtime = GemmRuntime(make_spec(), HASH)
    with pytest.raises(ToolError) as caught:
        BoardBackend(runtime, FakeBoard(runtime.description, **values))
    assert str(caught.value) == message


def test_a_board_that_takes_and_gives_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PATIENCE_SECONDS", 0.0)
    runtime = GemmRuntime(make_spec(), HASH)
    driver = Driver(BoardBackend(runtime, FakeBoard(runtime.description, status=0x101)))
    with pytest.raises(ToolError) as caught:
        driver.job(**arguments())
    assert str(caught.value) == (
        "board: job 0: no answer; 0 of 3 result beats came, status is 0x101, errors: none")


def test_a_board_that_refuses_the_job_is_told() -> None:
    runtime = GemmRuntime(make_spec(), HASH)
    driver = Driver(BoardBackend(runtime, FakeBoard(runtime.description, error=0b1)))
    with pytest.raises(ToolError, match="board: job 0: refused: illegal_shape"):
        driver.job(**arguments())


def test_a_missing_pyserial_names_the_command_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(TransportError, match=r"^pyserial is not installed; run: pip install pyserial$"):
        open_serial("/dev/null", told()["streams"])


@pytest.mark.parametrize(("backend", "message"), [
    ("fpga", "--backend: 'fpga'; allowed are golden, sim, cocotb, board"),
    ("board", "--port: missing; --backend board needs the board's serial port: --port /dev/ttyUSB0"),
])
def test_a_wrong_backend_is_a_users_mistake(backend: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        open_driver(parse_design(DESIGN, source="tiny.yaml"), backend)
    assert str(caught.value) == message


def test_the_driver_folder_runs_without_tilewright(tmp_path: Path) -> None:
    for path, text in driver_files(driver_info(make_spec(), HASH)).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    program = ("import sys; sys.modules['tilewright'] = None; import driver; from driver import job; "
               "print(driver.DESCRIPTION['hash'], driver.GemmDevice.job.__name__, driver.connect.__name__)")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
                          check=True)
    assert done.stdout.split() == [HASH, "job", "connect"]
    assert json.loads((tmp_path / "driver/registers.json").read_text()) == told()
