"""Softmax with exponentials as mantissa and octave: the sum is rescaled by shifts, no multiplier between the passes."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, ValueLike, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import ceil_log2
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import staged_product

LOG2E = 94548  # round(log2(e) * 2**16)
OCTAVES = ("below", "above")
RECIPROCAL_BITS = 17


def tree(stages: Stages, values: Sequence[Value], combine: object, name: str) -> Value:
    """``values`` combined two by two, a register behind each level; ``ceil(log2(count))`` stages."""
    level = list(values)
    depth = 0
    while len(level) > 1:
        depth += 1
        pairs = [level[k:k + 2] for k in range(0, len(level), 2)]
        level = [stages.stage(combine(*pair) if len(pair) == 2 else pair[0], f"{name}_{depth}_{k}")  # type: ignore[operator]
                 for k, pair in enumerate(pairs)]
    return level[0]


def larger(a: Value, b: Value) -> Value:
    return Mux(a < b, b, a)


def octave_shape(score_width: int, fraction: int) -> Shape:
    """Of ``floor`` and of ``ceil`` of a score's logarithm to base two."""
    return signed(max(score_width + 2 - fraction, 2))


class ExponentFront(Pipelined):
    """``exp`` of each lane's score as ``mantissa * 2**octave``, and the greatest octave among the kept lanes.

    Latency 11 cycles and one per level of the tree over the lanes, 1 beat per cycle. Per lane one multiplier for
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
                "top": self.octave_shape, "keep": lanes, "last": 1,
            },
            latency=11 + ceil_log2(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        lanes = [self._lane(stages, i.score[k], f"_{k}") for k in range(self.lanes)]
        keep = stages.stage(i.keep, "keep", cycles=10)
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

    def _lane(self, stages: Stages, score: Value, suffix: str) -> tuple[Value, Value]:
        """Mantissa and octave, 10 stages later."""
        rising = self.octave == "below"
        factor = Const(LOG2E if rising else -LOG2E, signed(LOG2E.bit_length() + 1))
        product = staged_product(stages, score, factor, f"product{suffix}", target=self.target)
        # -floor(v + 1/2) is floor(1/2 - v) but for the ties, which round down instead of up.
        y = stages.stage((product + (1 << 15) - (not rising)) >> 16, f"log2{suffix}",
                         shape=signed(self.score_width + 2))
        table_bits = ceil_log2(len(self.table) - 1)
        lower_bits = self.fraction - table_bits
        low, index = y[:lower_bits], y[lower_bits:self.fraction]
        whole = y[self.fraction:].as_signed()
        steps = [abs(after - entry) for entry, after in zip(self.table, self.table[1:], strict=False)]
        step_width = max(steps).bit_length()
        entry_width = self.mantissa_bits + 1
        words = [entry | step << entry_width for entry, step in zip(self.table, steps, strict=False)]
        word = stages.table(words, index, f"table{suffix}", shape=unsigned(entry_width + step_width))
        word = stages.stage(word, f"word{suffix}")
        low = stages.stage(low, f"low{suffix}", cycles=2)
        entry = stages.stage(word[:entry_width], f"entry{suffix}", cycles=3)
        change = staged_product(stages, word[entry_width:], low, f"change{suffix}", target=self.target) >> lower_bits
        mantissa = stages.stage(entry + change if rising else entry - change, f"mantissa{suffix}", shape=unsigned(entry_width))
        octave = stages.stage(whole, f"whole{suffix}", cycles=5, shape=self.octave_shape)
        octave = stages.stage(octave if rising else -octave, f"octave{suffix}", shape=self.octave_shape)
        return mantissa, octave


class ExponentSum(wiring.Component):
    """Sum of a frame's exponentials relative to the greatest octave so far; the beats pass on in the same cycle.

    ``top' = max(top, beat's top)``; ``total = (total >> (top' - top)) + sum((mantissa << guard_bits) >> (top' - octave))``
    over the kept lanes. Shifts and additions alone: no multiplier. 1 beat per cycle; the sum is offered
    ``latency`` cycles after the last beat was taken, and the last beat of the next frame waits until it was taken.

    Members
    -------
    i : In(stream of mantissa, octave, top, keep, last)
    o : Out(stream of mantissa, octave, keep, last)
    total : Out(stream of divisor, top)
    """

    def __init__(
        self, *, lanes: int, mantissa_bits: int, guard_bits: int, octave: Shape, total_width: int
    ) -> None:
        self.lanes = lanes
        self.mantissa_bits = mantissa_bits
        self.guard_bits = guard_bits
        self.octave = Shape.cast(octave)
        self.total_width = total_width
        item = {"mantissa": data.ArrayLayout(mantissa_bits + 1, lanes), "octave": data.ArrayLayout(octave, lanes)}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({**item, "top": octave, "keep": lanes, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({**item, "keep": lanes, "last": 1}))),
            "total": Out(stream.Signature(data.StructLayout({"divisor": total_width, "top": octave}))),
        })

    @property
    def latency(self) -> int:
        """Cycles from the last beat to the sum."""
        return 6 + ceil_log2(self.lanes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pending, go, fresh = Signal(), Signal(), Signal(init=1)
        stages = Stages(m, Const(1))
        i = self.i.payload
        passes = Signal()
        m.d.comb += [
            passes.eq(~(i.last & pending)),
            self.o.valid.eq(self.i.valid & passes),
            self.i.ready.eq(self.o.ready & passes),
            go.eq(self.i.valid & self.i.ready),
        ]
        m.d.comb += [self.o.payload[name].eq(i[name]) for name in self.o.payload.shape().members]
        with m.If(self.total.valid & self.total.ready):
            m.d.sync += [pending.eq(0), self.total.valid.eq(0)]
        with m.If(go):
            m.d.sync += fresh.eq(i.last)
        with m.If(go & i.last):
            m.d.sync += pending.eq(1)

        top, before = Signal(self.octave, reset_less=True), Signal(self.octave, reset_less=True)
        with m.If(go):
            m.d.sync += [top.eq(Mux(fresh | (top < i.top), i.top, top)), before.eq(Mux(fresh, i.top, top))]
        valid = [self._flag(m, go, "valid_1")]
        first, last = stages.stage(fresh, "first_1"), stages.stage(i.last, "last_1")
        octaves = [stages.stage(i.octave[k], f"octave_{k}") for k in range(self.lanes)]
        mantissas = [stages.stage(i.mantissa[k], f"mantissa_{k}") for k in range(self.lanes)]
        keep = stages.stage(i.keep, "keep")

        step = stages.stage(_clipped(top - before, self.total_width), "step")
        distances = [stages.stage(_clipped(top - octave, self.mantissa_bits + 1 + self.guard_bits), f"distance_{k}")
                     for k, octave in enumerate(octaves)]
        kept = [stages.stage(Mux(keep[k], mantissa, 0), f"kept_{k}") for k, mantissa in enumerate(mantissas)]
        coarse, fine = [], []
        for k, (mantissa, distance) in enumerate(zip(kept, distances, strict=True)):
            coarse.append(stages.stage((mantissa << self.guard_bits) >> _coarse(distance), f"coarse_{k}"))
            fine.append(stages.stage(distance[:3], f"fine_{k}"))
        aligned = [stages.stage(value >> places, f"aligned_{k}")
                   for k, (value, places) in enumerate(zip(coarse, fine, strict=True))]
        added = tree(stages, aligned, lambda a, b: a + b, "added")

        later = self.latency - 2  # stages from top to the addition
        for stage in range(2, self.latency):
            valid.append(self._flag(m, valid[-1], f"valid_{stage}"))
        first = stages.stage(first, "first", cycles=later - 1)
        last = stages.stage(last, "last", cycles=later - 1)
        highest = stages.stage(top, "highest", cycles=later)
        step = stages.stage(step, "step_late", cycles=later - 2)
        total = Signal(self.total_width, reset_less=True)
        with m.If(valid[later - 1]):
            m.d.sync += total.eq(Mux(first, 0, total >> step) + added)
        finished = self._flag(m, valid[later - 1] & last, "finished")
        with m.If(finished):
            m.d.sync += [
                self.total.valid.eq(1), self.total.payload.divisor.eq(total), self.total.payload.top.eq(highest)]
        return m

    @staticmethod
    def _flag(m: Module, value: Value, name: str) -> Signal:
        flag = Signal(name=name)
        m.d.sync += flag.eq(value)
        return flag


def _clipped(distance: Value, limit: int) -> Value:
    """A distance, not negative, at most the all-ones code that shifts ``limit`` bits out; for shift amounts."""
    width = ceil_log2(limit + 1)
    bits = distance.as_unsigned()
    if len(bits) <= width:
        return bits
    return bits[:width] | bits[width:].any().replicate(width)


def _coarse(distance: Value) -> Value:
    """A shift amount without its lowest three bits."""
    return Cat(Const(0, 3), distance[3:])


class ExponentScale(Pipelined):
    """``p = min((mantissa * reciprocal) >> (top - octave + drop), 2**out_bits - 1)``; latency 6 cycles, 1 beat per cycle."""

    def __init__(
        self, *, lanes: int, mantissa_bits: int, octave: Shape, drop: int, out_bits: int, target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.mantissa_bits = mantissa_bits
        self.octave = Shape.cast(octave)
        self.drop = drop
        self.out_bits = out_bits
        self.target = target
        super().__init__(
            inputs={
                "mantissa": data.ArrayLayout(mantissa_bits + 1, lanes), "octave": data.ArrayLayout(octave, lanes),
                "keep": lanes, "reciprocal": RECIPROCAL_BITS, "top": octave, "last": 1,
            },
            outputs={"probability": data.ArrayLayout(out_bits, lanes), "last": 1},
            latency=6)

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        return {
            "probability": Cat(*(self._lane(stages, i, k) for k in range(self.lanes))),
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }

    def _lane(self, stages: Stages, i: data.View, k: int) -> Value:
        mantissa = stages.stage(Mux(i.keep[k], i.mantissa[k], 0), f"mantissa_{k}")
        reciprocal = stages.stage(i.reciprocal, f"reciprocal_{k}")
        product = staged_product(stages, mantissa, reciprocal, f"product_{k}", target=self.target) >> self.drop
        distance = stages.stage(_clipped(i.top - i.octave[k], self.out_bits + 1), f"distance_{k}", cycles=4)
        coarse = stages.stage(product >> _coarse(distance), f"coarse_{k}")
        fine = stages.stage(distance[:3], f"fine_{k}")
        exact = coarse >> fine
        return stages.stage(exact[:self.out_bits] | exact[self.out_bits].replicate(self.out_bits), f"probability_{k}")


class SoftmaxExponent(wiring.Component):
    """Softmax of frames of scores; each exponential is a mantissa and a whole power of two.

    ``octave`` "below": Dukhan and Ablavatski, "Two-Pass Softmax Algorithm", 2020, as integers: mantissas in [1, 2).
    "above": Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, with the running maximum
    rounded up to whole octaves: mantissas in (1/2, 1]. The first pass makes mantissas and octaves and their sum, in
    which a new greatest octave shifts the sum so far right; the frame waits in a buffer for one reciprocal; the second
    pass is one multiplication and a shift per score. The arithmetic to the bit is in
    :mod:`tilewright.sim.golden.units.softmax_exponent`.

    One score per lane per cycle. Frames stream back to back where they have at least 18 beats and
    ``max_beats`` at least about 40; shorter frames wait for the division. A frame without ``last`` ends at its
    ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not count and get probability 0. A reset drops everything.

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

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int,
        table: Sequence[int], octave: str, out_bits: int, max_beats: int,
        target: str = "generic",
    ) -> None:
        if octave not in OCTAVES:
            raise ValueError(f"octave must be one of {', '.join(OCTAVES)}, not {octave!r}")
        self.lanes = lanes
        self.max_beats = max_beats
        scale_bits = RECIPROCAL_BITS - 1 - (octave == "above")
        self.front = ExponentFront(lanes=lanes, score_width=score_width, fraction=fraction, mantissa_bits=mantissa_bits,
                                   table=table, octave=octave, target=target)
        shape = self.front.octave_shape
        total_width = mantissa_bits + 1 + guard_bits + ceil_log2(lanes * max_beats)
        self.rescale = ExponentSum(lanes=lanes, mantissa_bits=mantissa_bits, guard_bits=guard_bits, octave=shape,
                                   total_width=total_width)
        self.divide = FrameReciprocal(
            divisor_width=total_width, start_bits=mantissa_bits + guard_bits + scale_bits - RECIPROCAL_BITS + 1,
            quotient_bits=RECIPROCAL_BITS, side={"top": shape})
        self.scale = ExponentScale(lanes=lanes, mantissa_bits=mantissa_bits, octave=shape,
                                   drop=mantissa_bits + scale_bits - out_bits, out_bits=out_bits, target=target)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = self.front
        m.submodules.rescale = self.rescale
        m.submodules.divide = self.divide
        m.submodules.scale = self.scale
        item = {name: shape for name, shape in self.rescale.o.payload.shape().members.items() if name != "last"}
        m.submodules.buffer = buffer = FrameBuffer(
            item=item, token=self.divide.o.payload.shape().members, depth=2 * self.max_beats)
        connect(m, wiring.flipped(self.i), limit.i)
        connect(m, limit.o, self.front.i)
        connect(m, self.front.o, self.rescale.i)
        connect(m, self.rescale.o, buffer.i)
        connect(m, self.rescale.total, self.divide.i)
        connect(m, self.divide.o, buffer.token)
        connect(m, buffer.o, self.scale.i)
        connect(m, self.scale.o, wiring.flipped(self.o))
        return m
