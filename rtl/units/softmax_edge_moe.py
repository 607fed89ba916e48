"""Softmax as Edge-MoE accumulates it in one pass: rows in turn, each with its sum and its running maximum."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.exp import EXP_LATENCY, falling_exponential
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameFold, registered_flag
from tilewright.rtl.units.frame_reciprocal import reciprocal_digits
from tilewright.rtl.units.frame_serial import FrameSerial
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.split_product import split_product, split_product_latency

WHOLE_BITS = 4  # of a distance: the exponential of 16 is below 2**-22
DISTANCE_LATENCY = 4  # stages from a score to its distance, clipped
FRONT_LATENCY = 1


def sum_width(*, fraction: int, rows: int, max_beats: int) -> int:
    """Bits of a row's sum: as many exponentials of 1 as a row has scores."""
    return fraction + 1 + ceil_log2(max_beats // rows)


def sums_latency(*, fraction: int, total_width: int) -> int:
    """Of :class:`RowSums`."""
    return DISTANCE_LATENCY + EXP_LATENCY + split_product_latency(total_width + 1, fraction + 1) + 3


def scale_latency(fraction: int) -> int:
    """Of :class:`RowScale`."""
    return 3 + EXP_LATENCY + split_product_latency(fraction + 2, fraction + 1)


class Exponential:
    """``exp(-t)``: the arithmetic that both passes share, with ``fraction`` bits everywhere."""

    def __init__(self, *, fraction: int, table: Sequence[int], target: str) -> None:
        self.fraction = fraction
        self.table = tuple(table)
        self.target = target

    def of(self, stages: Stages, t: Value, name: str) -> Value:
        """11 stages after ``t``."""
        return falling_exponential(
            stages, t, table=self.table, fraction_bits=self.fraction, octave_bits=self.fraction,
            table_bits=ceil_log2(len(self.table) - 1), value_bits=self.fraction, guard_bits=0, name=name, target=self.target)

    def clipped(self, distance: Value, counts: Value) -> Value:
        """A distance, not negative; from 16 on, and of what does not count, one whose exponential is 0."""
        width = self.fraction + WHOLE_BITS
        return distance[:width] | (distance[width:].any() | ~counts).replicate(width)


class RowFront(Pipelined):
    """A register between the unit's input and the multiplexers of the rows."""

    def __init__(self, *, lanes: int, score_width: int) -> None:
        fields = {"score": data.ArrayLayout(signed(score_width), lanes), "keep": lanes, "last": 1}
        super().__init__(inputs=fields, outputs=fields, latency=FRONT_LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        return {name: stages.stage(i[name], name) for name in i.shape().members}


class RowSums(FrameFold):
    """Sum and greatest score of every row and lane of a frame; ``row`` of a beat says which it belongs to.

    The loop, from a row's sum to its next one, has as many stages as there are rows at least: 8.
    """

    def __init__(self, *, lanes: int, score_width: int, rows: int, total_width: int, exponential: Exponential) -> None:
        self.lanes = lanes
        self.score_width = score_width
        self.rows = rows
        self.total_width = total_width
        self.exponential = exponential
        self.product_latency = split_product_latency(total_width + 1, exponential.fraction + 1)
        if rows < self.product_latency + 3:
            raise ValueError(f"rows must be at least {self.product_latency + 3}, the stages of the loop, not {rows!r}")
        super().__init__(
            item={"score": data.ArrayLayout(signed(score_width), lanes), "keep": lanes, "row": ceil_log2(rows)}, folded={},
            token={"total": data.ArrayLayout(total_width, rows * lanes),
                   "bias": data.ArrayLayout(signed(score_width), rows * lanes)},
            latency=sums_latency(fraction=exponential.fraction, total_width=total_width))

    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> dict[str, Value]:
        i = self.i.payload
        first_round = Signal(init=1)
        with m.If(go):
            m.d.sync += first_round.eq(i.last | (first_round & (i.row != self.rows - 1)))
        valid, row, last = [go], [i.row], [i.last]
        for stage in range(1, self.latency - 1):
            valid.append(registered_flag(m, valid[-1], f"valid_{stage}"))
            row.append(stages.stage(row[-1], f"row_{stage}"))
            last.append(stages.stage(last[-1], f"last_{stage}"))
        lanes = [self._lane(m, stages, k, valid, row, valid[3] & last[3], first_round) for k in range(self.lanes)]
        return {"total": Cat(*(totals[row] for row in range(self.rows) for totals, _ in lanes)),
                "bias": Cat(*(biases[row] for row in range(self.rows) for _, biases in lanes))}

    def _lane(
        self, m: Module, stages: Stages, k: int, valid: list[Value], row: list[Value], done: Value, first_round: Value
    ) -> tuple[list[Signal], list[Signal]]:
        """Sums and greatest scores of the rows of lane ``k``."""
        i, fraction = self.i.payload, self.exponential.fraction

        def file(name: str, width: int, is_signed: bool = False) -> list[Signal]:
            shape = signed(width) if is_signed else width
            return [Signal(shape, name=f"{name}_{k}_{index}", reset_less=True) for index in range(self.rows)]

        biases, known, totals = file("bias", self.score_width, True), file("known", 1), file("total", self.total_width)
        kept_biases = file("kept_bias", self.score_width, True)

        score = stages.stage(i.score[k], f"score_{k}")
        keep = stages.stage(i.keep[k], f"keep_{k}")
        bias = stages.stage(Array(biases)[row[0]], f"bias_before_{k}")
        had = stages.stage(Array(known)[row[0]] & ~first_round, f"had_{k}")

        below = stages.stage(bias - score, f"below_{k}")
        first = stages.stage(keep & ~had, f"first_{k}")
        score, keep, had = (stages.stage(value, f"{name}_{k}_late")
                            for name, value in (("score", score), ("keep", keep), ("had", had)))
        raises = stages.named(first | (keep & (below < 0)), f"raises_{k}")
        with m.If(valid[2]):
            m.d.sync += Array(known)[row[2]].eq(had | keep)
            with m.If(raises):
                m.d.sync += Array(biases)[row[2]].eq(score)
        with m.If(done):
            m.d.sync += [kept.eq(after) for kept, after in zip(kept_biases, biases, strict=True)]

        distance = stages.stage(Mux(below < 0, -below, below)[:self.score_width], f"distance_{k}")
        t = stages.stage(self.exponential.clipped(distance, stages.stage(keep, f"counts_{k}")), f"t_{k}")
        e = self.exponential.of(stages, t, f"_{k}")
        at = DISTANCE_LATENCY + EXP_LATENCY
        total = stages.stage(Array(totals)[row[at - 1]], f"total_before_{k}")
        product = split_product(stages, Cat(total, 0).as_signed(), e, f"rescaled_{k}", target=self.exponential.target)
        later = self.product_latency
        total, e = stages.stage(total, f"total_late_{k}", cycles=later), stages.stage(e, f"e_late_{k}", cycles=later)
        raises = stages.stage(raises, f"raises_late_{k}", cycles=at + later - 2)
        first = stages.stage(first, f"first_late_{k}", cycles=at + later - 2)
        base = stages.stage(Mux(first, 0, Mux(raises, product[fraction:][:self.total_width], total)), f"base_{k}")
        added = stages.stage(Mux(raises, 1 << fraction, e), f"added_{k}")
        with m.If(valid[at + later + 1]):
            m.d.sync += Array(totals)[row[at + later + 1]].eq(base + added)
        return totals, kept_biases


class RowReciprocals(FrameSerial):
    """``reciprocal = floor(2**(2 * fraction) / total)`` of every row and lane at once; all ones for a row without scores."""

    def __init__(self, *, count: int, total_width: int, fraction: int, side: data.StructLayout) -> None:
        self.count = count
        self.fraction = fraction
        super().__init__(
            inputs={"total": data.ArrayLayout(total_width, count)},
            outputs={"reciprocal": data.ArrayLayout(fraction + 1, count)}, side=side.members, steps=fraction + 1)

    def digits(self, m: Module, i: data.View, start: Value, step: Value, left: Value) -> dict[str, Value]:
        return {"reciprocal": Cat(*(reciprocal_digits(
            m, i.total[index], start, step, start_bits=self.fraction, quotient_bits=self.fraction + 1)
            for index in range(self.count)))}


class RowScale(Pipelined):
    """``probability = (exp(score - bias) * reciprocal) >> fraction``, bias and reciprocal of the beat's row; 0 if not kept."""

    def __init__(self, *, lanes: int, score_width: int, rows: int, exponential: Exponential) -> None:
        self.lanes = lanes
        self.score_width = score_width
        self.rows = rows
        self.exponential = exponential
        probability = exponential.fraction + 1
        super().__init__(
            inputs={"score": data.ArrayLayout(signed(score_width), lanes), "keep": lanes, "row": ceil_log2(rows),
                    "reciprocal": data.ArrayLayout(probability, rows * lanes),
                    "bias": data.ArrayLayout(signed(score_width), rows * lanes), "last": 1},
            outputs={"probability": data.ArrayLayout(probability, lanes), "last": 1},
            latency=scale_latency(exponential.fraction))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        probabilities = []
        for k in range(self.lanes):
            reciprocals, biases = ([field[row * self.lanes + k] for row in range(self.rows)]
                                   for field in (i.reciprocal, i.bias))
            reciprocal = stages.stage(Array(reciprocals)[i.row], f"reciprocal_{k}", cycles=3 + EXP_LATENCY)
            bias = stages.stage(Array(biases)[i.row], f"bias_{k}")
            distance = stages.stage((bias - stages.stage(i.score[k], f"score_{k}"))[:self.score_width], f"distance_{k}")
            keep = stages.stage(i.keep[k], f"keep_{k}", cycles=2)
            t = stages.stage(self.exponential.clipped(distance, keep), f"t_{k}")
            e = Cat(self.exponential.of(stages, t, f"_{k}"), 0).as_signed()
            product = split_product(stages, e, reciprocal, f"product_{k}", target=self.exponential.target)
            probabilities.append(product[self.exponential.fraction:][:self.exponential.fraction + 1])
        return {"probability": Cat(*probabilities), "last": stages.stage(i.last, "last", cycles=self.latency)}


class SoftmaxEdgeMoe(wiring.Component):
    """Softmax of the rows of a frame in Edge-MoE's order and arithmetic: one pass for sum and maximum, one for the division.

    Beat b of a frame belongs to row ``b mod rows``, each lane to a row of its own: as Edge-MoE, which holds a block of rows
    while the keys stream by, a row comes again only when its sum is ready. All numbers have ``fraction`` bits behind
    the point, every product is truncated there, and every row goes through its scores in order::

        d = bias - score
        if d < 0 or the row's first:  total = floor(total * exp(d)) + 1;    bias = score
        else:                         total = total + exp(-d)
        probability = floor(exp(score - bias) * floor(1 / total))

    ``exp`` is that of :class:`tilewright.rtl.units.exp.Exp` with ``fraction`` bits of octaves and value, no guard bits,
    and 0 for distances from 16 on. A total has the bits that ``max_beats // rows`` scores need: it never wraps. Error 4e-6 of
    a probability, most of it from log2(e) with 16 fraction bits.

    One score per lane per cycle; one buffer of frames; ten multipliers per lane. Latency 69 cycles from a
    frame's last beat to its first result. Frames of at least 25 beats stream back to back. A frame without ``last``
    ends at its ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not count and get probability 0. A reset
    drops everything.

    Reference: Sarkar et al., "Edge-MoE: Memory-Efficient Multi-Task Vision Transformer Architecture with Task-Level
    Sparsity via Mixture-of-Experts", ICCAD 2023, section on the single-pass softmax; formats of its published program.

    Parameters
    ----------
    lanes, score_width, fraction : int
        Scores per beat, signed; bits behind the point of scores, exponentials, sums and probabilities, at most 22.
    table : Sequence[int]
        ``round(2**(fraction - i / 2**k))`` for i = 0 .. ``2**k``.
    rows : int
        A power of two, at least the 8 stages of the loop.
    max_beats : int
        A power of two, at least ``rows``.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, table: Sequence[int], rows: int, max_beats: int,
        target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.score_width = score_width
        self.fraction = fraction
        self.rows = rows
        self.max_beats = max_beats
        self.front = RowFront(lanes=lanes, score_width=score_width)
        self.exponential = Exponential(fraction=fraction, table=table, target=target)
        self.scale = RowScale(lanes=lanes, score_width=score_width, rows=rows, exponential=self.exponential)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total_width = sum_width(fraction=self.fraction, rows=self.rows, max_beats=self.max_beats)
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = front = self.front
        m.submodules.sums = sums = RowSums(lanes=self.lanes, score_width=self.score_width, rows=self.rows,
                                           total_width=total_width, exponential=self.exponential)
        bias = {"bias": sums.token.payload.shape().members["bias"]}
        m.submodules.divide = divide = RowReciprocals(
            count=self.rows * self.lanes, total_width=total_width, fraction=self.fraction, side=data.StructLayout(bias))
        m.submodules.buffer = buffer = FrameBuffer(
            item=sums.item, token=divide.o.payload.shape().members, depth=2 * self.max_beats)
        m.submodules.scale = scale = self.scale
        row = Signal(range(self.rows))
        m.d.comb += [sums.i.valid.eq(front.o.valid), front.o.ready.eq(sums.i.ready), sums.i.payload.row.eq(row)]
        m.d.comb += [sums.i.payload[name].eq(front.o.payload[name]) for name in front.o.payload.shape().members]
        with m.If(sums.i.valid & sums.i.ready):
            m.d.sync += row.eq(Mux(sums.i.payload.last, 0, row + 1))
        link(m, wiring.flipped(self.i), limit.i)
        for source, sink in ((limit.o, front.i), (sums.o, buffer.i), (sums.token, divide.i), (divide.o, buffer.token),
                             (buffer.o, scale.i), (scale.o, wiring.flipped(self.o))):
            link(m, source, sink)
        return m
