"""Engines wired stream to stream, for tests: the Verilog that their builds hold, and a top of wires around it."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from gemm_designs import CACHE, TEST_BUILD
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.sim.harness import Input, Result, harness_context
from tilewright.sim.ports import Ports
from tilewright.sim.project import simulation_files
from tilewright.sim.verilator import compile_program

STATUS = ("busy", "done", "error", "counter_cycles", "counter_active", "counter_input_stall", "counter_output_stall")


def design(name: str, **blocks: Any) -> Design:
    return parse_design(yaml.safe_dump({"design": name, **blocks}).encode(), source=f"{name}.yaml")


def gemm(name: str, *, rows: int, cols: int, dataflow: str) -> Design:
    return design(name, family="gemm", array={"rows": rows, "cols": cols, "dataflow": dataflow},
                  limits={"m": 16, "n": 16, "k": 16})


def as_heads(matrix: Any, heads: int) -> Any:
    """(positions, heads * head_dim) as (heads, positions, head_dim)."""
    return matrix.reshape(len(matrix), heads, -1).swapaxes(0, 1)


def as_matrix(heads: Any) -> Any:
    """(heads, positions, head_dim) as (positions, heads * head_dim)."""
    return heads.swapaxes(0, 1).reshape(heads.shape[1], -1)


@dataclass(frozen=True)
class Chain:
    """Engines by name, the last one's results leave; ``links`` says which engine's results are which stream of which engine."""

    engines: Mapping[str, Design]
    links: Mapping[str, tuple[str, str]]

    @property
    def final(self) -> str:
        """The engine whose ports keep their names; those of another have its name in front."""
        return list(self.engines)[-1]

    def sources(self, folder: Path) -> list[Path]:
        """Verilog of the engines, as built, and of the top, module ``chain``."""
        paths = {name: build(design, TEST_BUILD).folder / "rtl" / f"{design.name}.v" for name, design in self.engines.items()}
        modules = {name: (design.name, stream_ports(paths[name].read_text(), design.name))
                   for name, design in self.engines.items()}
        (folder / "chain.v").write_text(self._top(modules))
        return [*dict.fromkeys(paths.values()), folder / "chain.v"]

    def _net(self, engine: str, port: str) -> str:
        """The wire at a port: that of the source where the port belongs to a stream that is wired."""
        stream, _, field = port.rpartition("_")
        for source, target in self.links.items():
            if target == (engine, stream):
                return f"{source}_result_{field}"
        return port if engine == self.final and port not in STATUS else f"{engine}_{port}"

    def _top(self, modules: Mapping[str, tuple[str, Mapping[str, tuple[str, int]]]]) -> str:
        ports, wires, instances = [], {}, []
        for name, (module, members) in modules.items():
            pins = [".clk(clk)", ".rst(rst)"]
            for port, (direction, width) in members.items():
                net = self._net(name, port)
                pins.append(f".{port}({net})")
                inside = port in STATUS or any(net.startswith(f"{source}_result_") for source in self.links)
                if not inside:
                    ports.append(f"{direction} [{width - 1}:0] {net}")
                elif wires.setdefault(net, width) != width:
                    raise ValueError(f"{net} has {wires[net]} bits, {name}.{port} {width}")
            instances.append(f"    {module} {name}_engine ({', '.join(pins)});")
        flags = {"done": f"{self.final}_done"}
        flags |= {flag: " | ".join(f"{name}_{flag}" for name in modules) for flag in ("busy", "error")}
        flags |= {counter: f"{self.final}_{counter}" for counter in STATUS[3:]}
        widths = modules[self.final][1]
        ports += [f"output [{widths[flag][1] - 1}:0] {flag}" for flag in flags]
        return "\n".join([
            f"module chain(input clk, input rst, {', '.join(ports)});",
            *(f"    wire [{width - 1}:0] {net};" for net, width in wires.items()), *instances,
            *(f"    assign {flag} = {value};" for flag, value in flags.items()), "endmodule", ""])

    def compile(self, folder: Path, *, jobs: Sequence[str], job: Mapping[str, int], inputs: Sequence[Input], result: Result,
                ports: Ports) -> Path:
        """The batch harness around the top; ``ports`` are those of the last engine."""
        context = harness_context("chain", jobs=jobs, job=job, inputs=inputs, result=result)
        program = simulation_files(ports, harness=context, modules=(), benches=("none",))["sim/harness.cpp"]
        return compile_program(sources=self.sources(folder), top="chain", main=program, cache=CACHE, optimize=False)


def stream_ports(verilog: str, module: str) -> dict[str, tuple[str, int]]:
    """Direction and width of every port of ``module`` but clock and reset."""
    body = re.search(rf"^module {module}\(.*?^endmodule", verilog, re.DOTALL | re.MULTILINE)
    assert body, module
    found = re.findall(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);", body[0], re.MULTILINE)
    return {name: (direction, int(high or 0) + 1) for direction, high, name in found if name not in ("clk", "rst")}


def run(executable: Path, vectors: Path, *options: str) -> dict[str, Any]:
    """What the harness says of one run."""
    answer = subprocess.run([str(executable), str(vectors), *options], check=False, capture_output=True, text=True)
    assert answer.returncode in (0, 1), answer.stderr
    said: dict[str, Any] = json.loads(answer.stdout)
    return said
