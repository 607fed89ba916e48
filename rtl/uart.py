"""A UART receiver and transmitter: 8 data bits, no parity, 1 stop bit, least significant bit first."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

MIN_DIVISOR = 4


def _check_divisor(divisor: int) -> None:
    if divisor < MIN_DIVISOR:
        raise ValueError(f"divisor must be at least {MIN_DIVISOR} clock cycles per bit, not {divisor!r}")


class UartReceiver(wiring.Component):
    """Bytes from a serial line, sampled in the middle of each bit.

    ``valid`` is high for one cycle with each good byte in ``data``; nobody can make it wait. ``broken`` is
    high for one cycle when a stop bit was low: a break, or noise. After it, as after reset, the line must
    be high before the next byte can begin.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    line : In(1), asynchronous
    data : Out(8)    valid : Out(1)    broken : Out(1)
    """

    def __init__(self, *, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        super().__init__({"line": In(1, init=1), "data": Out(8), "valid": Out(1), "broken": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        level = Signal()
        m.submodules.synchronizer = cdc.FFSynchronizer(self.line, level)
        countdown = Signal(range(self.divisor))
        bits_left = Signal(range(10))

        with m.FSM(init="STOP"):
            with m.State("IDLE"):
                # Half a bit from the edge to the middle of the start bit, then one bit from middle to middle.
                m.d.sync += [countdown.eq(self.divisor // 2 - 1), bits_left.eq(9)]
                with m.If(~level):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += countdown.eq(countdown - 1)
                with m.If(countdown == 0):
                    m.d.sync += [countdown.eq(self.divisor - 1), bits_left.eq(bits_left - 1)]
                    with m.If(bits_left == 0):
                        m.d.comb += [self.valid.eq(level), self.broken.eq(~level)]
                        m.next = "STOP"
                    with m.Elif((bits_left == 9) & level):
                        m.next = "IDLE"  # a glitch, not a start bit
                    with m.Else():
                        m.d.sync += self.data.eq(Cat(self.data[1:], level))
            with m.State("STOP"), m.If(level):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a serial line; 10 bit times each, back to back while there are bytes.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    i : In(stream.Signature(8))
    line : Out(1), high when idle
    """

    def __init__(self, *, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "line": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shifter = Signal(9, init=0x1FF)
        countdown = Signal(range(self.divisor))
        bits_left = Signal(range(11))

        m.d.comb += self.i.ready.eq((bits_left == 0) | ((bits_left == 1) & (countdown == 0)))
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [
                Cat(self.line, shifter).eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))),
                countdown.eq(self.divisor - 1), bits_left.eq(10),
            ]
        with m.Elif(bits_left != 0):
            m.d.sync += countdown.eq(countdown - 1)
            with m.If(countdown == 0):
                m.d.sync += [
                    Cat(self.line, shifter).eq(Cat(shifter, Const(1, 1))),
                    countdown.eq(self.divisor - 1), bits_left.eq(bits_left - 1),
                ]
        return m
