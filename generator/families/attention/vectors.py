"""Queries, keys and values to beats and results back; the vector files hold the same beats.

A kv head's rows are its (position, head of the group) pairs, heads inside; ``tile_q`` of them make a tile, and each tile
meets its values once and its keys once or twice, so they are sent as often for every tile. Queries and results come row by
row, or, in the ``order`` of tiles, a chunk of every position of a tile after the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.sim.golden.attention_mask import Mask, tile_keys

IntArray = NDArray[np.int64]

JOB_FIELDS = ("queries", "keys", "score_multiplier", "score_shift", "out_scale")
STREAMS = ("jobs", "q", "k", "v", "bias", "again", "result")


class EngineShape(Protocol):
    """The part of a spec that decides the order of beats; with a ``cache`` keys and values come once."""

    @property
    def kv_heads(self) -> int: ...
    @property
    def group(self) -> int: ...
    @property
    def tile_q(self) -> int: ...
    @property
    def tile_positions(self) -> int: ...
    @property
    def lanes(self) -> int: ...
    @property
    def order(self) -> str: ...
    @property
    def mask(self) -> Mask: ...
    @property
    def cache(self) -> object | None: ...


def pack_rows(shape: EngineShape, rows: ArrayLike) -> IntArray:
    """Queries or results (heads, queries, head_dim) as beats, (beats, lanes), in the order of ``shape``.

    rows: by kv head, position, head of the group, chunk. tiles: by kv head, tile, head of the group, chunk, position.
    """
    array = np.asarray(rows, np.int64)
    _, count, head_dim = array.shape
    grouped = array.reshape(shape.kv_heads, shape.group, count, head_dim)
    if shape.order == "tiles":
        return pack_tiles(grouped, shape.tile_positions, shape.lanes)
    return grouped.transpose(0, 2, 1, 3).reshape(-1, shape.lanes)


def pack_tiles(rows: IntArray, tile: int, lanes: int) -> IntArray:
    """(kv heads, heads of a group, positions, head_dim) as beats, (beats, lanes): by kv head, tile, head, chunk, position.

    ``tile`` positions make a tile. For one tile that is a matrix (positions, heads * head_dim) by tiles of ``lanes`` columns.
    """
    kv_heads, group, count, _ = rows.shape
    chunked = rows.reshape(kv_heads, group, count, -1, lanes).swapaxes(2, 3)
    tiles = [chunked[..., start:start + tile, :].reshape(kv_heads, -1, lanes) for start in range(0, count, tile)]
    return np.concatenate(tiles, axis=1).reshape(-1, lanes)


def unpack_rows(shape: EngineShape, beats: ArrayLike, queries: int) -> IntArray:
    """The (heads, queries, head_dim) that :func:`pack_rows` made into ``beats``."""
    array = np.asarray(beats, np.int64)
    rows = shape.kv_heads * queries * shape.group
    if array.ndim != 2 or array.shape[1] != shape.lanes or array.shape[0] % rows:
        raise ValueError(f"result beats have shape {array.shape}, not (a multiple of {rows}, {shape.lanes})")
    index = np.arange(array.size, dtype=np.int64).reshape(shape.kv_heads * shape.group, queries, -1)
    result = np.empty_like(index)
    result.reshape(-1)[pack_rows(shape, index)] = array
    return result


def met_keys(shape: EngineShape, queries: int, keys: int, *, passes: int = 1, again: IntArray | None = None) -> list[int]:
    """The keys that the tiles of one kv head meet, one tile behind the other.

    Those of a tile ``passes`` times, and once more where it is marked in ``again``.
    """
    rows = queries * shape.group
    before = keys - queries
    met: list[int] = []
    for tile, first in enumerate(range(0, rows, shape.tile_q)):
        last = min(first + shape.tile_q, rows) - 1
        times = passes + (0 if again is None else int(again[tile]))
        met += times * tile_keys(shape.mask, first // shape.group + before, last // shape.group + before, keys)
    return met


def pack_keys(shape: EngineShape, keys: ArrayLike, queries: int, *, passes: int = 1, again: IntArray | None = None) -> IntArray:
    """Keys or values (kv_heads, keys, head_dim) as beats, (beats, lanes): by kv head, tile, pass, key, chunk.

    Those of tiles that are marked in ``again``, (kv_heads, tiles), come once more. With a cache those of the job's own
    positions, by kv head, position, chunk.
    """
    array = np.asarray(keys, np.int64)
    if shape.cache:
        return array[:, array.shape[1] - queries:].reshape(-1, shape.lanes)
    met = [met_keys(shape, queries, array.shape[1], passes=passes, again=None if again is None else again[head])
           for head in range(len(array))]
    return np.concatenate([of_head[rows] for of_head, rows in zip(array, met, strict=True)]).reshape(-1, shape.lanes)


def pack_answers(again: IntArray) -> IntArray:
    """Beats of the stream that tells which tiles come once more: again, last."""
    beats = np.stack([again.ravel(), np.zeros(again.size, np.int64)], axis=1)
    beats[-1, 1] = 1
    return beats


@dataclass(frozen=True)
class Job:
    """One attention with everything it is computed from; ``result`` is the golden one.

    q and result are (heads, queries, head_dim), k and v (kv_heads, keys, head_dim). ``bias``, in designs with one, is the
    table that counts, (heads or 1, 2 * reach + 1), and ``load_bias`` tells whether the job brings it.
    ``again``, in designs that ask, marks the tiles that come once more, (kv_heads, tiles).
    """

    q: IntArray
    k: IntArray
    v: IntArray
    score_multiplier: int
    score_shift: int
    out_scale: int
    result: IntArray | None = None
    bias: IntArray | None = None
    load_bias: bool = True
    again: IntArray | None = None

    @property
    def queries(self) -> int:
        """Positions of the queries."""
        return int(self.q.shape[1])

    @property
    def keys(self) -> int:
        """Positions of the keys and values."""
        return int(self.k.shape[1])

    @property
    def fields(self) -> dict[str, int]:
        """The job's line of ``jobs.txt``."""
        fields = {name: int(getattr(self, name)) for name in JOB_FIELDS}
        return fields if self.bias is None else fields | {"load_bias": int(self.load_bias)}


@dataclass(frozen=True)
class Case:
    """Jobs that run back to back; ``cycles`` is what the model says they take when no port stalls."""

    name: str
    jobs: tuple[Job, ...]
    cycles: int | None = None


def _lines(rows: Iterable[Sequence[object]]) -> str:
    return "".join(" ".join(map(str, row)) + "\n" for row in rows)


def case_files(spec: AttentionSpec, case: Case) -> dict[str, str]:
    """The text files of a case: one beat a line, elements as decimal integers, "-" where a result lane does not count."""
    schedule = schedule_of(spec)
    texts: dict[str, list[str]] = {name: [] for name in STREAMS}
    for job in case.jobs:
        texts["jobs"].append(_lines([tuple(schedule.columns(spec, job).values())]))
        for name, beats in schedule.operands(spec, job).items():
            texts[name].append(_lines(beats.tolist()))
        if job.result is not None:
            texts["result"].append(_lines(schedule.result_lines(spec, job.result)))
    files = {f"{name}.txt": "".join(parts) for name, parts in texts.items() if parts}
    if case.cycles is not None:
        files["cycles.txt"] = f"{case.cycles}\n"
    return files


def write_case(folder: Path, spec: AttentionSpec, case: Case) -> None:
    """Write the files of ``case`` into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in case_files(spec, case).items():
        (folder / name).write_text(text)
