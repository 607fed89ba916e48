"""A ring of waiting frames that gives a frame more than once."""

from amaranth.hdl import Module, ResetInserter, Signal, Value
from amaranth.lib.memory import Memory
from tilewright.rtl.skid_buffer import SkidBuffer
from tilewright.rtl.units.frame_buffer import FrameBuffer


class ReplayBuffer(FrameBuffer):
    """A :class:`FrameBuffer` whose token has a field ``again``: where it is 1, the frame leaves once more with the next token.

    A frame's beats are freed as they leave for the last time, so ``depth`` is all it holds. The first beat of a replay is
    offered 4 cycles after the last one before it left, and not before its token was.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = self.i.payload.shape()
        m.submodules.memory = memory = Memory(shape=len(Value.cast(self.i.payload)), depth=self.depth, init=[])
        write_port, read_port = memory.write_port(), memory.read_port()
        rewind = Signal()
        output = SkidBuffer(shape=layout)
        m.submodules.output = ResetInserter(rewind)(output)
        written, read, freed = (Signal(range(2 * self.depth), name=name) for name in ("written", "read", "freed"))
        no_room = Signal()
        latched, fetched = Signal(), Signal()
        fetched_words = Signal(Value.cast(self.i.payload).shape(), reset_less=True)
        fetch, reads, taken, frees = Signal(), Signal(), Signal(), Signal()
        token = Signal(self.token.payload.shape(), reset_less=True)
        has_token = Signal()

        m.d.comb += [
            self.i.ready.eq(~no_room),
            write_port.addr.eq(written[:-1]),
            write_port.data.eq(self.i.payload),
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
            frees.eq(taken & ~token.again),
            rewind.eq(taken & token.again & output.o.payload.last),
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
        with m.If(rewind):
            m.d.sync += [read.eq(freed), latched.eq(0), fetched.eq(0)]
        with m.Elif(reads):
            m.d.sync += read.eq(read + 1)
        with m.If(self.token.ready):
            m.d.sync += [has_token.eq(self.token.valid), token.eq(self.token.payload)]
        for name in layout.members:
            m.d.comb += self.o.payload[name].eq(output.o.payload[name])
        for name in self.token.payload.shape().members:
            m.d.comb += self.o.payload[name].eq(token[name])
        return m
