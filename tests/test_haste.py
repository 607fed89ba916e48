"""Claims about how models are compiled: in haste where few cycles run, in `verify` and in the driver."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gemm_designs import TEST_BUILD, small
from tilewright.build import build
from tilewright.driver import open_driver
from tilewright.errors import ToolError
from tilewright.sim import runner
from tilewright.sim.runner import MANY_CYCLES
from tilewright.verify import STALLS, verify


@pytest.mark.parametrize(("stress", "optimized"), [(1, False), (MANY_CYCLES // 1000, True)])
def test_a_model_is_compiled_as_fast_as_its_cycles_are_few(
        stress: int, optimized: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model for the harness and for cocotb."""
    asked: list[bool] = []

    def tool(*_: Any, optimize: bool, **__: Any) -> None:
        asked.append(optimize)
        raise ToolError("not here")

    monkeypatch.setattr(runner, "build_harness", tool)
    monkeypatch.setattr(runner, "run_cocotb", tool)
    built = build(small("output_stationary"), tmp_path)
    cycles = sum(int(path.read_text()) for path in built.folder.glob("sim/vectors/*/cycles.txt"))
    assert (cycles * len(STALLS) * stress > MANY_CYCLES) == optimized
    with pytest.raises(ToolError, match="not here"):
        verify(built, stress=stress)
    assert asked == [optimized] * 2


def test_a_driver_compiles_anew_once_it_runs_many_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def haste(folder: Path, *, optimize: bool, **options: Any) -> runner.Harness:
        asked.append(optimize)
        return original(folder, optimize=False, **options)

    original = runner.build_harness
    monkeypatch.setattr(runner, "build_harness", haste)
    driver = open_driver(small("output_stationary"), "sim", root=TEST_BUILD)
    job = {"a": np.ones((3, 4), int), "b": np.ones((4, 2), int), "bias": 0, "multiplier": 1, "shift": 0}
    cycles = driver.run([job]).cycles[0]
    monkeypatch.setattr(runner, "MANY_CYCLES", 3 * cycles)
    for _ in range(3):
        driver.run([job])
    assert asked == [False, False, True, True]
