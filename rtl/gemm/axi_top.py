"""The GEMM engine as an AXI peripheral: AXI4-Lite registers, AXI4-Stream operands and results."""

from collections.abc import Iterable

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.axi import (
    AxiLiteSignature,
    AxiLiteSlave,
    AxiStreamSignature,
    AxiStreamSink,
    AxiStreamSource,
)
from tilewright.rtl.byte_lanes import beat_bytes
from tilewright.rtl.gemm.control import COUNTERS, GemmControl
from tilewright.rtl.register_file import Register

REGISTERS, RESULT = "s_axi", "m_axis_result"


def input_streams(engine: wiring.Component) -> dict[str, object]:
    """The engine's operand streams by name: act, weight, and channel where the engine requantizes."""
    return {name: getattr(engine, name) for name in ("act", "weight", "channel") if hasattr(engine, name)}


class GemmAxi(wiring.Component):
    """A GEMM engine behind AMBA interfaces on ``aclk``, with the active-low synchronous reset ``aresetn``.

    Every AMBA output comes from a register. Bytes of the streams as :mod:`tilewright.rtl.byte_lanes` lays
    them. ``s_axis_channel`` has no ``tlast``: its length is ``n``. The wrapper adds two cycles of latency
    to a job (a register slice on either side) and none to its throughput.

    Parameters
    ----------
    engine : wiring.Component
        Streams job, act, weight, [channel], result; busy, done, error and the four counters.
    registers : iterable of Register
        See :class:`tilewright.rtl.gemm.control.GemmControl`.
    address_width : int
        Bits of ``s_axi_awaddr`` and ``s_axi_araddr``.

    Members
    -------
    aclk, aresetn : In(1)
    s_axi_* : AXI4-Lite slave, 32 bits
    s_axis_act_*, s_axis_weight_*, [s_axis_channel_*] : AXI4-Stream slaves
    m_axis_result_* : AXI4-Stream master with tkeep and tlast
    irq : Out(1), level
    """

    def __init__(self, *, engine: wiring.Component, registers: Iterable[Register],
                 address_width: int = 12) -> None:
        self.engine = engine
        self.registers = tuple(registers)
        self.address_width = address_width
        self._interfaces = {REGISTERS: In(AxiLiteSignature(address_width))}
        for name, port in input_streams(engine).items():
            shape = port.payload.shape()  # type: ignore[attr-defined]
            self._interfaces[f"s_axis_{name}"] = In(
                AxiStreamSignature(beat_bytes(shape), last="last" in shape.members))
        result_bytes = beat_bytes(engine.result.payload.shape())
        self._interfaces[RESULT] = Out(AxiStreamSignature(result_bytes, keep=True))
        members = {"aclk": In(1), "aresetn": In(1), "irq": Out(1)}
        for prefix, interface in self._interfaces.items():
            for name, member in interface.signature.members.items():
                members[f"{prefix}_{name}"] = member
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        m.submodules.engine = engine = self.engine
        m.submodules.control = control = GemmControl(
            job_shape=engine.job.payload.shape(), registers=self.registers, address_width=self.address_width)
        m.submodules.axi_lite = axi_lite = AxiLiteSlave(address_width=self.address_width)
        wiring.connect(m, axi_lite.bus, control.bus)
        wiring.connect(m, control.job, engine.job)
        for name in ("busy", "done", "error", *COUNTERS):
            m.d.comb += getattr(control, name).eq(getattr(engine, name))
        m.d.comb += self.irq.eq(control.irq)
        self._connect_ports(m, REGISTERS, axi_lite.axi)

        for name, port in input_streams(engine).items():
            m.submodules[name] = sink = AxiStreamSink(shape=port.payload.shape())  # type: ignore[attr-defined]
            wiring.connect(m, sink.o, port)
            self._connect_ports(m, f"s_axis_{name}", sink.axi)
        m.submodules.result = source = AxiStreamSource(shape=engine.result.payload.shape())
        wiring.connect(m, engine.result, source.i)
        self._connect_ports(m, RESULT, source.axi)
        return m

    def _connect_ports(self, m: Module, prefix: str, interface: object) -> None:
        """Join the ports ``prefix_*`` of the top with the members of ``interface`` of a component in it."""
        for member in self._interfaces[prefix].signature.members:
            port, inner = getattr(self, f"{prefix}_{member}"), getattr(interface, member)
            if self.signature.members[f"{prefix}_{member}"].flow == In:
                m.d.comb += inner.eq(port)
            else:
                m.d.comb += port.eq(inner)
