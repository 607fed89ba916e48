"""What Yosys makes of a design computes what the design computes, cell by cell under Verilator."""

from pathlib import Path

import numpy as np
import pytest
from netlist_bench import Mac, Memories, rtl_and_netlists, synthesize_stage

ROWS = 20_000
SEED = 5


def test_block_ram_of_every_width_reads_as_the_rtl_says_registers_packed(tmp_path: Path) -> None:
    synthesis = synthesize_stage(Memories(), device="ecp5-85f", cache=tmp_path / "cache")
    assert synthesis.total["bram"] == len(Memories.SHAPES)
    # 18 bits always enabled, 9 bits with the read's own enable; no other register may go.
    assert synthesis.packed_registers == 18 + 9
    rtl, netlist, compact = rtl_and_netlists(Memories(), synthesis, device="ecp5-85f", folder=tmp_path, rows=ROWS,
                                             seed=SEED)
    np.testing.assert_array_equal(netlist, rtl, err_msg=f"seed {SEED}")
    np.testing.assert_array_equal(compact, rtl, err_msg=f"seed {SEED}")
    assert len(np.unique(rtl, axis=0)) > ROWS // 2


def test_block_ram_model_shows_a_read_that_meets_a_write(tmp_path: Path) -> None:
    stage = Memories(shapes=((9, 2048),), collide=True)
    synthesis = synthesize_stage(stage, device="ecp5-85f", cache=tmp_path / "cache")
    again = Memories(shapes=((9, 2048),), collide=True)
    rtl, netlist, compact = rtl_and_netlists(again, synthesis, device="ecp5-85f", folder=tmp_path, rows=2000, seed=SEED)
    assert (rtl != netlist).any() and (rtl != compact).any(), "a design that relies on an undefined read must not pass"


@pytest.mark.parametrize(("device", "target"), [
    ("ecp5-85f", "ecp5"), ("ecp5-85f", "generic"), ("ice40-up5k", "generic")])
def test_netlist_of_a_mac_equals_its_rtl(tmp_path: Path, device: str, target: str) -> None:
    synthesis = synthesize_stage(Mac(target=target), device=device, cache=tmp_path / "cache")
    assert synthesis.total["dsp"] == 1
    plain = Mac(target="generic")
    rtl, netlist, compact = rtl_and_netlists(plain, synthesis, device=device, folder=tmp_path, rows=ROWS, seed=SEED)
    np.testing.assert_array_equal(netlist, rtl, err_msg=f"seed {SEED}")
    np.testing.assert_array_equal(compact, rtl, err_msg=f"seed {SEED}")
    assert len(np.unique(rtl, axis=0)) > ROWS // 4
