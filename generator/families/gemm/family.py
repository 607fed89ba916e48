"""`family: gemm`, bound together."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tilewright.families.base import Family, JobCycles, Vectors
from tilewright.families.gemm.spec import GemmSpec
from tilewright.portrait import Portrait

if TYPE_CHECKING:
    from tilewright.driver import Runtime


class GemmFamily(Family):
    """C = A @ B on a systolic array."""

    name = "gemm"
    spec_type = GemmSpec
    runs_demo = True

    # Heavy modules are imported where they are used: `tilewright check` needs no Amaranth.

    def rtlil(self, spec: GemmSpec, design_hash: str, *, target: str = "generic") -> str:
        from tilewright.families.gemm import hardware

        if spec.top == "axi":
            return hardware.axi_rtlil(spec, design_hash, target=target)
        return hardware.stream_rtlil(spec, target=target)

    def stream_rtlil(self, spec: GemmSpec, *, target: str = "generic") -> str:
        from tilewright.families.gemm.hardware import stream_rtlil

        return stream_rtlil(spec, target=target)

    def top_is_stream(self, spec: GemmSpec) -> bool:
        return spec.top == "stream"

    def board_rtlil(self, spec: GemmSpec, design_hash: str, *, clock_hz: int, leds_low: bool = False,
                    target: str = "generic") -> str:
        from tilewright.families.gemm.hardware import uart_rtlil

        return uart_rtlil(spec, design_hash, clock_hz=clock_hz, leds_low=leds_low, target=target)

    def blocks(self, spec: GemmSpec) -> Mapping[str, str]:
        return {
            r"(^|\.)array(\.|$)": "array",
            r"(^|\.)(act|weight)_buffer(\.|$)": "operand buffers",
            r"(^|\.)accumulator_\d+(\.|$)": "accumulators",
            r"(^|\.)result_path\.requantize_\d+(\.|$)": "requantizers",
            r"(^|\.)(result_path|channel_loader)(\.|$)": "result path",
            r"(^|\.)sequencer(\.|$)": "sequencer",
        }

    def hls_context(self, spec: GemmSpec) -> Mapping[str, Any]:
        from tilewright.families.gemm.hls import hls_context

        return hls_context(spec)

    def driver_files(self, spec: GemmSpec, design_hash: str) -> Mapping[str, str]:
        from tilewright.families.gemm.registers import driver_info
        from tilewright.registers import driver_files

        return driver_files(driver_info(spec, design_hash))

    def sim_files(self, spec: GemmSpec) -> Mapping[str, str]:
        from tilewright.families.gemm.harness import harness
        from tilewright.families.gemm.ports import ports
        from tilewright.sim.project import simulation_files

        described = ports(spec)
        axi = ("gemm_axi_bench", "gemm_axi_tests") if spec.top == "axi" else ()
        return simulation_files(
            described, harness=harness(described), modules=("gemm_ports", "gemm_tests", *axi), benches=self.benches(spec))

    def benches(self, spec: GemmSpec) -> tuple[str, ...]:
        return ("cosim.gemm_tests",) if spec.top == "stream" else ("cosim.gemm_axi_tests",)

    def vectors(self, spec: GemmSpec, *, seed: int) -> Iterator[Vectors]:
        from tilewright.families.gemm.stimulus import cases
        from tilewright.families.gemm.vectors import case_files

        for case in cases(spec, seed=seed):
            yield Vectors(case.name, case_files(spec, case))

    def cycles(self, spec: GemmSpec) -> list[JobCycles]:
        from tilewright.families.gemm.cycles import walk
        from tilewright.families.gemm.hardware import cycle_engine

        walked = walk(cycle_engine(spec), spec.workload)
        return [
            JobCycles(f"{job.m}x{job.n}x{job.k}", at.first_step, at.last_step, at.done, at.active,
                      job.m * job.n * job.k / (spec.rows * spec.cols))
            for job, at in zip(spec.workload, walked, strict=True)]

    def runtime(self, spec: GemmSpec, design_hash: str) -> "Runtime":
        from tilewright.families.gemm.runtime import GemmRuntime

        return GemmRuntime(spec, design_hash)

    def portrait(self, spec: GemmSpec) -> Portrait:
        from tilewright.families.gemm.portrait import portrait

        return portrait(spec)
