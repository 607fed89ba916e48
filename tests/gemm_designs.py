"""GEMM designs that tests build, and how they run them."""

import re
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pyosys
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.families.gemm.stimulus import Stimulus, as_case
from tilewright.families.gemm.vectors import write_case
from tilewright.sim.runner import HarnessResult, build_harness, run_harness

ROOT = Path(__file__).parents[1]
TEST_BUILD = ROOT / "build" / "tests"
CACHE = TEST_BUILD / ".cache" / "verilator"

BASE = """
design: {name}
family: gemm
array: {{rows: {rows}, cols: {cols}, dataflow: {dataflow}, pe_pipeline: {pipeline}}}
numbers: {numbers}
limits: {limits}
"""


def design(name: str, *, rows: int = 3, cols: int = 4, dataflow: str = "output_stationary", pipeline: int = 2,
           numbers: str = "{}", limits: str = "{m: 17, n: 19, k: 23}") -> Design:
    """A small design; ``numbers`` and ``limits`` are flow YAML."""
    text = BASE.format(name=name, rows=rows, cols=cols, dataflow=dataflow, pipeline=pipeline, numbers=numbers,
                       limits=limits)
    return parse_design(text.encode(), source=f"{name}.yaml")


@cache
def small(dataflow: str) -> Design:
    """3 x 4, int8, requantized, one for each dataflow."""
    return design(f"small_{dataflow.split('_')[0]}", dataflow=dataflow)


LUTS = """
module LUT2(input A, B, output Z); parameter [3:0] INIT = 0; assign Z = INIT[{B, A}]; endmodule
module LUT4(input A, B, C, D, output Z); parameter [15:0] INIT = 0; assign Z = INIT[{D, C, B, A}]; endmodule
"""


def ecp5_models() -> str:
    """Verilog of the primitives that the ECP5 form of a datapath instantiates; the carry cell is Yosys' model."""
    carry = (Path(pyosys.__file__).parent / "share" / "ecp5" / "ccu2c_sim.vh").read_text()
    carry = re.sub(r"\(\*.*?\*\)|specify.*?endspecify", "", carry, flags=re.DOTALL)
    return LUTS + carry + (resources.files("tilewright.boards") / "ecp5_models.v").read_text()


def random_case(built: Design, folder: Path, *, seed: int) -> None:
    """Write one case of random jobs; odd seeds draw extreme operands."""
    stimulus = Stimulus(built.spec, np.random.default_rng(seed))
    jobs = stimulus.jobs(stimulus.random_shapes(12), extreme=bool(seed % 2))
    write_case(folder, built.spec, as_case(built.spec, "random", jobs))


def run_random(built: Design, folder: Path, *, seed: int, stall: float = 0.0) -> HarnessResult:
    """Build ``built`` and run one random case on the compiled RTL."""
    random_case(built, folder, seed=seed)
    harness = build_harness(build(built, TEST_BUILD).folder, cache=CACHE)
    return run_harness(harness, folder, stall=stall, seed=seed)
