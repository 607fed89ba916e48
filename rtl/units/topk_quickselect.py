"""Top-k of a frame by quick-select: partitions of what is left around a pivot, then one pass that picks."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.delay import delayed
from tilewright.rtl.units.compaction import Compact, compaction_latency, network_stages, running_counts
from tilewright.rtl.units.packed_set import PackedSet
from tilewright.rtl.units.picked_queue import PickedQueue
from tilewright.rtl.units.pipeline import Stages

WORD = 3  # cycles from an address to its word: memory, its output register, the choice among three memories


def partition_latency(lanes: int) -> int:
    """Cycles from an address to the values of its word, divided and moved together."""
    return WORD + 2 + network_stages(lanes) + compaction_latency(lanes)


def round_cycles(words: int, lanes: int) -> int:
    """Of a partition of that many words, from pivot to pivot."""
    return words + partition_latency(lanes) + 3


class TopKQuickselect(wiring.Component):
    """The ``k`` largest values of each frame with their indices, in the order of the frame; ties keep the lower index.

    A beat brings ``lanes`` values; a frame ends with the beat whose ``last`` is 1, of which the ``unused`` highest lanes hold
    nothing. It gives a frame of ``min(k, length)`` results, one per cycle; ``index`` is the place of a value in its
    frame. Only the first ``max_beats`` beats take part; ``overflow`` tells, in every result, that there were more.

    A round compares all that is left with a pivot, ``lanes`` values per cycle. What is less and what is greater is each moved
    together and stored, what is equal is counted; the rank that is looked for lies in one of the three. When the
    pivot has that rank, the frame is read once more: what is greater is picked, and of what is equal the first ones
    that there is room for. The pivot is the first value of the middle word, ``words // 2``, so that the cycles of a frame
    follow from its values; the results do not depend on the choice.

    With ``s = ceil(log2(lanes) / 2)`` a round over ``n`` values takes ``ceil(n / lanes) + 3 * s + 8`` cycles. Latency from a
    frame's last beat to its first result ``3 * s + 11`` cycles and the rounds, more where nothing of its first beats is
    picked; a frame of at most ``k`` values needs no round. The next frame is taken when the frame of ``b`` beats has been
    read once more, ``b + 1`` cycles after the last round; its rounds go on while results leave. Of 1024 random values, 8
    lanes, the 64 greatest take 11 rounds and 471 cycles on average. A reset drops everything.

    Reference: Wang et al., "SpAtten: Efficient Sparse Attention Architecture with Cascade Token and Head Pruning", HPCA
    2021, section IV-B; Hoare, "Algorithm 65: Find", Communications of the ACM, 1961. The choice of the pivot is our own.

    Parameters
    ----------
    lanes : int
        Values per beat, a power of two from 2 on.
    k : int
        At least 1.
    width : int
        Bits of a value, two's complement.
    max_beats : int
        Beats of the longest frame, a power of two from 2 on.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": ArrayLayout(signed(width), lanes), "unused": log2(lanes), "last": 1})))
    o : Out(stream.Signature(StructLayout({"index": log2(lanes * max_beats), "value": signed(width), "overflow": 1,
        "last": 1})))
    """

    def __init__(self, *, lanes: int, k: int, width: int, max_beats: int) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k!r}")
        if max_beats < 2 or max_beats & max_beats - 1:
            raise ValueError(f"max_beats must be a power of two from 2 on, not {max_beats!r}")
        self.lanes = lanes
        self.k = k
        self.width = width
        self.max_beats = max_beats
        self.values = data.ArrayLayout(signed(width), lanes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"x": self.values, "unused": ceil_log2(lanes), "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "index": ceil_log2(lanes * max_beats), "value": signed(width), "overflow": 1, "last": 1}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, lane_bits = self.lanes, ceil_log2(self.lanes)
        size_width = ceil_log2(lanes * self.max_beats + 1)
        m.submodules.frame = frame = Memory(
            shape=unsigned(self.width * lanes), depth=self.max_beats, init=[], attrs={"no_rw_check": 1})
        frame_write, frame_read = frame.write_port(), frame.read_port()
        m.submodules.less = less = PackedSet(lanes=lanes, width=self.width, depth=self.max_beats)
        m.submodules.greater = greater = PackedSet(lanes=lanes, width=self.width, depth=self.max_beats)
        m.submodules.queue = queue = PickedQueue(lanes=lanes, k=self.k, width=self.width, max_beats=self.max_beats)
        wiring.connect(m, queue.o, wiring.flipped(self.o))

        beats, unused = Signal(range(self.max_beats + 1)), Signal(lane_bits)  # of the frame that comes
        overflow = Signal()
        full = beats[-1]
        sources = Signal(3)  # what is searched lies in the frame, in ``less``, in ``greater``
        size, final = Signal(size_width), Signal(range(self.max_beats))  # how much it is, its last word
        frame_size, frame_final = Signal.like(size), Signal.like(final)
        need, room = Signal(range(self.k + 1)), Signal(range(self.k + 1))  # the rank, and places for what has that rank
        step = Signal(range(self.max_beats))
        every, picking, busy = Signal(), Signal(), Signal()
        pivots, reads, done = Signal(), Signal(), Signal()
        loaded = Signal(size_width)
        not_less = Signal(size_width)
        m.d.sync += not_less.eq(size - less.total)
        (less_final, less_middle), (greater_final, greater_middle) = (
            self._words(m, half.total, name) for half, name in ((less, "less"), (greater, "greater")))
        m.d.comb += [
            frame_write.addr.eq(beats[:-1]), frame_write.data.eq(self.i.payload.x.as_value()),
            frame_write.en.eq(self.i.valid & self.i.ready & ~full),
            frame_read.addr.eq(step), less.address.eq(step), greater.address.eq(step),
            less.clear.eq(pivots), greater.clear.eq(pivots),
            loaded.eq((beats << lane_bits) - unused),
            queue.overflow.eq(overflow), queue.results.eq(Mux(every, size, self.k)),
        ]
        with m.If(done):
            m.d.sync += busy.eq(0)
        with m.FSM():
            with m.State("LOAD"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [beats.eq(beats + ~full), overflow.eq(full), unused.eq(Mux(full, 0, self.i.payload.unused))]
                    with m.If(self.i.payload.last):
                        m.next = "PLAN"
            # What is still being picked from the frame before depends on the registers that are set here.
            with m.State("PLAN"), m.If(~busy):
                m.d.sync += [
                    beats.eq(0), size.eq(loaded), frame_size.eq(loaded), final.eq(beats - 1), frame_final.eq(beats - 1),
                    step.eq(beats >> 1), sources.eq(0b001), need.eq(self.k), every.eq(loaded <= self.k), picking.eq(0),
                ]
                m.next = "PIVOT"
                with m.If(loaded <= self.k):
                    m.next = "START"
            with m.State("PIVOT"):
                m.d.comb += pivots.eq(1)
                m.d.sync += step.eq(0)
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += reads.eq(1)
                m.d.sync += [busy.eq(1), step.eq(step + 1)]
                with m.If(step == final):
                    m.next = "DECIDE"
                    with m.If(picking):
                        m.next = "LOAD"
            with m.State("DECIDE"), m.If(done):
                m.next = "PIVOT"
                with m.If(need <= greater.total):
                    m.d.sync += [sources.eq(0b100), size.eq(greater.total), final.eq(greater_final), step.eq(greater_middle)]
                with m.Elif(need > not_less):
                    m.d.sync += [sources.eq(0b010), size.eq(less.total), final.eq(less_final), step.eq(less_middle),
                                 need.eq(need - not_less)]
                with m.Else():
                    m.d.sync += room.eq(need - greater.total)
                    m.next = "START"
            with m.State("START"):
                m.d.comb += queue.start.eq(queue.idle)
                m.d.sync += [sources.eq(0b001), size.eq(frame_size), final.eq(frame_final), step.eq(0), picking.eq(1)]
                with m.If(queue.idle):
                    m.next = "READ"

        stages = Stages(m, Const(1))
        memories = [stages.stage(port, name) for port, name in (
            (frame_read.data, "frame_word"), (less.word.as_value(), "less_word"), (greater.word.as_value(), "greater_word"))]
        chosen = Mux(sources[0], memories[0], Mux(sources[1], memories[1], memories[2]))
        word = stages.stage(chosen, "word")
        x = [word.word_select(n, self.width).as_signed() for n in range(lanes)]
        pivot = Signal(signed(self.width), reset_less=True)
        with m.If(delayed(m, pivots, WORD, "pivots", reset=True)):
            m.d.sync += pivot.eq(x[0])
        ends = delayed(m, reads & (step == final), WORD, "ends")
        tail = size[:lane_bits]
        present = [~ends | (tail == 0) | (n < tail) for n in range(lanes)]
        above = stages.stage(Cat(present[n] & (x[n] > pivot) for n in range(lanes)), "above")
        equal = stages.stage(Cat(present[n] & (x[n] == pivot) for n in range(lanes)), "equal")
        below = stages.stage(Cat(present[n] & (x[n] < pivot) for n in range(lanes)), "below")
        later = network_stages(lanes)
        counts = running_counts(stages, equal, "equals")
        above, equal, below = (stages.stage(flags, f"late_{name}", cycles=later)
                               for flags, name in ((above, "above"), (equal, "equal"), (below, "below")))
        valid = delayed(m, reads, WORD + 1 + later, "valid", reset=True)
        with m.If(valid & picking):
            m.d.sync += room.eq(Mux(room > counts[-1], room - counts[-1], 0))
        picks = Cat(above[n] | (equal[n] & (every | (picking & (counts[n] <= room)))) for n in range(lanes))
        picks = stages.stage(picks | Mux(every, below, 0), "picks")
        below = stages.stage(below, "below_out")
        values = stages.stage(word, "values", cycles=2 + later)

        m.submodules.upper = upper = Compact(lanes=lanes, width=self.width)
        m.submodules.lower = lower = Compact(lanes=lanes, width=self.width)
        entering = delayed(m, valid, 1, "entering", reset=True)
        ended = delayed(m, ends, 2 + later + compaction_latency(lanes), "ended")
        for half, keep, stored in ((upper, picks, greater), (lower, below, less)):
            m.d.comb += [
                half.i.valid.eq(entering), half.i.payload.x.as_value().eq(values), half.i.payload.keep.eq(keep),
                half.o.ready.eq(1), stored.valid.eq(half.o.valid), stored.value.eq(half.o.payload.value),
                stored.count.eq(half.o.payload.count), stored.flush.eq(ended),
            ]
        m.d.comb += [
            queue.valid.eq(upper.o.valid & picking), queue.value.eq(upper.o.payload.value),
            queue.lane.eq(upper.o.payload.index), queue.count.eq(upper.o.payload.count),
            done.eq(delayed(m, upper.o.valid & ended, 2, "done", reset=True)),
        ]
        return m

    def _words(self, m: Module, total: Value, name: str) -> tuple[Value, Value]:
        """The last word of a set and the middle one, a cycle after its ``total``."""
        bits = ceil_log2(self.lanes)
        final, middle = (Signal(range(self.max_beats), name=f"{name}_{part}") for part in ("final", "middle"))
        m.d.sync += [final.eq((total - 1) >> bits), middle.eq((total + self.lanes - 1) >> bits + 1)]
        return final, middle
