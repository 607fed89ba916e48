"""Operands and jobs to test an attention engine with, and their golden results."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.random import Generator
from tilewright.families.attention.fields import Job as JobFields
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.vectors import Case, IntArray, Job
from tilewright.families.attention.work import met_rows
from tilewright.formats import IntFormat
from tilewright.sim.golden.attention_rotary import rotated
from tilewright.sim.golden.requantize import quantize_scale

MAX_STEPS = 10_000      # cycles of one random case: what a bench simulates in a few seconds
MAX_ELEMENTS = 1 << 22  # of a job's keys: a window lets short jobs have long ones
SEQUENCE_JOBS = 4       # with a cache: so many times as many jobs, and so many of them to a sequence
SMALL = 4  # fits every format, also where a turn makes it longer
SPREADS = (0.5, 1.0, 2.0, 6.0)  # standard deviation of the scores, in natural logarithms


def golden(spec: AttentionSpec, job: Job) -> IntArray:
    """Result of ``job`` as the engine of ``spec`` computes it, (heads, queries, head_dim)."""
    return schedule_of(spec).golden(spec, job)


def with_result(spec: AttentionSpec, job: Job) -> Job:
    """``job`` with its golden result, and the tiles that come once more."""
    return replace(job, result=golden(spec, job), again=schedule_of(spec).again(spec, job))


def turned(spec: AttentionSpec, job: Job) -> tuple[IntArray, IntArray]:
    """The queries and keys of ``job`` as they are multiplied: with rotary, turned by their positions."""
    return turned_rows(spec, job.q, spec.q, job.keys - job.queries), turned_rows(spec, job.k, spec.k, 0)


def turned_rows(spec: AttentionSpec, rows: IntArray, number: IntFormat, first: int) -> IntArray:
    """``rows`` of the positions from ``first`` on, second axis, as they are multiplied."""
    if not spec.rotary:
        return rows
    steps, wave = spec.rotary_tables()
    positions = np.arange(first, first + rows.shape[1])
    return rotated(rows, positions, steps=steps, wave=wave, low=number.low, high=number.high)


class Stimulus:
    """Makes jobs for one spec from one random generator; with a cache each that begins no sequence goes on with the last."""

    def __init__(self, spec: AttentionSpec, rng: Generator) -> None:
        self.spec = spec
        self.rng = rng
        self.held = (self._no_rows(), self._no_rows())

    def _no_rows(self) -> IntArray:
        return np.zeros((self.spec.kv_heads, 0, self.spec.head_dim), np.int64)

    def uniform(self, number: IntFormat, size: tuple[int, ...]) -> IntArray:
        return self.rng.integers(number.low, number.high + 1, size, dtype=np.int64)

    def corners(self, number: IntFormat, size: tuple[int, ...]) -> IntArray:
        """Elements that are extreme, or next to zero; one job in three has a single value for all."""
        values = np.array([number.low, number.high, 0, 1, -1], np.int64)
        if self.rng.random() < 1 / 3:
            return np.full(size, self.rng.choice(values[:2]))
        return self.rng.choice(values, size)

    def scales(self, *, extreme: bool = False) -> dict[str, int]:
        """Scores that differ by some octaves, results that use the output's range; ``extreme``: the edges of each field."""
        spec = self.spec
        product = spec.q.high * spec.k.high / 3 * np.sqrt(spec.head_dim)  # about that of uniform operands
        scale = float(self.rng.choice(SPREADS)) * (1 << spec.fraction) / product
        multiplier, shift = quantize_scale(scale)
        gain = 2.0 ** (12 + spec.out.width - spec.v.width) * float(self.rng.uniform(0.7, 3.0))
        out_scale = int(np.clip(round(gain), 1, (1 << spec.out_scale_width) - 1))
        if extreme:
            multiplier = int(self.rng.choice([0, 1, (1 << spec.score_multiplier_width) - 1, *[multiplier] * 3]))
            shift = int(self.rng.choice([0, 1, 63, max(shift - 4, 0), shift, shift]))
            out_scale = int(self.rng.choice([0, 1, (1 << spec.out_scale_width) - 1, out_scale, out_scale]))
        return {"score_multiplier": multiplier, "score_shift": shift, "out_scale": out_scale}

    def tied(self) -> Job:
        """Equal weights of one key or two, their mean halved: many results lie in the middle between two integers.

        No tile of it comes once more on the streams.
        """
        spec = self.spec
        queries, keys = min(2, spec.limits.queries), min(2, spec.limits.keys)
        if spec.cache:
            keys = queries
        q = self.uniform(spec.q, (spec.heads, queries, spec.head_dim))
        k, v = (self.uniform(number, (spec.kv_heads, keys, spec.head_dim)) for number in (spec.k, spec.v))
        multiplier, shift = 0, 0
        if spec.tells_again and spec.phi:
            q, k, multiplier, shift = self._at_phi(queries, keys)
        self.held = k, v
        bias = np.zeros(spec.bias_shape, np.int64) if spec.bias_shape else None
        return with_result(
            spec, Job(q=q, k=k, v=v, score_multiplier=multiplier, score_shift=shift, out_scale=1 << 11, bias=bias))

    def _at_phi(self, queries: int, keys: int) -> tuple[IntArray, IntArray, int, int]:
        """One or two queries and keys whose scores are phi, all of them, and the scale with which they are."""
        spec, phi = self.spec, self.spec.phi or 0
        row = np.full((1, 1, spec.head_dim), SMALL, np.int64)
        turned_row = turned_rows(spec, row, spec.q, keys - 1)  # as the last row is met, too; at position 0 a row is not turned
        q, k = (np.concatenate([turned_row] * (count - 1) + [row], axis=1) for count in (queries, keys))
        multiplier, shift = quantize_scale((abs(phi) << spec.fraction) / int((turned_row**2).sum()))
        return q.repeat(spec.heads, axis=0), (k if phi > 0 else -k).repeat(spec.kv_heads, axis=0), multiplier, shift

    def bias(self, *, extreme: bool = False) -> IntArray | None:
        """A table that moves scores by some octaves, steadily with the distance or not; ``extreme``: so that they saturate."""
        spec = self.spec
        if spec.bias_shape is None:
            return None
        heads, entries = spec.bias_shape
        most = (1 << spec.scaled_width - 1) - 1
        if extreme:
            return self.rng.choice(np.array([-most - 1, most, 0, 1, -1], np.int64), (heads, entries))
        slopes = np.exp2(-self.rng.integers(0, 4, (heads, 1))) * (1 << spec.fraction)
        steady = -np.abs(np.arange(entries) - entries // 2) * slopes
        drawn = self.rng.normal(0, 1 << spec.fraction, (heads, entries)) + steady * self.rng.integers(0, 2)
        return np.clip(np.rint(drawn), -most - 1, most).astype(np.int64)

    def job(self, queries: int, keys: int, *, extreme: bool = False, rising: bool = False, kept: IntArray | None = None) -> Job:
        """A job with its golden result; ``rising``: keys in the order of the first query's scores, so that all rescale.

        It brings a bias of its own, unless it uses the one that the job before it ``kept``.
        """
        spec = self.spec
        draw = self.corners if extreme else self.uniform
        q = draw(spec.q, (spec.heads, queries, spec.head_dim))
        rows = queries if spec.cache else keys
        k = draw(spec.k, (spec.kv_heads, rows, spec.head_dim))
        v = draw(spec.v, (spec.kv_heads, rows, spec.head_dim))
        if rising:
            order = np.argsort(np.einsum("hd,hkd->hk", q[::spec.group, 0], k), axis=1, kind="stable")
            k = np.take_along_axis(k, order[:, :, None], axis=1)
        if spec.cache and queries < keys:
            k, v = (np.concatenate(parts, axis=1) for parts in zip(self.held, (k, v), strict=True))
        self.held = k, v
        bias = self.bias(extreme=extreme) if kept is None else kept
        scales = self.scales(extreme=extreme)
        return with_result(spec, Job(q=q, k=k, v=v, result=None, bias=bias, load_bias=kept is None, again=None, **scales))

    def jobs(self, shapes: Sequence[JobFields], *, extreme: bool = False, reload: bool = True) -> tuple[Job, ...]:
        """A job for each of ``shapes``; among random ones, each third has rising scores.

        The first one brings a bias; of the others, where they ``reload``, about every second one another.
        """
        jobs: list[Job] = []
        for number, shape in enumerate(shapes):
            kept = jobs[-1].bias if jobs and not (reload and self.spec.bias and self.rng.random() < 0.5) else None
            jobs.append(self.job(shape.queries, shape.keys, extreme=extreme, rising=number % 3 == 2, kept=kept))
        return tuple(jobs)

    def shape(self) -> JobFields:
        """A legal shape: often one query, a tile or next to one; keys at the edges of the mask, or as many as queries."""
        spec, limits = self.spec, self.spec.limits
        tile = max(spec.tile_q // spec.group, 1)
        queries = self._one_of([1, 1, tile - 1, tile, tile + 1, 2 * tile, 3 * tile + 1], limits.queries)
        edges = [edge + step for edge in self._edges() for step in (-1, 0, 1)]
        keys = self._one_of([1, 2, queries, queries, queries + 1, 2 * queries + 3, *edges], limits.keys)
        if spec.needs_positions:
            keys = max(keys, queries)
        return JobFields(queries=queries, keys=keys)

    def _edges(self) -> list[int]:
        numbers = list(self.spec.mask.numbers.values())
        return [*numbers, sum(numbers), 32] if numbers else [32]

    def _one_of(self, choices: list[int], limit: int) -> int:
        return int(np.clip(self.rng.choice([*choices, limit, int(self.rng.integers(1, limit + 1))]), 1, limit))

    def random_shapes(self, count: int) -> list[JobFields]:
        """Jobs of any legal shape, about ``MAX_STEPS`` cycles in all where the heads are few."""
        if self.spec.cache:
            return self._sequences(SEQUENCE_JOBS * count)
        shapes: list[JobFields] = []
        for _ in range(count):
            shape = self.shape()
            while self._is_large(shape, MAX_STEPS // count) and max(shape.queries, shape.keys) > 1:
                if shape.queries >= shape.keys or (shape.queries > 2 * self.spec.tile_q and self.rng.random() < 0.5):
                    shape = JobFields(queries=(shape.queries + 1) // 2, keys=shape.keys)
                else:
                    keys = (shape.keys + 1) // 2
                    fits = not self.spec.needs_positions or keys >= shape.queries
                    shape = JobFields(queries=shape.queries if fits else keys, keys=keys)
            shapes.append(shape)
        return shapes

    def _sequences(self, count: int) -> list[JobFields]:
        """Jobs that go on with the one before, one in a few begins another sequence."""
        shapes: list[JobFields] = []
        held = 0
        for _ in range(count):
            queries = self.shape().queries
            if held + queries > self.spec.limits.keys or self.rng.random() < 1 / SEQUENCE_JOBS:
                held = 0
            while queries > 1 and self._is_large(JobFields(queries=queries, keys=held + queries), MAX_STEPS // count):
                queries = (queries + 1) // 2
            held += queries
            shapes.append(JobFields(queries=queries, keys=held))
        return shapes

    def _is_large(self, shape: JobFields, cycles: int) -> bool:
        """Whether a job takes more than about ``cycles``, or more operands than a case should hold."""
        spec = self.spec
        streamed = spec.passes * spec.kv_heads * met_rows(spec, shape.queries, shape.keys) * spec.interval // spec.cols
        return (streamed + spec.heads * shape.queries * spec.chunks > cycles
                or spec.kv_heads * shape.keys * spec.head_dim > MAX_ELEMENTS)


def cases(spec: AttentionSpec, *, seed: int) -> Iterator[Case]:
    """Corner operands on corner shapes first, then the workload, then random shapes back to back."""
    stimulus = Stimulus(spec, np.random.default_rng([seed, 1]))
    corners = [JobFields(queries=1, keys=1), *stimulus.random_shapes(8)]
    yield as_case(spec, "corners", (*stimulus.jobs(corners, extreme=True), stimulus.tied()))
    yield as_case(spec, "workload", stimulus.jobs(spec.workload, reload=False))
    for number in range(2):
        yield as_case(spec, f"random_{number}", stimulus.jobs(stimulus.random_shapes(8)))


def as_case(spec: AttentionSpec, name: str, jobs: tuple[Job, ...]) -> Case:
    """``jobs`` as a case, with what the cycle model says of them."""
    return Case(name, jobs, cycles=list(schedule_of(spec).walk(spec, jobs))[-1].done)
