"""Break the RTL in one place at a time and see whether the checks notice.

    python benchmarks/mutations.py            every mutation; exit code 1 if one survives
    python benchmarks/mutations.py 3 7        these

A mutation replaces one piece of source text in one module of ``tilewright.rtl``. A design with it is generated in a
process of its own, compiled, and run on golden vectors of the unbroken design: free running, stalled, with the
cycle model. Writes ``benchmarks/results/mutations.json``.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "mutations.json"
SEEDS = (1, 2, 3, 4)
STALLS = (0.0, 0.3, 0.7)


@dataclass(frozen=True)
class Mutation:
    """``old`` in ``module`` becomes ``new``; ``dataflow`` is that of a design which has the part."""

    what: str
    module: str
    old: str
    new: str
    dataflow: str = "output_stationary"


MUTATIONS = (
    Mutation("a requantizer that rounds ties away from even", "tilewright.rtl.gemm.engine",
             "mode=self.requant, split", 'mode="half_up", split'),
    Mutation("the carry between the halves of a sum is lost", "tilewright.rtl.gemm.pe",
             "clear=self.first_out, carry_in=carry)", "clear=self.first_out)"),
    Mutation("a tile's first product is added to the old sum", "tilewright.rtl.gemm.pe",
             "total = Mux(clear, 0, kept) + added", "total = kept + added"),
    Mutation("the drain takes the high halves one cycle early", "tilewright.rtl.gemm.array",
             "high_done[col].replicate(self.acc_width - low)", "low_done[col].replicate(self.acc_width - low)"),
    Mutation("last steps of tiles come closer than a column drains", "tilewright.rtl.gemm.sequencer",
             "waiting.eq(self.rows - 1), spaced.eq(0)", "waiting.eq(1), spaced.eq(0)"),
    Mutation("a bubble counts as what the memory happens to hold", "tilewright.rtl.gemm.pe",
             "with m.If(self.valid_out):", "with m.If(1):"),
    Mutation("what is held behind the end of k is not zero", "tilewright.rtl.gemm.operand_buffer",
             "Mux(fetched_valid, fetched, 0) if self.gated else fetched", "fetched", dataflow="weight_stationary"),
    Mutation("the ring takes a beat more than it holds", "tilewright.rtl.gemm.operand_buffer",
             "full.eq(held == self.depth - 1)", "full.eq(held == self.depth)"),
    Mutation("beats are free before the last lane has read them", "tilewright.rtl.gemm.operand_buffer",
             "self.step & self.last_pass, self.lanes, \"freed\"", "self.step & ~self.last_pass, self.lanes, \"freed\""),
    Mutation("a step does not wait for its operand", "tilewright.rtl.gemm.operand_buffer",
             "self.available.eq(some | ~self.first_pass)", "self.available.eq(1)"),
    Mutation("the last row tile keeps the rows of a full one", "tilewright.rtl.gemm.sequencer",
             "self.part.eq(Mux(fits, left, self.stride))", "self.part.eq(self.stride)"),
    Mutation("results leave without room at the output", "tilewright.rtl.gemm.sequencer",
             "room.eq(left >= needed)", "room.eq(1)"),
    Mutation("a stalled result changes under its reader", "tilewright.rtl.gemm.result_path",
             "advance.eq(~self.o.valid | self.o.ready)", "advance.eq(1)"),
    Mutation("the result FIFO never knows that it is empty", "tilewright.rtl.gemm.result_path",
             "some.eq(following != write.addr)", "some.eq(1)"),
    Mutation("channel parameters of the next job overwrite those in use", "tilewright.rtl.gemm.channels",
             " address.eq(Mux(bank, 0, self.groups))", " address.eq(0)"),
    Mutation("kept weights are read from the other bank", "tilewright.rtl.gemm.engine",
             'buffers["weight"].switch.eq(new_weights)', 'buffers["weight"].switch.eq(1)'),
    Mutation("a job of size zero is accepted", "tilewright.rtl.gemm.engine",
             "shape_legal.eq((job.m != 0) & (job.n != 0)", "shape_legal.eq((job.n != 0)"),
    Mutation("a row of PEs swaps its held operands a cycle late", "tilewright.rtl.gemm.array",
             "row.swap.eq(swap),\n                         row.load",
             "row.swap.eq(delayed(m, swap, 1, \"late\")),\n                         row.load",
             dataflow="weight_stationary"),
    Mutation("the accumulator forgets the K tiles before", "tilewright.rtl.gemm.accumulator",
             'Mux(delayed(m, self.next_first, 1, "fetched_first"), 0, fetched)', "0", dataflow="weight_stationary"),
    Mutation("a tile begins before its operands are all in the shadow", "tilewright.rtl.gemm.stationary_sequencer",
             "(~first | shadow_full)", "1", dataflow="input_stationary"),
)


def generate(number: int, output: Path) -> None:
    """In a process of its own: Verilog of the design with mutation ``number``."""
    mutation = MUTATIONS[number]
    found = importlib.util.find_spec(mutation.module)
    assert found is not None and found.origin is not None
    source = Path(found.origin).read_text()
    if source.count(mutation.old) < 1:
        raise SystemExit(f"{mutation.module} does not hold {mutation.old!r}")
    module = importlib.util.module_from_spec(found)
    sys.modules[mutation.module] = module
    exec(compile(source.replace(mutation.old, mutation.new), found.origin, "exec"), module.__dict__)
    from tilewright.emit import rtlil_to_verilog
    from tilewright.families.gemm.hardware import stream_rtlil

    output.write_text(rtlil_to_verilog(stream_rtlil(design(mutation).spec)))


def design(mutation: Mutation):  # type: ignore[no-untyped-def]
    """A small design of the mutation's dataflow; K is often below the rows, sums fill both halves."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from gemm_designs import small

    return small(mutation.dataflow)


