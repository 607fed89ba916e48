"""Exponentials of scores below a reference that comes with them, as mantissa and octave, and their sum over a beat."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Mux, ShapeLike, Value, ValueLike, signed
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.lane_tree import tree
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.softmax_exponent import EXPONENTIAL_LATENCY, clipped, exponential, octave_shape, whole_eights

TERM_LATENCY = 3


def distance_latency(lanes: int) -> int:
    """Of :class:`DistanceExponential`."""
    return EXPONENTIAL_LATENCY + 1 + TERM_LATENCY + ceil_log2(lanes)


def term(stages: Stages, mantissa: Value, places: Value, keep: Value, guard_bits: int, name: str) -> Value:
    """``(mantissa << guard_bits) >> places`` if ``keep``, else 0; 3 stages later."""
    kept = stages.stage(Mux(keep, mantissa, 0), f"kept{name}")
    clip = stages.stage(clipped(places, len(mantissa) + guard_bits), f"places{name}")
    coarse = stages.stage((kept << guard_bits) >> whole_eights(clip), f"coarse{name}")
    return stages.stage(coarse >> stages.stage(clip[:3], f"fine{name}"), f"term{name}")


class DistanceExponential(Pipelined):
    """``exp(score - maximum)`` as mantissa and octave, and the sum of a beat's kept ones; fields in ``side`` go along.

    A term of the sum is ``(mantissa << guard_bits) >> -octave``. No kept score exceeds ``maximum`` by more than
    ``rise_octaves`` octaves; with 0 a distance has no sign. Two multipliers and a ROM per lane; latency 14 cycles and one per
    level of the tree.
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int, table: Sequence[int],
        rise_octaves: int = 0, side: Mapping[str, ShapeLike] | None = None, target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.score_width = score_width
        self.fraction = fraction
        self.guard_bits = guard_bits
        self.table = tuple(table)
        self.rise_octaves = rise_octaves
        self.side = dict(side or {})
        self.target = target
        self.octave = octave_shape(score_width, fraction)
        total_width = mantissa_bits + guard_bits + 1 + rise_octaves + ceil_log2(lanes)
        super().__init__(
            inputs={"score": data.ArrayLayout(signed(score_width), lanes), "keep": lanes, "maximum": signed(score_width),
                    **self.side, "last": 1},
            outputs={"mantissa": data.ArrayLayout(mantissa_bits + 1, lanes),
                     "octave": data.ArrayLayout(self.octave, lanes), "keep": lanes, "total": total_width,
                     **self.side, "last": 1},
            latency=distance_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        keep = stages.stage(i.keep, "keep", cycles=1 + EXPONENTIAL_LATENCY)
        later = TERM_LATENCY + ceil_log2(self.lanes)
        terms, mantissas, octaves = [], [], []
        for k in range(self.lanes):
            below = i.maximum - i.score[k]
            distance = stages.stage(below if self.rise_octaves else below[:self.score_width], f"distance_{k}")
            mantissa, whole = exponential(stages, distance, sign=1, fraction=self.fraction, table=self.table, name=f"_{k}",
                                          target=self.target)
            terms.append(term(stages, mantissa, whole + self.rise_octaves, keep[k], self.guard_bits + self.rise_octaves,
                              f"_{k}"))
            mantissas.append(stages.stage(mantissa, f"mantissa_{k}_out", cycles=later))
            octave = stages.stage(-whole, f"octave_{k}", shape=self.octave)
            octaves.append(stages.stage(octave, f"octave_{k}_out", cycles=later - 1))
        return {
            "mantissa": Cat(*mantissas), "octave": Cat(*octaves),
            "keep": stages.stage(keep, "keep_out", cycles=later),
            "total": tree(stages, terms, lambda a, b: a + b, "total"),
            **{name: stages.stage(i[name], name, cycles=self.latency) for name in self.side},
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }
