"""Schedule `fused2d`: scores, exponentials and values of a tile of queries and one of keys on the same array."""

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


class Fused2d(Schedule):
    """The array and the vector unit of Nayak et al., "FuseMax", MICRO 2024."""

    name = "fused2d"

    def stream_rtlil(self, spec: AttentionSpec, *, target: str = "generic") -> str:
        from tilewright.families.attention.fused2d_hardware import stream_rtlil

        return stream_rtlil(spec, target=target)

    def blocks(self, spec: AttentionSpec) -> Mapping[str, str]:
        return {
            r"(^|\.)fused_row_\d+(\.|$)": "array",
            r"(^|\.)row_maximum_\d+(\.|$)": "row maxima",
            r"(^|\.)vector_lane_\d+\.(divider|scale_means)(\.|$)": "division",
            r"(^|\.)vector_lane_\d+(\.|$)": "lanes",
            r"(^|\.)([qkv]_reader|queries|queue)(\.|$)": "stream buffers",
            r"(^|\.)(jobs|loader|walker|key_tiles|sequencer|lane_sequencer)(\.|$)": "sequencers",
        }

    def hls_context(self, spec: AttentionSpec) -> Mapping[str, Any]:
        from tilewright.families.attention.fused2d_hls import hls_context

        return hls_context(spec)

    def ports(self, spec: AttentionSpec) -> "AttentionPorts":
        from tilewright.families.attention.fused2d_ports import ports

        return ports(spec)

    def harness(self, spec: AttentionSpec) -> dict[str, Any]:
        from tilewright.families.attention.fused2d_ports import harness

        return harness(spec)

    def cosim_modules(self, spec: AttentionSpec) -> tuple[str, ...]:
        return (*super().cosim_modules(spec), "attention_fused2d_ports")

    def golden(self, spec: AttentionSpec, job: "Job") -> "IntArray":
        from tilewright.sim.golden.attention_fused import attention_fused

        return attention_fused(
            job.q, job.k, job.v, mask=spec.mask, tile_q=spec.tile_q, cols=spec.cols, score_multiplier=job.score_multiplier,
            score_shift=job.score_shift, out_scale=job.out_scale, fraction=spec.fraction, guard_bits=spec.guard_bits,
            table=spec.table, total_width=spec.total_width, value_width=spec.v.width, low=spec.out.low, high=spec.out.high)

    def operands(self, spec: AttentionSpec, job: "Job") -> "dict[str, IntArray]":
        from tilewright.families.attention.fused2d_vectors import pack_key_tiles, pack_queries

        return {"q": pack_queries(spec, job.q), "k": pack_key_tiles(spec, job.k, job.queries),
                "v": pack_key_tiles(spec, job.v, job.queries)}

    def pack_result(self, spec: AttentionSpec, result: "ArrayLike") -> "IntArray":
        from tilewright.families.attention.fused2d_vectors import pack_queries

        return pack_queries(spec, result)

    def result_lines(self, spec: AttentionSpec, result: "ArrayLike") -> list[list[int | str]]:
        from tilewright.families.attention.fused2d_vectors import result_lines

        return result_lines(spec, result)

    def unpack_result(self, spec: AttentionSpec, beats: "ArrayLike", queries: int) -> "IntArray":
        from tilewright.families.attention.fused2d_vectors import unpack_result

        return unpack_result(spec, beats, queries)

    def result_beats(self, spec: AttentionSpec, queries: int) -> int:
        return spec.kv_heads * spec.tiles(queries) * spec.head_dim

    def walk(self, spec: AttentionSpec, jobs: "Sequence[JobShape]") -> "Iterator[JobCycles]":
        from tilewright.families.attention.fused2d_cycles import walk
        from tilewright.families.attention.fused2d_hardware import timing

        return walk(spec, timing(spec), jobs)

    def portrait(self, spec: AttentionSpec) -> Portrait:
        from tilewright.families.attention.fused2d_portrait import portrait

        return portrait(spec)
