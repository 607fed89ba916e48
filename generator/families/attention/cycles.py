"""The cycle model of the attention engine: when each job ends if no port ever stalls.

A walk over tiles and keys with the engine's own rules and no data: a key begins when its tile's queries are there and while
there is a slot for its weights, and ends a key interval after the one before at the earliest; its values follow when the
weights are there and, at the beginning of a tile, a bank of sums is free; a finished tile is divided and read row by row.
A job that loads the table of the bias waits for the jobs before it, and its first tile for the table.
With a cache a job's rows are appended once the jobs before have read theirs, in a ring also once no tile needs what they
take the place of; a key, or its value, begins when its row is there. Equal to ``counter_cycles``, to the cycle.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, repeat
from typing import Protocol

from tilewright.families.attention.cache_cycles import CacheTime
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.work import tile_keys
from tilewright.sim.golden.attention_mask import tile_keys as met_keys

CHECK = 2          # from accepting a job to the earliest acceptance of the next, whose shape is checked meanwhile
WALK = 4           # from a job, or from a tile that was taken, to the next tile's keys
JOBS_MAX = 2       # on their way at a time
BANKS = 2          # of queries, and of sums
NEVER = -10**9


class JobShape(Protocol):
    """A job as the schedule sees it."""

    @property
    def queries(self) -> int: ...
    @property
    def keys(self) -> int: ...


@dataclass(frozen=True)
class CycleEngine:
    """What decides the schedule; latencies are those of ``tilewright.rtl.attention``."""

    spec: AttentionSpec
    loop: int           # of the running sums: from an addition to the next one
    settling: int       # from the last addition to a sum to its bank being read
    interval: int       # cycles from one key to the next
    key_latency: int    # from a key's last score step to the first step of its values
    answer: int         # from a tile's last score step to the answer whether it comes once more, 0 if none is asked for
    slots: int          # keys whose weights are on their way
    division: int       # cycles from one row's total to the next one's
    result_latency: int  # from reading a word of sums to offering its results
    query_lead: int     # cycles that queries take to their banks
    key_lead: int       # from a step to the key that it meets
    value_lead: int     # from a step to the value that it meets
    append_latency: Mapping[str, int]  # of keys and of values: from a row's last beat to its first possible step
    bias_entries: int = 0  # of the table that a job may load, an entry a cycle


@dataclass(frozen=True)
class JobCycles:
    """Cycles counted from the one in which the first job is accepted.

    ``first_step`` and ``last_step`` bound the steps of the scores, ``done`` is the cycle in which the last result leaves;
    ``active`` is the number of steps.
    """

    first_step: int
    last_step: int
    done: int
    active: int


@dataclass
class _Timeline:
    """What has happened so far; cycles of the last events of each kind."""

    accepted: int = -CHECK
    loaded: int = NEVER                    # last beat of queries
    walked: int = NEVER                    # a tile was taken from the walker
    table: int = NEVER                     # the bias was there
    done: list[int] = field(default_factory=lambda: [NEVER] * JOBS_MAX)
    stepped: int = NEVER                   # last score step of a key
    scored: list[int] = field(default_factory=lambda: [NEVER] * BANKS)    # ends of the tiles before: their scores are done
    freed: list[int] = field(default_factory=list)     # last value step of each key, by slot
    keys: int = 0
    values: int = NEVER                    # first value step of a key
    valued: int = NEVER                    # last value step of a key
    released: list[int] = field(default_factory=lambda: [NEVER] * BANKS)  # a bank's last word was taken
    taken: int = NEVER                     # a row's factor was taken
    read: int = NEVER                      # a row's, or a tile's, last word was read
    caches: dict[str, CacheTime] = field(default_factory=dict)  # of keys and values, none without


def walk(engine: CycleEngine, jobs: Sequence[JobShape]) -> Iterator[JobCycles]:
    """The schedule of ``jobs``, offered back to back.

    Where there is a bias, a job may say whether it brings one, in ``load_bias``; of those that do not say, the first does.
    Where tiles may come once more, a job may say which do, in ``again``, (kv_heads, tiles); else none does.
    """
    time = _Timeline(freed=[NEVER] * engine.slots)
    if engine.spec.cache:
        time.caches = {name: CacheTime(engine.spec, latency) for name, latency in engine.append_latency.items()}
    for number, job in enumerate(jobs):
        appended = [cache.appended for cache in time.caches.values()]
        time.accepted = max(time.accepted + CHECK, time.loaded + 1, time.walked + 1, time.done[0] + 1, *appended)
        if engine.bias_entries and getattr(job, "load_bias", number == 0):
            time.accepted = max(time.accepted, time.done[1] + 1)
            time.table = time.accepted + engine.bias_entries + 1
        yield _job(engine, time, job)


def _job(engine: CycleEngine, time: _Timeline, job: JobShape) -> JobCycles:
    spec = engine.spec
    rows = _tile_rows(spec, job)
    counts = tile_keys(spec, job.queries, job.keys).tolist()
    first, steps = None, 0
    offered = time.accepted + WALK
    load = time.accepted + 1
    again = getattr(job, "again", None)
    for name, left in (("k", time.scored[1]), ("v", time.valued)):
        if name in time.caches:
            time.caches[name].take(job.queries, job.keys, accepted=time.accepted, left=left)
    for head in range(spec.kv_heads):
        for tile, (count, tile_rows) in enumerate(zip(counts, rows, strict=True)):
            load = max(load, time.scored[0] + 1 + max(engine.key_lead - engine.query_lead, 0))
            time.loaded = load + tile_rows * spec.chunks - 1
            load = time.loaded + 1
            time.walked = max(offered, time.scored[1], time.table)
            offered = time.walked + WALK
            if tile:
                for name, left in (("k", time.scored[1]), ("v", time.valued)):
                    if name in time.caches:
                        time.caches[name].leave_tile(head, tile * spec.tile_q // spec.group, left)
            repeats = 0 if again is None else int(again[head][tile])
            begins = _keys(engine, time, list(_arrivals(spec, time, job, head, tile, count)), repeats)
            first = begins if first is None else first
            steps += (spec.passes + repeats) * count * spec.chunks
            _drain(engine, time, tile_rows)
    assert first is not None
    done = time.read + engine.result_latency
    time.done = [time.done[1], done]
    return JobCycles(first, time.stepped, done, steps)


def _tile_rows(spec: AttentionSpec, job: JobShape) -> list[int]:
    """Rows that count of each tile of a kv head."""
    edges = [*range(0, job.queries * spec.group, spec.tile_q), job.queries * spec.group]
    return [end - start for start, end in pairwise(edges)]


def _arrivals(spec: AttentionSpec, time: _Timeline, job: JobShape, head: int, tile: int, count: int,
              ) -> Iterator[tuple[int, int]]:
    """Of each key that a tile meets, the cycles from which on it and its value may be read."""
    if not time.caches:
        yield from repeat((NEVER, NEVER), count)
        return
    first = tile * spec.tile_q
    last = min(first + spec.tile_q, job.queries * spec.group) - 1
    low, high = (row // spec.group + job.keys - job.queries for row in (first, last))
    for key in met_keys(spec.mask, low, high, job.keys):
        yield time.caches["k"].there(head, key), time.caches["v"].there(head, key)


def _keys(engine: CycleEngine, time: _Timeline, met: Sequence[tuple[int, int]], repeats: int) -> int:
    """The keys of one tile, scores and values; the first score step. ``repeats``: they come once more, values too."""
    passes, chunks = engine.spec.passes, engine.spec.chunks
    first, answered = 0, NEVER
    for number, (key_there, value_there) in enumerate((passes + repeats) * list(met)):
        weighs = number >= (passes - 1) * len(met)
        key = max(time.stepped + 1, answered + 1, key_there)
        if weighs:
            key = max(key, time.freed[time.keys % engine.slots] + 1)
        if number == 0:
            first = key = max(key, time.walked + 1, time.loaded + 1 + max(engine.query_lead - engine.key_lead, 0))
        time.stepped = max(key + chunks - 1, time.stepped + engine.interval)
        if weighs:
            _values(engine, time, max(time.stepped + engine.key_latency, value_there),
                    begins=number == (passes - 1) * len(met))
        if engine.answer and number == len(met) - 1:
            answered = time.stepped + engine.answer
    time.scored = [time.scored[1], max(time.stepped, answered)]
    return first


def _values(engine: CycleEngine, time: _Timeline, ready: int, *, begins: bool) -> None:
    """The values of one key, which with its weights are there in cycle ``ready``; ``begins``: of a tile's first key."""
    values = max(time.values + engine.loop, time.valued + 1)
    if begins:
        values = max(values, time.released[0] + 1)
    time.values = max(values, ready)
    time.valued = time.freed[time.keys % engine.slots] = time.values + engine.spec.chunks - 1
    time.keys += 1


def _drain(engine: CycleEngine, time: _Timeline, rows: int) -> None:
    """A finished tile: each row divided while the one before is read; in the order of tiles, while the tile before is."""
    owned = time.valued + engine.value_lead + engine.settling
    whole = engine.spec.order == "tiles"
    for _ in range(rows):
        start = max(owned, time.taken)
        time.taken = start + engine.division
        if not whole:
            time.taken = max(time.taken, time.read)
            time.read = time.taken + engine.spec.chunks
    if whole:
        time.read = max(time.taken, time.read) + rows * engine.spec.chunks
    time.released = [time.released[1], time.read + 1]
