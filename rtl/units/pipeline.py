"""The shell of every feed-forward unit: a pipeline that a consumer may stall."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from amaranth.hdl import Module, Shape, ShapeLike, Signal, Value, ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out


class Stages:
    """Registers of a pipeline, all enabled by ``advance``; data registers ignore the reset."""

    def __init__(self, m: Module, advance: Value) -> None:
        self.m = m
        self.advance = advance

    def stage(self, value: ValueLike, name: str, *, cycles: int = 1, shape: ShapeLike | None = None) -> Value:
        """``value`` as it was ``cycles`` stages ago, cast to ``shape`` where that is given; 0 cycles: ``value``."""
        value = Value.cast(value)
        for cycle in range(cycles):
            register = Signal(value.shape() if shape is None else Shape.cast(shape), reset_less=True,
                              name=name if cycles == 1 else f"{name}_{cycle + 1}")
            with self.m.If(self.advance):
                self.m.d.sync += register.eq(value)
            value = register
        return value

    def named(self, value: ValueLike, name: str, *, shape: ShapeLike | None = None) -> Signal:
        """``value`` as a signal of its own, so that the Verilog shows it; no register."""
        value = Value.cast(value)
        signal = Signal(value.shape() if shape is None else Shape.cast(shape), name=name)
        self.m.d.comb += signal.eq(value)
        return signal

    def table(self, words: Sequence[int], address: ValueLike, name: str, *, shape: ShapeLike) -> Value:
        """``words[address]`` one stage later: a ROM whose registered output fits a block RAM.

        ``address`` must stay below ``len(words)``; its registers belong into the stage before.
        """
        memory = Memory(shape=Shape.cast(shape), depth=len(words), init=words)
        self.m.submodules[name] = memory
        port = memory.read_port(domain="sync")
        self.m.d.comb += [port.addr.eq(address), port.en.eq(self.advance)]
        return Value.cast(port.data)


class Pipelined(wiring.Component):
    """Beats in, as many beats out, ``LATENCY`` cycles later; one beat per cycle.

    A subclass gives ``datapath``. All stages advance together in every cycle in which the last one is empty or
    taken; a stall holds them all. ``o.valid`` comes from a register; ``i.ready`` follows ``o.ready`` in the
    same cycle through one gate (a :class:`~tilewright.rtl.skid_buffer.SkidBuffer` behind cuts that). A reset drops what is
    on its way.

    Parameters
    ----------
    inputs, outputs : Mapping[str, ShapeLike]
        Fields of the two payloads, the first in the lowest bits.
    latency : int
        Stages between the streams, at least 1.

    Members
    -------
    i : In(stream.Signature(StructLayout(inputs)))
    o : Out(stream.Signature(StructLayout(outputs)))
    """

    def __init__(
        self, *, inputs: Mapping[str, ShapeLike], outputs: Mapping[str, ShapeLike], latency: int
    ) -> None:
        if latency < 1:
            raise ValueError(f"latency must be at least 1, not {latency!r}")
        self.latency = latency
        super().__init__({
            "i": In(stream.Signature(data.StructLayout(dict(inputs)))),
            "o": Out(stream.Signature(data.StructLayout(dict(outputs)))),
        })

    @abstractmethod
    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        """The fields of the result of payload ``i``, ``latency`` stages later.

        Registers come from ``stages``; ``stages.m`` takes combinational statements and submodules. Whoever
        joins two values sees to it that both went through as many stages.
        """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        advance = Signal()
        full = Signal(self.latency)  # bit 0: the first stage holds a beat
        m.d.comb += [
            self.o.valid.eq(full[-1]),
            advance.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
        ]
        with m.If(advance):
            m.d.sync += full.eq(full << 1 | self.i.valid)
        for name, value in self.datapath(Stages(m, advance), self.i.payload).items():
            m.d.comb += self.o.payload[name].eq(value)
        return m
