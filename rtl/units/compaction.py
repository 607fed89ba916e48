"""Order-preserving compaction: what is kept of a beat moves together, in its order."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Shape, Value, ValueLike, signed, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.pipeline import Pipelined, Stages

LEVELS_PER_STAGE = 2  # levels of the prefix sum or of the moving network between two registers


def network_stages(lanes: int) -> int:
    """Registers behind the levels of a network over that many lanes."""
    return -(-ceil_log2(lanes) // LEVELS_PER_STAGE)


def compaction_latency(lanes: int) -> int:
    """Latency of :class:`Compact`."""
    return 2 * network_stages(lanes)


def running_counts(stages: Stages, flags: Value, name: str) -> list[Value]:
    """How many flags up to and including each are set, ``network_stages`` cycles later: a Kogge-Stone network."""
    lanes = len(flags)
    sums: list[Value] = [flags[n] for n in range(lanes)]
    for level in range(ceil_log2(lanes)):
        step = 1 << level
        shapes = [Shape(min(n + 1, 2 * step).bit_length()) for n in range(lanes)]
        sums = [stages.named(sums[n] + sums[n - step] if n >= step else sums[n], f"{name}_{n}_{level}", shape=shapes[n])
                for n in range(lanes)]
        if level % LEVELS_PER_STAGE == LEVELS_PER_STAGE - 1 or step << 1 >= lanes:
            sums = [stages.stage(total, f"{name}_{n}_{level}_q") for n, total in enumerate(sums)]
    return sums


class Compact(Pipelined):
    """Lanes of ``x`` whose bit of ``keep`` is set, moved to the lowest lanes in their order; the rest 0.

    ``index`` are the lanes that the values came from, ``count`` how many there are. A Kogge-Stone prefix sum counts
    the gaps below each lane; as many lanes a value then moves down, by powers of two from 1 up. Two values never meet:
    of two neighbours the upper one moves at most as much further as there are gaps between them.

    Latency ``2 * ceil(ceil(log2(lanes)) / 2)`` cycles, one beat per cycle.

    References: Kogge and Stone, "A parallel algorithm for the efficient solution of a general class of recurrence
    equations", IEEE Transactions on Computers, 1973; Steele's compress in Warren, "Hacker's Delight", 2002, section 7.

    Parameters
    ----------
    lanes : int
        At least 2.
    width : int
        Bits of a value, two's complement.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": ArrayLayout(signed(width), lanes), "keep": lanes})))
    o : Out(stream.Signature(StructLayout({"value": ArrayLayout(signed(width), lanes),
        "index": ArrayLayout(ceil_log2(lanes), lanes), "count": ceil_log2(lanes + 1)})))
    """

    def __init__(self, *, lanes: int, width: int) -> None:
        if lanes < 2:
            raise ValueError(f"lanes must be at least 2, not {lanes!r}")
        self.lanes = lanes
        self.width = width
        super().__init__(
            inputs={"x": data.ArrayLayout(signed(width), lanes), "keep": lanes},
            outputs={"value": data.ArrayLayout(signed(width), lanes),
                     "index": data.ArrayLayout(unsigned(ceil_log2(lanes)), lanes),
                     "count": ceil_log2(lanes + 1)},
            latency=compaction_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        lanes, index_width = self.lanes, ceil_log2(self.lanes)
        gaps = running_counts(stages, ~i.keep, "gaps")
        cycles = network_stages(lanes)
        kept = stages.stage(i.keep, "kept", cycles=cycles)
        values = [stages.stage(i.x[n], f"x_{n}", cycles=cycles) for n in range(lanes)]

        present = [kept[n] for n in range(lanes)]
        # An item: its value, the lane it came from, how far it still has to move.
        items: list[Value] = [
            Cat(value, Const(n, index_width), gaps[n - 1] if n else Const(0, index_width))
            for n, value in enumerate(values)]
        moving = self.width + index_width  # where in an item the distance starts
        count = (lanes - gaps[-1])[:ceil_log2(lanes + 1)]
        for level in range(ceil_log2(lanes)):
            step = 1 << level
            moves = [present[n] & items[n][moving + level] for n in range(lanes)]
            items = [Mux(moves[n + step], items[n + step], items[n]) if n + step < lanes else items[n]
                     for n in range(lanes)]
            present = [(moves[n + step] if n + step < lanes else Const(0, 1)) | (present[n] & ~moves[n])
                       for n in range(lanes)]
            if level % LEVELS_PER_STAGE == LEVELS_PER_STAGE - 1 or step << 1 >= lanes:
                final = step << 1 >= lanes
                if final:
                    items = [Mux(present[n], items[n][:moving], 0) for n in range(lanes)]
                items = [stages.stage(item, f"item_{n}_{level}") for n, item in enumerate(items)]
                count = stages.stage(count, f"count_{level}")
                if not final:
                    present = [stages.stage(bit, f"present_{n}_{level}") for n, bit in enumerate(present)]
        return {"value": Cat(item[:self.width] for item in items),
                "index": Cat(item[self.width:moving] for item in items), "count": count}
