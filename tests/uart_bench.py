"""cocotb module: the board top, bit by bit, driven by the very driver that the build folder ships.

``FOLDER/driver`` is imported; its serial port is played by coroutines that move the line of the simulated
UART.
"""

import os
import random
import sys
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import FallingEdge, Timer

FOLDER = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(FOLDER.parent))
from driver import DESCRIPTION, DeviceError, GemmDevice  # noqa: E402
from driver.serial_transport import SerialTransport, TransportError  # noqa: E402

CYCLE_NS = 2
DIVISOR = int(os.environ.get("UART_DIVISOR", "4"))
BIT_NS = CYCLE_NS * DIVISOR
BREAK_BITS = 24
RESET_BITS = 300 // DIVISOR
PATIENCE_BITS = 2000


class SimulatedPort:
    """The part of pyserial's ``Serial`` that the driver uses, called from the driver's thread."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.received = bytearray()
        dut.uart_rx.value = 1
        Clock(dut.clk, CYCLE_NS, unit="ns").start(start_high=False)
        cocotb.start_soon(self._listen())

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self.dut.uart_tx)
            await Timer(BIT_NS // 2, "ns")
            value = 0
            for bit in range(8):
                await Timer(BIT_NS, "ns")
                value |= int(self.dut.uart_tx.value) << bit
            await Timer(BIT_NS, "ns")
            assert self.dut.uart_tx.value == 1, "no stop bit"
            self.received.append(value)

    @resume
    async def write(self, data: bytes) -> None:
        for byte in data:
            for bit in (0, *(byte >> place & 1 for place in range(8)), 1):
                self.dut.uart_rx.value = bit
                await Timer(BIT_NS, "ns")

    @resume
    async def read(self, size: int) -> bytes:
        for _ in range(PATIENCE_BITS + 40 * size):
            if len(self.received) >= size:
                break
            await Timer(BIT_NS, "ns")
        data = bytes(self.received[:size])
        del self.received[:size]
        return data

    @resume
    async def send_break(self, duration: float) -> None:
        self.dut.uart_rx.value = 0
        await Timer(BREAK_BITS * BIT_NS, "ns")
        self.dut.uart_rx.value = 1
        await Timer(RESET_BITS * BIT_NS, "ns")

    def reset_input_buffer(self) -> None:
        self.received.clear()


def device(port: SimulatedPort, **changes: Any) -> GemmDevice:
    """The driver on the simulated line; ``changes`` to what it expects of the design."""
    return GemmDevice(SerialTransport(port, DESCRIPTION["streams"]), {**DESCRIPTION, **changes})


def jobs() -> list[dict[str, np.ndarray]]:
    """The arguments of every job in ``program.npz``, and its ``result``."""
    with np.load(FOLDER / "program.npz") as program:
        count = 1 + max(int(name.rpartition("_")[2]) for name in program.files)
        return [{name.rpartition("_")[0]: program[name] for name in program.files
                 if int(name.rpartition("_")[2]) == number} for number in range(count)]


def check(engine: GemmDevice, job: dict[str, np.ndarray]) -> None:
    """Run one job and compare with its golden result."""
    arguments = dict(job)
    expected = arguments.pop("result")
    np.testing.assert_array_equal(engine.job(**arguments), expected)


@cocotb.test()
async def the_driver_runs_every_job(dut: Any) -> None:
    """All jobs, bit for bit, over the serial line; the counters answer too."""
    port = SimulatedPort(dut)

    def host() -> None:
        engine = device(port)
        for job in jobs():
            check(engine, job)
        assert engine.register("done_count") == len(jobs())
        assert engine.register("counter_cycles") >= engine.register("counter_active") > 0

    await bridge(host)()
    assert int(dut.led.value) & 3 == 3, "busy or error lit, which is 0 here, after the last job"


@cocotb.test()
async def the_driver_refuses_another_design(dut: Any) -> None:
    """Another hash, another map, a dead line: one DeviceError or TransportError each."""
    port = SimulatedPort(dut)

    def refused(kind: type[Exception], text: str, **changes: Any) -> None:
        try:
            device(port, **changes)
        except kind as error:
            assert text in str(error), error
        else:
            raise AssertionError(f"not refused: {changes}")

    def host() -> None:
        refused(DeviceError, "holds another design", hash="0" * 64)
        refused(DeviceError, "version 1 of the register map", version=2)
        refused(DeviceError, "no GEMM engine answers", magic=1)
        transport = SerialTransport(port, DESCRIPTION["streams"])
        for access in (lambda: transport.read(0x1000), lambda: transport.write(0, [1]),
                       lambda: transport.write(0x8040, [1])):
            try:
                access()
            except TransportError as error:
                assert "refused 1 times" in str(error)
            else:
                raise AssertionError("an unmapped access was accepted")

    await bridge(host)()


@cocotb.test()
async def words_walk_up_from_the_address(dut: Any) -> None:
    """Packets of several words; those that no register takes are counted, the others are taken."""
    port = SimulatedPort(dut)

    def host() -> None:
        registers = DESCRIPTION["registers"]
        transport = SerialTransport(port, DESCRIPTION["streams"])
        hash_words = [registers[f"hash_{word}"]["value"] for word in range(4)]
        assert transport.read(registers["hash_0"]["offset"], 4) == hash_words
        transport.write(registers["m"]["offset"], [3, 0x01020304, 5])
        assert transport.read(registers["m"]["offset"], 3) == [3, 0x01020304, 5]
        try:
            transport.write(registers["limit_k"]["offset"], [1, 2, 7])  # the word between has no register
        except TransportError as error:
            assert str(error) == f"write of 3 words from {registers['limit_k']['offset']:#x}: refused 2 times"
        else:
            raise AssertionError("a constant was written")
        assert transport.read(registers["m"]["offset"], 2) == [7, 0x01020304]

    await bridge(host)()


@cocotb.test()
async def illegal_jobs_are_told_and_the_next_is_exact(dut: Any) -> None:
    """An engine's refusal reaches the host as a DeviceError, and nothing is left behind."""
    port = SimulatedPort(dut)

    def host() -> None:
        engine = device(port)
        engine.write("m", 0)
        engine.write("start", 1)
        assert engine.errors() == ["illegal_shape"] and engine.errors() == []
        job = jobs()[0]
        illegal = {**engine.description, "limits": {"m": 1 << 12, "n": 1 << 12, "k": 1 << 12}}
        engine.description = illegal
        try:
            engine.job(a=np.zeros((1 << 11, job["b"].shape[0]), int), **{
                name: value for name, value in job.items() if name not in ("a", "result")})
        except DeviceError as error:
            assert str(error) == "job 0: refused: illegal_shape", error
        else:
            raise AssertionError("a job beyond the limits was accepted")
        engine.description = DESCRIPTION
        check(engine, job)

    await bridge(host)()


