"""The AXI top under cocotbext-axi: masters, streams, pauses, and the bytes of a beat.

Registers come from ``driver/registers.json`` of the build folder. The place of elements in a beat is
written down here once more, so that RTL and bench agree by contract and not by shared code.
"""

import functools
import json
import os
import random
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, SimTimeoutError, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from .beats import Lanes
from .gemm_ports import Case, Job, load_ports

FOLDER = Path(__file__).resolve().parents[1]
PORTS = load_ports(FOLDER / "design.json")
CASES = Case.load_all(Path(os.environ.get("VECTORS", FOLDER / "vectors")), PORTS)
DESCRIPTION: dict[str, Any] = json.loads((FOLDER.parent / "driver/registers.json").read_text())
REGISTERS: dict[str, dict[str, Any]] = DESCRIPTION["registers"]
INTERPRETER = "" if shutil.which("python3") == sys.executable else f" PYTHON={sys.executable}"
SEED = cocotb.RANDOM_SEED
CYCLE_NS = 2
ACCESS_NS = 100_000  # an access that takes longer hangs


def element_bytes(lanes: Lanes) -> int:
    """Bytes of one element: the smallest power of two that holds it."""
    return next(size for size in (1, 2, 4, 8) if 8 * size >= lanes.width)


def lane_bytes(beats: Sequence[int], lanes: Lanes) -> bytes:
    """Packed beats as ``tdata``: every lane extended to its bytes, lane 0 first."""
    size = element_bytes(lanes)
    return b"".join(value.to_bytes(size, "little", signed=lanes.signed)
                    for beat in beats for value in lanes.unpack(beat))


