"""GEMM designs that tests build, and how they run them."""

from functools import cache
from pathlib import Path

import numpy as np
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.families.gemm_stimulus import Stimulus, as_case
from tilewright.families.gemm_vectors import write_case
from tilewright.sim.runner import HarnessResult, build_harness, run_harness

ROOT = Path(__file__).parents[1]
TEST_BUILD = ROOT / "build" / "tests"

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


def random_case(built: Design, folder: Path, *, seed: int) -> None:
    """Write one case of random jobs; odd seeds draw extreme operands."""
    stimulus = Stimulus(built.spec, np.random.default_rng(seed))
    jobs = stimulus.jobs(stimulus.random_shapes(12), extreme=bool(seed % 2))
    write_case(folder, built.spec, as_case(built.spec, "random", jobs))


def run_random(built: Design, folder: Path, *, seed: int, stall: float = 0.0) -> HarnessResult:
    """Build ``built`` and run one random case on the compiled RTL."""
    random_case(built, folder, seed=seed)
    harness = build_harness(build(built, TEST_BUILD).folder, cache=TEST_BUILD / ".cache" / "verilator")
    return run_harness(harness, folder, stall=stall, seed=seed)
