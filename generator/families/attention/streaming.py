"""Schedule `streaming`: keys and values stream past a tile of queries, and no score is ever stored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tilewright.families.attention.cache_index import places
from tilewright.families.attention.schedule import Schedule
from tilewright.families.attention.spec import AttentionSpec
from tilewright.portrait import Portrait

if TYPE_CHECKING:
    from tilewright.families.attention.cycles import JobCycles, JobShape
    from tilewright.families.attention.vectors import IntArray, Job
    from tilewright.sim.golden.attention import Scores


def _as_stored(spec: AttentionSpec, rows: "IntArray", width: int) -> "IntArray":
    """Keys or values of ``width`` bits as tiles meet them."""
    from tilewright.sim.golden.attention_cache import cached

    cache = spec.cache
    return cached(rows, bits=cache.bits, group=cache.group) if cache and cache.bits < width else rows


def _met_rows(spec: AttentionSpec, job: "Job") -> "tuple[IntArray, IntArray, IntArray]":
    """Queries, keys and values of ``job`` as they are multiplied, but for what :func:`_scores_of` does to them."""
    from tilewright.families.attention.stimulus import turned

    q, k = (job.q, job.k) if places(spec) else turned(spec, job)
    return q, _as_stored(spec, k, spec.k.width), _as_stored(spec, job.v, spec.v.width)


def _scores_of(spec: AttentionSpec) -> "Callable[..., Scores]":
    """What makes the scores of queries and keys; turned by their places, keys are so behind a cache."""
    from tilewright.sim.golden.attention import Scores
    from tilewright.sim.golden.attention_cache_index import PlacedScores

    if not places(spec):
        return Scores
    steps, wave = spec.rotary_tables()
    return partial(PlacedScores, steps=steps, wave=wave, q_bounds=(spec.q.low, spec.q.high), k_bounds=(spec.k.low, spec.k.high))


class Streaming(Schedule):
    """Scores of a tile and a key, then its values, with running sums: Dao, "FlashAttention-2", 2023."""

    name = "streaming"

    def stream_rtlil(self, spec: AttentionSpec, *, target: str = "generic") -> str:
        from tilewright.families.attention.hardware import stream_rtlil

        return stream_rtlil(spec, target=target)

    def blocks(self, spec: AttentionSpec) -> Mapping[str, str]:
        caches = {r"(^|\.)[kv]_cache(\.|$)": "caches"} if spec.cache else {}
        return {
            **caches,
            r"(^|\.)score_row_\d+(\.|$)": "score rows",
            r"(^|\.)value_row_\d+(\.|$)": "value rows",
            r"(^|\.)weights\.scale(\.|$)": "score scale",
            **({r"(^|\.)bias(_reader)?(\.|$)": "bias"} if spec.bias else {}),
            **({r"(^|\.)rotary_[qk](\.|$)": "rotary"} if spec.rotary else {}),
            r"(^|\.)weights\.exponential(\.|$)": "exponential",
            r"(^|\.)weights(\.|$)": "row state",
            r"(^|\.)normalize(\.|$)": "division",
            r"(^|\.)[qkv]_reader(\.|$)": "stream buffers",
            r"(^|\.)(loader|walker|sequencer|value_sequencer|answer)(\.|$)": "sequencers",
        }

    def hls_context(self, spec: AttentionSpec) -> Mapping[str, Any]:
        from tilewright.families.attention.hls import hls_context

        return hls_context(spec)

    def golden(self, spec: AttentionSpec, job: "Job") -> "IntArray":
        from tilewright.sim.golden.attention import attention

        if spec.phi is not None:
            return self._unified(spec, job)[0]
        return attention(
            *_met_rows(spec, job), mask=spec.mask, score_multiplier=job.score_multiplier, score_shift=job.score_shift,
            out_scale=job.out_scale, fraction=spec.fraction, guard_bits=spec.guard_bits, table=spec.table,
            octave=spec.octave, total_width=spec.total_width, value_width=spec.v.width, low=spec.out.low,
            high=spec.out.high, passes=spec.passes, parabola=spec.parabola, bias=job.bias, scores_of=_scores_of(spec))

    def again(self, spec: AttentionSpec, job: "Job") -> "IntArray | None":
        if spec.phi is None:
            return None
        return self._unified(spec, job)[1] if job.again is None else job.again

    def _unified(self, spec: AttentionSpec, job: "Job") -> "tuple[IntArray, IntArray]":
        from tilewright.sim.golden.attention_unified import attention_unified

        return attention_unified(
            *_met_rows(spec, job), mask=spec.mask, score_multiplier=job.score_multiplier, score_shift=job.score_shift,
            out_scale=job.out_scale, fraction=spec.fraction, guard_bits=spec.guard_bits, table=spec.table,
            total_width=spec.total_width, value_width=spec.v.width, low=spec.out.low, high=spec.out.high, phi=spec.phi or 0,
            window=spec.window, tile_q=spec.tile_q, bias=job.bias, scores_of=_scores_of(spec))

    def columns(self, spec: AttentionSpec, job: "Job") -> dict[str, int]:
        from tilewright.families.attention.work import tile_keys

        again = self.again(spec, job)
        if again is None or not spec.tells_again:
            return job.fields
        keys = again * tile_keys(spec, job.queries, job.keys)
        return job.fields | {"again_keys": int(keys.sum()), "again_last": int(keys[-1, -1])}

    def operands(self, spec: AttentionSpec, job: "Job") -> "dict[str, IntArray]":
        from tilewright.families.attention.vectors import pack_answers, pack_keys, pack_rows

        again = self.again(spec, job)
        beats = {"q": pack_rows(spec, job.q), "k": pack_keys(spec, job.k, job.queries, passes=spec.passes, again=again),
                 "v": pack_keys(spec, job.v, job.queries, again=again)}
        if again is not None and spec.tells_again:
            beats["again"] = pack_answers(again)
        return beats | {"bias": job.bias.reshape(-1, 1)} if job.bias is not None and job.load_bias else beats

    def walk(self, spec: AttentionSpec, jobs: "Sequence[JobShape]") -> "Iterator[JobCycles]":
        from tilewright.families.attention.cycles import walk
        from tilewright.families.attention.hardware import cycle_engine
        from tilewright.families.attention.vectors import Job

        return walk(cycle_engine(spec), [
            replace(job, again=self.again(spec, job)) if isinstance(job, Job) else job for job in jobs])

    def portrait(self, spec: AttentionSpec) -> Portrait:
        from tilewright.families.attention.portrait import portrait

        return portrait(spec)
