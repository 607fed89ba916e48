"""Top-k of a beat by bitonic merging."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike, signed, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.pipeline import Pipelined, Stages

Pairs = list[tuple[int, int]]


def bitonic_columns(lanes: int, k: int) -> list[tuple[Pairs, list[int]]]:
    """Columns of comparators, and the lanes that go on behind each.

    A pair ``(a, b)`` leaves the greater of both in lane ``a``. Groups of ``g``, the power of two from ``k`` on, are sorted in
    falling order; then pairs of groups become one: the greater of the first of one group and the last of the other, and
    so on, are the ``g`` greatest, in bitonic order, and are sorted by merging.
    """
    group = 1 << ceil_log2(k)
    alive = list(range(lanes))
    columns: list[tuple[Pairs, list[int]]] = []

    def merge(places: list[int], mirrored: bool) -> list[Pairs]:
        """Comparators that sort runs of ``len(places)``: two falling halves if ``mirrored``, else a bitonic run."""
        size = len(places)
        steps = []
        span = size
        while span > 1:
            half = span // 2
            pairs = []
            for start in range(0, size, span):
                for n in range(half):
                    other = start + span - 1 - n if mirrored and span == size else start + half + n
                    pairs.append((places[start + n], places[other]))
            steps.append(pairs)
            span = half
        return steps

    def append(parallel: list[list[Pairs]]) -> None:
        """Comparators of all groups side by side."""
        for steps in zip(*parallel, strict=True):
            columns.append(([pair for pairs in steps for pair in pairs], list(alive)))

    run = 2
    while run <= group:
        append([merge(alive[start:start + run], mirrored=True) for start in range(0, lanes, run)])
        run *= 2
    while len(alive) > group:
        groups = [alive[start:start + group] for start in range(0, len(alive), group)]
        best = [(a, b) for left, right in zip(groups[::2], groups[1::2], strict=True)
                for a, b in zip(left, reversed(right), strict=True)]
        alive = [place for left in groups[::2] for place in left]
        columns.append((best, list(alive)))
        append([merge(alive[start:start + group], mirrored=False) for start in range(0, len(alive), group)])
    return columns


def bitonic_latency(lanes: int, k: int) -> int:
    """Latency of :class:`TopKBitonic`."""
    return len(bitonic_columns(lanes, k))


class TopKBitonic(Pipelined):
    """The ``k`` largest lanes of ``x`` with their indices, the largest first; ties keep the lower index.

    All lanes of a beat at once. With ``g = 2**d`` the power of two from ``k`` on, groups of ``g`` lanes are sorted, then
    merged in pairs, of which only the ``g`` greatest go on. Each column of comparators is a stage: latency
    ``d * (d + 1) / 2 + (log2(lanes) - d) * (d + 1)`` cycles, one beat per cycle.

    Reference: Batcher, "Sorting networks and their applications", AFIPS 1968.

    Parameters
    ----------
    lanes : int
        A power of two, at least 2.
    k : int
        1 .. ``lanes``.
    width : int
        Bits of a value, two's complement.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": ArrayLayout(signed(width), lanes)})))
    o : Out(stream.Signature(StructLayout({"index": ArrayLayout(log2(lanes), k), "value": ArrayLayout(signed(width), k)})))
    """

    def __init__(self, *, lanes: int, k: int, width: int) -> None:
        if lanes < 2 or lanes & lanes - 1:
            raise ValueError(f"lanes must be a power of two from 2 on, not {lanes!r}")
        if not 1 <= k <= lanes:
            raise ValueError(f"k must be 1..{lanes}, not {k!r}")
        self.lanes = lanes
        self.k = k
        self.width = width
        super().__init__(
            inputs={"x": data.ArrayLayout(signed(width), lanes)},
            outputs={"index": data.ArrayLayout(unsigned(ceil_log2(lanes)), k), "value": data.ArrayLayout(signed(width), k)},
            latency=bitonic_latency(lanes, k))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        index_width = ceil_log2(self.lanes)
        # As unsigned numbers: the value with its sign inverted above the complement of the index. Never equal.
        entries: dict[int, Value] = {
            n: Cat(Const(~n & self.lanes - 1, index_width), i.x[n].as_unsigned() ^ (1 << self.width - 1))
            for n in range(self.lanes)}
        for column, (pairs, alive) in enumerate(bitonic_columns(self.lanes, self.k)):
            after = dict(entries)
            for a, b in pairs:
                swap = stages.named(entries[b] > entries[a], f"swap_{a}_{b}_{column}")
                after[a] = Mux(swap, entries[b], entries[a])
                after[b] = Mux(swap, entries[a], entries[b])
            entries = {n: stages.stage(after[n], f"entry_{n}_{column}", shape=index_width + self.width) for n in alive}
        best = [entries[n] for n in sorted(entries)[:self.k]]
        return {"index": Cat(~entry[:index_width] for entry in best),
                "value": Cat(entry[index_width:] ^ (1 << self.width - 1) for entry in best)}
