"""The cycle model of the window ring: when each job ends if no port ever stalls.

A walk over positions and queries with the engine's own rules and no data: a row of keys or values is loaded behind the one
before, as soon as the row that its core held two rows ago is no longer read; a query begins when its position's keys are there
and while there is a slot for its weights, and ends an interval after the one before at the earliest; its values follow when
the weights, the factor and the position's value are there. Equal to ``counter_cycles``, to the cycle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tilewright.families.attention.cycles import CHECK, JOBS_MAX, NEVER, JobCycles, JobShape
from tilewright.families.attention.spec import AttentionSpec

TAKE = 2  # from accepting a job to the first beat of its rows


@dataclass(frozen=True)
class RingCycles:
    """What decides the schedule; latencies are those of ``tilewright.rtl.attention.window_ring``."""

    spec: AttentionSpec
    interval: int  # cycles from one query to the next
    latency: int   # from a query's last score step to the first step of its values
    results: int   # from a step of values to the offer of its results
    slots: int     # queries whose weights are on their way


class _Loader:
    """Rows that come into the ring, of keys or of values."""

    def __init__(self, spec: AttentionSpec) -> None:
        self.spec = spec
        self.ended = NEVER                   # last beat of a row
        self.opened = [NEVER] * spec.cores   # when each core turned to its latest row
        self.core = 0
        self.rows: list[int] = []            # cores that turn when the position opens

    def begin(self, accepted: int) -> None:
        """A job's rows come when those of the job before are there."""
        self.ended = max(self.ended, accepted + TAKE - 1)

    def load(self, rows: int, *, begins_head: bool) -> int:
        """The rows of the next position; the cycle in which the last of them is there."""
        if begins_head:
            self.core = 0
        self.rows = []
        for _ in range(rows):
            self.ended = max(self.ended, self.opened[self.core]) + self.spec.chunks
            self.rows.append(self.core)
            self.core = self.core + 1 if self.core + 1 < self.spec.cores else self.spec.mask.sink
        return self.ended

    def open(self, cycle: int) -> None:
        for core in self.rows:
            self.opened[core] = cycle


@dataclass
class _Timeline:
    """What has happened so far; cycles of the last events of each kind."""

    keys: _Loader
    values: _Loader
    freed: list[int]                       # last value step of each query, by slot
    accepted: int = -CHECK
    scored: int = NEVER                    # last score step of a query
    valued: int = NEVER                    # last value step of a query
    queries: int = 0
    done: list[int] = field(default_factory=lambda: [NEVER] * JOBS_MAX)


def walk(engine: RingCycles, jobs: Sequence[JobShape]) -> Iterator[JobCycles]:
    """The schedule of ``jobs``, offered back to back."""
    spec = engine.spec
    time = _Timeline(_Loader(spec), _Loader(spec), [NEVER] * engine.slots)
    for job in jobs:
        time.accepted = max(time.accepted + CHECK, time.done[0] + 1)
        time.keys.begin(time.accepted)
        time.values.begin(time.accepted)
        yield _job(engine, time, job)


def _job(engine: RingCycles, time: _Timeline, job: JobShape) -> JobCycles:
    spec = engine.spec
    first = None
    for _ in range(spec.kv_heads):
        for position in range(job.queries):
            rows = _rows(spec, job, position)
            key = time.keys.load(rows, begins_head=position == 0)
            value = time.values.load(rows, begins_head=position == 0)
            for member in range(spec.group):
                begins = _query(engine, time, key if member == 0 else NEVER, value if member == 0 else NEVER)
                first = begins if first is None else first
    assert first is not None
    done = time.valued + engine.results
    time.done = [time.done[1], done]
    return JobCycles(first, time.scored, done, spec.heads * job.queries * spec.chunks)


def _rows(spec: AttentionSpec, job: JobShape, position: int) -> int:
    """The rows that come for a position: to begin with all that it sees; later one, or none behind the last."""
    lookahead = spec.mask.lookahead
    if position:
        return 1 if position + lookahead < job.queries else 0
    return min(job.keys - job.queries + 1, spec.cores - lookahead) + min(lookahead, job.queries - 1)


def _query(engine: RingCycles, time: _Timeline, key: int, value: int) -> int:
    """Scores and values of one query, whose position's last rows come in the cycles ``key`` and ``value``; its first step."""
    chunks = engine.spec.chunks
    slot = time.queries % engine.slots
    begins = max(time.scored, time.freed[slot], key) + 1
    if key != NEVER:
        time.keys.open(begins)
    time.scored = max(begins + chunks - 1, time.scored + engine.interval)
    values = max(time.valued + 1, time.scored + engine.latency, value + 1)
    if value != NEVER:
        time.values.open(values)
    time.valued = time.freed[slot] = values + chunks - 1
    time.queries += 1
    return begins
