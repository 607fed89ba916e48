"""Schedule `window_ring`: keys and values of a window stay in a ring of cores while queries stream past."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tilewright.families.attention.schedule import Schedule
from tilewright.families.attention.spec import AttentionSpec
from tilewright.portrait import Portrait

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from tilewright.families.attention.cycles import JobCycles, JobShape
    from tilewright.families.attention.vectors import IntArray, Job
    from tilewright.sim.cosim.attention_ports import AttentionPorts


class WindowRing(Schedule):
    """All keys of a query at once, input stationary: Bai et al., "SWAT", DAC 2024."""

    name = "window_ring"

    def stream_rtlil(self, spec: AttentionSpec, *, target: str = "generic") -> str:
        from tilewright.families.attention.window_ring_hardware import stream_rtlil

        return stream_rtlil(spec, target=target)

    def blocks(self, spec: AttentionSpec) -> Mapping[str, str]:
        return {
            r"(^|\.)score_core_\d+(\.|$)": "score cores",
            r"(^|\.)value_core_\d+(\.|$)": "value cores",
            r"(^|\.)core_sum_\d+(\.|$)": "adder trees",
            r"(^|\.)exponentials(\.|$)": "exponentials",
            r"(^|\.)(dividers|scale_means|queue)(\.|$)": "division",
            r"(^|\.)[qkv]_reader(\.|$)": "stream buffers",
            r"(^|\.)([kv]_loader|sequencer|value_sequencer|held)(\.|$)": "sequencers",
        }

    def hls_context(self, spec: AttentionSpec) -> Mapping[str, Any]:
        from tilewright.families.attention.window_ring_hls import hls_context

        return hls_context(spec)

    def ports(self, spec: AttentionSpec) -> "AttentionPorts":
        from tilewright.families.attention.ports import ports

        return ports(spec)

    def harness(self, spec: AttentionSpec) -> dict[str, Any]:
        from tilewright.families.attention.harness import harness

        return harness(self.ports(spec))

    def golden(self, spec: AttentionSpec, job: "Job") -> "IntArray":
        from tilewright.sim.golden.attention_window_ring import window_ring_attention

        return window_ring_attention(
            job.q, job.k, job.v, mask=spec.mask, score_multiplier=job.score_multiplier, score_shift=job.score_shift,
            out_scale=job.out_scale, fraction=spec.fraction, guard_bits=spec.guard_bits, table=spec.table,
            total_width=spec.total_width, value_width=spec.v.width, low=spec.out.low, high=spec.out.high)

    def operands(self, spec: AttentionSpec, job: "Job") -> "dict[str, IntArray]":
        from tilewright.families.attention.vectors import pack_rows
        from tilewright.families.attention.window_ring_vectors import pack_ring

        return {"q": pack_rows(spec, job.q), "k": pack_ring(spec, job.k, job.queries), "v": pack_ring(spec, job.v, job.queries)}

    def pack_result(self, spec: AttentionSpec, result: "ArrayLike") -> "IntArray":
        from tilewright.families.attention.vectors import pack_rows

        return pack_rows(spec, result)

    def unpack_result(self, spec: AttentionSpec, beats: "ArrayLike", queries: int) -> "IntArray":
        from tilewright.families.attention.vectors import unpack_rows

        return unpack_rows(spec, beats, queries)

    def result_beats(self, spec: AttentionSpec, queries: int) -> int:
        return spec.heads * queries * spec.chunks

    def walk(self, spec: AttentionSpec, jobs: "Sequence[JobShape]") -> "Iterator[JobCycles]":
        from tilewright.families.attention.window_ring_cycles import walk
        from tilewright.families.attention.window_ring_hardware import cycle_engine

        return walk(cycle_engine(spec), jobs)

    def portrait(self, spec: AttentionSpec) -> Portrait:
        from tilewright.families.attention.window_ring_portrait import portrait

        return portrait(spec)
