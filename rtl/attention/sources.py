"""Where the sequencers have their keys and values from: the streams, or caches that these go into."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_

from amaranth.hdl import Module, Shape, Signal, Value
from amaranth.lib import data
from tilewright.rtl.attention.cache_layout import CacheLayout, CacheSize
from tilewright.rtl.attention.cache_memory import READ_LATENCY
from tilewright.rtl.attention.frame_reader import FrameReader
from tilewright.rtl.attention.query_loader import QueryLoader
from tilewright.rtl.attention.rotary import Turns, rotary_latency
from tilewright.rtl.attention.row_cache import RowCache
from tilewright.rtl.attention.score_sequencer import ScoreSequencer
from tilewright.rtl.attention.tile_loader import TileLoader
from tilewright.rtl.attention.tile_walker import Mask
from tilewright.rtl.attention.value_sequencer import ValueSequencer
from tilewright.rtl.delay import delayed


@dataclass(frozen=True)
class Source:
    """Rows of keys or values as a sequencer has them: whether the next is there, and the chunk that it meets."""

    available: Value
    data: Value


@dataclass(frozen=True)
class Leads:
    """Cycles that rows take on their way, which is where they are turned."""

    queries: int  # to their banks
    keys: int     # from a step to the score rows
    stored: int   # of keys to their cache


def leads(*, caches: bool, turns: Turns | None, keys_max: int) -> Leads:
    """Of an engine with these; keys that are turned by their places come out of a cache as they went in."""
    turning = rotary_latency(turns.positions(keys_max)) if turns else 0
    if not caches:
        return Leads(turning, turning, 0)
    if turns and turns.places:
        return Leads(turning, READ_LATENCY + turning, 0)
    return Leads(turning, READ_LATENCY, turning)


def share_banks(m: Module, loader: QueryLoader | TileLoader, sequencer: ScoreSequencer, lead: Leads) -> None:
    """A bank of queries is whole, or free, when the one with the longer way is through with it, too."""
    late, early = max(lead.queries - lead.keys, 0), max(lead.keys - lead.queries, 0)
    full = [loader.full]
    for cycle in range(late):
        full.append(delayed(m, full[-1], 1, f"full_{cycle}", reset=True))
    m.d.comb += [
        sequencer.loaded.eq(reduce(and_, full)), loader.release.eq(delayed(m, sequencer.release, early, "release", reset=True)),
        loader.released.eq(delayed(m, sequencer.bank, early, "released"))]


def streamed(m: Module, reader: FrameReader, sequencer: ScoreSequencer | ValueSequencer) -> Source:
    """Rows that stream past."""
    m.d.comb += [reader.step.eq(sequencer.step), reader.final.eq(sequencer.final)]
    return Source(reader.available, reader.data)


def make_caches(
    size: CacheSize, *, kv_heads: int, chunks: int, lanes: int, elements: Mapping[str, Shape], keys_max: int, mask: Mask,
    rows: int, group: int, jobs_max: int, key_lead: int,
) -> dict[str, RowCache]:
    """A cache of keys and one of values; a beat of keys takes ``key_lead`` cycles to its cache."""
    layout = CacheLayout(kv_heads=kv_heads, slots=size.slots, chunks=chunks, keys_max=keys_max, ring=size.ring, sink=mask.sink,
                         window=mask.window)
    return {name: RowCache(
        layout=layout, lanes=lanes, element=elements[name], bits=size.bits, group_chunks=size.group_chunks,
        positions=max(rows // group, 1), shares=max(group // rows, 1), jobs_max=jobs_max, lead=lead)
        for name, lead in (("k", key_lead), ("v", 0))}


def continues_sequence(m: Module, job: data.View, accepted: Value) -> Value:
    """Whether the job of the cycle before begins a sequence, or goes on where the one that the caches hold ends."""
    held = Signal.like(job.keys)
    continues = Signal()
    m.d.sync += continues.eq((job.keys == job.queries) | (job.keys == held + job.queries))
    with m.If(accepted):
        m.d.sync += held.eq(job.keys)
    return continues


def cached(m: Module, cache: RowCache, reader: FrameReader, sequencer: ScoreSequencer | ValueSequencer, *, take: Value,
           job: data.View, newest: Value, beat: Value) -> Source:
    """Rows out of ``cache``, into which those of ``reader`` go as ``beat``."""
    of_keys = isinstance(sequencer, ScoreSequencer)
    key = sequencer.key if of_keys else sequencer.oldest
    m.d.comb += [
        cache.take.eq(take), cache.queries.eq(job.queries), cache.keys.eq(job.keys), cache.newest.eq(newest),
        cache.available.eq(reader.available), cache.beat.eq(beat), reader.step.eq(cache.step), reader.final.eq(cache.final),
        cache.tile_left.eq(sequencer.release if of_keys else sequencer.tile_left), cache.job_left.eq(sequencer.job_left),
        cache.job.eq(key.job), cache.place.eq(key.place), cache.read_chunk.eq(sequencer.chunk)]
    return Source(cache.there, cache.data)
