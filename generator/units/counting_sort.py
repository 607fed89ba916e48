"""The unit ``counting_sort``."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from tilewright.rtl.units import counting_sort as rtl
from tilewright.sim.golden.units import selection as golden
from tilewright.units.base import Parameters, Timing, Unit
from tilewright.units.fields import Beats, Fields, flag, sint, uint
from tilewright.units.stimulus import frame_ends, frame_lengths, frame_slices, random_beats

FROM_END = 7  # cycles from the last beat to the first result, beside one per item and one per queue
MOVED_TO_RESULT = 5  # cycles from an item's move to its result, beside one per item


class CountingSortParameters(Parameters):
    """Parameters of :class:`tilewright.rtl.units.counting_sort.CountingSort`."""

    key_bits: int = Field(default=4, ge=1, le=10, description="bits of the key; there is a queue for each key")
    width: int = Field(default=16, ge=2, le=32, description="bits of the value that goes with a key")
    index_bits: int = Field(default=8, ge=1, le=14, description="bits of an item's place in its frame")


class CountingSort(Unit[CountingSortParameters]):
    """Count, sum up, move."""

    name = "counting_sort"
    title = "items of a frame into queues by key, in the order they came"
    source = "Knuth, The Art of Computer Programming, vol. 3, section 5.2, algorithm D"
    parameters_type = CountingSortParameters
    variants: ClassVar[tuple[CountingSortParameters, ...]] = (
        CountingSortParameters(key_bits=1, width=4, index_bits=2), CountingSortParameters(key_bits=7, width=8, index_bits=5),
    )

    def input_fields(self, p: CountingSortParameters) -> Fields:
        return {"key": uint(p.key_bits), "value": sint(p.width), "last": flag}

    def output_fields(self, p: CountingSortParameters) -> Fields:
        return {"key": uint(p.key_bits), "value": sint(p.width), "index": uint(p.index_bits), "queue_last": flag,
                "overflow": flag, "last": flag}

    def component(self, p: CountingSortParameters, target: str = "generic") -> rtl.CountingSort:
        return rtl.CountingSort(key_bits=p.key_bits, width=p.width, index_bits=p.index_bits)

    def golden(self, p: CountingSortParameters, beats: Beats) -> Beats:
        columns = golden.counting_sort(beats["key"], beats["value"], beats["last"], index_bits=p.index_bits)
        return dict(zip(self.output_fields(p), columns, strict=True))

    def hls_context(self, p: CountingSortParameters) -> Mapping[str, Any]:
        return {"key_bits": p.key_bits, "width": p.width, "index_bits": p.index_bits}

    def timing(self, p: CountingSortParameters) -> Timing:
        return Timing(1 + (1 << p.key_bits) + FROM_END,
                      note="from the last beat to the first result of a frame of one item, a cycle more for each further item; "
                           "results one per cycle, the next frame is taken meanwhile")

    def schedule(self, p: CountingSortParameters, beats: Beats) -> NDArray[np.int64]:
        taken: list[NDArray[np.int64]] = []
        start, free = 0, 0  # when the frame may begin, when items may move again
        for frame in frame_slices(beats["last"]):
            length = frame.stop - frame.start
            items = min(length, 1 << p.index_bits)
            move = max(start + length + 1 + (1 << p.key_bits), free)
            first = move + items + MOVED_TO_RESULT
            taken.append(first + np.arange(items))
            start, free = move + items, first + items
        return np.concatenate(taken).astype(np.int64)

    def stimulus(self, p: CountingSortParameters, rng: np.random.Generator, count: int) -> Beats:
        """Frames up to and beyond the reach of the index: one key only, two, all in turn, falling, random."""
        reach = min(1 << p.index_bits, 1024)
        lengths = [reach, *([reach + 1] if reach < 1024 else []), 1, 2]
        lengths += frame_lengths(rng, count - sum(lengths), min(reach, 40))
        last = frame_ends(lengths)
        fields = self.input_fields(p)
        beats = random_beats({"key": fields["key"], "value": fields["value"]}, rng, len(last))
        top = (1 << p.key_bits) - 1
        for place, frame in enumerate(frame_slices(last)):
            length = frame.stop - frame.start
            match place % 5:
                case 1:
                    beats["key"][frame] = rng.choice([0, top])
                case 2:
                    beats["key"][frame] = rng.choice([0, top], length)
                case 3:
                    beats["key"][frame] = np.arange(length) & top
                case 4:
                    beats["key"][frame] = np.sort(beats["key"][frame])[::-1]
        return {**beats, "last": last}
