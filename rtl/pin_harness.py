"""Four pins around a design with hundreds of ports, so that it can be placed, routed and timed alone."""

from collections.abc import Sequence

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

CLOCK, RESET = "clk", "rst"
FAN_IN = 4  # of one folding stage: a LUT between two registers


def _named(ports: Sequence[tuple[str, str, int]], direction: str) -> list[tuple[str, int]]:
    return [(name, width) for name, way, width in ports if way == direction and name not in (CLOCK, RESET)]


class PinHarness(wiring.Component):
    """Module ``module`` between two walls of registers; nothing of the harness is a longer path than a LUT.

    ``serial_in`` shifts through one register per input bit, which drives its port. Every output bit has a
    register behind its port; a pipeline of 4-input XORs folds them into ``serial_out``. So each input bit can
    take any value, each output bit can be seen at the pin, and every path of the design starts and ends
    in a register. Reset reaches the design through two registers.

    Parameters
    ----------
    module : str
        Name of the module to instantiate. Its clock is ``clk``; ``rst`` may be missing.
    ports : sequence of (name, "input" or "output", width)

    Members
    -------
    reset : In(1)    serial_in : In(1)    serial_out : Out(1)
    """

    def __init__(self, *, module: str, ports: Sequence[tuple[str, str, int]]) -> None:
        self.module = module
        self.ports = tuple(ports)
        super().__init__({"reset": In(1), "serial_in": In(1), "serial_out": Out(1)})

    @property
    def registers(self) -> int:
        """How many flip-flops the harness has when every port bit is in use."""
        inputs = sum(width for _, width in _named(self.ports, "input"))
        count, stage = inputs, sum(width for _, width in _named(self.ports, "output"))
        while stage > 1:
            count += stage
            stage = -(-stage // FAN_IN)
        has_reset = any(name == RESET for name, _, _ in self.ports)
        return count + stage + 2 * has_reset

    def elaborate(self, platform: object) -> Module:
        m = Module()
        connections: dict[str, object] = {}
        names = {name for name, _, _ in self.ports}
        if CLOCK in names:
            connections[f"i_{CLOCK}"] = ClockSignal()
        if RESET in names:
            resets = [Signal(name=f"reset_{i}", reset_less=True) for i in range(2)]
            m.d.sync += [resets[0].eq(self.reset), resets[1].eq(resets[0])]
            connections[f"i_{RESET}"] = resets[1]
        inputs = {name: Signal(width, name=name, reset_less=True)
                  for name, width in _named(self.ports, "input")}
        outputs = {name: Signal(width, name=name) for name, width in _named(self.ports, "output")}
        connections |= {f"i_{name}": signal for name, signal in inputs.items()}
        connections |= {f"o_{name}": signal for name, signal in outputs.items()}
        m.submodules.design = Instance(self.module, **connections)

        shift = Cat(*inputs.values())
        m.d.sync += shift.eq(Cat(self.serial_in, shift))

        stage = Signal(sum(map(len, outputs.values())), name="captured", reset_less=True)
        m.d.sync += stage.eq(Cat(*outputs.values()))
        while len(stage) > 1:
            groups = [stage[i:i + FAN_IN] for i in range(0, len(stage), FAN_IN)]
            stage = Signal(len(groups), name="folded", reset_less=True)
            m.d.sync += stage.eq(Cat(*(group.xor() for group in groups)))
        m.d.comb += self.serial_out.eq(stage)
        return m
