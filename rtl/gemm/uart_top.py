"""The GEMM engine on a board: one serial cable to the registers and the streams."""

from collections.abc import Iterable

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.gemm.axi_top import input_streams
from tilewright.rtl.gemm.control import COUNTERS, GemmControl
from tilewright.rtl.register_file import Register
from tilewright.rtl.uart_bridge import UartBridge

ADDRESS_WIDTH = 16
LEDS = 3


class GemmUart(wiring.Component):
    """A GEMM engine behind a UART (protocol: :class:`tilewright.rtl.uart_bridge.UartBridge`).

    Needs nothing but a clock: it resets itself for 255 cycles after configuration, and again when the host
    sends a break. ``led``: 0 a job is under way, 1 an error bit is set, 2 blinks with the clock divided by
    2**24.

    Parameters
    ----------
    engine : wiring.Component
        As :class:`tilewright.rtl.gemm.axi_top.GemmAxi` takes it.
    registers : iterable of Register
        See :class:`tilewright.rtl.gemm.control.GemmControl`.
    divisor : int
        Clock cycles per bit: clock frequency over baud rate, rounded; at least 4.
    leds_low : bool
        The board's LEDs light at 0: ``led`` is inverted.

    Members
    -------
    clk : In(1)    uart_rx : In(1)    uart_tx : Out(1)    led : Out(3)
    """

    def __init__(self, *, engine: wiring.Component, registers: Iterable[Register], divisor: int,
                 leds_low: bool = False) -> None:
        self.engine = engine
        self.registers = tuple(registers)
        self.divisor = divisor
        self.leds_low = leds_low
        super().__init__({
            "clk": In(1), "uart_rx": In(1, init=1), "uart_tx": Out(1, init=1), "led": Out(LEDS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        reset = Signal(reset_less=True, init=1)
        settle = Signal(8, reset_less=True)
        blink = Signal(25)
        m.d.comb += [ClockSignal().eq(self.clk), ResetSignal().eq(reset)]

        m.submodules.engine = engine = self.engine
        m.submodules.control = control = GemmControl(
            job_shape=engine.job.payload.shape(), registers=self.registers, address_width=ADDRESS_WIDTH)
        streams = input_streams(engine)
        m.submodules.bridge = bridge = UartBridge(
            divisor=self.divisor, address_width=ADDRESS_WIDTH, result=engine.result.payload.shape(),
            inputs={name: port.payload.shape() for name, port in streams.items()})  # type: ignore[attr-defined]

        wiring.connect(m, bridge.bus, control.bus)
        wiring.connect(m, control.job, engine.job)
        for name, port in streams.items():
            wiring.connect(m, getattr(bridge, name), port)
        wiring.connect(m, engine.result, bridge.result)
        for name in ("busy", "done", "error", *COUNTERS):
            m.d.comb += getattr(control, name).eq(getattr(engine, name))

        m.d.sync += [
            settle.eq(settle + ~settle.all()), reset.eq(~settle.all() | bridge.broken), blink.eq(blink + 1)]
        lit = Cat(control.working, control.failed, blink[-1])
        m.d.comb += [bridge.rx.eq(self.uart_rx), self.uart_tx.eq(bridge.tx), self.led.eq(~lit if self.leds_low else lit)]
        return m
