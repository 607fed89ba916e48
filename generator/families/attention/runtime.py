"""How jobs of an attention design run: what `tilewright run` and the driver need to know of the family."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.stimulus import with_result
from tilewright.families.attention.vectors import Case, IntArray, Job, case_files
from tilewright.formats import IntFormat
from tilewright.result_text import beats_of_jobs

ARGUMENTS = ("q", "k", "v", "score_multiplier", "score_shift", "out_scale")
START = "start"  # one more where keys and values are cached
ONE = 1 << 12  # out_scale of 1.0


class JobError(ValueError):
    """An argument that the design cannot take; ``str()`` is one line."""


def arguments_of(spec: AttentionSpec) -> tuple[str, ...]:
    """What a job of the design may be given."""
    return (*ARGUMENTS, *(("bias",) if spec.bias else ()), *((START,) if spec.cache else ()))


def make_job(spec: AttentionSpec, arguments: Mapping[str, ArrayLike | None], before: Job | None = None) -> Job:
    """The job that ``arguments`` (see :func:`arguments_of`; None counts as absent) ask of a design. JobError for a bad one.

    q is (heads, M, head_dim), k and v are (kv_heads, N, head_dim), each without its first axis where there is one head.
    A score is ``q . k * score_multiplier / 2**score_shift`` with ``fraction`` bits behind the point; out_scale has 12 of its
    16 bits behind the point and is 1.0 by default. bias, in designs with one, is (heads or 1, 2 * reach + 1); without it
    the table of the job ``before`` counts.

    With a cache k and v are (kv_heads, M, head_dim), the rows of the queries' own positions. The job goes on with the sequence
    of the one ``before``; where there is none or ``start`` is 1 it begins one.
    """
    allowed = arguments_of(spec)
    given = {name: value for name, value in arguments.items() if value is not None}
    if unknown := [name for name in given if name not in allowed]:
        raise JobError(f"{unknown[0]}: not an argument of a job; allowed: {', '.join(allowed)}")
    if missing := [name for name in ARGUMENTS if name not in given and name != "out_scale"]:
        raise JobError(f"{missing[0]}: missing")
    q = _heads("q", given["q"], spec.q, spec.heads, spec.head_dim)
    k = _heads("k", given["k"], spec.k, spec.kv_heads, spec.head_dim)
    v = _heads("v", given["v"], spec.v, spec.kv_heads, spec.head_dim)
    queries, keys = q.shape[1], k.shape[1]
    if spec.cache and keys != queries:
        raise JobError(f"k: {keys} positions; q has {queries}, and a cache takes the rows of these")
    if v.shape[1] != keys:
        raise JobError(f"v: {v.shape[1]} positions; k has {keys}")
    for name, size, most in (("q", queries, spec.limits.queries), ("k", keys, spec.limits.keys)):
        if not 1 <= size <= most:
            raise JobError(f"{name}: {size} positions; the design takes 1 to {most}")
    if spec.needs_positions and queries > keys:
        raise JobError(f"q: {queries} positions; k has {keys}, and {spec.positioned_by()} needs as many at least")
    if spec.cache and before and not _scalar(START, given.get(START, 0), 1):
        keys += before.keys
        if keys > spec.limits.keys:
            raise JobError(f"k: {queries} positions behind {before.keys}; the design takes {spec.limits.keys}: "
                           f"begin another sequence with {START}")
        k, v = np.concatenate([before.k, k], axis=1), np.concatenate([before.v, v], axis=1)
    return Job(
        q=q, k=k, v=v,
        score_multiplier=_scalar("score_multiplier", given["score_multiplier"], spec.score_multiplier_width),
        score_shift=_scalar("score_shift", given["score_shift"], spec.score_shift_width),
        out_scale=_scalar("out_scale", given.get("out_scale", ONE), spec.out_scale_width),
        bias=_bias(spec, given.get("bias"), before), load_bias="bias" in given)


def _bias(spec: AttentionSpec, value: ArrayLike | None, before: Job | None) -> IntArray | None:
    """The table that counts: the job's own, or that of the one before."""
    if spec.bias_shape is None:
        return None
    if value is None:
        if before is None or before.bias is None:
            raise JobError("bias: missing; the first job has to bring one")
        return before.bias
    if np.shape(value) != spec.bias_shape:
        raise JobError(f"bias: shape {np.shape(value)}; {spec.bias_shape} is needed")
    most = (1 << spec.scaled_width - 1) - 1
    return _integers("bias", np.asarray(value), -most - 1, most)


def _heads(name: str, value: ArrayLike, number: IntFormat, heads: int, head_dim: int) -> IntArray:
    """(heads, positions, head_dim), every element a value of ``number``."""
    array = np.asarray(value)
    if array.ndim == 2 and heads == 1:
        array = array[None]
    if array.ndim != 3 or array.shape[0] != heads or array.shape[2] != head_dim:
        wanted = f"({heads}, positions, {head_dim})" + (f" or (positions, {head_dim})" if heads == 1 else "")
        raise JobError(f"{name}: shape {np.shape(value)}; {wanted} is needed")
    return _integers(name, array, number.low, number.high)


def _scalar(name: str, value: ArrayLike, width: int) -> int:
    array = np.asarray(value)
    if array.size != 1:
        raise JobError(f"{name}: shape {array.shape}; one value is needed")
    return int(_integers(name, array.reshape(()), 0, (1 << width) - 1))


def _integers(name: str, array: np.ndarray[Any, Any], low: int, high: int) -> IntArray:
    if array.dtype.kind not in "iu":
        raise JobError(f"{name}: holds {array.dtype}; only integers are allowed")
    wrong = (array < low) | (array > high)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        at = f" at {list(index)}" if index else ""
        raise JobError(f"{name}: {array[index]}{at}; allowed are {low} to {high}")
    return array.astype(np.int64)


class AttentionRuntime:
    """The :class:`tilewright.driver.Runtime` of one attention design."""

    dimensions = 3

    def __init__(self, spec: AttentionSpec) -> None:
        self.spec = spec
        self.schedule = schedule_of(spec)
        self.arguments = arguments_of(spec)
        self.description: dict[str, Any] = {}  # no registers

    def job(self, arguments: Mapping[str, ArrayLike | None], before: Job | None) -> Job:
        """The job of a user's arguments; ``JobError`` for a bad one. Of the job before a bias stays, and what a cache holds."""
        return make_job(self.spec, arguments, before)

    def alone(self, job: Job) -> Job:
        """``job`` with the bias that counts, if it brings all other operands along: after a reset no cache holds a sequence."""
        if self.spec.cache and job.queries < job.keys:
            raise JobError(f"{START}: a program begins with a sequence of its own; what an earlier one left is gone")
        return replace(job, load_bias=True)

    def shape(self, job: Job) -> dict[str, int]:
        """Queries and keys."""
        return {"queries": job.queries, "keys": job.keys}

    def result_shape(self, job: Job) -> tuple[int, int, int]:
        """Heads, queries and elements of a head."""
        return self.spec.heads, job.queries, self.spec.head_dim

    def golden(self, job: Job) -> IntArray:
        """The result as the golden model computes it, (heads, queries, head_dim)."""
        return self.schedule.golden(self.spec, job)

    def cycles(self, jobs: Sequence[Job]) -> list[int]:
        """What the cycle model says of each job, back to back, from the end of the job before."""
        done = [0, *(at.done for at in self.schedule.walk(self.spec, jobs))]
        return [end - start for start, end in pairwise(done)]

    def vectors(self, jobs: Sequence[Job], *, with_results: bool) -> dict[str, str]:
        """The files of a vectors folder that holds ``jobs``, with their golden results if asked for."""
        if not with_results:
            return case_files(self.spec, Case("program", tuple(jobs)))
        case = Case("program", tuple(with_result(self.spec, job) for job in jobs), sum(self.cycles(jobs)))
        return case_files(self.spec, case)

    def results(self, text: str, jobs: Sequence[Job]) -> list[IntArray]:
        """The result of each job, out of the text of a ``result.txt``; ``ValueError`` if it is not theirs."""
        counts = [self.schedule.result_beats(self.spec, job.queries) for job in jobs]
        return [self.schedule.unpack_result(self.spec, beats, job.queries)
                for job, beats in zip(jobs, beats_of_jobs(text, counts), strict=True)]

    def device(self, transport: Any) -> NoReturn:
        """There is none: the family has no top with registers."""
        raise RuntimeError(f"{self.spec.design} has no registers to be driven by")
