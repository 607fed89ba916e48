"""The unit ``topk_quickselect``."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import topk_quickselect as rtl
from tilewright.rtl.units.picked_queue import PickedQueue
from tilewright.sim.golden.units import selection as golden
from tilewright.units.base import Parameters, Refusal, Timing, Unit
from tilewright.units.fields import Beats, Fields, Lanes, flag, sint, uint
from tilewright.units.selection_stimulus import ranked_frames
from tilewright.units.stimulus import frame_ends, frame_slices, random_values

QUEUE_LATCH = PickedQueue.LATENCY - 1  # cycles from a beat to the first register of its results


class TopKQuickselectParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.topk_quickselect.TopKQuickselect`."""

    lanes: Literal[2, 4, 8, 16] = Field(default=8, description="values of a beat")
    k: int = Field(default=64, ge=1, le=4096, description="how many values are kept")
    width: int = Field(default=16, ge=2, le=32, description="bits of x")
    max_beats: int = Field(default=128, ge=2, le=4096, description="beats of the longest frame; what follows is left out")

    def refusals(self) -> Iterator[Refusal]:
        if self.max_beats & self.max_beats - 1:
            upper = 1 << ceil_log2(self.max_beats)
            nearest = upper if upper - self.max_beats <= self.max_beats - upper // 2 else upper // 2
            yield Refusal("max_beats", "is not a power of two, which the addresses need", nearest)
        elif self.k > self.lanes * self.max_beats:
            yield Refusal("k", f"is above the {self.lanes * self.max_beats} values of the longest frame",
                          self.lanes * self.max_beats)

    @property
    def index_bits(self) -> int:
        """Bits of the index."""
        return ceil_log2(self.lanes * self.max_beats)


class TopKQuickselect(Unit[TopKQuickselectParameters]):
    """Two compactions divide what is left around a pivot, ``lanes`` values per cycle."""

    name = "topk_quickselect"
    title = "the k largest of a frame in the frame's order, ties keep the lower index: quick-select"
    source = "Wang et al., SpAtten, HPCA 2021, section IV-B; Hoare, Algorithm 65: Find, 1961"
    parameters_type = TopKQuickselectParameters
    variants: ClassVar[tuple[TopKQuickselectParameters, ...]] = (
        TopKQuickselectParameters(lanes=2, k=1, width=4, max_beats=2),
        TopKQuickselectParameters(lanes=4, k=5, width=8, max_beats=16),
        TopKQuickselectParameters(lanes=16, k=100, width=12, max_beats=32),
        TopKQuickselectParameters(lanes=8, k=64, width=32, max_beats=8),
    )

    def input_fields(self, p: TopKQuickselectParameters) -> Fields:
        return {"x": Lanes(sint(p.width), p.lanes), "unused": uint(ceil_log2(p.lanes)), "last": flag}

    def output_fields(self, p: TopKQuickselectParameters) -> Fields:
        return {"index": uint(p.index_bits), "value": sint(p.width), "overflow": flag, "last": flag}

    def component(self, p: TopKQuickselectParameters, target: str = "generic") -> rtl.TopKQuickselect:
        return rtl.TopKQuickselect(lanes=p.lanes, k=p.k, width=p.width, max_beats=p.max_beats)

    def golden(self, p: TopKQuickselectParameters, beats: Beats) -> Beats:
        frames = self._frames(p, beats)
        flat = np.concatenate([np.zeros(0, np.int64), *frames])
        columns = golden.topk(flat, frame_ends([len(frame) for frame in frames]), k=p.k, index_bits=p.index_bits, in_order=True)
        return dict(zip(self.output_fields(p), columns, strict=True))

    @staticmethod
    def _frames(p: TopKQuickselectParameters, beats: Beats) -> list[NDArray[np.int64]]:
        """The values of each frame."""
        frames = []
        for frame in frame_slices(beats["last"]):
            values = beats["x"][frame].ravel()
            frames.append(values[:len(values) - int(beats["unused"][frame.stop - 1])])
        return frames

    def hls_context(self, p: TopKQuickselectParameters) -> Mapping[str, Any]:
        return {"lanes": p.lanes, "k": p.k, "width": p.width, "max_beats": p.max_beats, "index_bits": p.index_bits,
                "longest": p.lanes * p.max_beats}

    def timing(self, p: TopKQuickselectParameters) -> Timing:
        return Timing(3 + rtl.partition_latency(p.lanes) + PickedQueue.LATENCY, note=(
            "from the last beat to the first result of a frame of at most k values with one picked in its first beat; "
            "others take rounds of one cycle per beat of what is left and "
            f"{rtl.round_cycles(0, p.lanes)} more. Results one per cycle"))

    def schedule(self, p: TopKQuickselectParameters, beats: Beats) -> NDArray[np.int64]:
        taken: list[NDArray[np.int64]] = []
        latency = rtl.partition_latency(p.lanes)
        start, planned, free, idle = 0, 0, 0, 0  # when a frame may begin, its rounds may, the output and the queue have room
        for frame, values in zip(frame_slices(beats["last"]), self._frames(p, beats), strict=True):
            kept = values[:p.lanes * p.max_beats]
            words = -(-len(kept) // p.lanes)
            now = max(start + frame.stop - frame.start, planned) + 1
            now += sum(rtl.round_cycles(size, p.lanes) for size in rounds(kept, p.k, p.lanes))
            first = max(now, idle) + 1
            start, planned = first + words, first + words - 1 + latency + 3
            chosen = np.sort(np.argsort(-kept, kind="stable")[:p.k])
            beat, counts = np.unique(chosen // p.lanes, return_counts=True)
            for place, count in zip((first + latency + beat).tolist(), counts.tolist(), strict=True):
                loaded = max(place + QUEUE_LATCH, free)
                taken.append(loaded + 1 + np.arange(count))
                free = loaded + count
            idle = loaded + 1
        return np.concatenate(taken).astype(np.int64)

    def stimulus(self, p: TopKQuickselectParameters, rng: np.random.Generator, count: int) -> Beats:
        """The frames of the other top-k units, cut into beats; what is unused holds anything."""
        number = sint(p.width)
        flat = ranked_frames(rng, count * p.lanes, number=number, k=p.k, index_bits=p.index_bits)
        frames = frame_slices(flat["last"])
        lengths = [frame.stop - frame.start for frame in frames]
        words = [-(-length // p.lanes) for length in lengths]
        last = frame_ends(words)
        x = random_values(number, rng, (len(last), p.lanes))
        unused = rng.integers(0, p.lanes, len(last))  # counts with ``last`` alone
        for frame, length, beats in zip(frames, lengths, frame_slices(last), strict=True):
            x[beats] = np.append(flat["x"][frame], x[beats].ravel()[length:]).reshape(-1, p.lanes)
            unused[beats.stop - 1] = -length % p.lanes
        return {"x": x, "unused": unused, "last": last}


def rounds(values: NDArray[np.int64], k: int, lanes: int) -> Iterator[int]:
    """Words that each round over a frame reads, until the ``k``-th greatest value is the pivot."""
    if len(values) <= k:
        return
    while True:
        words = -(-len(values) // lanes)
        yield words
        pivot = values[words // 2 * lanes]
        greater, less = values[values > pivot], values[values < pivot]
        if k <= len(greater):
            values = greater
        elif k > len(values) - len(less):
            values, k = less, k - (len(values) - len(less))
        else:
            return
