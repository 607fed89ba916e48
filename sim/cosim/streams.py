"""Drivers and checkers for ready/valid ports under cocotb, fast enough for whole workloads.

One coroutine serves all ports: :meth:`Bench.run` wakes once per clock edge and calls ``edge()`` of
every port, which reads what the design drove before that edge and writes what it shall see
after it. Beats are prepared as whole numbers per signal; Python touches a signal only when it changes or a
handshake needs it.

    bench = Bench(dut, seed=1)
    source = bench.source("act", ("data", "last"))
    sink = bench.sink("result", ("data", "keep", "last"))
    await bench.reset()
    source.send([(0x0102, 0), (0x0304, 1)])
    sink.expect([(0x0a, 1, 1)])
    await bench.run(until=lambda: sink.finished, patience=1000)
    await bench.silence(cycles=32)
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cocotb.clock import Clock

CYCLE_NS = 2
Beat = tuple[int, ...]  # one number per payload signal


class MismatchError(AssertionError):
    """A beat that differs from the expected one: where, when, and both payloads."""

    def __init__(self, *, port: str, beat: int, cycle: int, expected: Beat, actual: Beat) -> None:
        super().__init__(f"{port}: beat {beat} in cycle {cycle}: expected {expected}, got {actual}")
        self.beat = beat
        self.cycle = cycle
        self.expected = expected
        self.actual = actual


class Source:
    """Feeds one input port. ``stall`` is the probability of a cycle without an offer.

    An offer stays until it is taken. While nothing is offered and ``stall`` is not zero the payload is
    noise, so a design that looks at it without ``valid`` is found out.
    """

    def __init__(self, dut: Any, name: str, fields: Sequence[str], generator: random.Random) -> None:
        self.name = name
        self.stall = 0.0
        self.taken = 0  # beats since the last clear()
        self._random = generator
        self._valid = getattr(dut, f"{name}_valid")
        self._ready = getattr(dut, f"{name}_ready")
        self._signals = [getattr(dut, f"{name}_{field}") for field in fields]
        self._widths = [len(signal) for signal in self._signals]
        self._signed = [width > 1 and signal.is_signed
                        for signal, width in zip(self._signals, self._widths, strict=True)]
        self.clear()

    def clear(self) -> None:
        """Forget everything not yet taken and withdraw the offer (only a reset allows that)."""
        self.beats: list[Beat] = []
        self.taken = 0
        self._offering = False
        self._current: list[int | None] = [None] * len(self._signals)
        self._valid.value = 0

    def send(self, beats: Iterable[Beat]) -> None:
        """Append beats; each is one unsigned number per field."""
        if not any(self._signed):
            self.beats.extend(beats)
            return
        for beat in beats:
            self.beats.append(tuple(
                value - (1 << width) if is_signed and value >> (width - 1) else value
                for value, width, is_signed in zip(beat, self._widths, self._signed, strict=True)))

    @property
    def finished(self) -> bool:
        """Everything sent has been taken."""
        return self.taken == len(self.beats)

    def edge(self) -> bool:
        """One clock edge; true when a beat was taken."""
        moved = False
        if self._offering:
            if not self._ready.value:
                return False
            self.taken += 1
            moved = True
        if self.taken < len(self.beats) and not (self.stall and self._random.random() < self.stall):
            self._write(self.beats[self.taken])
            if not self._offering:
                self._valid.value = 1
                self._offering = True
        elif self._offering:
            self._valid.value = 0
            self._offering = False
            if self.stall:
                self._write(tuple(
                    self._random.getrandbits(width - is_signed)
                    for width, is_signed in zip(self._widths, self._signed, strict=True)))
        return moved

    def _write(self, beat: Beat) -> None:
        for number, value in enumerate(beat):
            if self._current[number] != value:
                self._signals[number].value = value
                self._current[number] = value


class Sink:
    """Takes and compares the beats of one output port. ``stall`` is the probability of a cycle without ready.

    Also the protocol's monitor: an offer that is withdrawn, or changes while it waits, is an error, and
    so is a beat that nobody expects.
    """

    def __init__(self, dut: Any, name: str, fields: Sequence[str], generator: random.Random) -> None:
        self.name = name
        self.stall = 0.0
        self.taken = 0  # beats since the last clear()
        self._random = generator
        self._valid = getattr(dut, f"{name}_valid")
        self._ready = getattr(dut, f"{name}_ready")
        self._signals = [getattr(dut, f"{name}_{field}") for field in fields]
        self.clear()

    def clear(self) -> None:
        """Expect nothing, be not ready (only a reset allows that in the middle of an offer)."""
        self.expected: list[tuple[str | None, ...]] = []
        self.taken = 0
        self._is_ready = False
        self._waiting: list[str] | None = None
        self._ready.value = 0

    def expect(self, beats: Iterable[Sequence[int | None]]) -> None:
        """Append expected beats: one unsigned number per field, None where any value will do."""
        widths = [len(signal) for signal in self._signals]
        self.expected.extend(
            tuple(None if value is None else f"{value:0{width}b}"
                  for value, width in zip(beat, widths, strict=True))
            for beat in beats)

    @property
    def finished(self) -> bool:
        """Everything expected has arrived."""
        return self.taken == len(self.expected)

    @property
    def offered(self) -> bool:
        """A beat waits for ready."""
        return self._waiting is not None

    def edge(self, cycle: int) -> bool:
        """One clock edge; true when a beat was taken. Raises AssertionError."""
        moved = False
        if self._valid.value:
            payload = [str(signal.value) for signal in self._signals]
            if self._waiting is not None and payload != self._waiting:
                raise AssertionError(f"{self.name}: payload changed while it waited, in cycle {cycle}")
            if self._is_ready:
                self._check(payload, cycle)
                self.taken += 1
                self._waiting = None
                moved = True
            else:
                self._waiting = payload
        elif self._waiting is not None:
            raise AssertionError(f"{self.name}: valid fell before the beat was taken, in cycle {cycle}")
        ready = not (self.stall and self._random.random() < self.stall)
        if ready != self._is_ready:
            self._ready.value = int(ready)
            self._is_ready = ready
        return moved

    def _check(self, payload: list[str], cycle: int) -> None:
        if self.taken >= len(self.expected):
            raise AssertionError(f"{self.name}: a beat after the last expected one, in cycle {cycle}")
        expected = self.expected[self.taken]
        for want, got in zip(expected, payload, strict=True):
            if want is not None and want != got:
                raise MismatchError(
                    port=self.name, beat=self.taken, cycle=cycle,
                    actual=tuple(int(word, 2) for word in payload),
                    expected=tuple(int(word if word is not None else payload[number], 2)
                                   for number, word in enumerate(expected)))


class Bench:
    """Clock, reset and the ports of a design with ``clk`` and a synchronous, active-high ``rst``."""

    def __init__(self, dut: Any, *, seed: int) -> None:
        self.dut = dut
        self.seed = seed
        self.cycle = 0
        self.sources: list[Source] = []
        self.sinks: list[Sink] = []
        self.watch: Callable[[], None] | None = None  # called on every edge, before the ports
        self._edge = dut.clk.rising_edge
        dut.rst.value = 1
        Clock(dut.clk, CYCLE_NS, unit="ns").start(start_high=False)

    def source(self, name: str, fields: Sequence[str]) -> Source:
        """A driver for input port ``name``, its payload signals ``<name>_<field>``."""
        port = Source(self.dut, name, fields, random.Random(f"{self.seed}/{name}"))
        self.sources.append(port)
        return port

    def sink(self, name: str, fields: Sequence[str]) -> Sink:
        """A receiver for output port ``name``, its payload signals ``<name>_<field>``."""
        port = Sink(self.dut, name, fields, random.Random(f"{self.seed}/{name}"))
        self.sinks.append(port)
        return port

    async def reset(self, cycles: int = 2) -> None:
        """Hold ``rst`` for ``cycles`` and forget what the ports were about to do."""
        for source in self.sources:
            source.clear()
        for sink in self.sinks:
            sink.clear()
        self.dut.rst.value = 1
        for _ in range(cycles + 1):
            await self._edge
        self.dut.rst.value = 0
        self.cycle = 0

    async def run(self, *, until: Callable[[], bool], patience: int) -> None:
        """Serve the ports until ``until()``; AssertionError when none moves for ``patience`` cycles."""
        quiet = 0
        sources, sinks, edge, watch = self.sources, self.sinks, self._edge, self.watch
        while not until():
            await edge
            self.cycle = cycle = self.cycle + 1
            if watch is not None:
                watch()
            moved = False
            for source in sources:
                moved |= source.edge()
            for sink in sinks:
                moved |= sink.edge(cycle)
            quiet = 0 if moved else quiet + 1
            if quiet > patience:
                raise AssertionError(
                    f"no port moved for {patience} cycles, in cycle {cycle}: {self.progress}")

    async def idle(self, cycles: int) -> None:
        """Serve the ports for a number of cycles."""
        end = self.cycle + cycles
        await self.run(until=lambda: self.cycle >= end, patience=cycles + 1)

    async def silence(self, cycles: int) -> None:
        """Keep every output ready for ``cycles`` and demand that nothing comes."""
        stalls = [sink.stall for sink in self.sinks]
        for sink in self.sinks:
            sink.stall = 0.0
        await self.idle(cycles)
        for sink, stall in zip(self.sinks, stalls, strict=True):
            sink.stall = stall

    @property
    def progress(self) -> str:
        """How far every port came, for a message."""
        return ", ".join(
            [f"{source.name} {source.taken}/{len(source.beats)}" for source in self.sources]
            + [f"{sink.name} {sink.taken}/{len(sink.expected)}" for sink in self.sinks])
