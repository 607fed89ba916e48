"""Between the passes over a frame: where frames end and where their beats wait for what the whole frame decides."""

from collections.abc import Mapping

from amaranth.hdl import Module, ResetInserter, ShapeLike, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect
from tilewright.rtl.skid_buffer import SkidBuffer


def link(m: Module, source: wiring.PureInterface, sink: wiring.PureInterface) -> None:
    """Connect two streams of one layout: ``connect`` alone compares widths, and the fields would be exchanged."""
    layouts = [port.payload.shape() for port in (source, sink)]
    if layouts[0] != layouts[1]:
        raise ValueError(f"streams of {layouts[0]} and {layouts[1]} do not fit together")
    connect(m, source, sink)


class FrameLimit(wiring.Component):
    """Beats pass in the same cycle; the ``max_beats``-th of a frame gets ``last`` set if no other did.

    So every frame fits a buffer of ``max_beats``, and nothing waits for the end of one that is longer.

    Parameters
    ----------
    fields : Mapping[str, ShapeLike]
        Of the payload; one is ``last``.
    max_beats : int
        At least 1.

    Members
    -------
    i : In(stream.Signature(StructLayout(fields)))
    o : Out(stream.Signature(StructLayout(fields)))
    """

    def __init__(self, *, fields: Mapping[str, ShapeLike], max_beats: int) -> None:
        if max_beats < 1:
            raise ValueError(f"max_beats must be at least 1, not {max_beats!r}")
        self.max_beats = max_beats
        signature = stream.Signature(data.StructLayout(dict(fields)))
        super().__init__({"i": In(signature), "o": Out(signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = Signal(range(self.max_beats))
        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            self.o.payload.eq(self.i.payload),
            self.o.payload.last.eq(self.i.payload.last | (beat == self.max_beats - 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += beat.eq(beat + 1)
            with m.If(self.o.payload.last):
                m.d.sync += beat.eq(0)
        return m


class FrameBuffer(wiring.Component):
    """A ring of beats, each frame of which leaves together with the token that its whole made.

    Beats and tokens keep their order; token n belongs to frame n. Holds ``depth`` beats and four more in the
    registers of its output, so that frames of ``depth / 2`` beats stream back to back. A beat is offered no earlier
    than 4 cycles after it was taken, and not before its token was; 1 beat per cycle. A token waits in a register until
    the last beat of its frame has left. ``i.ready`` and ``o.valid`` depend on registers alone.

    A buffer that ``replays`` gives a frame once more, with the next token, where the token's field ``again`` is 1. A beat is
    then free only when it leaves for the last time, so ``depth`` is all that the buffer holds; a replay's first beat is offered
    no earlier than 4 cycles after the frame's last one left.

    Parameters
    ----------
    item, token : Mapping[str, ShapeLike]
        Fields of what waits and of what it waits for.
    depth : int
        A power of two.
    replays : bool

    Members
    -------
    i : In(stream.Signature(StructLayout(item, last)))
    token : In(stream.Signature(StructLayout(token)))
    o : Out(stream.Signature(StructLayout(item, token, last)))
    """

    LATENCY = 4

    def __init__(self, *, item: Mapping[str, ShapeLike], token: Mapping[str, ShapeLike], depth: int,
                 replays: bool = False) -> None:
        if depth < 2 or depth & depth - 1:
            raise ValueError(f"depth must be a power of two, at least 2, not {depth!r}")
        self.depth = depth
        self.replays = replays
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({**item, "last": 1}))),
            "token": In(stream.Signature(data.StructLayout(dict(token)))),
            "o": Out(stream.Signature(data.StructLayout({**item, **token, "last": 1}))),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        item_layout = self.i.payload.shape()
        words = Value.cast(self.i.payload)
        # What is read while it is written is not used: an empty ring.
        m.submodules.memory = memory = Memory(shape=len(words), depth=self.depth, init=[], attrs={"no_rw_check": 1})
        write_port, read_port = memory.write_port(), memory.read_port()
        output = SkidBuffer(shape=item_layout)
        written, read = Signal(range(2 * self.depth)), Signal(range(2 * self.depth))
        # A register of its own: what follows from ``i.ready`` may lead through a whole pipeline in front of the ring.
        no_room = Signal()
        latched, fetched = Signal(), Signal()  # the memory's output holds a beat, its output register does
        fetched_words = Signal(len(words), reset_less=True)
        fetch, reads, taken = Signal(), Signal(), Signal()
        token = Signal(self.token.payload.shape(), reset_less=True)
        has_token = Signal()
        freed, frees, rewind = read, reads, Signal()  # without replays a beat is free as soon as it is read
        if self.replays:
            freed, frees = Signal.like(read), Signal()
            m.d.comb += [frees.eq(taken & ~token.again), rewind.eq(taken & token.again & output.o.payload.last)]
        m.submodules.output = ResetInserter(rewind)(output) if self.replays else output

        m.d.comb += [
            self.i.ready.eq(~no_room),
            write_port.addr.eq(written[:-1]),
            write_port.data.eq(words),
            write_port.en.eq(self.i.valid & self.i.ready),
            read_port.addr.eq(read[:-1]),
            read_port.en.eq(fetch),
            fetch.eq(~fetched | output.i.ready),
            reads.eq(fetch & (written != read)),
            output.i.valid.eq(fetched),
            Value.cast(output.i.payload).eq(fetched_words),
            self.o.valid.eq(output.o.valid & has_token),
            output.o.ready.eq(self.o.ready & has_token),
            taken.eq(self.o.valid & self.o.ready),
            self.token.ready.eq(~has_token | (taken & output.o.payload.last)),
        ]
        with m.If(write_port.en):
            m.d.sync += written.eq(written + 1)
        with m.If(frees):
            m.d.sync += [freed.eq(freed + 1), no_room.eq(0)]
        with m.Elif(write_port.en & ((written + 1)[:len(written)] ^ freed == self.depth)):
            m.d.sync += no_room.eq(1)
        with m.If(fetch):
            m.d.sync += [latched.eq(reads), fetched.eq(latched), fetched_words.eq(read_port.data)]
        if self.replays:
            with m.If(rewind):
                m.d.sync += [read.eq(freed), latched.eq(0), fetched.eq(0)]
            with m.Elif(reads):
                m.d.sync += read.eq(read + 1)
        with m.If(self.token.ready):
            m.d.sync += [has_token.eq(self.token.valid), token.eq(self.token.payload)]
        for name in item_layout.members:
            m.d.comb += self.o.payload[name].eq(output.o.payload[name])
        for name in self.token.payload.shape().members:
            m.d.comb += self.o.payload[name].eq(token[name])
        return m

