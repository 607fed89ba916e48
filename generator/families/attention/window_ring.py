"""Schedule `window_ring`: keys and values of a window stay in a ring of cores while queries stream past."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tilewright.families.attention.schedule import Schedule
from tilewright.families.attention.spec import AttentionSpec
from tilewright.portrait import Portrait

if TYPE_CHECKING:
    from tilewright.families.attention.cycles import JobCycles, JobShape
    from tilewright.families.attention.vectors import IntArray, Job


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

    def walk(self, spec: AttentionSpec, jobs: "Sequence[JobShape]") -> "Iterator[JobCycles]":
        from tilewright.families.attention.window_ring_cycles import walk
        from tilewright.families.attention.window_ring_hardware import cycle_engine

        return walk(cycle_engine(spec), jobs)

    def portrait(self, spec: AttentionSpec) -> Portrait:
        from tilewright.families.attention.window_ring_portrait import portrait

        return portrait(spec)
