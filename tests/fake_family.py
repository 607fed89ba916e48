"""A family that Tilewright does not know: a job adds one number to every element of a vector.

What a real one has in ``sim/cosim`` lies in ``tests/fake_cosim``. No HLS kernel, no registers, no report.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tilewright.sim.cosim
from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.data import ArrayLayout, StructLayout
from amaranth.lib.wiring import In, Out
from tilewright.families import FAMILIES, SPECS
from tilewright.families.base import Family, Vectors
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.stream_top import StreamTop
from tilewright.sim.cosim.beats import Lanes
from tilewright.sim.harness import Input, Result, fields, harness_context, lanes
from tilewright.sim.project import simulation_files
from tilewright.spec import Spec

COSIM = Path(__file__).parent / "fake_cosim"


class AdderSpec(Spec):
    """``lanes`` elements in a beat; ``workload`` holds the lengths of vectors."""

    lanes: int
    workload: list[int]


class Adder(wiring.Component):
    """A job takes a cycle for its offset and one for each beat; the next is taken with its last result."""

    def __init__(self, *, lanes: int) -> None:
        self.lanes = lanes
        inputs = {"job": {"n": 8}, "a": {"data": ArrayLayout(signed(8), lanes), "last": 1}, "offset": {"value": signed(8)}}
        result = {"data": ArrayLayout(signed(9), lanes), "keep": lanes, "last": 1}
        super().__init__({
            **{name: In(stream.Signature(StructLayout(payload))) for name, payload in inputs.items()},
            "result": Out(stream.Signature(StructLayout(result))), "busy": Out(1), "done": Out(1), "error": Out(4),
            **{f"counter_{name}": Out(32) for name in ("cycles", "active", "input_stall", "output_stall")}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        job, a, offset, result = self.job, self.a, self.offset, self.result
        left, addend, loaded, moves, ends = Signal(8), Signal(signed(8)), Signal(), Signal(), Signal()
        m.d.comb += [
            moves.eq(result.valid & result.ready), ends.eq(moves & result.payload.last), self.busy.eq(left != 0),
            job.ready.eq(~self.busy | ends), offset.ready.eq(self.busy & ~loaded), a.ready.eq(loaded & result.ready),
            result.valid.eq(loaded & a.valid), result.payload.last.eq(left <= self.lanes)]
        for lane in range(self.lanes):
            used = result.payload.keep[lane]
            m.d.comb += [used.eq(left > lane), result.payload.data[lane].eq(Mux(used, a.payload.data[lane] + addend, 0))]
        m.d.sync += [self.done.eq(ends), self.counter_cycles.eq(self.counter_cycles + self.busy)]
        with m.If(offset.valid & offset.ready):
            m.d.sync += [addend.eq(offset.payload.value), loaded.eq(1)]
        with m.If(moves):
            m.d.sync += [left.eq(Mux(ends, 0, left - self.lanes)), loaded.eq(~ends)]
        with m.If(job.valid & job.ready):
            m.d.sync += left.eq(job.payload.n)
        return m


class AdderFamily(Family):
    """The adder, bound together as far as a simulation needs it."""

    name = "adder"
    spec_type = AdderSpec

    def stream_rtlil(self, spec: AdderSpec, *, target: str = "generic") -> str:
        top = StreamTop(Adder(lanes=spec.lanes))  # type: ignore[arg-type]
        return to_rtlil(top, name=spec.design, ports=top.ports)

    def hls_context(self, spec: AdderSpec) -> Mapping[str, Any]:
        return {"design": spec.design, "top": f"{spec.design}_hls", "kernel": "adder", "templates": {}}

    def sim_files(self, spec: AdderSpec) -> Mapping[str, str]:
        from tilewright.sim.cosim.adder_ports import AdderPorts

        beats = f"tiles(job.n, {spec.lanes})"
        harness = harness_context(
            spec.design, jobs=("n", "label"), job={"n": 8}, result=Result(spec.lanes, 9, True, beats), inputs=[
                Input("a", lanes(spec.lanes, 8), beats, has_last=True), Input("offset", fields(["value"], {"value": 8}), "1")])
        ports = AdderPorts(spec.design, spec.design, *self.benches(spec), Lanes(spec.lanes, 9, True))
        return simulation_files(ports, harness=harness, modules=(), benches=self.benches(spec))

    def benches(self, spec: AdderSpec) -> tuple[str, ...]:
        return ("cosim.adder_tests",)

    def vectors(self, spec: AdderSpec, *, seed: int) -> Iterator[Vectors]:
        rng, texts = np.random.default_rng(seed), dict.fromkeys(("jobs", "a", "offset", "result"), "")
        for n in spec.workload:
            a, offset = rng.integers(-128, 128, n), int(rng.integers(-128, 128))
            texts["jobs"] += f"{n} -7\n"
            texts["offset"] += f"{offset}\n"
            for name, values, filler in (("a", a, "0"), ("result", a + offset, "-")):
                words = [*map(str, values), *[filler] * (-n % spec.lanes)]
                texts[name] += "".join(f"{' '.join(row)}\n" for row in np.reshape(words, (-1, spec.lanes)))
        yield Vectors("workload", {f"{name}.txt": text for name, text in texts.items()})

    def runtime(self, spec: AdderSpec, design_hash: str) -> Any:
        return "the runtime of", spec, design_hash


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the family known until the test ends, by what stands for a new file and a line of the registry."""
    package = tilewright.sim.cosim
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(COSIM)])
    monkeypatch.setattr(AdderFamily, "__abstractmethods__", frozenset())
    monkeypatch.setitem(FAMILIES, "adder", AdderFamily())
    monkeypatch.setitem(SPECS, "adder", AdderSpec)
