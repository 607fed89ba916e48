"""From finished sums to the result stream: requantize per lane, align the lanes, hold what nobody takes yet."""

from collections.abc import Callable

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed
from tilewright.rtl.gemm.array import lane
from tilewright.rtl.gemm.pe import low_half
from tilewright.rtl.gemm.sequencer import result_layout
from tilewright.rtl.hierarchy import shared
from tilewright.rtl.requantize import Requantize

CHANNEL_LATENCY = 2
FIFO_LATENCY = 3  # memory, its latch, its output register


def _memory(layout: data.StructLayout, depth: int, target: str) -> Memory:
    """A memory; on ECP5 in block RAM, however few its words.

    As LUT RAM, the parameters of a lane would take more LUT sites than its arithmetic, and their address more wires.
    """
    style = {"ram_style": "block"} if target == "ecp5" else {}
    return Memory(shape=layout, depth=depth, init=[], attrs={"no_rw_check": 1} | style)


class ChannelMemory(wiring.Component):
    """``value(t + 2)`` are the parameters at ``read_address(t)``; ``next_address`` is the next lane's."""

    def __init__(self, *, layout: data.StructLayout, depth: int, target: str = "generic") -> None:
        self.layout = layout
        self.depth = depth
        self.target = target
        super().__init__({
            "write": In(1), "write_address": In(range(depth)), "write_data": In(layout),
            "read_address": In(range(depth)), "next_address": Out(range(depth)), "value": Out(layout)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = _memory(self.layout, self.depth, self.target)
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += [write.en.eq(self.write), write.addr.eq(self.write_address), write.data.eq(self.write_data),
                     read.en.eq(1), read.addr.eq(self.read_address)]
        fetched = Signal(self.layout, reset_less=True)
        m.d.sync += fetched.eq(read.data)
        m.d.comb += [self.next_address.eq(delayed(m, self.read_address, 1, "address")), self.value.eq(fetched)]
        return m


class ResultFifo(wiring.Component):
    """First-in first-out behind a producer that cannot wait: it has counted the room before.

    Holds ``depth`` words, a power of two, of which up to two have left the memory: one in its latch, one in its
    output register, which is the payload. Both move together, whenever the payload is taken or there is none. A
    word is offered FIFO_LATENCY cycles behind ``valid``, or as soon as those before it have left.
    """

    def __init__(self, *, layout: data.StructLayout, depth: int, target: str = "generic") -> None:
        if depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, not {depth!r}")
        self.layout = layout
        self.depth = depth
        self.target = target
        super().__init__({"valid": In(1), "payload": In(layout), "o": Out(stream.Signature(layout))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = _memory(self.layout, self.depth, self.target)
        write, read = memory.write_port(), memory.read_port()
        some = Signal()
        latched = Signal()
        advance = Signal()
        fetch = Signal()
        following = Signal.like(read.addr, init=1)  # read.addr + 1, ready before it is asked for
        fetched = Signal(self.layout, reset_less=True)
        m.d.comb += [
            write.en.eq(self.valid), write.data.eq(self.payload), read.en.eq(advance),
            advance.eq(~self.o.valid | self.o.ready), fetch.eq(some & advance), self.o.payload.eq(fetched)]
        with m.If(self.valid):
            m.d.sync += [write.addr.eq(write.addr + 1), some.eq(1)]
        with m.Elif(fetch):
            m.d.sync += some.eq(following != write.addr)
        with m.If(fetch):
            m.d.sync += [read.addr.eq(following), following.eq(following + 1)]
        with m.If(advance):
            m.d.sync += [latched.eq(some), self.o.valid.eq(latched), fetched.eq(read.data)]
        return m


class ResultPath(wiring.Component):
    """``cols`` lanes of sums in, a stream of result rows out.

    A row enters as ``rows_valid`` and ``rows``, CHANNEL_LATENCY cycles before lane 0 of its sums; lane i
    is another i cycles behind. ``split`` sums bring their high halves (see ``low_half``) one cycle later
    still. The caller never has more than ``credits`` rows on the way; ``closed`` and ``closed_bank`` tell that
    the last row of a job has its parameters behind it.

    ``channel`` is the layout in which the lanes keep a channel's parameters. ``requantize`` makes one lane's
    unit, or is None: then the sums themselves are the results.
    ``broadcast`` reads one parameter set per row and hands it from lane to lane (rows that are one channel).
    """

    def __init__(self, *, cols: int, acc_width: int, out: Shape, split: bool, broadcast: bool, credits: int,
                 channel: data.StructLayout, channel_groups: int,
                 requantize: Callable[[], Requantize] | None, target: str = "generic") -> None:
        self.cols = cols
        self.acc_width = acc_width
        self.out = out
        self.split = split
        self.broadcast = broadcast
        self.credits = credits
        self.channel = channel
        self.channel_addresses = 2 * channel_groups
        self.requantize = requantize
        self.target = target
        self.row_layout = result_layout(cols=cols, channel_addresses=self.channel_addresses)
        result = data.StructLayout({"data": data.ArrayLayout(out, cols), "keep": cols, "last": 1})
        super().__init__({
            "sums": In(cols * acc_width), "rows_valid": In(1), "rows": In(self.row_layout),
            "channel_write": In(1 if broadcast else cols), "channel_address": In(range(self.channel_addresses)),
            "channel_data": In(channel), "closed": Out(1), "closed_bank": Out(1),
            "result": Out(stream.Signature(result))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        finished, latency = self._lanes(m)
        aligned = [delayed(m, value, self.cols - 1 - i, f"lane_{i}") for i, value in enumerate(finished)]
        wait = CHANNEL_LATENCY + latency + self.cols - 1
        valid = delayed(m, self.rows_valid, wait, "rows_valid", reset=True)
        if self.requantize:
            m.d.comb += self.closed_bank.eq(delayed(m, self.rows.bank, wait, "row_bank"))
        last = delayed(m, self.rows.last, wait, "row_last")
        # Which lanes count is worked out one cycle ahead: the mask itself is the only gate in front of the FIFO.
        lanes = delayed(m, self.rows.lanes, wait - 1, "row_lanes")
        keep = delayed(m, Cat(lanes > i for i in range(self.cols)), 1, "row_keep")

        m.submodules.fifo = fifo = ResultFifo(
            layout=self.result.payload.shape(), depth=self.credits, target=self.target)
        m.d.comb += [fifo.valid.eq(valid), fifo.payload.last.eq(last), fifo.payload.keep.eq(keep),
                     self.closed.eq(valid & last)]
        for i, value in enumerate(aligned):
            m.d.comb += fifo.payload.data[i].eq(Mux(keep[i], value, 0))
        wiring.connect(m, fifo.o, wiring.flipped(self.result))
        return m

    def _channel_memory(self) -> ChannelMemory:
        return ChannelMemory(layout=self.channel, depth=self.channel_addresses, target=self.target)

    def _lanes(self, m: Module) -> tuple[list[Value], int]:
        sums = [lane(self.sums, i, self.acc_width) for i in range(self.cols)]
        if self.requantize is None:
            if not self.split:
                return [value.as_signed() for value in sums], 0
            low = low_half(self.acc_width)
            return [Cat(delayed(m, value[:low], 1, f"low_{i}"), value[low:]).as_signed()
                    for i, value in enumerate(sums)], 1
        finished = []
        parameters: data.View | None = None
        address: Value = self.rows.channel
        for i, value in enumerate(sums):
            if parameters is None or not self.broadcast:
                memory = shared(self._channel_memory, "channel_memory")
                m.submodules[f"channel_{i}"] = memory
                m.d.comb += [memory.write.eq(self.channel_write[i]), memory.write_address.eq(self.channel_address),
                             memory.write_data.eq(self.channel_data), memory.read_address.eq(address)]
                parameters, address = memory.value, memory.next_address
            else:
                handed = Signal(self.channel, name=f"channel_{i}", reset_less=True)
                m.d.sync += handed.eq(parameters)
                parameters = handed
            lane_unit = shared(self.requantize, "requantize")
            latency = lane_unit.component.latency
            m.submodules[f"requantize_{i}"] = lane_unit
            m.d.comb += [lane_unit.acc.eq(value.as_signed()),
                         *(getattr(lane_unit, name).eq(parameters[name]) for name in self.channel.members)]
            finished.append(lane_unit.result)
        return finished, latency
