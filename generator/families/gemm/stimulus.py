"""Operands and jobs to test a GEMM engine with, and their golden results."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator
from tilewright.families.gemm.cycles import walk
from tilewright.families.gemm.fields import Job as JobFields
from tilewright.families.gemm.hardware import cycle_engine
from tilewright.families.gemm.spec import GemmSpec
from tilewright.families.gemm.vectors import Case, IntArray, Job
from tilewright.formats import IntFormat
from tilewright.sim.golden.gemm import gemm

MAX_STEPS = 6000       # of one random case: what a bench simulates in about a second
SHIFT_MAX = 63


def golden(spec: GemmSpec, job: Job) -> IntArray:
    """C of ``job`` as the engine of ``spec`` computes it."""
    channels: dict[str, IntArray] = dict(job.channels or {})
    return gemm(job.a, job.b, mode=spec.rounding if spec.has_requant else None,
                act_zero_point=job.act_zero_point, weight_zero_point=job.weight_zero_point,
                acc_width=spec.acc_width, overflow=spec.acc_overflow, k_block=spec.k_block, **channels)


def with_result(spec: GemmSpec, job: Job) -> Job:
    """``job`` with its golden result."""
    return Job(a=job.a, b=job.b, channels=job.channels, reuse_weights=job.reuse_weights,
               act_zero_point=job.act_zero_point, weight_zero_point=job.weight_zero_point, result=golden(spec, job))


def bounds(spec: GemmSpec, zero_point: IntArray) -> dict[str, IntArray]:
    """``low`` and ``high`` of channels as the spec's activation sets them; for `clip` the widest."""
    low = np.full_like(zero_point, spec.out.low)
    if spec.activation == "relu":
        low = np.clip(zero_point, spec.out.low, spec.out.high)
    return {"low": low, "high": np.full_like(zero_point, spec.out.high)}


