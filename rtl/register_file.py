"""32-bit registers behind a small request/response bus; AXI4-Lite and UART are masters of that bus."""

from collections.abc import Iterable
from typing import NamedTuple

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

ACCESSES = ("constant", "status", "control", "command", "event")


class Register(NamedTuple):
    """One word of the map.

    ``access`` says who writes and what a read sees:
    constant  always ``value``; a write is refused
    status    the input ``status.<name>``; a write is refused
    control   storage, ``value`` after reset, out on ``control.<name>``
    command   reads zero; writing a 1 to bit 0 raises ``command.<name>.strobe`` for one cycle, and is refused
              while ``command.<name>.ready`` is low
    event     a bit set on ``event.<name>.set`` stays until a 1 is written to it; out on
    ``event.<name>.pending``
    """

    name: str
    offset: int
    access: str
    width: int = 32
    value: int = 0


def check_registers(registers: Iterable[Register], address_width: int) -> None:
    """``ValueError`` for a map that contradicts itself or does not fit ``address_width``."""
    names: set[str] = set()
    offsets: dict[int, str] = {}
    for register in registers:
        name, offset, access, width, value = register
        if access not in ACCESSES:
            raise ValueError(
                f"register {name}: access must be one of {', '.join(ACCESSES)}, not {access!r}")
        if not 1 <= width <= 32:
            raise ValueError(f"register {name}: width must be 1 to 32, not {width!r}")
        if not 0 <= value < 1 << width:
            raise ValueError(f"register {name}: {value!r} does not fit {width} bits")
        if offset % 4 or not 0 <= offset < 1 << address_width:
            raise ValueError(
                f"register {name}: offset {offset:#x} is not a word below {1 << address_width:#x}")
        if name in names:
            raise ValueError(f"register {name} stands twice in the map")
        if offset in offsets:
            raise ValueError(f"registers {offsets[offset]} and {name} share the offset {offset:#x}")
        names.add(name)
        offsets[offset] = name


class BusSignature(wiring.Signature):
    """Requests to a register file and its responses, as the master sees them: one for each, in order.

    ``address`` counts bytes and its two low bits are ignored; ``strobe`` enables bytes of a write. ``error``
    says that nothing is mapped there, or that the register refused the write; the access then had no effect.
    """

    def __init__(self, address_width: int) -> None:
        self.address_width = address_width
        super().__init__({
            "request": Out(stream.Signature(data.StructLayout(
                {"address": address_width, "write": 1, "data": 32, "strobe": 4}))),
            "response": In(stream.Signature(data.StructLayout({"data": 32, "error": 1}))),
        })


class RegisterFile(wiring.Component):
    """Registers at fixed byte offsets. Latency 1 cycle, one access per cycle; the response waits to be taken.

    Parameters
    ----------
    registers : iterable of Register
        Names and offsets are distinct, offsets are multiples of 4 that fit ``address_width``.
    address_width : int
        Bits of a byte address.

    Members
    -------
    bus : In(BusSignature(address_width))
    status, control, command, event : one member for each register of that access (see Register)
    """

    LATENCY = 1

    def __init__(self, *, registers: Iterable[Register], address_width: int = 12) -> None:
        self.registers = tuple(registers)
        self.address_width = address_width
        check_registers(self.registers, address_width)
        of = {access: [r for r in self.registers if r.access == access] for access in ACCESSES}
        command = wiring.Signature({"strobe": Out(1), "ready": In(1)})
        super().__init__({
            "bus": In(BusSignature(address_width)),
            "status": Out(wiring.Signature({r.name: In(r.width) for r in of["status"]})),
            "control": Out(wiring.Signature({r.name: Out(r.width, init=r.value) for r in of["control"]})),
            "command": Out(wiring.Signature({r.name: Out(command) for r in of["command"]})),
            "event": Out(wiring.Signature({
                r.name: Out(wiring.Signature({"set": In(r.width), "pending": Out(r.width)}))
                for r in of["event"]})),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, response = self.bus.request, self.bus.response
        asked = request.payload
        mask = Cat(asked.strobe[byte].replicate(8) for byte in range(4))
        write = Signal()
        read_data = Signal(32)
        refused = Signal()

        m.d.comb += [
            request.ready.eq(~response.valid | response.ready),
            write.eq(request.valid & request.ready & asked.write),
        ]
        with m.If(request.ready):
            m.d.sync += [
                response.valid.eq(request.valid),
                response.payload.data.eq(read_data),
                response.payload.error.eq(refused),
            ]

        for register in self.registers:
            if register.access == "event":
                event = getattr(self.event, register.name)
                m.d.sync += event.pending.eq(event.pending | event.set)

        with m.Switch(asked.address[2:]):
            for register in self.registers:
                with m.Case(register.offset // 4):
                    self._access(m, register, write, mask, read_data, refused)
            with m.Default():
                m.d.comb += refused.eq(1)
        return m

    def _access(self, m: Module, register: Register, write: Signal, mask: Cat,
                read_data: Signal, refused: Signal) -> None:
        """What ``register`` answers to a read and does on a write, inside its case of the address."""
        asked = self.bus.request.payload
        if register.access == "constant":
            m.d.comb += [read_data.eq(register.value), refused.eq(asked.write)]
        elif register.access == "status":
            m.d.comb += [read_data.eq(getattr(self.status, register.name)), refused.eq(asked.write)]
        elif register.access == "control":
            stored = getattr(self.control, register.name)
            m.d.comb += read_data.eq(stored)
            for byte, enabled in enumerate(asked.strobe):
                part = slice(8 * byte, 8 * byte + 8)
                with m.If(write & enabled):
                    m.d.sync += stored[part].eq(asked.data[part])
        elif register.access == "command":
            command = getattr(self.command, register.name)
            wanted = asked.write & asked.data[0] & asked.strobe[0]
            m.d.comb += [
                refused.eq(wanted & ~command.ready),
                command.strobe.eq(write & wanted & command.ready),
            ]
        else:
            event = getattr(self.event, register.name)
            m.d.comb += read_data.eq(event.pending)
            with m.If(write):
                # What arrives in the very cycle of the write is not lost.
                m.d.sync += event.pending.eq(event.pending & ~(asked.data & mask) | event.set)
