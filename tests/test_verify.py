"""Claims about `tilewright verify` beside what it proves."""

from pathlib import Path
from typing import Any

import pytest
from gemm_designs import small
from tilewright.build import build
from tilewright.errors import ToolError
from tilewright.sim import runner
from tilewright.verify import MANY_CYCLES, STALLS, verify


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
