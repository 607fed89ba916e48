"""Claims about registers: the file in RTL, and the one map behind RTL, C header, Markdown and drivers."""

import random
import shutil
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator
from gemm_folder import HASH, make_spec
from tilewright.families.gemm.registers import driver_info, registers
from tilewright.registers import description, driver_files, hardware, hash_words
from tilewright.rtl.axi import AxiLiteSlave
from tilewright.rtl.register_file import Register, RegisterFile, check_registers
from tilewright.rtl.skid_buffer import SkidBuffer

Bench = Callable[[Any], Coroutine[Any, Any, None]]


def simulate(dut: Any, *benches: Bench) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in benches:
        simulator.add_testbench(bench)
    simulator.run()


async def access(ctx: Any, bus: Any, address: int, write: int | None = None) -> tuple[int, int]:
    """One access; data and error of the response."""
    ctx.set(bus.request.payload, {
        "address": address, "write": write is not None, "data": write or 0, "strobe": 0b1111})
    ctx.set(bus.request.valid, 1)
    ctx.set(bus.response.ready, 1)
    await ctx.tick().until(bus.request.ready)
    ctx.set(bus.request.valid, 0)
    assert ctx.get(bus.response.valid), "the answer takes more than one cycle"
    response = ctx.get(bus.response.payload)
    await ctx.tick()
    return response.data, response.error


def test_an_event_of_the_very_cycle_that_clears_it_is_kept() -> None:
    dut = RegisterFile(registers=[Register("error", 0, "event", width=2)], address_width=4)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.event.error.set, 1)
        await ctx.tick()
        ctx.set(dut.event.error.set, 0)
        assert await access(ctx, dut.bus, 0) == (1, 0)
        ctx.set(dut.event.error.set, 3)
        await access(ctx, dut.bus, 0, write=3)
        ctx.set(dut.event.error.set, 0)
        assert await access(ctx, dut.bus, 0) == (3, 0)
        await access(ctx, dut.bus, 0, write=2)
        assert await access(ctx, dut.bus, 0) == (1, 0)

    simulate(dut, bench)


def test_a_command_strobes_once_and_only_while_it_is_ready() -> None:
    dut = RegisterFile(registers=[Register("start", 4, "command")], address_width=4)
    strobes = []

    async def count(ctx: Any) -> None:
        async for _, _, strobe in ctx.tick().sample(dut.command.start.strobe):
            strobes.append(strobe)
            if len(strobes) > 40:
                return

    async def bench(ctx: Any) -> None:
        for ready, value, error in ((0, 1, 1), (0, 0, 0), (1, 0, 0), (1, 2, 0), (1, 1, 0)):
            ctx.set(dut.command.start.ready, ready)
            assert await access(ctx, dut.bus, 4, write=value) == (0, error), (ready, value)
        assert await access(ctx, dut.bus, 4) == (0, 0)

    simulate(dut, bench, count)
    assert sum(strobes) == 1