class Stimulus:
    """Makes jobs for one spec from one random generator."""

    def __init__(self, spec: GemmSpec, rng: Generator) -> None:
        self.spec = spec
        self.rng = rng

    def uniform(self, number: IntFormat, size: tuple[int, ...]) -> IntArray:
        return self.rng.integers(number.low, number.high + 1, size, dtype=np.int64)

    def corners(self, number: IntFormat, size: tuple[int, ...]) -> IntArray:
        """Elements that are extreme, or next to zero."""
        values = [number.low, number.high, 0, 1, *([-1] if number.signed else [])]
        return self.rng.choice(np.array(values, np.int64), size)

    def channels(self, n: int, k: int, *, extreme: bool = False) -> dict[str, IntArray] | None:
        """Parameters whose results spread over the output's range; ``extreme`` ones reach every edge of theirs."""
        spec = self.spec
        if not spec.has_requant:
            return None
        bits = spec.multiplier_bits
        spread = np.sqrt(k) * (1 << spec.act.width + spec.weight.width - 3) * 2.0 ** (bits - spec.out.width)
        shift = np.clip(np.round(np.log2(spread)) + self.rng.integers(-1, 3, n), 0, SHIFT_MAX).astype(np.int64)
        multiplier = self.rng.integers(1 << bits - 1, 1 << bits, n, dtype=np.int64)
        zero_point = self.uniform(spec.out, (n,)) // 4
        deviation = int(np.sqrt(k)) << max(spec.act.width + spec.weight.width - 4, 0)  # about that of a sum
        bias = self.rng.integers(-deviation, deviation + 1, n, dtype=np.int64)
        if extreme:
            shift = self.rng.choice(np.array([0, 1, 2, 31, 62, 63, *shift[:4]]), n)
            multiplier = self.rng.choice(np.array([0, 1, (1 << bits) - 1, 1 << bits - 1, *multiplier[:4]]), n)
            zero_point = self.corners(spec.out, (n,))
            bias = self.rng.choice(np.array([-1 << 31, (1 << 31) - 1, -1, 0, 1]), n)
        limits = bounds(spec, zero_point)
        if spec.activation == "clip":
            edges = np.sort(self.uniform(spec.out, (2, n)), axis=0)
            limits = {"low": edges[0], "high": edges[1]}
        return {"bias": bias, "multiplier": multiplier, "shift": shift, "zero_point": zero_point, **limits}

    def job(self, m: int, n: int, k: int, *, before: Job | None = None, extreme: bool = False) -> Job:
        """A job with its golden result; ``before`` is the job whose weights stay."""
        spec = self.spec
        draw = self.corners if extreme else self.uniform
        zero_points = spec.numbers
        job = Job(
            a=draw(spec.act, (m, k)),
            b=before.b if before else draw(spec.weight, (k, n)),
            channels=before.channels if before else self.channels(n, k, extreme=extreme),
            reuse_weights=before is not None,
            act_zero_point=int(draw(spec.act, (1,))[0]) if zero_points.act_zero_point else 0,
            weight_zero_point=(before.weight_zero_point if before else int(draw(spec.weight, (1,))[0]))
            if zero_points.weight_zero_point else 0)
        return with_result(spec, job)

    def jobs(self, shapes: Sequence[JobFields], *, extreme: bool = False) -> tuple[Job, ...]:
        jobs: list[Job] = []
        for shape in shapes:
            jobs.append(self.job(shape.m, shape.n, shape.k, extreme=extreme,
                                 before=jobs[-1] if shape.reuse_weights else None))
        return tuple(jobs)

    def shape(self, name: str, tile: int) -> int:
        """A legal size: often 1, a tile, next to one, or the limit."""
        limit = getattr(self.spec.limits, name)
        choices = [1, tile - 1, tile, tile + 1, 2 * tile, limit, int(self.rng.integers(1, limit + 1))]
        return int(np.clip(self.rng.choice(choices), 1, limit))

    def random_shapes(self, count: int) -> list[JobFields]:
        """Jobs of any legal shape, some of which keep the weights of the one before; ``MAX_STEPS`` in all."""
        spec = self.spec
        shapes: list[JobFields] = []
        steps = 0
        while len(shapes) < count:
            reuse = bool(shapes) and self.rng.random() < 0.3
            m = self.shape("m", spec.rows)
            n, k = (shapes[-1].n, shapes[-1].k) if reuse else (self.shape("n", spec.cols), self.shape("k", spec.rows))
            if reuse and m * n * k // (spec.rows * spec.cols) > MAX_STEPS:
                m = 1
            while (cost := _steps(spec, m, n, k)) > MAX_STEPS // count and max(m, n, k) > 1:
                m, n, k = (m, n, k) if reuse and m == 1 else _smaller(m, n, k, only_m=reuse)
                if reuse and m == 1:
                    break
            shapes.append(JobFields(m=m, n=n, k=k, reuse_weights=reuse))
            steps += cost
        return shapes


def _steps(spec: GemmSpec, m: int, n: int, k: int) -> int:
    return m * n * k // (spec.rows * spec.cols) + m + n + k


def _smaller(m: int, n: int, k: int, *, only_m: bool) -> tuple[int, int, int]:
    if only_m or m >= max(n, k):
        return (m + 1) // 2, n, k
    if n >= k:
        return m, (n + 1) // 2, k
    return m, n, (k + 1) // 2


def cases(spec: GemmSpec, *, seed: int) -> Iterator[Case]:
    """Corner operands on corner shapes first, then the workload, then random shapes back to back."""
    stimulus = Stimulus(spec, np.random.default_rng([seed, 1]))
    yield as_case(spec, "corners", stimulus.jobs(stimulus.random_shapes(8), extreme=True))
    yield as_case(spec, "workload", stimulus.jobs(spec.workload))
    for number in range(2):
        yield as_case(spec, f"random_{number}", stimulus.jobs(stimulus.random_shapes(10)))


def as_case(spec: GemmSpec, name: str, jobs: tuple[Job, ...]) -> Case:
    """``jobs`` as a case, with what the cycle model says of them."""
    shapes = [JobFields(m=m, n=n, k=k, reuse_weights=job.reuse_weights) for job in jobs for m, n, k in [job.shape]]
    return Case(name, jobs, cycles=list(walk(cycle_engine(spec), shapes))[-1].done)