def caught_by(number: int) -> str | None:
    """The message of the check that notices mutation ``number``, None if none does."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from gemm_designs import TEST_BUILD, random_case
    from tilewright.build import build
    from tilewright.errors import ToolError
    from tilewright.sim.runner import build_harness, run_cocotb, run_harness

    mutation = MUTATIONS[number]
    built = design(mutation)
    folder = build(built, TEST_BUILD).folder
    with tempfile.TemporaryDirectory() as scratch:
        verilog = Path(scratch) / "mutated.v"
        subprocess.run([sys.executable, __file__, "--generate", str(number), str(verilog)], check=True)
        if verilog.read_text() == (folder / "rtl" / f"{built.name}.v").read_text():
            return None
        cache = TEST_BUILD / ".cache" / "verilator"
        harness = build_harness(folder, sources=[verilog], top=built.name, cache=cache)
        for seed in SEEDS:
            vectors = Path(scratch) / str(seed)
            random_case(built, vectors, seed=seed)
            for stall in STALLS:
                try:
                    result = run_harness(harness, vectors, stall=stall, seed=seed, max_cycles=200_000)
                except ToolError as error:
                    return str(error)
                if not result.passed:
                    return result.message.split("; rerun")[0]
                if not stall and result.counters["cycles"] != int((vectors / "cycles.txt").read_text()):
                    return "cycle model and counter differ"
        for check in run_cocotb(folder, sources=[verilog], top=built.name, cache=cache):
            if not check.passed:
                return f"cocotb {check.name}: {check.message.split('; rerun')[0]}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("numbers", type=int, nargs="*")
    parser.add_argument("--generate", nargs=2, metavar=("NUMBER", "FILE"))
    arguments = parser.parse_args()
    if arguments.generate:
        generate(int(arguments.generate[0]), Path(arguments.generate[1]))
        return 0
    rows = []
    for number in arguments.numbers or range(len(MUTATIONS)):
        message = caught_by(number)
        rows.append({"mutation": MUTATIONS[number].what, "module": MUTATIONS[number].module,
                     "caught": message is not None, "by": message})
        print(f"{number:2} {'caught  ' if message else 'SURVIVED'} {MUTATIONS[number].what}: {message}", flush=True)
    if not arguments.numbers:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(row["caught"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