@pytest.mark.parametrize(("registers_", "message"), [
    ([Register("a", 0, "read")],
     "register a: access must be one of constant, status, control, command, event, not 'read'"),
    ([Register("a", 0, "control", width=33)], "register a: width must be 1 to 32, not 33"),
    ([Register("a", 0, "constant", width=2, value=4)], "register a: 4 does not fit 2 bits"),
    ([Register("a", 2, "control")], "register a: offset 0x2 is not a word below 0x10"),
    ([Register("a", 16, "control")], "register a: offset 0x10 is not a word below 0x10"),
    ([Register("a", 0, "control"), Register("a", 4, "control")], "register a stands twice in the map"),
    ([Register("a", 0, "control"), Register("b", 0, "control")], "registers a and b share the offset 0x0"),
])
def test_a_map_that_contradicts_itself_is_refused(registers_: list[Register], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(") + "$"):
        check_registers(registers_, 4)


def test_axi_lite_answers_three_cycles_behind_the_request() -> None:
    dut = AxiLiteSlave(address_width=4)
    file = RegisterFile(registers=[Register("a", 0, "control", value=7)], address_width=4)
    waits = []

    async def bench(ctx: Any) -> None:
        axi = dut.axi
        for valids, answer in (((axi.arvalid,), axi.rvalid), ((axi.awvalid, axi.wvalid), axi.bvalid)):
            for valid in valids:
                ctx.set(valid, 1)
            cycles = 0
            while not ctx.get(answer):
                await ctx.tick()
                cycles += 1
                for valid in valids:
                    ctx.set(valid, 0)
            waits.append(cycles)

    top = Module()
    top.submodules.slave, top.submodules.file = dut, file
    wiring.connect(top, dut.bus, file.bus)
    simulate(top, bench)
    assert waits == [AxiLiteSlave.LATENCY] * 2


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_skid_buffer_loses_and_repeats_nothing(stall: float) -> None:
    dut, dice, count = SkidBuffer(shape=16), random.Random(1), 200
    seen: list[int] = []
    cycles = 0

    async def source(ctx: Any) -> None:
        for value in range(count):
            while dice.random() < stall:
                await ctx.tick()
            ctx.set(dut.i.payload, value)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.i.payload, 0xDEAD)

    async def sink(ctx: Any) -> None:
        nonlocal cycles
        while len(seen) < count:
            assert (cycles := cycles + 1) < 20 * count
            ready = dice.random() >= stall
            before = ctx.get(dut.i.ready), ctx.get(dut.o.valid)
            ctx.set(dut.o.ready, ready)
            assert (ctx.get(dut.i.ready), ctx.get(dut.o.valid)) == before, "ready passed through"
            if ctx.get(dut.o.valid) and ready:
                seen.append(ctx.get(dut.o.payload))
            await ctx.tick()
        ctx.set(dut.o.ready, 1)
        for _ in range(8):
            await ctx.tick()
            assert not ctx.get(dut.o.valid), "a word that nobody sent"

    simulate(dut, source, sink)
    assert seen == list(range(count))
    if not stall:
        assert cycles <= count + SkidBuffer.LATENCY + 1


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero_points_and_clip": {"numbers": {
        "act": "uint8", "weight": "int5", "act_zero_point": True, "weight_zero_point": True,
        "activation": "clip", "requant": {"multiplier_bits": 13, "out": "uint12"}}},
    "accumulators": {
        "numbers": {"act": "int16", "weight": "int16", "requant": "none"}, "limits": {"k": 4096}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_register_stands_in_every_form_of_the_map(variant: str) -> None:
    info = driver_info(make_spec(**VARIANTS[variant]), HASH)
    files = driver_files(info)
    markdown, header, told = files["driver/registers.md"], files["driver/tiny.h"], description(info)
    decoded = {register.name: register for register in hardware(info.registers)}
    assert set(told["registers"]) == set(decoded)
    for register in info.registers:
        assert decoded[register.name].offset == register.offset == told["registers"][register.name]["offset"]
        assert f"| `0x{register.offset:03X}` | `{register.name}` |" in markdown
        assert f"#define TINY_{register.name.upper()} 0x{register.offset:03X}u\n" in header
    assert info.hash in markdown and info.hash in header


def test_registers_of_zero_points_exist_where_jobs_bring_them() -> None:
    names = {info.name for info in registers(make_spec(**VARIANTS["zero_points_and_clip"]), HASH)}
    assert {"act_zero_point", "weight_zero_point"} <= names
    assert not {"act_zero_point", "weight_zero_point"} & {info.name for info in registers(make_spec(), HASH)}


def test_fields_fit_their_registers_and_do_not_overlap() -> None:
    for info in registers(make_spec(**VARIANTS["zero_points_and_clip"]), HASH):
        taken = 0
        for field in info.fields:
            assert not taken & field.mask, f"{info.name}.{field.name}"
            assert field.high < info.width, f"{info.name}.{field.name}"
            taken |= field.mask


@pytest.mark.parametrize(("variant", "stream", "expected"), [
    ("plain", "act", (4, 4)), ("plain", "channel", (1, 4 + 3 + 1 + 2)), ("plain", "result", (4, 4)),
    ("zero_points_and_clip", "channel", (1, 4 + 2 + 1 + 2 + 2 + 2)),
    ("zero_points_and_clip", "result", (4, 8)),
    ("accumulators", "act", (4, 8)), ("accumulators", "result", (4, 32)),
])
def test_beats_are_arrays_of_whole_bytes(variant: str, stream: str, expected: tuple[int, int]) -> None:
    streams = {info.name: info for info in driver_info(make_spec(**VARIANTS[variant]), HASH).streams}
    assert (streams[stream].lanes, streams[stream].bytes) == expected


def test_the_c_header_compiles_and_names_the_hash(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "the simulator's C++ compiler brings a C compiler along"
    (tmp_path / "tiny.h").write_text(driver_files(driver_info(make_spec(), HASH))["driver/tiny.h"])
    (tmp_path / "main.c").write_text(f"""
        #include <stdint.h>
        #include <string.h>
        #include "tiny.h"
        #include "tiny.h"
        int main(void) {{
            TINY_ACT_ELEMENT act[TINY_ACT_LANES];
            if (sizeof act != TINY_ACT_BEAT_BYTES || strcmp(TINY_HASH, "{HASH}")) return 1;
            if (TINY_STATUS_QUEUE_FULL_MASK != 1u << TINY_STATUS_QUEUE_FULL_SHIFT) return 2;
            return TINY_LIMIT_K_VALUE != 16u;
        }}""")
    command = [compiler, "-Wall", "-Wextra", "-Werror", "-std=c99", "-o", "main", "main.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([str(tmp_path / "main")], check=True)


def test_hash_words_start_with_the_first_digits() -> None:
    assert hash_words("0123456789abcdef" * 4) == (0x01234567, 0x89ABCDEF, 0x01234567, 0x89ABCDEF)
    with pytest.raises(ValueError, match="at least 32 digits"):
        hash_words("0123")
