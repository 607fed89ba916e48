"""Builds of HLS C++ for the tests: small specs, jobs with hard numbers, g++ runs and their outcome."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tilewright.families.gemm.hls import hls_context
from tilewright.families.gemm.spec import GemmSpec
from tilewright.families.gemm.vectors import Case, Job, write_case
from tilewright.formats import IntFormat
from tilewright.hls import render_hls
from tilewright.sim.golden.gemm import gemm

DATAFLOWS = ["output_stationary", "weight_stationary", "input_stationary"]
SUMMARY = re.compile(r"^csim (\w+): (\d+) passed, (\d+) failed, (\d+) values compared$", re.MULTILINE)


def make_spec(**blocks: Any) -> GemmSpec:
    return GemmSpec.model_validate({
        "design": "gemm_small", "family": "gemm", "array": {"rows": 3, "cols": 4},
        "limits": {"m": 13, "n": 11, "k": 17}, **blocks})


def write_build(folder: Path, spec: GemmSpec, case: Case) -> Path:
    """The ``hls`` folder of a build, and the vectors of ``case`` where its Makefile looks for them."""
    write_case(folder / "sim" / "vectors" / case.name, spec, case)
    for path, text in render_hls(hls_context(spec)).items():
        target = folder / "hls" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return folder / "hls"


@dataclass(frozen=True)
class Run:
    code: int
    output: str
    passed: int
    failed: int
    compared: int


def run(command: Sequence[object], folder: Path) -> Run:
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, text=True, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = SUMMARY.search(done.stdout)
    passed, failed, compared = (int(number) for number in found.groups()[1:]) if found else (0, 0, 0)
    return Run(done.returncode, done.stdout, passed, failed, compared)


def csim(hls: Path, *arguments: str) -> Run:
    return run(["make", "-s", "-j2", "csim", *arguments], hls)


def values_in(case: Case) -> int:
    return sum(job.result.size for job in case.jobs if job.result is not None)


def assert_equal_to_golden(hls: Path, case: Case, *arguments: str) -> None:
    """The run passes, and it compared every value of the golden model: nothing was left out."""
    result = csim(hls, *arguments)
    assert result.code == 0 and result.failed == 0, result.output
    assert result.compared == values_in(case)
    assert result.passed >= len(case.jobs)


# ---- vectors ----


def numbers_in(rng: np.random.Generator, number: IntFormat, shape: tuple[int, ...]) -> np.ndarray:
    """Random elements, a third of them the extremes and their neighbours."""
    edges = np.array([number.low, number.low + 1, max(number.low, -1), 0, 1, number.high])
    values = rng.integers(number.low, number.high + 1, shape)
    return np.where(rng.random(shape) < 0.35, rng.choice(edges, shape), values)


def far_end(number: IntFormat) -> int:
    return number.low if number.signed else number.high


def channels_for(rng: np.random.Generator, spec: GemmSpec, sums: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters that spread the columns of ``sums`` over the results, with exact ties and saturation."""
    n = sums.shape[1]
    bits = spec.multiplier_bits
    largest = 2 * int(np.median(np.abs(sums)))
    multiplier = rng.integers(1 << bits - 1, 1 << bits, n)
    spread = max(largest, 2).bit_length() + bits - spec.out.width
    shift = np.clip(rng.integers(spread - 3, spread + 3, n), 0, 63)
    bias = rng.integers(-largest, largest + 1, n)
    # With a power of two as multiplier, a sum plus bias of (2 q + 1) * unit is q and a half.
    ties = rng.random(n) < 0.5
    multiplier[ties] = 1 << bits - 1
    unit = 1 << np.maximum(shift[ties] - bits, 0)
    quotient = rng.integers(-8, 9, ties.sum())
    bias[ties] = (2 * quotient + 1) * unit - sums[rng.integers(sums.shape[0], size=ties.sum()), ties]
    # What random numbers would not try.
    extremes = [(0, 20, 5), ((1 << bits) - 1, 63, (1 << 31) - 1), (1, 0, 0), (1, 1, -(1 << 31)),
                ((1 << bits) - 1, 32, 7), (3, 33, -9)]
    if n > len(extremes):
        multiplier[-6:], shift[-6:], bias[-6:] = np.array(extremes).T
    zero_point = numbers_in(rng, spec.out, (n,))
    low, high = np.full(n, spec.out.low), np.full(n, spec.out.high)
    if spec.activation == "relu":
        low = np.maximum(low, zero_point)
    if spec.activation == "clip":
        low, high = np.sort(rng.integers(spec.out.low, spec.out.high + 1, (2, n)), axis=0)
        low[:1], high[:1] = high[:1].copy(), low[:1].copy()  # bounds that cross: the upper one wins
    return {"bias": bias.clip(-(1 << 31), (1 << 31) - 1), "multiplier": multiplier, "shift": shift,
            "zero_point": zero_point, "low": low, "high": high}


def make_case(spec: GemmSpec, shapes: Sequence[tuple[int, ...]], seed: int, name: str = "base") -> Case:
    """Jobs of (m, n, k), or of (m,) for one that keeps the weights of the job before."""
    rng = np.random.default_rng(seed)
    accumulator: dict[str, Any] = {
        "acc_width": spec.acc_width, "overflow": spec.acc_overflow, "k_block": spec.k_block}
    jobs: list[Job] = []
    for m, *rest in shapes:
        zero_points = {
            f"{operand}_zero_point": int(numbers_in(rng, number, (1,))[0])
            for operand, number in (("act", spec.act), ("weight", spec.weight))
            if getattr(spec.numbers, f"{operand}_zero_point")}
        if rest:
            n, k = rest
            b = numbers_in(rng, spec.weight, (k, n))
            b[:, 0] = far_end(spec.weight)
        else:
            b, k = jobs[-1].b, jobs[-1].b.shape[0]
            if spec.numbers.weight_zero_point:
                zero_points["weight_zero_point"] = jobs[-1].weight_zero_point
        a = numbers_in(rng, spec.act, (m, k))
        a[0] = far_end(spec.act)  # C[0][0] is the largest sum there can be
        if not rest:
            channels = jobs[-1].channels
        elif spec.has_requant:
            channels = channels_for(rng, spec, gemm(a, b, mode=None, **accumulator, **zero_points))
        else:
            channels = None
        mode = spec.rounding if channels else None
        result = gemm(a, b, mode=mode, **accumulator, **zero_points, **(channels or {}))
        jobs.append(Job(a=a, b=b, channels=channels, reuse_weights=not rest, result=result, **zero_points))
    return Case(name, tuple(jobs))
