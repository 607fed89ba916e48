"""The packets of ``tilewright.rtl.uart_bridge.UartBridge`` as the host sends them, over any serial port.

Stands alone: a build's ``driver`` folder holds a copy. Only ``open_serial`` needs pyserial.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

WRITE, READ, PUSH, POP = 1, 2, 3, 4
MAX_WORDS = 255  # of one WRITE or READ
LAST = 0x80
BAUD_RATE = 1_000_000  # of the boards' UARTs
TIMEOUT_SECONDS = 1.0
BREAK_SECONDS = 0.01


class TransportError(RuntimeError):
    """The line is dead, out of step, or a register refused an access."""


class Port(Protocol):
    """The part of pyserial's ``Serial`` used here; ``read`` returns less than asked for after its timeout."""

    def write(self, data: bytes, /) -> Any: ...
    def read(self, size: int, /) -> bytes: ...
    def send_break(self, duration: float, /) -> None: ...
    def reset_input_buffer(self) -> None: ...


class SerialTransport:
    """Registers and streams of a board at the far end of ``port``; a break first brings it to a known state.

    Parameters
    ----------
    port : Port
    streams : the ``streams`` of the build's ``registers.json``
    """

    def __init__(self, port: Port, streams: Mapping[str, Mapping[str, Any]]) -> None:
        self.port = port
        self.streams = streams
        self.reset()

    def reset(self) -> None:
        """Reset the whole design; forget what it was sending."""
        self.port.send_break(BREAK_SECONDS)
        self.port.reset_input_buffer()

    def write(self, address: int, words: Sequence[int]) -> None:
        """Write registers from ``address`` up."""
        for start in range(0, len(words), MAX_WORDS):
            part = words[start:start + MAX_WORDS]
            at = address + 4 * start
            data = b"".join(word.to_bytes(4, "little") for word in part)
            self.port.write(bytes([WRITE]) + at.to_bytes(2, "little") + bytes([len(part)]) + data)
            self._demand_accepted(self._receive(1)[0], f"write of {len(part)} words from {at:#x}")

    def read(self, address: int, count: int = 1) -> list[int]:
        """Read ``count`` registers from ``address`` up."""
        words: list[int] = []
        for start in range(0, count, MAX_WORDS):
            part = min(MAX_WORDS, count - start)
            at = address + 4 * start
            self.port.write(bytes([READ]) + at.to_bytes(2, "little") + bytes([part]))
            reply = self._receive(4 * part + 1)
            self._demand_accepted(reply[-1], f"read of {part} words from {at:#x}")
            words += [int.from_bytes(reply[4 * word:4 * word + 4], "little") for word in range(part)]
        return words

    def push(self, stream: str, beats: bytes, last: bool) -> int:
        """Offer whole beats; how many were taken."""
        count = len(beats) // self.streams[stream]["bytes"]
        target = self.streams[stream]["number"] | (LAST if last else 0)
        self.port.write(bytes([PUSH, target]) + count.to_bytes(2, "little") + beats)
        return int.from_bytes(self._receive(2), "little")

    def pop(self, count: int) -> tuple[bytes, int, bool]:
        """Up to ``count`` waiting result beats: bytes, how many, whether the final one ended the job."""
        stream = self.streams["result"]
        keep_bytes = -(-stream["lanes"] // 8)
        self.port.write(bytes([POP, 0]) + count.to_bytes(2, "little"))
        beats: list[bytes] = []
        last = False
        while len(beats) < count and (flags := self._receive(1)[0]):
            last = bool(flags & 2)
            beats.append(self._receive(keep_bytes + stream["bytes"])[keep_bytes:])
        return b"".join(beats), len(beats), last

    def _receive(self, size: int) -> bytes:
        data = self.port.read(size)
        if len(data) != size:
            raise TransportError(f"no answer on the serial line: {len(data)} of {size} bytes came")
        return data

    @staticmethod
    def _demand_accepted(refused: int, what: str) -> None:
        if refused:
            raise TransportError(f"{what}: refused {refused} times")


def open_serial(name: str, streams: Mapping[str, Mapping[str, Any]], *,
                baud: int = BAUD_RATE) -> SerialTransport:
    """The board behind serial port ``name``. ``TransportError`` without pyserial or without the port."""
    try:
        serial = import_module("serial")
    except ImportError:
        raise TransportError("pyserial is not installed; run: pip install pyserial") from None
    try:
        return SerialTransport(serial.Serial(name, baud, timeout=TIMEOUT_SECONDS), streams)
    except serial.SerialException as error:
        raise TransportError(f"{name}: {error}") from None
