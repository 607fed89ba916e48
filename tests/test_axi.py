"""Claims about the AXI top, proved by cocotbext-axi on the RTL."""

from pathlib import Path
from typing import Any

import pytest
import tilewright.sim.cosim
from gemm_folder import CACHE, HASH, make_cases, make_folder, make_spec
from tilewright.families.gemm.hardware import engine
from tilewright.families.gemm.registers import registers
from tilewright.families.gemm.spec import GemmSpec
from tilewright.registers import hardware
from tilewright.rtl.gemm.axi_top import GemmAxi
from tilewright.sim.project import SHARED
from tilewright.sim.runner import Check, run_cocotb

BENCH = "cosim.gemm_axi_tests"
TESTS = 11
LIMITS = {"m": 7, "n": 6, "k": 9}
VARIANTS: dict[str, dict[str, Any]] = {
    "int8": {"array": {"rows": 2, "cols": 3}},
    "accumulators_and_zero_point": {
        "array": {"rows": 3, "cols": 2, "dataflow": "weight_stationary"},
        "numbers": {"act": "uint4", "weight": "int12", "act_zero_point": True, "requant": "none"}},
    "clip_to_uint12": {
        "array": {"rows": 2, "cols": 2, "dataflow": "input_stationary"},
        "numbers": {"act": "uint8", "weight": "int5", "weight_zero_point": True, "activation": "clip",
                    "requant": {"mode": "half_up", "multiplier_bits": 13, "out": "uint12"}}},
}


def axi_folder(folder: Path, spec: GemmSpec) -> Path:
    """A build folder of the AXI top with its benches."""
    source = Path(tilewright.sim.cosim.__path__[0])
    benches = {f"cosim/{name}.py": (source / f"{name}.py").read_text()
               for name in (*SHARED, "gemm_ports", "gemm_axi_bench", "gemm_axi_tests")}
    top = GemmAxi(engine=engine(spec), registers=hardware(registers(spec, HASH)))
    return make_folder(folder, spec, top, make_cases(spec), benches)


def failures(checks: list[Check]) -> list[str]:
    return [f"{check.name}: {check.message}" for check in checks if not check.passed]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_axi_top_passes_every_bench(variant: str, tmp_path: Path) -> None:
    spec = make_spec(limits=LIMITS, **VARIANTS[variant])
    checks = run_cocotb(axi_folder(tmp_path, spec), module=BENCH, cache=CACHE)
    assert failures(checks) == []
    assert len(checks) == TESTS
    values = sum(job.result.size for case in make_cases(spec) for job in case.jobs)
    assert sum(check.vectors for check in checks) >= 2 * values


def test_port_names_are_those_of_amba(tmp_path: Path) -> None:
    folder = axi_folder(tmp_path, make_spec(limits=LIMITS, **VARIANTS["int8"]))
    header = (folder / "rtl/tiny.v").read_text().partition("module tiny(")[2].partition(")")[0]
    ports = [name.strip() for name in header.split(",")]
    channels = {
        "s_axi": ("awaddr", "awprot", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready",
                  "bresp", "bvalid", "bready", "araddr", "arprot", "arvalid", "arready",
                  "rdata", "rresp", "rvalid", "rready"),
        "s_axis_act": ("tdata", "tvalid", "tready", "tlast"),
        "s_axis_weight": ("tdata", "tvalid", "tready", "tlast"),
        "s_axis_channel": ("tdata", "tvalid", "tready"),
        "m_axis_result": ("tdata", "tkeep", "tvalid", "tready", "tlast"),
    }
    expected = {f"{prefix}_{name}" for prefix, names in channels.items() for name in names}
    assert set(ports) == expected | {"aclk", "aresetn", "irq"}
