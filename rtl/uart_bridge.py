"""A UART as master of a register bus and as the far end of an engine's streams: one cable drives a board."""

from enum import IntEnum

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout, View
from amaranth.lib.wiring import In, Out
from tilewright.rtl.byte_lanes import beat_bytes, beat_from_bytes, bytes_from_beat, field_bytes
from tilewright.rtl.register_file import BusSignature
from tilewright.rtl.uart import UartReceiver, UartTransmitter


class Command(IntEnum):
    """First byte of a packet."""

    WRITE = 1
    READ = 2
    PUSH = 3
    POP = 4


class UartBridge(wiring.Component):
    """Packets over 8N1, one reply each; the host waits for the reply before it sends the next packet.

    A packet starts with four bytes; numbers are little-endian, addresses count bytes::

        01 address[2] words[1]   data[4 * words]       reply: refused[1]
        02 address[2] words[1]                         reply: data[4 * words] refused[1]
        03 stream[1]  beats[2]   data[beats * size]    reply: accepted[2]
        04 00         beats[2]                         reply: for each beat: 01 or 03, keep[...], data[size]

    WRITE and READ walk up from ``address``; ``refused`` counts words that no register took. PUSH never
    waits: from the first beat for which the stream has no room the rest of the packet is dropped, and the
    host sends it again later, so a full engine cannot lock the line. Bit 7 of ``stream`` sets ``last`` on
    the last beat of the packet. POP ends early with a single byte 00 when no result is waiting; 03 marks
    the job's last beat; ``keep`` has a bit per lane. Beats lie as :mod:`tilewright.rtl.byte_lanes` lays
    them. Other first bytes are skipped.

    ``broken`` is high for a cycle when a byte had no stop bit: send a break to get back to a known state;
    the top resets everything with it.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.
    inputs : dict of StructLayout
        Payload of each stream to push to; numbered in this order.
    result : StructLayout
        Payload of the stream to pop from: data, keep, last.
    address_width : int
        Bits of a byte address, at most 16.

    Members
    -------
    rx : In(1)    tx : Out(1)    broken : Out(1)
    bus : Out(BusSignature(address_width))
    <name> : Out(stream.Signature(layout)), for each of ``inputs``
    result : In(stream.Signature(result))
    """

    def __init__(self, *, divisor: int, inputs: dict[str, StructLayout], result: StructLayout,
                 address_width: int = 12) -> None:
        self.divisor = divisor
        self.inputs = dict(inputs)
        self.result_shape = result
        self.address_width = address_width
        super().__init__({
            "rx": In(1, init=1), "tx": Out(1, init=1), "broken": Out(1),
            "bus": Out(BusSignature(address_width)),
            "result": In(stream.Signature(result)),
            **{name: Out(stream.Signature(shape)) for name, shape in self.inputs.items()},
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(divisor=self.divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=self.divisor)
        m.d.comb += [
            receiver.line.eq(self.rx), self.tx.eq(transmitter.line), self.broken.eq(receiver.broken)]

        # Bytes enter at the top and move down, so a beat of b bytes stands in the upper b bytes.
        sizes = [beat_bytes(shape) for shape in self.inputs.values()]
        received = Signal(8 * max(4, *sizes))
        arrived = Cat(received[8:], receiver.data)
        with m.If(receiver.valid):
            m.d.sync += received.eq(arrived)

        command = Signal(8)
        target = Signal(7)
        last_beat = Signal()
        remaining = Signal(16)
        address = Signal(self.address_width)
        bytes_left = Signal(range(max(4, *sizes)))
        refused = Signal(8)
        accepted = Signal(16)
        full = Signal()
        reply = Signal(8 * self._reply_bytes)
        reply_left = Signal(range(self._reply_bytes + 1))
        reply_is_last = Signal()
        request, response = self.bus.request, self.bus.response

        def answer(value: Value, size: int, *, final: bool) -> None:
            m.d.sync += [reply.eq(value), reply_left.eq(size), reply_is_last.eq(int(final))]
            m.next = "REPLY"

        m.d.comb += [
            request.payload.address.eq(address), request.payload.write.eq(command == Command.WRITE),
            request.payload.data.eq(received[-32:]), request.payload.strobe.eq(0b1111),
            response.ready.eq(1),
            transmitter.i.payload.eq(reply[:8]),
        ]
        push_ready, push = self._input_registers(m, arrived, target, last_beat & (remaining == 1))
        popped, popped_size = self._popped(self.result.payload)

        with m.FSM():
            with m.State("HEADER"):
                m.d.sync += [command.eq(receiver.data), bytes_left.eq(2)]
                with m.If(receiver.valid & Cat(receiver.data == code for code in Command).any()):
                    m.next = "HEADER_REST"
            with m.State("HEADER_REST"):
                header = arrived[-24:]
                with m.If(receiver.valid):
                    m.d.sync += bytes_left.eq(bytes_left - 1)
                    with m.If(bytes_left == 0):
                        m.d.sync += [
                            address.eq(header[:16]), target.eq(header[:7]), last_beat.eq(header[7]),
                            refused.eq(0), accepted.eq(0), full.eq(0),
                        ]
                        with m.If((command == Command.WRITE) | (command == Command.READ)):
                            m.d.sync += remaining.eq(header[16:])
                        with m.Else():
                            m.d.sync += remaining.eq(header[8:])
                        m.next = "NEXT"
            with m.State("NEXT"), m.Switch(command):
                with m.Case(Command.WRITE):
                    m.d.sync += bytes_left.eq(3)
                    with m.If(remaining == 0):
                        answer(refused, 1, final=True)
                    with m.Else():
                        m.next = "WORD"
                with m.Case(Command.READ):
                    with m.If(remaining == 0):
                        answer(refused, 1, final=True)
                    with m.Else():
                        m.next = "REQUEST"
                with m.Case(Command.PUSH):
                    m.d.sync += bytes_left.eq(Array(size - 1 for size in sizes)[target])
                    with m.If(remaining == 0):
                        answer(accepted, 2, final=True)
                    with m.Else():
                        m.next = "BEAT"
                with m.Default():
                    with m.If(remaining == 0):
                        m.next = "HEADER"
                    with m.Elif(self.result.valid):
                        m.d.comb += self.result.ready.eq(1)
                        m.d.sync += remaining.eq(remaining - 1)
                        answer(popped, popped_size, final=False)
                    with m.Else():
                        answer(Const(0, 8), 1, final=True)
            with m.State("WORD"), m.If(receiver.valid):
                m.d.sync += bytes_left.eq(bytes_left - 1)
                with m.If(bytes_left == 0):
                    m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += request.valid.eq(1)
                with m.If(request.ready):
                    m.next = "RESPONSE"
            with m.State("RESPONSE"), m.If(response.valid):
                m.d.sync += [
                    refused.eq(refused + response.payload.error), remaining.eq(remaining - 1),
                    address.eq(address + 4)]
                with m.If(command == Command.WRITE):
                    m.next = "NEXT"
                with m.Else():
                    answer(response.payload.data, 4, final=False)
            with m.State("BEAT"), m.If(receiver.valid):
                m.d.sync += bytes_left.eq(bytes_left - 1)
                with m.If(bytes_left == 0):
                    m.d.comb += push.eq(~full)
                    m.d.sync += [remaining.eq(remaining - 1), accepted.eq(accepted + (push & push_ready))]
                    with m.If(~push_ready):
                        m.d.sync += full.eq(1)
                    m.next = "NEXT"
            with m.State("REPLY"):
                m.d.comb += transmitter.i.valid.eq(1)
                with m.If(transmitter.i.ready):
                    m.d.sync += [reply.eq(reply[8:]), reply_left.eq(reply_left - 1)]
                    with m.If(reply_left == 1):
                        with m.If(reply_is_last):
                            m.next = "HEADER"
                        with m.Else():
                            m.next = "NEXT"
        return m

    @property
    def _reply_bytes(self) -> int:
        lanes = self.result_shape.members["data"].length
        return max(4, 1 + field_bytes(lanes) + beat_bytes(self.result_shape))

    def _input_registers(self, m: Module, arrived: Value, target: Signal, last: Value) -> tuple[Signal, Signal]:
        """A register in front of each stream: whether the chosen one is free, and the strobe that fills it."""
        free = Signal()
        push = Signal()
        for number, (name, shape) in enumerate(self.inputs.items()):
            port = getattr(self, name)
            with m.If(port.ready):
                m.d.sync += port.valid.eq(0)
            with m.If(target == number):
                m.d.comb += free.eq(~port.valid)
                with m.If(push & free):
                    beat = arrived[-8 * beat_bytes(shape):]
                    m.d.sync += [port.valid.eq(1), *beat_from_bytes(port.payload, beat, last)]
        return free, push

    def _popped(self, beat: View) -> tuple[Value, int]:
        """What POP answers for one beat, and its length in bytes."""
        lanes = self.result_shape.members["data"].length
        data, _ = bytes_from_beat(beat)
        flags = Cat(Const(1, 1), beat.last, Const(0, 6))
        keep = Cat(beat.keep, Const(0, 8 * field_bytes(lanes) - lanes))
        return Cat(flags, keep, data), 1 + field_bytes(lanes) + beat_bytes(self.result_shape)
