"""Claims about the UART and the board top behind it."""

import random
from pathlib import Path
from typing import Any

import pytest
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.sim import Simulator
from gemm_folder import CACHE, HASH, make_cases, make_folder, make_spec, write_program
from tilewright.families.gemm.hardware import engine
from tilewright.families.gemm.registers import registers
from tilewright.registers import hardware
from tilewright.rtl.gemm.uart_top import GemmUart
from tilewright.rtl.uart import UartReceiver, UartTransmitter
from tilewright.rtl.uart_bridge import UartBridge
from tilewright.sim.runner import run_cocotb

BENCH_TESTS = 6
BYTES = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80, *random.Random(1).randbytes(26)]
BOARDS: dict[str, dict[str, Any]] = {
    "output_stationary": {"array": {"rows": 2, "cols": 3}, "limits": {"m": 7, "n": 6, "k": 9}},
    "input_stationary_wide": {
        "array": {"rows": 2, "cols": 2, "dataflow": "input_stationary"}, "limits": {"m": 5, "n": 4, "k": 7},
        "numbers": {"act": "int12", "weight": "uint4", "act_zero_point": True, "activation": "clip",
                    "requant": {"mode": "half_up", "multiplier_bits": 13, "out": "uint16"}}},
}


def bits_of(data: list[int]) -> list[int]:
    """Line levels: start bit, eight data bits, stop bit."""
    return [bit for byte in data for bit in (0, *(byte >> place & 1 for place in range(8)), 1)]


def receive(levels: list[int], *, divisor: int = 16, stretch: float = 1.0) -> tuple[list[int], int]:
    """What a receiver makes of line levels that last ``stretch`` bit times each: bytes, and broken frames."""
    dut = UartReceiver(divisor=divisor)
    seen: list[int] = []
    broken = 0

    async def bench(ctx: Any) -> None:
        nonlocal broken
        for cycle in range(int((len(levels) + 2) * stretch * divisor)):
            at = int(cycle / (stretch * divisor))
            ctx.set(dut.line, levels[at] if at < len(levels) else 1)
            if ctx.get(dut.valid):
                seen.append(ctx.get(dut.data))
            broken += ctx.get(dut.broken)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen, broken


@pytest.mark.parametrize("stretch", [0.97, 1.0, 1.03])
def test_the_receiver_takes_three_percent_of_clock_error(stretch: float) -> None:
    assert receive([1, *bits_of(BYTES)], stretch=stretch) == (BYTES, 0)


def test_the_receiver_tells_a_break_and_waits_for_its_end() -> None:
    levels = [1, 1, *bits_of([0x42]), *[0] * 40, 1, 1, *bits_of([0x17])]
    assert receive(levels) == ([0x42, 0x17], 1)


def test_the_receiver_ignores_what_is_shorter_than_half_a_bit() -> None:
    quarter = [1] * 8 + [0] + [1] * 40 + [level for level in bits_of([0x42]) for _ in range(4)]
    assert receive(quarter, stretch=0.25) == ([0x42], 0)


def test_the_receiver_does_not_start_on_a_line_that_is_low_from_reset() -> None:
    assert receive([*[0] * 25, 1, *bits_of([0x42])]) == ([0x42], 0)


def test_the_transmitter_sends_back_to_back_in_ten_bit_times() -> None:
    divisor, dut, levels = 5, UartTransmitter(divisor=5), []

    async def source(ctx: Any) -> None:
        for byte in BYTES:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def line(ctx: Any) -> None:
        for _ in range(10 * divisor * len(BYTES) + divisor):
            levels.append(ctx.get(dut.line))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(line)
    simulator.run()
    start = levels.index(0)
    period = 10 * divisor
    for number, byte in enumerate(BYTES):
        frame = levels[start + number * period:][:10 * divisor]
        assert frame == [level for level in bits_of([byte]) for _ in range(divisor)], f"byte {number}"


def test_a_packet_is_taken_up_to_the_first_beat_without_room() -> None:
    """Room that comes back in the middle of a packet does not let later beats overtake the refused one."""
    divisor, beats = 4, list(range(1, 9))
    lanes = StructLayout({"data": ArrayLayout(8, 1), "last": 1})
    result = StructLayout({"data": ArrayLayout(8, 1), "keep": 1, "last": 1})
    dut = UartBridge(divisor=divisor, inputs={"act": lanes}, result=result)
    taken: list[tuple[int, int]] = []
    accepted = []

    async def host(ctx: Any) -> None:
        left = beats
        await ctx.tick().repeat(2 * divisor)
        while left:
            assert len(accepted) < len(beats), "nothing is taken any more"
            for level in bits_of([3, 0x80, len(left), 0, *left]):
                ctx.set(dut.rx, level)
                await ctx.tick().repeat(divisor)
            reply = []
            for _ in range(2):
                waited = 0
                while ctx.get(dut.tx):
                    await ctx.tick()
                    assert (waited := waited + 1) < 100 * divisor, "no reply"
                await ctx.tick().repeat(divisor // 2)
                bits = []
                for _ in range(9):
                    await ctx.tick().repeat(divisor)
                    bits.append(ctx.get(dut.tx))
                reply.append(sum(bit << place for place, bit in enumerate(bits[:8])))
            accepted.append(reply[0] + 256 * reply[1])
            left = left[accepted[-1]:]

    async def consumer(ctx: Any) -> None:
        # Not ready until the register is taken and a beat was refused; from then on at once.
        await ctx.tick().repeat(10 * divisor * 8)
        ctx.set(dut.act.ready, 1)
        while len(accepted) < 2:
            if ctx.get(dut.act.valid):
                taken.append((ctx.get(dut.act.payload.data[0]), ctx.get(dut.act.payload.last)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(host)
    simulator.add_testbench(consumer)
    simulator.run()
    assert taken == [(beat, int(beat == beats[-1])) for beat in beats]
    assert accepted == [1, 7]  # what the register holds, then the rest


@pytest.mark.parametrize("part", [UartReceiver, UartTransmitter])
def test_a_divisor_below_four_is_refused(part: type) -> None:
    with pytest.raises(ValueError, match="divisor must be at least 4 clock cycles per bit, not 3"):
        part(divisor=3)


@pytest.mark.parametrize("board", BOARDS)
def test_the_driver_runs_the_board_over_its_serial_line(board: str, tmp_path: Path) -> None:
    spec, cases = make_spec(**BOARDS[board]), make_cases(make_spec(**BOARDS[board]))
    top = GemmUart(engine=engine(spec), registers=hardware(registers(spec, HASH)), divisor=4, leds_low=True)
    bench = (Path(__file__).parent / "uart_bench.py").read_text()
    folder = make_folder(tmp_path, spec, top, cases, {"cosim/__init__.py": "", "cosim/uart_bench.py": bench})
    write_program(folder / "sim/program.npz", spec, [job for case in cases for job in case.jobs])
    checks = run_cocotb(folder, module="cosim.uart_bench", cache=CACHE)
    assert [f"{check.name}: {check.message}" for check in checks if not check.passed] == []
    assert len(checks) == BENCH_TESTS
