"""What was picked from the beats of a frame, one value after the other."""

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


class PickedQueue(wiring.Component):
    """Takes the picked values of every beat of a frame, in the lowest lanes, and gives them one per cycle with their places.

    ``start`` begins a frame, only while ``idle``: then ``results`` says how many values there will be, at most ``k``, and
    ``overflow`` goes along with each of them. From then on ``valid`` marks the frame's beats in their order, ``count`` the
    picked values of each, 0 included; nothing stalls them. The first of ``valid`` in cycle t is taken in cycle t + 3 if
    those before it have left; 1 result per cycle. ``idle`` comes from a register.

    Parameters
    ----------
    lanes, k, width, max_beats : int
        As :class:`tilewright.rtl.units.topk_quickselect.TopKQuickselect`.

    Members
    -------
    start, overflow, valid : In(1)
    idle : Out(1)
    results : In(range(k + 1))
    value : In(ArrayLayout(signed(width), lanes))
    lane : In(ArrayLayout(ceil_log2(lanes), lanes))
    count : In(ceil_log2(lanes + 1))
    o : Out(stream.Signature(StructLayout({"index": log2(lanes * max_beats), "value": signed(width), "overflow": 1,
        "last": 1})))
    """

    LATENCY = 3

    def __init__(self, *, lanes: int, k: int, width: int, max_beats: int) -> None:
        self.lanes = lanes
        self.k = k
        self.width = width
        self.max_beats = max_beats
        self.depth = 1 << max(ceil_log2(min(k, max_beats)), 1)  # a beat with nothing picked takes no room
        self.picked = {
            "value": data.ArrayLayout(signed(width), lanes),
            "lane": data.ArrayLayout(unsigned(ceil_log2(lanes)), lanes),
            "count": ceil_log2(lanes + 1),
        }
        super().__init__({
            "start": In(1), "overflow": In(1), "idle": Out(1, init=1), "results": In(range(k + 1)),
            "valid": In(1), **{name: In(shape) for name, shape in self.picked.items()},
            "o": Out(stream.Signature(data.StructLayout({
                "index": ceil_log2(lanes * max_beats), "value": signed(width), "overflow": 1, "last": 1}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entry = data.StructLayout({**self.picked, "beat": ceil_log2(self.max_beats), "end": 1})
        # What is read while it is written is not used: an empty queue.
        m.submodules.memory = memory = Memory(shape=entry, depth=self.depth, init=[], attrs={"no_rw_check": 1})
        write_port, read_port = memory.write_port(), memory.read_port()
        written, read = Signal(range(2 * self.depth)), Signal(range(2 * self.depth))
        beat = Signal(ceil_log2(self.max_beats))
        left = Signal(range(self.k + 1))  # results that the queue has yet to get
        m.d.comb += [
            write_port.en.eq(self.valid & (self.count != 0)), write_port.addr.eq(written[:-1]),
            write_port.data.beat.eq(beat), write_port.data.end.eq(left == self.count),
            *(write_port.data[name].eq(getattr(self, name)) for name in self.picked),
        ]
        with m.If(self.valid):
            m.d.sync += [beat.eq(beat + 1), left.eq(left - self.count)]
        with m.If(write_port.en):
            m.d.sync += written.eq(written + 1)

        latched, fetch, load = Signal(), Signal(), Signal()  # the memory's output holds a beat
        given = Signal(entry, reset_less=True)  # its values move down as they leave
        overflow, waiting_overflow = Signal(reset_less=True), Signal(reset_less=True)
        final = Signal()
        m.d.comb += [
            final.eq(given.count == 1),
            load.eq(latched & (~self.o.valid | (self.o.ready & final))),
            fetch.eq(~latched | load),
            read_port.en.eq(fetch), read_port.addr.eq(read[:-1]),
            self.o.payload.index.eq(Cat(given.lane[0], given.beat)),
            self.o.payload.value.eq(given.value[0]),
            self.o.payload.overflow.eq(overflow),
            self.o.payload.last.eq(final & given.end),
        ]
        with m.If(fetch):
            m.d.sync += [latched.eq(written != read), read.eq(read + (written != read))]
        with m.If(load):
            m.d.sync += [self.o.valid.eq(1), given.eq(read_port.data), overflow.eq(waiting_overflow)]
            with m.If(read_port.data.end):
                m.d.sync += self.idle.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += [self.o.valid.eq(self.o.valid & ~final), given.count.eq(given.count - 1)]
            m.d.sync += [given[name][n].eq(given[name][n + 1]) for name in ("value", "lane") for n in range(self.lanes - 1)]
        with m.If(self.start):
            m.d.sync += [self.idle.eq(0), beat.eq(0), left.eq(self.results), waiting_overflow.eq(self.overflow)]
        return m
