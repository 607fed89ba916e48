"""`family: attention`, bound together."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.spec import AttentionSpec
from tilewright.families.base import Family, JobCycles, Vectors
from tilewright.portrait import Portrait

if TYPE_CHECKING:
    from tilewright.driver import Runtime


class AttentionFamily(Family):
    """O = softmax(Q @ K.T) @ V; what differs from schedule to schedule is in its ``Schedule``."""

    name = "attention"
    spec_type = AttentionSpec

    # Heavy modules are imported where they are used: `tilewright check` needs no Amaranth.

    def stream_rtlil(self, spec: AttentionSpec, *, target: str = "generic") -> str:
        return schedule_of(spec).stream_rtlil(spec, target=target)

    def blocks(self, spec: AttentionSpec) -> Mapping[str, str]:
        return schedule_of(spec).blocks(spec)

    def hls_context(self, spec: AttentionSpec) -> Mapping[str, Any]:
        return schedule_of(spec).hls_context(spec)

    def sim_files(self, spec: AttentionSpec) -> Mapping[str, str]:
        from tilewright.sim.project import simulation_files

        schedule = schedule_of(spec)
        return simulation_files(schedule.ports(spec), harness=schedule.harness(spec), modules=schedule.cosim_modules(spec),
                                benches=self.benches(spec))

    def benches(self, spec: AttentionSpec) -> tuple[str, ...]:
        return ("cosim.attention_tests",)

    def vectors(self, spec: AttentionSpec, *, seed: int) -> Iterator[Vectors]:
        from tilewright.families.attention.stimulus import cases
        from tilewright.families.attention.vectors import case_files

        for case in cases(spec, seed=seed):
            yield Vectors(case.name, case_files(spec, case))

    def cycles(self, spec: AttentionSpec) -> list[JobCycles]:
        from tilewright.families.attention.work import useful_macs

        return [
            JobCycles(f"{job.queries}x{job.keys}", at.first_step, at.last_step, at.done, at.active,
                      useful_macs(spec, job.queries, job.keys) / spec.macs_per_cycle)
            for job, at in zip(spec.workload, schedule_of(spec).walk(spec, spec.workload), strict=True)]

    def runtime(self, spec: AttentionSpec, design_hash: str) -> "Runtime":
        from tilewright.families.attention.runtime import AttentionRuntime

        return AttentionRuntime(spec)

    def portrait(self, spec: AttentionSpec) -> Portrait:
        return schedule_of(spec).portrait(spec)
