"""The mapped netlist of whole engines computes the golden results, and a netlist that does not is told."""

from pathlib import Path

import pytest
from gemm_designs import TEST_BUILD, design
from tilewright.build import build
from tilewright.design import Design
from tilewright.devices import load_device
from tilewright.synth import gates


def engine(dataflow: str) -> Design:
    """2 x 2 int4 with requantization; a workload and a few random shapes as vectors."""
    return design(f"gates_{dataflow.split('_')[0]}", rows=2, cols=2, dataflow=dataflow,
                  numbers="{act: int4, weight: int4, requant: {mode: rne, multiplier_bits: 8}}",
                  limits="{m: 5, n: 5, k: 6}")


@pytest.mark.parametrize(("device", "dataflow"), [
    ("ecp5-25f", "output_stationary"), ("ice40-up5k", "weight_stationary")])
def test_netlist_of_an_engine_equals_golden(device: str, dataflow: str, tmp_path: Path) -> None:
    built = build(engine(dataflow), TEST_BUILD)
    result = gates.simulate(built.design, load_device(device), folder=built.folder, cache=tmp_path)
    assert result.passed, result.message
    assert result.vectors > 400


def test_a_netlist_that_computes_something_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest bit of each result inverted behind the netlist's last cell."""
    built = build(engine("output_stationary"), TEST_BUILD)
    true_verilog = gates.netlist_verilog

    def broken(*arguments: object, **options: object) -> tuple[Path, Path]:
        netlist, cells = true_verilog(*arguments, **options)  # type: ignore[arg-type]
        lines = netlist.read_text().splitlines()
        number = next(i for i, line in enumerate(lines) if line.startswith("  assign result_data = "))
        lines[number] = lines[number].rstrip(";") + " ^ 8'h11;"  # two lanes of int4
        other = tmp_path / "broken.v"
        other.write_text("\n".join(lines) + "\n")
        return other, cells

    monkeypatch.setattr(gates, "netlist_verilog", broken)
    result = gates.simulate(built.design, load_device("ecp5-25f"), folder=built.folder, cache=tmp_path)
    assert not result.passed
    assert "stall" in result.message
