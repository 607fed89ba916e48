"""How keys follow each other in the streaming attention engine, in cycles."""

from dataclasses import dataclass

from amaranth.utils import ceil_log2
from tilewright.rtl.attention.score_row import sum_latency
from tilewright.rtl.attention.softmax import Softmax
from tilewright.rtl.attention.tile_answer import TileAnswer
from tilewright.rtl.attention.unified_weights import verdict_latency
from tilewright.rtl.attention.weights import weights_latency


@dataclass(frozen=True)
class KeyTiming:
    """How keys follow each other, in cycles."""

    loop: int      # from an addition to a sum of values to the next one
    settling: int  # from the last addition to a sum of values to the sum being read
    interval: int  # from one key to the next: its chunks, the rows' turns at the exponential, or the loop
    latency: int   # from a key's last score step to the first one of its values
    slots: int     # keys that can be on their way, a power of two: a stream that never stalls finds room for each
    answer: int    # from the last score step of a tile to the answer whether it comes once more; 0 if nobody asks


def key_timing(*, softmax: Softmax, lanes: int, rows: int, chunks: int, score_width: int, biased: bool = False,
               cached: bool = False, lead: int = 0) -> KeyTiming:
    """Of an engine with these parameters; keys take ``lead`` cycles to the score rows."""
    loop = softmax.rescale.LOOP
    interval = max(chunks, rows, loop)
    weights = weights_latency(score_width=score_width, weigh_latency=softmax.weigh_latency, biased=biased)
    latency = lead + sum_latency(lanes) + 1 + weights + rows
    told = 0 if cached else TileAnswer.LATENCY
    answer = lead + sum_latency(lanes) + 1 + told + verdict_latency(
        rows=rows, score_width=score_width, biased=biased) if softmax.asks else 0
    return KeyTiming(loop, softmax.rescale.LAG + loop, interval, latency,
                     1 << ceil_log2(-(-(2 * chunks + latency) // interval) + 2), answer)