def channel_bytes(beats: Sequence[tuple[int, ...]]) -> bytes:
    """Channel records as ``tdata``: every field in whole bytes, in order."""
    return b"".join(value.to_bytes(-(-width // 8), "little")
                    for beat in beats for value, width in zip(beat, PORTS.channel.values(), strict=True))


class AxiBench:
    """Clock, reset and the AXI interfaces of the top, for the test called ``test``.

    Watches every channel that the top drives: an offer that is withdrawn, or changes while it waits, is an
    error.
    """

    def __init__(self, dut: Any, test: str) -> None:
        self.dut = dut
        self.test = test
        self.random = random.Random(SEED)
        dut.aresetn.value = 0
        Clock(dut.aclk, CYCLE_NS, unit="ns").start(start_high=False)
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, **reset)
        self.sources = {
            name: AxiStreamSource(AxiStreamBus.from_prefix(dut, f"s_axis_{name}"), dut.aclk, **reset)
            for name in ("act", "weight", *(["channel"] if PORTS.channel else []))}
        self.result = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_result"), dut.aclk, **reset)
        cocotb.start_soon(self._watch("m_axis_result_t", ("data", "keep", "last")))
        cocotb.start_soon(self._watch("s_axi_b", ("resp",)))
        cocotb.start_soon(self._watch("s_axi_r", ("data", "resp")))

    @property
    def channels(self) -> dict[str, Any]:
        """Everything that can pause, by name."""
        write, read = self.registers.write_if, self.registers.read_if
        return {
            **self.sources, "result": self.result, "aw": write.aw_channel, "w": write.w_channel,
            "b": write.b_channel, "ar": read.ar_channel, "r": read.r_channel}

    def pause(self, probability: float) -> None:
        """Pause every channel at random, each by its own dice."""
        for name, channel in self.channels.items():
            dice = random.Random(f"{SEED}/{name}")
            channel.set_pause_generator(_pauses(dice, probability) if probability else None)
            if not probability:
                channel.pause = False

    async def reset(self, cycles: int = 2) -> None:
        """Hold ``aresetn`` low; what the streams were about to do is forgotten."""
        self.dut.aresetn.value = 0
        for port in (*self.sources.values(), self.result):
            port.clear()
        await self.wait(cycles)
        self.dut.aresetn.value = 1
        await self.wait(1)

    async def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            await RisingEdge(self.dut.aclk)

    async def read_at(self, address: int) -> tuple[int, Any]:
        """Word and response code at an address."""
        answer = await self._within(ACCESS_NS, self.registers.read(address, 4), f"read of {address:#x}")
        return int.from_bytes(answer.data, "little"), answer.resp

    async def write_at(self, address: int, data: bytes) -> Any:
        """Response code of a write of one to four bytes inside a word."""
        writing = self.registers.write(address, data)
        return (await self._within(ACCESS_NS, writing, f"write to {address:#x}")).resp

    async def read(self, name: str) -> int:
        """A register that must answer OKAY."""
        value, response = await self.read_at(REGISTERS[name]["offset"])
        assert response == AxiResp.OKAY, f"read of {name}: {response}"
        return value

    async def field(self, register: str, field: str) -> int:
        """One field of a register."""
        low, width = REGISTERS[register]["fields"][field]
        return await self.read(register) >> low & (1 << width) - 1

    async def write(self, name: str, value: int) -> None:
        """A register that must answer OKAY."""
        response = await self.try_write(name, value)
        assert response == AxiResp.OKAY, f"write of {value:#x} to {name}: {response}"

    async def try_write(self, name: str, value: int) -> Any:
        """Response code of a write to a register."""
        return await self.write_at(REGISTERS[name]["offset"], (value & 0xFFFF_FFFF).to_bytes(4, "little"))

    async def start(self, job: Job) -> None:
        """Write the job registers and queue the job, waiting for room."""
        values = {**{name: getattr(job, name) for name in PORTS.job}, "flags": job.reuse_weights}
        for name in ("m", "n", "k", "flags", "act_zero_point", "weight_zero_point"):
            if name in REGISTERS:
                await self.write(name, values[name])
        while await self.field("status", "queue_full"):
            pass
        await self.write("start", 1)

    def send(self, case: Case) -> None:
        """Offer the operands of every job of a case, a frame for each matrix."""
        first = {"act": 0, "weight": 0, "channel": 0}
        for job in case.jobs:
            for name, source in self.sources.items():
                count = PORTS.count(name, job)
                beats = getattr(case, name)[first[name]:first[name] + count]
                first[name] += count
                if count:
                    lanes = None if name == "channel" else getattr(PORTS, name)
                    data = lane_bytes(beats, lanes) if lanes else channel_bytes(beats)
                    source.send_nowait(AxiStreamFrame(data))

    async def expect(self, case: Case) -> int:
        """Take the results of every job of a case, a frame each, and compare; the number of values."""
        first = values = 0
        for number, job in enumerate(case.jobs):
            beats = case.result[first:first + PORTS.count("result", job)]
            first += len(beats)
            what = f"{case.name}: tlast of job {number}"
            frame = await self._within(self._patience(case), self.result.recv(compact=False), what)
            self._compare(frame, beats, case.name, number, job)
            values += sum(keep.bit_count() for _, keep in beats)
        return values

    def _compare(self, frame: AxiStreamFrame, beats: Sequence[tuple[int, int]], where: str, number: int,
                 job: Job) -> None:
        size = element_bytes(PORTS.result)
        wide = size * PORTS.result.lanes
        if len(frame.tdata) != wide * len(beats):
            raise AssertionError(f"{where}: tlast of job {number} in beat {len(frame.tdata) // wide - 1}, "
                                 f"expected in beat {len(beats) - 1}")
        for beat, (data, keep) in enumerate(beats):
            got, got_keep = (part[beat * wide:(beat + 1) * wide] for part in (frame.tdata, frame.tkeep))
            want_keep = [keep >> lane & 1 for lane in range(PORTS.result.lanes) for _ in range(size)]
            if list(got_keep) != want_keep:
                raise AssertionError(f"{where}: tkeep of job {number}, beat {beat}: expected {want_keep}, "
                                     f"got {list(got_keep)}")
            if bytes(got) != lane_bytes([data], PORTS.result):
                actual = PORTS.result.pack(int.from_bytes(got[at:at + size], "little")
                                           for at in range(0, wide, size))
                place = PORTS.divergence(number, job, beat, (data, keep, 0), (actual, keep, 0), self.cycle)
                raise AssertionError(f"{where}: {place.text}; bytes {bytes(got).hex()}")

    async def _within(self, limit_ns: int, answer: Awaitable[Any], what: str) -> Any:
        try:
            return await with_timeout(answer, limit_ns, "ns")
        except SimTimeoutError:
            late = limit_ns // CYCLE_NS
            raise AssertionError(f"{what} did not come within {late} cycles") from None

    @property
    def cycle(self) -> int:
        """Clock cycles since the simulation began."""
        return int(get_sim_time("ns")) // CYCLE_NS

    async def run(self, case: Case) -> None:
        """All jobs of a case, operands, registers and results at the same time."""
        self.send(case)
        starting = cocotb.start_soon(self._start_all(case))
        values = await self.expect(case)
        await starting
        if path := os.environ.get("EVIDENCE"):
            with Path(path).open("a") as evidence:
                evidence.write(f"{self.test} {values}\n")

    async def _start_all(self, case: Case) -> None:
        for job in case.jobs:
            await self.start(job)

    async def _watch(self, prefix: str, payload: Sequence[str]) -> None:
        valid, ready = (getattr(self.dut, prefix + name) for name in ("valid", "ready"))
        signals = [getattr(self.dut, prefix + name) for name in payload]
        waiting = None
        while True:
            await RisingEdge(self.dut.aclk)
            offered = valid.value == 1 and self.dut.aresetn.value == 1
            seen = [str(signal.value) for signal in signals] if offered else None
            if waiting is not None and self.dut.aresetn.value == 1:
                assert seen == waiting, f"{prefix}valid fell, or its payload changed, before it was taken"
            waiting = seen if offered and ready.value == 0 else None

    async def silence(self, cycles: int) -> None:
        """Demand that nothing more comes and that the engine is at rest."""
        await self.wait(cycles)
        assert self.result.empty() and not self.dut.m_axis_result_tvalid.value, "a result that nobody expects"
        assert not await self.field("status", "busy"), "busy although every job is done"

    @staticmethod
    def _patience(case: Case) -> int:
        work = sum(PORTS.count(name, job) for job in case.jobs for name in PORTS.beats)
        return CYCLE_NS * (20_000 + 40 * work)


def axi_test(test: Callable[[AxiBench], Awaitable[None]]) -> Any:
    """A cocotb test that gets a bench fresh from reset; its failure names the command that repeats it."""
    name = test.__name__

    @cocotb.test(name=name)
    @functools.wraps(test)
    async def run(dut: Any) -> None:
        bench = AxiBench(dut, name)
        await bench.reset()
        try:
            await test(bench)
        except AssertionError as error:
            rerun = f"make -C {FOLDER}{INTERPRETER} SEED={SEED} TEST={name}"
            raise AssertionError(f"{error}; cycle {bench.cycle}; rerun: {rerun}") from None

    return run


def _pauses(dice: random.Random, probability: float) -> Iterator[bool]:
    while True:
        yield dice.random() < probability
