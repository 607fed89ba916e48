"""Stable counting sort of a stream into queues."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed


class CountingSort(wiring.Component):
    """The items of each frame by ascending ``key``, equal keys in the order they came.

    ``index`` is an item's place in its frame; ``queue_last`` marks the final item of each key, ``last`` that of the frame.
    A frame ends with the beat whose ``last`` is 1. Only the first ``2**index_bits`` items take part; ``overflow``
    tells, in every result, that there were more.

    Three passes over block RAM, one item or key per cycle: items are stored with their rank among equal keys,
    counted on the way; the counts become first places; items move to first place plus rank. For ``m`` items and ``q =
    2**key_bits`` queues the latency from last beat to first result is ``m + q + 7`` cycles, then one per cycle. The next
    frame is taken meanwhile: ``2 * m + q + 1`` cycles from frame to frame. After a reset the counts are cleared
    first, ``q + 2`` cycles without ``i.ready``. What leaves a block RAM meets a register before it is compared or added.

    Reference: Knuth, "The Art of Computer Programming", vol. 3, section 5.2, algorithm D.

    Parameters
    ----------
    key_bits, width, index_bits : int
        Bits of ``key``, ``value`` (two's complement) and ``index``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"key": key_bits, "value": signed(width), "last": 1})))
    o : Out(stream.Signature(StructLayout({"key": key_bits, "value": signed(width), "index": index_bits, "queue_last": 1,
        "overflow": 1, "last": 1})))
    """

    def __init__(self, *, key_bits: int, width: int, index_bits: int) -> None:
        self.key_bits = key_bits
        self.width = width
        self.index_bits = index_bits
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"key": key_bits, "value": signed(width), "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "key": key_bits, "value": signed(width), "index": index_bits, "queue_last": 1, "overflow": 1,
                "last": 1}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index_bits, queues, depth = self.index_bits, 1 << self.key_bits, 1 << self.index_bits
        item = data.StructLayout({"key": self.key_bits, "value": signed(self.width)})
        m.submodules.counts = counts = Memory(shape=index_bits + 1, depth=queues, init=[])
        m.submodules.places = places = Memory(
            shape=data.StructLayout({"first": index_bits, "final_rank": index_bits}), depth=queues, init=[])
        m.submodules.items = items = Memory(
            shape=data.StructLayout({"item": item, "rank": index_bits}), depth=depth, init=[])
        m.submodules.ordered = ordered = Memory(
            shape=data.StructLayout({"item": item, "index": index_bits, "queue_last": 1}), depth=depth, init=[])
        count_write, place_write = counts.write_port(), places.write_port()
        item_write, ordered_write = items.write_port(), ordered.write_port()
        count_read, place_read = counts.read_port(transparent_for=[count_write]), places.read_port()
        item_read, ordered_read = items.read_port(), ordered.read_port()

        held = Signal(index_bits + 1)  # items of the frame
        full = held[-1]
        step = Signal(max(self.key_bits, index_bits))
        busy = Signal()  # results are on their way out
        overflow, result_overflow = Signal(reset_less=True), Signal(reset_less=True)
        final_place = Signal(index_bits, reset_less=True)
        # Bit n: an item n + 1 cycles after it was taken, a key after its count was asked for, an item after it was moved.
        taken, scanned, moved = Signal(2), Signal(2), Signal(4)
        m.d.sync += [taken.eq(taken << 1), scanned.eq(scanned << 1), moved.eq(moved << 1)]
        total = Signal(index_bits + 1, reset_less=True)

        with m.FSM(init="SETTLE"):
            with m.State("LOAD"):
                m.d.comb += [self.i.ready.eq(1), count_read.addr.eq(self.i.payload.key)]
                with m.If(self.i.valid):
                    m.d.sync += [taken[0].eq(~full), overflow.eq(full), held.eq(held + ~full)]
                    with m.If(self.i.payload.last):
                        m.next = "SETTLE"
            with m.State("SETTLE"):  # the last item is being counted
                m.d.sync += total.eq(0)
                m.next = "COUNTS"
            with m.State("COUNTS"):
                m.d.comb += count_read.addr.eq(step)
                m.d.sync += [scanned[0].eq(1), step.eq(step + 1)]
                with m.If(step == queues - 1):
                    m.d.sync += step.eq(0)
                    m.next = "MOVE"
            with m.State("MOVE"):
                m.d.comb += item_read.addr.eq(step)
                with m.If(held == 0):
                    m.next = "LOAD"  # this was a reset
                with m.Elif(~busy | (step != 0)):
                    m.d.sync += [
                        busy.eq(1), moved[0].eq(1), step.eq(step + 1),
                        final_place.eq(held - 1), result_overflow.eq(overflow),
                    ]
                    with m.If(step + 1 == held):
                        m.d.sync += [step.eq(0), held.eq(0)]
                        m.next = "LOAD"

        # Counting: the item before may have the same key and its count not yet be written.
        key = Signal(self.key_bits, reset_less=True)
        place = Signal(index_bits, reset_less=True)
        value = Signal(signed(self.width), reset_less=True)
        asked_key = Mux(scanned[0], delayed(m, step[:self.key_bits], 1, "step"), key)
        counted_key = delayed(m, asked_key, 1, "key")
        count, newest = Signal(index_bits + 1, reset_less=True), Signal(index_bits + 1, reset_less=True)
        same = Signal(reset_less=True)
        current = Signal(index_bits + 1)
        m.d.comb += current.eq(Mux(same, newest, count))
        m.d.sync += [
            key.eq(self.i.payload.key), place.eq(held), value.eq(self.i.payload.value),
            count.eq(count_read.data), same.eq(taken[1] & (counted_key == key)), newest.eq(current + 1),
        ]
        m.d.comb += [
            count_write.en.eq(taken[1] | scanned[1]),
            count_write.addr.eq(counted_key),
            count_write.data.eq(Mux(scanned[1], 0, current + 1)),
            item_write.en.eq(taken[1]),
            item_write.addr.eq(delayed(m, place, 1, "place")),
            item_write.data.item.key.eq(counted_key),
            item_write.data.item.value.eq(delayed(m, value, 1, "value")),
            item_write.data.rank.eq(current),
            place_write.en.eq(scanned[1]),
            place_write.addr.eq(counted_key),
            place_write.data.first.eq(total),
            place_write.data.final_rank.eq(count - 1),
        ]
        with m.If(scanned[1]):
            m.d.sync += total.eq(total + count)

        # Moving: the item, then where its queue begins.
        stored = delayed(m, item_read.data, 1, "stored")
        target = delayed(m, place_read.data, 1, "target")
        going = delayed(m, stored, 2, "going")
        m.d.comb += [
            place_read.addr.eq(stored.item.key),
            ordered_write.en.eq(moved[3]),
            ordered_write.addr.eq(target.first + going.rank),
            ordered_write.data.item.eq(going.item),
            ordered_write.data.index.eq(delayed(m, step[:index_bits], 4, "index")),
            ordered_write.data.queue_last.eq(going.rank == target.final_rank),
        ]

        # Giving.
        giving, given = Signal(), Signal(index_bits)
        advance, last, told_overflow = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += [
            advance.eq(~self.o.valid | self.o.ready),
            ordered_read.en.eq(advance),
            ordered_read.addr.eq(given),
            self.o.payload.key.eq(ordered_read.data.item.key),
            self.o.payload.value.eq(ordered_read.data.item.value),
            self.o.payload.index.eq(ordered_read.data.index),
            self.o.payload.queue_last.eq(ordered_read.data.queue_last),
            self.o.payload.overflow.eq(told_overflow),
            self.o.payload.last.eq(last),
        ]
        with m.If(moved[3] & ~moved[2]):
            m.d.sync += giving.eq(1)
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(giving), last.eq(given == final_place), told_overflow.eq(result_overflow)]
            with m.If(giving):
                m.d.sync += given.eq(given + 1)
                with m.If(given == final_place):
                    m.d.sync += [giving.eq(0), given.eq(0)]
        with m.If(self.o.valid & self.o.ready & last):
            m.d.sync += busy.eq(0)
        return m
