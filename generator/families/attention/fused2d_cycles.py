"""The cycle model of schedule `fused2d`: when each job ends if no port ever stalls.

A walk over key tiles with the engine's own rules and no data. The array goes from period to period: a key tile comes in if
it is there at once or nothing else is on its way; its scores, nine steps, and the values of the key tile two before.
Lanes take the sums of a key tile as soon as they are complete and the key tile before is done, and read the
elements of a query tile behind its last one when its division is done. Equal to ``counter_cycles``, to the cycle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tilewright.families.attention.cycles import BANKS, CHECK, NEVER, WALK, JobCycles, JobShape
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.attention.work import tile_keys

WINDOW = 9


@dataclass(frozen=True)
class FusedTiming:
    """Latencies of ``tilewright.rtl.attention.fused2d``, in cycles."""

    jobs: int        # that are on their way at a time
    distance: int    # from the last step of a key tile's scale to the first one of its exponentials
    put: int         # from the last step of a key tile's values to its sums being complete
    lane: int        # of a lane for a key tile
    total: int       # from a lane's first cycle of a key tile to its sum of weights going to the divider
    division: int    # of a row's total
    result: int      # from reading an element to offering its result


@dataclass
class _KeyTile:
    """A key tile: how many keys, which job's, and the cycles in which it is there and its queries are."""

    job: int
    keys: int
    last: bool = False
    job_ends: bool = False
    ready: int = NEVER
    loaded: int = NEVER


class _Walk:
    """What has happened so far; cycles of the last events of each kind."""

    def __init__(self, spec: AttentionSpec, timing: FusedTiming, jobs: Sequence[JobShape]) -> None:
        self.spec = spec
        self.timing = timing
        self.jobs = jobs
        self.taken = NEVER                                 # a key tile was
        self.released = [NEVER] * BANKS                    # queries of the tiles before
        self.free = [NEVER] * BANKS                        # partial sums can go to the banks, the next one first
        self.lanes = NEVER                                 # the lanes are free
        self.first: dict[int, int] = {}                    # step of the scores, by job
        self.last: dict[int, int] = {}
        self.done: dict[int, int] = {}

    def key_tiles(self) -> Iterator[_KeyTile | None]:
        """In their order, each when the one before was taken; None: whether a job is accepted is not known yet."""
        accepted, loaded, walked, ready = -CHECK, NEVER, NEVER, NEVER
        head_dim, cols = self.spec.head_dim, self.spec.cols
        for number, job in enumerate(self.jobs):
            while (before := number - self.timing.jobs) >= 0 and before not in self.done:
                yield None
            accepted = max(accepted + CHECK, loaded + 1, walked + 1, self.done.get(before, NEVER) + 1)
            offered, load = accepted + WALK, accepted + 1
            counts = tile_keys(self.spec, job.queries, job.keys).tolist() * self.spec.kv_heads
            for tile, count in enumerate(counts, 1):
                loaded = max(load, self.released[0] + 1) + head_dim - 1
                load = loaded + 1
                walked = max(offered, ready)
                offered = walked + WALK
                for start in range(0, count, cols):
                    keys = min(cols, count - start)
                    ready = max(walked, self.taken) + 1 + keys
                    last = start + keys == count
                    yield _KeyTile(number, keys, last, last and tile == len(counts), ready, loaded)

    def run(self) -> None:
        """All key tiles through the array and the lanes."""
        now, scaled = 0, NEVER
        coming = self.key_tiles()
        following = next(coming, None)
        before: list[_KeyTile | None] = [None, None]
        while following is not None or any(before):
            start = max(now, following.ready, following.loaded + 1) if following else None
            entering = following if start == now or not any(before) else None
            if entering:
                assert start is not None
                now = self._scores(entering, start)
            octaves = max(now + 1, scaled + self.timing.distance) if before[0] else now + 1
            window_ends = octaves + WINDOW - 2
            weighed = before[1]
            if weighed:
                window_ends = max(window_ends, self.free[0])
            if entering:
                scaled = window_ends
            now = window_ends + 1
            if weighed:
                now += self.spec.head_dim
                self._lane(weighed, now - 1)
            before = [entering, before[0]]
            if entering or following is None:
                following = next(coming, None)

    def _scores(self, tile: _KeyTile, start: int) -> int:
        """The scores of a key tile that is taken in cycle ``start``; the cycle behind them."""
        end = start + self.spec.head_dim - 1
        self.taken = start
        if tile.last:
            self.released = [self.released[1], end]
        self.first.setdefault(tile.job, start)
        self.last[tile.job] = end
        return end + 1

    def _lane(self, tile: _KeyTile, valued: int) -> None:
        """What the lanes do for a key tile whose last values step is in cycle ``valued``."""
        begins = max(valued + self.timing.put + 1, self.lanes)
        self.lanes = begins + self.timing.lane
        self.free = [self.free[1], self.lanes]
        if tile.last:
            divided = begins + self.timing.total + self.timing.division
            self.lanes = max(self.lanes, divided) + self.spec.head_dim
        if tile.job_ends:
            self.done[tile.job] = self.lanes - 1 + self.timing.result


def walk(spec: AttentionSpec, timing: FusedTiming, jobs: Sequence[JobShape]) -> Iterator[JobCycles]:
    """The schedule of ``jobs``, offered back to back."""
    walked = _Walk(spec, timing, jobs)
    walked.run()
    for number, job in enumerate(jobs):
        counts = tile_keys(spec, job.queries, job.keys)
        steps = spec.kv_heads * int((-(-counts // spec.cols)).sum()) * spec.head_dim
        yield JobCycles(walked.first[number], walked.last[number], walked.done[number], steps)
