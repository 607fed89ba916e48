"""When the rows of a job are in its cache, if no port ever stalls."""

from tilewright.families.attention.spec import AttentionSpec

SETTLING = 3       # from accepting a job to the earliest step of its first row
LIMITING = 2       # from a tile's last step to the earliest row that it made room for
NEVER = -10**9
ENDLESS = 10**9


class CacheTime:
    """The rows of keys, or of values: by head and position, a beat a cycle, each where it has room.

    ``latency`` is that from a row's last beat to the first cycle in which it may be read. ``appended`` is the cycle in which
    the job's last row may be.
    """

    def __init__(self, spec: AttentionSpec, latency: int) -> None:
        self.spec = spec
        self.latency = latency
        self.appended = NEVER
        self._before = self._queries = self._first_limit = self._free = 0
        self._there: list[int] = []  # cycle of each row of the job, head after head

    def take(self, queries: int, keys: int, *, accepted: int, left: int) -> None:
        """A job; ``left`` is the cycle in which the jobs before it read their last row."""
        self._before, self._queries = keys - queries, queries
        self._there = []
        self._first_limit = self._limit(self._before)
        self._append(0, self._first_limit, max(accepted + SETTLING, left + 1))

    def leave_tile(self, head: int, positions: int, left: int) -> None:
        """A tile of ``head`` is through in cycle ``left``; the next one begins ``positions`` behind the job's first query."""
        self._append(head, self._limit(self._before + positions), left + LIMITING)

    def there(self, head: int, key: int) -> int:
        """The first cycle in which the row of ``key`` may be read."""
        return self._there[head * self._queries + key - self._before] if key >= self._before else NEVER

    def _limit(self, position: int) -> int:
        """The first key that has no room while a tile that begins at ``position`` is at work."""
        mask = self.spec.mask
        return max(position - mask.window + 1, mask.sink) + self.spec.cache_ring if self.spec.cache_ring else ENDLESS

    def _append(self, at_work: int, limit: int, cycle: int) -> None:
        """The rows that have room from ``cycle`` on."""
        while len(self._there) < self.spec.kv_heads * self._queries:
            head, position = divmod(len(self._there), self._queries)
            if self._before + position >= (limit if head == at_work else self._first_limit):
                return
            self._free = max(self._free, cycle) + self.spec.chunks
            self.appended = self._free - 1 + self.latency
            self._there.append(self.appended)