@cocotb.test()
async def a_full_stream_takes_no_more_and_loses_nothing(dut: Any) -> None:
    """Operands pushed without a job are taken until the engine is full; the rest is refused, not lost."""
    port = SimulatedPort(dut)

    def host() -> None:
        engine = device(port)
        size = DESCRIPTION["streams"]["act"]["bytes"]
        beats = bytes(range(256)) * size
        taken = engine.transport.push("act", beats, False)
        assert 0 <= taken < len(beats) // size, f"{taken} beats were taken without a job"
        assert engine.transport.push("act", beats[:size], False) == 0
        assert engine.transport.pop(3) == (b"", 0, False)

    await bridge(host)()


@cocotb.test()
async def a_break_resets_the_design(dut: Any) -> None:
    """In the middle of a packet and of a job: the line is in step again, and the next job exact."""
    port = SimulatedPort(dut)
    dice = random.Random(cocotb.RANDOM_SEED)

    def host() -> None:
        engine = device(port)
        job = jobs()[0]
        for _ in range(3):
            engine.write("m", 3)
            engine.write("n", 3)
            engine.write("k", 3)
            engine.write("start", 1)
            engine.transport.push("act", bytes(DESCRIPTION["streams"]["act"]["bytes"]), False)
            port.write(bytes([3, 1, 200, 0] + [0x55] * dice.randrange(40)))
            engine.transport.reset()
            assert engine.register("m") == 0 and engine.register("status") == 0
            check(engine, job)

    await bridge(host)()
