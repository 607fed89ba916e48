"""Matrices to beats and back, in the order of the array's tiles; the vector files hold the same beats.

The orders are those of ``tilewright.rtl.gemm.engine.GemmEngine``'s table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.int64]

CHANNEL_FIELDS = ("bias", "multiplier", "shift", "zero_point", "low", "high")
JOB_FIELDS = ("m", "n", "k", "reuse_weights", "act_zero_point", "weight_zero_point")
STREAMS = ("jobs", "act", "weight", "channel", "result")


class ArrayShape(Protocol):
    """The part of a spec that decides the order of beats."""

    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def dataflow(self) -> str: ...


def _by_lanes(matrix: IntArray, lanes: int, *, filled: bool = False) -> IntArray:
    """(steps, elements) to beats: groups of ``lanes`` elements outside, steps inside.

    Lanes beyond the edge hold zeros; ``filled``, they repeat the first elements.
    """
    steps, elements = matrix.shape
    groups = -(-elements // lanes)
    padded = np.zeros((steps, groups * lanes), np.int64)
    padded[:, :elements] = matrix
    if filled:
        padded[:, elements:] = matrix[:, np.arange(groups * lanes - elements) % elements]
    return padded.reshape(steps, groups, lanes).transpose(1, 0, 2).reshape(groups * steps, lanes)


def pack_act(shape: ArrayShape, a: ArrayLike, *, filled: bool = False) -> IntArray:
    """A (M, K) as act beats, (beats, lanes); ``filled``: with values in the lanes that do not count."""
    matrix = np.asarray(a, np.int64)
    if shape.dataflow == "weight_stationary":
        return _by_lanes(matrix, shape.rows, filled=filled)
    return _by_lanes(matrix.T, shape.cols if shape.dataflow == "input_stationary" else shape.rows, filled=filled)


def pack_weight(shape: ArrayShape, b: ArrayLike, *, filled: bool = False) -> IntArray:
    """B (K, N) as weight beats, (beats, lanes); ``filled``: with values in the lanes that do not count."""
    matrix = np.asarray(b, np.int64)
    if shape.dataflow == "input_stationary":
        return _by_lanes(matrix.T, shape.rows, filled=filled)
    return _by_lanes(matrix, shape.cols, filled=filled)


def result_index(shape: ArrayShape, m: int, n: int) -> IntArray:
    """Flat index into C (M, N) of each lane of each result beat, -1 where a lane does not count."""
    index = np.arange(m * n, dtype=np.int64).reshape(m, n) + 1
    if shape.dataflow == "input_stationary":
        return _by_lanes(index.T, shape.cols) - 1
    if shape.dataflow == "weight_stationary":
        return _by_lanes(index, shape.cols) - 1
    bands = [_by_lanes(index[start:start + shape.rows], shape.cols) for start in range(0, m, shape.rows)]
    return np.concatenate(bands) - 1


def unpack_result(shape: ArrayShape, beats: ArrayLike, m: int, n: int) -> IntArray:
    """Result beats as C (M, N)."""
    index = result_index(shape, m, n)
    values = np.asarray(beats, np.int64)
    if values.shape != index.shape:
        raise ValueError(f"result beats have shape {values.shape}, not {index.shape}")
    result = np.zeros(m * n, np.int64)
    counts = index >= 0
    result[index[counts]] = values[counts]
    return result.reshape(m, n)


@dataclass(frozen=True)
class Job:
    """One GEMM with everything it is computed from; ``result`` is the golden C.

    ``channels`` maps CHANNEL_FIELDS to arrays of shape (N,), or is None where results are accumulators.
    """

    a: IntArray
    b: IntArray
    channels: dict[str, IntArray] | None = None
    reuse_weights: bool = False
    act_zero_point: int = 0
    weight_zero_point: int = 0
    result: IntArray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(m, n, k)"""
        return self.a.shape[0], self.b.shape[1], self.a.shape[1]

    @property
    def fields(self) -> dict[str, int]:
        m, n, k = self.shape
        values = (m, n, k, int(self.reuse_weights), self.act_zero_point, self.weight_zero_point)
        return dict(zip(JOB_FIELDS, values, strict=True))


@dataclass(frozen=True)
class Case:
    """Jobs that run back to back; ``cycles`` is what the model says they take when no port stalls."""

    name: str
    jobs: tuple[Job, ...]
    cycles: int | None = None


def _lines(rows: Iterable[Sequence[object]]) -> str:
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def case_files(shape: ArrayShape, case: Case) -> dict[str, str]:
    """The text files of a case: one beat a line, lanes as decimal integers, "-" where a result lane does not count.

    Operand lanes beyond the edge carry values, which no result may show.
    """
    texts: dict[str, list[str]] = {name: [] for name in STREAMS}
    for job in case.jobs:
        texts["jobs"].append(_lines([tuple(job.fields.values())]))
        texts["act"].append(_lines(pack_act(shape, job.a, filled=True).tolist()))
        if not job.reuse_weights:
            texts["weight"].append(_lines(pack_weight(shape, job.b, filled=True).tolist()))
            if job.channels is not None:
                columns = [job.channels[name].tolist() for name in CHANNEL_FIELDS]
                texts["channel"].append(_lines(zip(*columns, strict=True)))
        if job.result is not None:
            m, n, _ = job.shape
            index = result_index(shape, m, n)
            values = job.result.ravel()[index].astype(object)
            values[index < 0] = "-"
            texts["result"].append(_lines(values.tolist()))
    files = {f"{name}.txt": "".join(parts) for name, parts in texts.items() if parts}
    if case.cycles is not None:
        files["cycles.txt"] = f"{case.cycles}\n"
    return files


def write_case(folder: Path, shape: ArrayShape, case: Case) -> None:
    """Write the files of ``case`` into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in case_files(shape, case).items():
        (folder / name).write_text(text)
