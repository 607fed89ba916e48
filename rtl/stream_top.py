"""An engine with plain port names: what `top: stream` puts into Verilog."""

from typing import Any

from amaranth.hdl import Elaboratable, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In


class StreamTop(Elaboratable):
    """Ports ``<stream>_valid``, ``<stream>_ready`` and ``<stream>_<field>`` for every stream of ``engine``.

    Lane 0 of a ``data`` port is in its low bits. ``ports`` lists them for conversion.
    """

    def __init__(self, engine: wiring.Component) -> None:
        self.engine = engine
        self._inputs: list[tuple[Signal, Any]] = []   # port, the engine's member it drives
        self._outputs: list[tuple[Signal, Any]] = []
        for name, member in engine.signature.members.items():
            value = getattr(engine, name)
            if member.is_port:
                self._add(self._outputs, name, value)
                continue
            inward = member.flow == In
            forward, backward = (self._inputs, self._outputs) if inward else (self._outputs, self._inputs)
            self._add(forward, f"{name}_valid", value.valid)
            self._add(backward, f"{name}_ready", value.ready)
            for field in value.payload.shape().members:
                self._add(forward, f"{name}_{field}", value.payload[field])

    def _add(self, side: list[tuple[Signal, Any]], name: str, value: Any) -> None:
        as_value = Value.cast(value)
        port = Signal(as_value.shape(), name=name)
        setattr(self, name, port)
        side.append((port, as_value))

    @property
    def ports(self) -> list[Signal]:
        """All ports but clock and reset."""
        return [port for port, _ in self._inputs + self._outputs]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.engine = self.engine
        m.d.comb += [value.eq(port) for port, value in self._inputs]
        m.d.comb += [port.eq(value) for port, value in self._outputs]
        return m


