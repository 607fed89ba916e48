"""Softmax with exponentials as mantissa and octave: the sum is rescaled by shifts, no multiplier between the passes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameFold, registered_flag
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.lane_tree import larger, tree
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import staged_product

LOG2E = 94548  # round(log2(e) * 2**16)
OCTAVES = ("below", "above")
RECIPROCAL_BITS = 17
EXPONENTIAL_LATENCY = 10
SCALE_LATENCY = 6


def front_latency(lanes: int) -> int:
    """Of :class:`ExponentFront`."""
    return EXPONENTIAL_LATENCY + 2 + ceil_log2(lanes)


def sum_latency(lanes: int) -> int:
    """Of :class:`ExponentSum`, from the last beat to the divisor."""
    return 7 + ceil_log2(lanes)


def octave_shape(score_width: int, fraction: int) -> Shape:
    """Of ``floor`` and of ``ceil`` of a score's logarithm to base two."""
    return signed(max(score_width + 2 - fraction, 2))


class ExponentFront(Pipelined):
    """``exp`` of each lane's score as ``mantissa * 2**octave``, and the greatest octave among the kept lanes.

    Latency 12 cycles and one per level of the tree over the lanes, 1 beat per cycle. Per lane one multiplier for
    ``log2(e)``, one for the interpolation, and a ROM of ``2**table_bits`` words.
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, mantissa_bits: int, table: Sequence[int], octave: str,
        target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.score_width = score_width
        self.fraction = fraction
        self.mantissa_bits = mantissa_bits
        self.table = tuple(table)
        self.octave = octave
        self.target = target
        self.octave_shape = octave_shape(score_width, fraction)
        super().__init__(
            inputs={"score": data.ArrayLayout(signed(score_width), lanes), "keep": lanes, "last": 1},
            outputs={
                "mantissa": data.ArrayLayout(mantissa_bits + 1, lanes),
                "octave": data.ArrayLayout(self.octave_shape, lanes),
                "keep": lanes, "top": self.octave_shape, "last": 1,
            },
            latency=front_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        sign = 1 if self.octave == "below" else -1
        lanes = []
        for k in range(self.lanes):
            mantissa, whole = exponential(stages, i.score[k], sign=sign, fraction=self.fraction, table=self.table,
                                          name=f"_{k}", target=self.target)
            octave = stages.stage(whole if sign > 0 else -whole, f"octave_{k}", shape=self.octave_shape)
            lanes.append((stages.stage(mantissa, f"late_{k}"), octave))
        keep = stages.stage(i.keep, "keep", cycles=EXPONENTIAL_LATENCY + 1)
        lowest = Const(-(1 << self.octave_shape.width - 1), self.octave_shape)
        candidates = [stages.stage(Mux(keep[k], octave, lowest), f"candidate_{k}", shape=self.octave_shape)
                      for k, (_, octave) in enumerate(lanes)]
        levels = ceil_log2(self.lanes)
        return {
            "mantissa": Cat(*(stages.stage(mantissa, f"mantissa_{k}_out", cycles=1 + levels)
                              for k, (mantissa, _) in enumerate(lanes))),
            "octave": Cat(*(stages.stage(octave, f"octave_{k}_out", cycles=1 + levels)
                            for k, (_, octave) in enumerate(lanes))),
            "top": tree(stages, candidates, larger, "top"),
            "keep": stages.stage(keep, "keep_out", cycles=1 + levels),
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }


def exponential(
    stages: Stages, score: Value, *, sign: int, fraction: int, table: Sequence[int], name: str, target: str
) -> tuple[Value, Value]:
    """Mantissa from ``table`` and octave ``y >> fraction`` of ``y`` = ``sign * score * log2(e)`` rounded, 10 stages later.

    The table rises or falls by at most half; ``table_bits`` of the fraction address it, the others interpolate.
    """
    factor = Const(sign * LOG2E, signed(LOG2E.bit_length() + 1))
    product = staged_product(stages, score, factor, f"product{name}", target=target)
    # -floor(v + 1/2) is floor(1/2 - v) but for the ties, which round down instead of up.
    y = stages.stage((product + (1 << 15) - (sign < 0)) >> 16, f"log2{name}", shape=signed(len(score) + 2))
    lower_bits = fraction - ceil_log2(len(table) - 1)
    low, index = y[:lower_bits], y[lower_bits:fraction]
    whole = y[fraction:].as_signed()
    rising = table[0] < table[-1]
    steps = [abs(after - entry) for entry, after in pairwise(table)]
    step_width = max(steps).bit_length()
    entry_width = max(table[:-1]).bit_length()
    words = [entry | step << entry_width for entry, step in zip(table, steps, strict=False)]
    word = stages.table(words, index, f"table{name}", shape=unsigned(entry_width + step_width))
    word = stages.stage(word, f"word{name}")
    low = stages.stage(low, f"low{name}", cycles=2)
    entry = stages.stage(word[:entry_width], f"entry{name}", cycles=3)
    change = staged_product(stages, word[entry_width:], low, f"change{name}", target=target) >> lower_bits
    mantissa = stages.stage(entry + change if rising else entry - change, f"mantissa{name}", shape=unsigned(entry_width))
    return mantissa, stages.stage(whole, f"whole{name}", cycles=6)


class ExponentSum(FrameFold):
    """Sum of a frame's exponentials relative to the greatest octave so far; the beats pass on in the same cycle.

    ``top`` is the greatest octave so far, ``level`` the next multiple of ``octave_step`` s, and
    ``total = (total >> (level' - level)) + sum((mantissa << (guard_bits + s - 1)) >> (level' - octave))`` over the kept lanes;
    at the end ``divisor = (total << (level - top)) >> (s - 1)``. Shifts and additions alone, no multiplier; the loop
    is one shift by a multiple of s and one addition. 1 beat per cycle; the divisor is offered ``latency`` cycles after
    the last beat was taken.

    i : mantissa, octave, top, keep, last    o : mantissa, octave, keep, last    token : divisor, top
    """

    def __init__(
        self, *, lanes: int, mantissa_bits: int, guard_bits: int, octave: Shape, octave_step: int, divisor_width: int
    ) -> None:
        self.lanes = lanes
        self.mantissa_bits = mantissa_bits
        self.guard_bits = guard_bits
        self.octave = Shape.cast(octave)
        self.octave_step = octave_step
        self.divisor_width = divisor_width
        super().__init__(
            item={"mantissa": data.ArrayLayout(mantissa_bits + 1, lanes), "octave": data.ArrayLayout(octave, lanes),
                  "keep": lanes},
            folded={"top": octave}, token={"divisor": divisor_width, "top": octave}, latency=sum_latency(lanes))

    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> dict[str, Value]:
        i = self.i.payload
        top, before = Signal(self.octave, reset_less=True), Signal(self.octave, reset_less=True)
        with m.If(go):
            m.d.sync += [top.eq(Mux(fresh | (top < i.top), i.top, top)), before.eq(Mux(fresh, i.top, top))]
        fine_bits = ceil_log2(self.octave_step)
        guard_bits = self.guard_bits + self.octave_step - 1
        level, level_before = (
            stages.stage(((value + self.octave_step - 1) >> fine_bits) << fine_bits, name)
            for value, name in ((top, "level"), (before, "level_before")))
        first = stages.stage(fresh, "first", cycles=2)
        octaves = [stages.stage(i.octave[k], f"octave_{k}", cycles=2) for k in range(self.lanes)]
        kept = [stages.stage(Mux(i.keep[k], i.mantissa[k], 0), f"kept_{k}", cycles=3) for k in range(self.lanes)]

        # Nothing of the frame before stays: all ones shift everything out, shorter than a gate behind the shift.
        step = clipped((level - level_before) >> fine_bits, (self.divisor_width + self.octave_step - 1 >> fine_bits) + 1)
        step = stages.stage(step | first.replicate(len(step)), "step")
        distances = [stages.stage(clipped(level - octave, self.mantissa_bits + 1 + guard_bits), f"distance_{k}")
                     for k, octave in enumerate(octaves)]
        coarse = [stages.stage((mantissa << guard_bits) >> whole_eights(distance), f"coarse_{k}")
                  for k, (mantissa, distance) in enumerate(zip(kept, distances, strict=True))]
        aligned = [stages.stage(value >> stages.stage(distance[:3], f"fine_{k}"), f"aligned_{k}")
                   for k, (value, distance) in enumerate(zip(coarse, distances, strict=True))]
        added = tree(stages, aligned, lambda a, b: a + b, "added")

        later = self.latency - 2  # stages from the beat to what is added
        valid = go
        for stage in range(later):
            valid = registered_flag(m, valid, f"valid_{stage + 1}")
        step = stages.stage(step, "step_late", cycles=later - 3)
        total = Signal(self.divisor_width + self.octave_step - 1, reset_less=True)
        with m.If(valid):
            m.d.sync += total.eq((total >> Cat(Const(0, fine_bits), step)) + added)
        highest = stages.stage(top, "highest", cycles=later)
        above = stages.stage((level - stages.stage(top, "top_late"))[:fine_bits], "above", cycles=later - 1)
        return {"divisor": (total << above) >> (self.octave_step - 1), "top": highest}


def clipped(distance: Value, limit: int) -> Value:
    """A distance, not negative, at most the all-ones code that shifts ``limit`` bits out; for shift amounts."""
    width = ceil_log2(limit + 1)
    bits = distance.as_unsigned()
    if len(bits) <= width:
        return Cat(bits, Const(0, width - len(bits)))
    return bits[:width] | bits[width:].any().replicate(width)


def whole_eights(distance: Value) -> Value:
    """A shift amount without its lowest three bits."""
    return Cat(Const(0, 3), distance[3:])


class ExponentScale(Pipelined):
    """``p = min((mantissa * reciprocal) >> (top - octave + drop), 2**out_bits - 1)``; latency 6 cycles, 1 beat per cycle.

    Without a shape for ``top`` that field is missing and counts as 0. ``top`` is no less than the octave of a kept lane, and
    p is below ``2**(out_bits + 1)`` before the minimum. Fields in ``side`` go along.
    """

    def __init__(
        self, *, lanes: int, mantissa_bits: int, octave: Shape, drop: int, out_bits: int, top: Shape | None = None,
        side: Mapping[str, ShapeLike] | None = None, target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.mantissa_bits = mantissa_bits
        self.octave = Shape.cast(octave)
        self.has_top = top is not None
        self.drop = drop
        self.out_bits = out_bits
        self.side = dict(side or {})
        self.target = target
        super().__init__(
            inputs={
                "mantissa": data.ArrayLayout(mantissa_bits + 1, lanes), "octave": data.ArrayLayout(octave, lanes),
                "keep": lanes, "reciprocal": RECIPROCAL_BITS, **({} if top is None else {"top": top}), **self.side, "last": 1,
            },
            outputs={"probability": data.ArrayLayout(out_bits, lanes), **self.side, "last": 1},
            latency=SCALE_LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        return {
            "probability": Cat(*(self._lane(stages, i, k) for k in range(self.lanes))),
            **{name: stages.stage(i[name], name, cycles=self.latency) for name in (*self.side, "last")},
        }

    def _lane(self, stages: Stages, i: data.View, k: int) -> Value:
        mantissa = stages.stage(Mux(i.keep[k], i.mantissa[k], 0), f"mantissa_{k}")
        reciprocal = stages.stage(i.reciprocal, f"reciprocal_{k}")
        product = staged_product(stages, mantissa, reciprocal, f"product_{k}", target=self.target) >> self.drop
        below = (i.top if self.has_top else 0) - i.octave[k]
        distance = stages.stage(clipped(below, len(product)), f"distance_{k}", cycles=4)
        coarse = stages.stage(product >> whole_eights(distance), f"coarse_{k}")
        fine = stages.stage(distance[:3], f"fine_{k}")
        exact = coarse >> fine
        return stages.stage(exact[:self.out_bits] | exact[self.out_bits].replicate(self.out_bits), f"probability_{k}")


class SoftmaxExponent(wiring.Component):
    """Softmax of frames of scores; each exponential is a mantissa and a whole power of two.

    ``octave`` "below": Dukhan and Ablavatski, "Two-Pass Softmax Algorithm", 2020, as integers: mantissas in [1, 2).
    "above": Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, with the running maximum
    rounded up to whole octaves: mantissas in (1/2, 1]. The first pass makes mantissas and octaves and their sum, in
    which a greater octave shifts the sum so far right; the frame waits in a buffer for one reciprocal; the second
    pass is one multiplication and a shift per score. The arithmetic to the bit is in
    :mod:`tilewright.sim.golden.units.softmax_exponent`.

    One score per lane per cycle; latency 45 cycles from a frame's last beat to its first result, 2 more for each
    doubling of the lanes. Frames stream back to back where they have at least 19 beats; shorter frames wait for the
    division. A frame without ``last`` ends at its ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not count
    and get probability 0. A reset drops everything.

    Parameters
    ----------
    lanes : int
        Scores per beat.
    score_width, fraction : int
        Scores are signed with ``fraction`` bits behind the point, more than the table has index bits.
    mantissa_bits, guard_bits : int
        Fraction bits of a mantissa, and further ones of the sum; mantissa_bits at most 16.
    table : Sequence[int]
        ``2**k + 1`` entries: ``2**(mantissa_bits + i / 2**k)`` or, above, ``2**(mantissa_bits - i / 2**k)``, rounded.
    octave : str
        "below" or "above".
    out_bits : int
        Probabilities are in units of ``2**-out_bits``; 1 becomes the highest code.
    max_beats : int
        A power of two.
    octave_step : int
        1, 2, 4 or 8: octaves by which the sum's reference moves. 8 makes the shortest loop.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int,
        table: Sequence[int], octave: str, out_bits: int, max_beats: int,
        octave_step: int = 8, target: str = "generic",
    ) -> None:
        if octave not in OCTAVES:
            raise ValueError(f"octave must be one of {', '.join(OCTAVES)}, not {octave!r}")
        self.lanes = lanes
        self.max_beats = max_beats
        scale_bits = RECIPROCAL_BITS - 1 - (octave == "above")
        self.front = ExponentFront(lanes=lanes, score_width=score_width, fraction=fraction, mantissa_bits=mantissa_bits,
                                   table=table, octave=octave, target=target)
        shape = self.front.octave_shape
        divisor_width = mantissa_bits + 1 + guard_bits + ceil_log2(lanes * max_beats)
        self.rescale = ExponentSum(lanes=lanes, mantissa_bits=mantissa_bits, guard_bits=guard_bits, octave=shape,
                                   octave_step=octave_step, divisor_width=divisor_width)
        self.divide = FrameReciprocal(
            divisor_width=divisor_width, start_bits=mantissa_bits + guard_bits + scale_bits - RECIPROCAL_BITS + 1,
            quotient_bits=RECIPROCAL_BITS, side={"top": shape})
        self.scale = ExponentScale(lanes=lanes, mantissa_bits=mantissa_bits, octave=shape,
                                   drop=mantissa_bits + scale_bits - out_bits, out_bits=out_bits, top=shape, target=target)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = self.front
        m.submodules.rescale = self.rescale
        m.submodules.divide = self.divide
        m.submodules.scale = self.scale
        m.submodules.buffer = buffer = FrameBuffer(
            item=self.rescale.item, token=self.divide.o.payload.shape().members, depth=2 * self.max_beats)
        link(m, wiring.flipped(self.i), limit.i)
        for source, sink in (
            (limit, self.front), (self.front, self.rescale), (self.rescale, buffer), (buffer, self.scale),
        ):
            link(m, source.o, sink.i)
        link(m, self.rescale.token, self.divide.i)
        link(m, self.divide.o, buffer.token)
        link(m, self.scale.o, wiring.flipped(self.o))
        return m
