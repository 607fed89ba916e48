"""cocotb tests of a GEMM engine behind its ``axi`` top, driven by cocotbext-axi.

Runs from a build folder without Tilewright: vectors from ``vectors/``, ports from ``design.json``,
registers from ``driver/registers.json``. ``SEED`` repeats a run, ``TEST`` picks a test.
"""

import cocotb
from cocotbext.axi import AxiResp

from .gemm_axi_bench import CASES, DESCRIPTION, PORTS, REGISTERS, AxiBench, axi_test
from .gemm_ports import Case, Job

SILENCE_CYCLES = 64
QUEUE_PATIENCE = 64  # more jobs than queue and engine hold together
ANSWER_CYCLES = 64
WRAPPER_CYCLES = 2  # a register slice in front of the engine and one behind


def fresh() -> list[Case]:
    """Single jobs that bring their own weights, smallest first."""
    alone = [case.only(number, PORTS) for case in CASES for number, job in enumerate(case.jobs)
             if not job.reuse_weights]
    return sorted(alone, key=lambda case: sum(PORTS.count(name, case.jobs[0]) for name in PORTS.beats))


@axi_test
async def identity_registers_describe_the_design(bench: AxiBench) -> None:
    """Every constant reads as the register map says, the hash among them."""
    constants = {name: register for name, register in REGISTERS.items() if register["access"] == "constant"}
    assert {"magic", "version", "hash_0", "limit_m"} <= set(constants)
    for name, register in constants.items():
        assert await bench.read(name) == register["value"], name
    words = [await bench.read(name) for name in sorted(constants) if name.startswith("hash_")]
    assert DESCRIPTION["hash"].startswith("".join(f"{word:08x}" for word in words))


@axi_test
async def unmapped_and_read_only_addresses_answer_slverr(bench: AxiBench) -> None:
    """Every word up to the last register, and some beyond; a refused write changes nothing."""
    mapped = {register["offset"]: (name, register["access"]) for name, register in REGISTERS.items()}
    for address in (*range(0, max(mapped) + 8, 4), 0x100, 0x200, 0x400, 0x800, 0xFFC):
        name, access = mapped.get(address, (None, None))
        before, response = await bench.read_at(address)
        assert response == (AxiResp.OKAY if name else AxiResp.SLVERR), f"read of {address:#x}: {response}"
        assert name or before == 0, f"read of {address:#x} leaks {before:#x}"
        if access in ("constant", "status", None):
            response = await bench.write_at(address, b"\xff\xff\xff\xff")
            assert response == AxiResp.SLVERR, f"write to {address:#x}: {response}"
            assert (await bench.read_at(address))[0] == before, f"a refused write changed {name}"


@axi_test
async def control_registers_hold_what_is_written_byte_by_byte(bench: AxiBench) -> None:
    """Strobes select bytes; bits above a register's width read zero; neighbours do not change."""
    controls = {name: register for name, register in REGISTERS.items() if register["access"] == "control"}
    expected = dict.fromkeys(controls, 0)
    for _ in range(3):
        for name, register in controls.items():
            offset = bench.random.randrange(4)
            data = bench.random.randbytes(bench.random.randrange(1, 5 - offset))
            assert await bench.write_at(register["offset"] + offset, data) == AxiResp.OKAY
            mask = ((1 << 8 * len(data)) - 1) << 8 * offset
            value = expected[name] & ~mask | int.from_bytes(data, "little") << 8 * offset
            expected[name] = value & (1 << register["width"]) - 1
        for name, value in expected.items():
            assert await bench.read(name) == value, name


@axi_test
async def golden_vectors_without_pauses(bench: AxiBench) -> None:
    """All cases, bit for bit; each runs back to back."""
    done = 0
    for case in CASES:
        await bench.run(case)
        done += len(case.jobs)
        await bench.silence(SILENCE_CYCLES)
        assert await bench.read("done_count") == done
        assert await bench.read("error") == 0
        cycles, active = await bench.read("counter_cycles"), await bench.read("counter_active")
        assert cycles >= active > 0
        if case.cycles is not None and len(case.jobs) == 1:
            # Registers are slower than a small job: only a job alone can be held against the cycle model.
            most = case.cycles + WRAPPER_CYCLES
            assert cycles <= most, f"{case.name}: {cycles} cycles, at most {most} expected"


@axi_test
async def golden_vectors_with_pauses_on_every_channel(bench: AxiBench) -> None:
    """All cases in one go, with every channel of both sides pausing at random."""
    bench.pause(0.4)
    joined = Case.joined(CASES)
    await bench.run(joined)
    await bench.silence(SILENCE_CYCLES)
    assert await bench.read("done_count") == len(joined.jobs)


@axi_test
async def a_full_queue_refuses_start_and_says_so(bench: AxiBench) -> None:
    """Jobs queue up while no operand comes; the one too many is refused and not run."""
    case = fresh()[0]
    await bench.start(case.jobs[0])
    queued = 1
    while await bench.try_write("start", 1) == AxiResp.OKAY:
        queued += 1
        assert queued < QUEUE_PATIENCE, "the queue never fills"
    assert await bench.field("status", "queue_full") and await bench.field("status", "busy")
    everything = Case.joined([case] * queued)
    bench.send(everything)
    await bench.expect(everything)
    await bench.silence(SILENCE_CYCLES)
    assert await bench.read("done_count") == queued
    assert await bench.field("status", "queued") == 0


