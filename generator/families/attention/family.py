"""`family: attention`, bound together."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.base import Family, JobCycles, Vectors
from tilewright.portrait import Portrait

if TYPE_CHECKING:
    from tilewright.driver import Runtime


class AttentionFamily(Family):
    """O = softmax(Q @ K.T) @ V with keys and values streamed past tiles of queries."""

    name = "attention"
    spec_type = AttentionSpec

    # Heavy modules are imported where they are used: `tilewright check` needs no Amaranth.

    def stream_rtlil(self, spec: AttentionSpec, *, target: str = "generic") -> str:
        from tilewright.families.attention.hardware import stream_rtlil

        return stream_rtlil(spec, target=target)

    def blocks(self, spec: AttentionSpec) -> Mapping[str, str]:
        return {
            r"(^|\.)score_row_\d+(\.|$)": "score rows",
            r"(^|\.)value_row_\d+(\.|$)": "value rows",
            r"(^|\.)weights\.scale(\.|$)": "score scale",
            r"(^|\.)weights\.exponential(\.|$)": "exponential",
            r"(^|\.)weights(\.|$)": "row state",
            r"(^|\.)normalize(\.|$)": "division",
            r"(^|\.)[qkv]_reader(\.|$)": "stream buffers",
            r"(^|\.)(loader|walker|sequencer|value_sequencer)(\.|$)": "sequencers",
        }

    def hls_context(self, spec: AttentionSpec) -> Mapping[str, Any]:
        from tilewright.families.attention.hls import hls_context

        return hls_context(spec)

    def sim_files(self, spec: AttentionSpec) -> Mapping[str, str]:
        from tilewright.families.attention.harness import harness
        from tilewright.families.attention.ports import ports
        from tilewright.sim.project import simulation_files

        described = ports(spec)
        return simulation_files(
            described, harness=harness(described), modules=("attention_ports", "attention_tests"),
            benches=self.benches(spec))

    def benches(self, spec: AttentionSpec) -> tuple[str, ...]:
        return ("cosim.attention_tests",)

    def vectors(self, spec: AttentionSpec, *, seed: int) -> Iterator[Vectors]:
        from tilewright.families.attention.stimulus import cases
        from tilewright.families.attention.vectors import case_files

        for case in cases(spec, seed=seed):
            yield Vectors(case.name, case_files(spec, case))

    def cycles(self, spec: AttentionSpec) -> list[JobCycles]:
        from tilewright.families.attention.cycles import ideal_cycles, walk
        from tilewright.families.attention.hardware import cycle_engine

        engine = cycle_engine(spec)
        return [
            JobCycles(f"{job.queries}x{job.keys}", at.first_step, at.last_step, at.done, at.active, ideal_cycles(engine, job))
            for job, at in zip(spec.workload, walk(engine, spec.workload), strict=True)]

    def runtime(self, spec: AttentionSpec, design_hash: str) -> "Runtime":
        from tilewright.families.attention.runtime import AttentionRuntime

        return AttentionRuntime(spec)

    def portrait(self, spec: AttentionSpec) -> Portrait:
        from tilewright.families.attention.portrait import portrait

        return portrait(spec)
