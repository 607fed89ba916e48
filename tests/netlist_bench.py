"""A mapped netlist and the RTL it came from, side by side in one compiled model on the same stimulus."""

from pathlib import Path

import numpy as np
from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from row_bench import run_rows
from tilewright.devices import load_device
from tilewright.emit import rtlil_to_verilog
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.multiply import Multiplier
from tilewright.synth.simulate import netlist_verilog
from tilewright.synth.synthesize import Synthesis, synthesize

WORDS = 4  # of stimulus and of response


class Stage(wiring.Component):
    """Base of the designs here: 128 bits of stimulus in, 128 of response out."""

    def __init__(self) -> None:
        super().__init__({"stimulus": In(32 * WORDS), "response": Out(32 * WORDS)})


class Memories(Stage):
    """A block RAM of each width in front of every kind of register, two of them with initial contents.

    Bit 127 of the stimulus tells reads and writes apart, so that they never meet; ``collide`` lets them.
    """

    SHAPES = ((18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))

    def __init__(self, *, shapes: tuple[tuple[int, int], ...] = SHAPES, collide: bool = False) -> None:
        self.shapes = shapes
        self.collide = collide
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rng = np.random.default_rng(3)
        stimulus, half, answers = self.stimulus, self.stimulus[127], []
        enable = stimulus[60]
        for width, depth in self.shapes:
            init = [int(value) for value in rng.integers(0, 1 << width, depth)] if width in (18, 4) else []
            memory = Memory(shape=unsigned(width), depth=depth, init=init,
                            attrs={"no_rw_check": 1, "ram_style": "block"})
            m.submodules[f"memory_{width}"] = memory
            write, read = memory.write_port(), memory.read_port()
            address = len(write.addr) - 1
            m.d.comb += [
                write.addr.eq(Cat(stimulus[:address], half)), write.data.eq(stimulus[14:14 + width]),
                write.en.eq(stimulus[32]),
                read.addr.eq(Cat(stimulus[33:33 + address], ~half))]
            if self.collide:
                m.d.comb += read.addr.eq(write.addr)
            kept = Signal(width, name=f"kept_{width}", reset_less=width != 1)
            if width in (18, 1):    # always enabled; the last one resets, which keeps it out of the block RAM
                m.d.comb += read.en.eq(1)
                m.d.sync += kept.eq(read.data)
            elif width == 9:        # one enable for both
                m.d.comb += read.en.eq(enable)
                with m.If(enable):
                    m.d.sync += kept.eq(read.data)
            elif width == 4:        # the register runs on while the read stands still
                m.d.comb += read.en.eq(enable)
                m.d.sync += kept.eq(read.data)
            else:                   # logic between memory and register
                m.d.comb += read.en.eq(1)
                m.d.sync += kept.eq(read.data ^ stimulus[61:63])
            answers.append(kept)
        m.d.comb += self.response.eq(Cat(*answers))
        return m


class Mac(Stage):
    """A pipelined multiply-accumulate with operands from a LUT RAM, a counter and a comparison."""

    def __init__(self, *, target: str) -> None:
        self.target = target
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stimulus = self.stimulus
        m.submodules.operands = memory = Memory(shape=signed(8), depth=16, init=range(16))
        write, read = memory.write_port(), memory.read_port(domain="comb")
        m.d.comb += [write.addr.eq(stimulus[:4]), write.data.eq(stimulus[4:12]), write.en.eq(stimulus[12]),
                     read.addr.eq(stimulus[13:17])]
        unit = Multiplier(a_shape=signed(8), b_shape=signed(8), latency=2, target=self.target)
        m.submodules.multiplier = unit
        total, count, above = Signal(signed(32)), Signal(9), Signal()
        m.d.comb += [unit.a.eq(read.data), unit.b.eq(stimulus[17:25]), unit.b_enable.eq(stimulus[25])]
        with m.If(stimulus[26]):
            m.d.sync += total.eq(total + unit.p)
        with m.If(stimulus[27:30].all()):
            m.d.sync += [total.eq(unit.p), count.eq(0)]
        with m.Elif(stimulus[30]):
            m.d.sync += count.eq(count + 1)
        m.d.sync += above.eq(total > stimulus[64:96].as_signed())
        m.d.comb += self.response.eq(Cat(total, count, above))
        return m


def synthesize_stage(stage: Stage, *, device: str, cache: Path, name: str = "stage") -> Synthesis:
    """``stage`` mapped for ``device``."""
    return synthesize(to_rtlil(stage, name=name), top=name, device=load_device(device), blocks={},
                      cache=cache)


def stimulus(rows: int, seed: int) -> np.ndarray:
    """Random rows."""
    return np.random.default_rng(seed).integers(0, 1 << 32, (rows, WORDS), dtype=np.uint32)


def rtl_and_netlists(reference: Stage, synthesis: Synthesis, *, device: str, folder: Path, rows: int,
                     seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses of the plain RTL of ``reference``, of the netlist with a module for every cell and of the compact
    netlist, to the same rows, one in 64 of them a reset."""
    given = stimulus(rows, seed)
    name = synthesis.top
    part, cache = load_device(device), folder / "cache"
    netlist, cells = netlist_verilog(synthesis, device=part, cache=cache, compact=False)
    compact, _ = netlist_verilog(synthesis, device=part, cache=cache)
    top = f"""
module top(input clk, input rst, input [127:0] stimulus, output [383:0] response);
  wire reset = &stimulus[126:121];
  rtl left(.clk(clk), .rst(reset), .stimulus(stimulus), .response(response[127:0]));
  {name} middle(.clk(clk), .rst(reset), .stimulus(stimulus), .response(response[255:128]));
  compact right(.clk(clk), .rst(reset), .stimulus(stimulus), .response(response[383:256]));
endmodule
"""
    sources = [top, rtlil_to_verilog(to_rtlil(reference, name="rtl")), netlist.read_text(encoding="utf-8"),
               compact.read_text(encoding="utf-8").replace(f"module {name}(", "module compact("),
               cells.read_text(encoding="utf-8")]
    response = run_rows(folder, sources, given)
    return response[:, :WORDS], response[:, WORDS:2 * WORDS], response[:, 2 * WORDS:]