@axi_test
async def interrupts_follow_done_and_error(bench: AxiBench) -> None:
    """``irq`` rises with an enabled event only, and falls when software clears it."""
    case = fresh()[0]
    await bench.run(case)
    assert await bench.read("irq_status") == 1 and not bench.dut.irq.value, "irq while nothing is enabled"
    await bench.write("irq_enable", 1)
    await bench.wait(2)
    assert bench.dut.irq.value == 1
    await bench.write("irq_status", 2)
    assert bench.dut.irq.value == 1, "clearing another event cleared this one"
    await bench.write("irq_status", 1)
    await bench.wait(2)
    assert not bench.dut.irq.value
    await bench.write("irq_enable", 2)
    await bench.start(Job(m=0, n=1, k=1))
    await bench.wait(ANSWER_CYCLES)
    assert bench.dut.irq.value == 1 and await bench.read("irq_status") == 2
    await bench.write("irq_status", 3)
    await bench.wait(2)
    assert not bench.dut.irq.value


@axi_test
async def illegal_jobs_set_their_error_bit_and_change_nothing(bench: AxiBench) -> None:
    """Zero, beyond a limit, beyond the engine's field by a multiple of 2**32's bits, nothing to reuse."""
    case = fresh()[0]
    legal = case.jobs[0]
    shapes = [{name: value} for name in ("m", "n", "k")
              for value in (0, PORTS.limits[name] + 1, getattr(legal, name) + (1 << 16), 1 << 31)]
    for shape in shapes:
        fields = {"m": legal.m, "n": legal.n, "k": legal.k, **shape}
        await bench.start(Job(**fields))
        await bench.wait(ANSWER_CYCLES)
        assert await bench.field("error", "illegal_shape"), f"{shape} was not refused"
        assert await bench.field("status", "error_code") == 1 and not await bench.field("status", "busy")
        await bench.write("error", 0xF)
        assert await bench.read("error") == 0
    await bench.start(Job(m=legal.m, n=legal.n, k=legal.k, reuse_weights=1))
    await bench.wait(ANSWER_CYCLES)
    assert await bench.field("error", "weights_not_resident")
    await bench.run(case)
    await bench.silence(SILENCE_CYCLES)
    assert await bench.read("done_count") == 1
    assert await bench.field("status", "error_code") == 0 and await bench.read("error") == 2


@axi_test
async def a_misplaced_tlast_is_reported_and_survived(bench: AxiBench) -> None:
    """A frame one beat too long sets its error bit; the next job is exact."""
    for name in ("act", "weight"):
        await bench.reset()
        case = fresh()[0]
        bench.send(case)
        frame = bench.sources[name].queue.get_nowait()
        bench.sources[name].queue_occupancy_bytes -= len(frame)
        bench.sources[name].queue_occupancy_frames -= 1
        frame.tdata += frame.tdata[:bench.sources[name].byte_lanes]
        bench.sources[name].send_nowait(frame)
        await bench.start(case.jobs[0])
        await bench.expect(case)
        assert await bench.field("error", f"{name}_frame")
        await bench.write("error", 0xF)
        await bench.run(case)
        await bench.silence(SILENCE_CYCLES)
        assert await bench.read("error") == 0


@axi_test
async def a_read_that_is_not_taken_does_not_hold_up_writes(bench: AxiBench) -> None:
    """Nor the other way round: the channels of a read and of a write are independent."""
    bench.channels["r"].pause = True
    reading = cocotb.start_soon(bench.read("magic"))
    await bench.wait(16)
    for value in (3, 5):
        await bench.write("m", value)
    assert not reading.done()
    bench.channels["r"].pause = False
    assert await reading == REGISTERS["magic"]["value"]
    assert await bench.read("m") == 5
    bench.channels["b"].pause = True
    writing = cocotb.start_soon(bench.write("n", 7))
    await bench.wait(16)
    assert await bench.read("n") == 7
    assert not writing.done()
    bench.channels["b"].pause = False
    await writing


@axi_test
async def reset_in_the_middle_leaves_no_trace(bench: AxiBench) -> None:
    """``aresetn`` while a job runs; then the registers are at reset and the next case is exact."""
    case = max(CASES, key=lambda one: sum(PORTS.count("act", job) for job in one.jobs))
    for _ in range(3):
        await bench.reset()
        bench.send(case)
        await bench.start(case.jobs[0])
        await bench.write("irq_enable", 3)
        await bench.wait(bench.random.randrange(1, 2 + PORTS.count("act", case.jobs[0])))
        await bench.reset()
        assert await bench.read("m") == 0 and await bench.read("irq_enable") == 0
        assert await bench.read("done_count") == 0 and not await bench.field("status", "busy")
        await bench.run(fresh()[0])
        await bench.silence(SILENCE_CYCLES)
