"""Online softmax: a sum that is multiplied down whenever the maximum of the scores so far rises."""

from collections.abc import Mapping, Sequence
from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Shape, ShapeLike, Signal, Value, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.distance_exponential import DistanceExponential, distance_latency
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameFold, registered_flag
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.units.softmax_exponent import RECIPROCAL_BITS, SCALE_LATENCY, ExponentScale, clipped, whole_eights
from tilewright.rtl.units.softmax_table import LaneMaximum
from tilewright.rtl.units.split_product import split_product, split_product_latency

ROUNDINGS = ("half_up", "truncate")
SHORTEST_TILE = 8  # beats


def tile_latency(lanes: int) -> int:
    """From a tile's buffer to the sum: one exponential more than there are lanes."""
    return distance_latency(lanes + 1)


def sum_latency(total_width: int, mantissa_bits: int) -> int:
    """Of :class:`OnlineSum`, from the last beat to the divisor."""
    return rescale_latency(total_width, mantissa_bits) + 1


def second_latency(lanes: int) -> int:
    """From the frame's buffer to the result."""
    return distance_latency(lanes) + SCALE_LATENCY


def rescale_latency(total_width: int, mantissa_bits: int) -> int:
    """From a tile's first beat to the rescaled sum of the tiles before."""
    return split_product_latency(total_width + 1, mantissa_bits + 1) + 3


class TileMaximum(FrameFold):
    """The greatest ``value`` of a frame up to the end of each tile, and that up to the end of the tile before.

    ``last`` is the tile's, ``end`` the frame's; of a frame's first tile ``before`` means nothing. Latency 2 cycles.

    i : item, end, value, last    o : item, end, last    token : maximum, before
    """

    LATENCY = 2

    def __init__(self, *, item: Mapping[str, ShapeLike], value: ShapeLike) -> None:
        super().__init__(item={**item, "end": 1}, folded={"value": value}, token={"maximum": value, "before": value},
                         latency=self.LATENCY)

    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> Mapping[str, Value]:
        i = self.i.payload
        maximum, before = Signal(i.value.shape(), reset_less=True), Signal(i.value.shape(), reset_less=True)
        frame = Signal(init=1)  # the beat is the first of a frame
        with m.If(go):
            m.d.sync += frame.eq(i.end)
            with m.If(frame | (maximum < i.value)):
                m.d.sync += maximum.eq(i.value)
        with m.If(go & fresh):
            m.d.sync += before.eq(maximum)
        return {"maximum": maximum, "before": before}


class OnlineSum(FrameFold):
    """Sum of a frame's exponentials below the maximum so far, rescaled from tile to tile; the beats pass on in the same cycle.

    At a tile's first beat the sum of all tiles before enters the multiplier: ``carried = round(total * factor /
    2**(places + mantissa_bits))``, rounded half up or truncated; a frame's first tile carries 0. Meanwhile the tile's beats
    add up, and at its end ``total = carried + added``. The product, its shift and its rounding take 7 cycles, 8 for more than
    35 bits, so a tile of 8 beats is long enough for the next one to follow at once; a frame's last tile may be shorter.

    i : item, added, factor, octave, maximum, tile, last    o : item, last    token : divisor, maximum
    """

    def __init__(
        self, *, item: Mapping[str, ShapeLike], added_width: int, total_width: int, mantissa_bits: int, octave: Shape,
        maximum: Shape, rounding: str, target: str = "generic",
    ) -> None:
        if rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")
        self.total_width = total_width
        self.mantissa_bits = mantissa_bits
        self.rounding = rounding
        self.target = target
        super().__init__(
            item=item, token={"divisor": total_width, "maximum": maximum},
            folded={"added": added_width, "factor": mantissa_bits + 1, "octave": octave, "maximum": maximum, "tile": 1},
            latency=sum_latency(total_width, mantissa_bits))

    def fold(self, m: Module, stages: Stages, go: Value, fresh: Value) -> Mapping[str, Value]:
        i = self.i.payload
        first = Signal(init=1)  # the beat is the first of a tile
        added, ended = Signal(self.total_width, reset_less=True), Signal(self.total_width, reset_less=True)
        carried = Signal(self.total_width, reset_less=True)
        maximum = Signal(i.maximum.shape(), reset_less=True)
        with m.If(go):
            m.d.sync += [first.eq(i.tile), added.eq(Mux(first, 0, added) + i.added)]
        with m.If(go & i.last):
            m.d.sync += maximum.eq(i.maximum)
        with m.If(registered_flag(m, go & i.last, "summed")):
            m.d.sync += ended.eq(added)

        total = stages.named((carried + added)[:self.total_width], "total")
        factor = stages.named(Mux(fresh, 0, i.factor), "factor")
        product = split_product(stages, Cat(total, Const(0, 1)).as_signed(), factor, "product", target=self.target)
        halves = product.as_unsigned()[self.mantissa_bits - 1:][:self.total_width + 1]
        product_latency = split_product_latency(self.total_width + 1, self.mantissa_bits + 1)
        places = stages.stage(clipped(-i.octave, len(halves)), "places", cycles=product_latency)
        coarse = stages.stage(halves >> whole_eights(places), "coarse")
        shifted = stages.stage(coarse >> stages.stage(places[:3], "fine"), "shifted")
        begins = go & first
        for cycle in range(product_latency + 2):
            begins = registered_flag(m, begins, f"begins_{cycle + 1}")
        with m.If(begins):
            m.d.sync += carried.eq((shifted + (self.rounding == "half_up")) >> 1)
        return {"divisor": (carried + ended)[:self.total_width], "maximum": maximum}


class SoftmaxOnline(wiring.Component):
    """Softmax of frames of scores below the maximum so far, which rises from tile to tile of ``tile_beats`` beats.

    The arithmetic to the bit is ``softmax_online`` of :mod:`tilewright.sim.golden.units.softmax_maximum`. A tile waits for
    its maximum in a ring of two tiles; its exponentials are summed while the sum of the tiles before is multiplied down. The
    frame waits for one reciprocal; the second pass takes the exponentials again, below the greatest score. One score per lane
    per cycle; latency from a frame's last beat to its first result 68 cycles for a frame of one beat, up to ``tile_beats - 2``
    more for a longer one, at one lane. Frames of at least 19 beats stream back to back. A frame without ``last`` ends at its
    ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not count and get probability 0. Five multipliers per lane and four
    or five for the rescaling. A reset drops everything.

    References: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; the tiles are those of Dao et al.,
    "FlashAttention", 2022.

    Parameters
    ----------
    lanes, score_width, fraction, mantissa_bits, guard_bits, table, out_bits, max_beats, target
        As :class:`tilewright.rtl.units.softmax_three_pass.SoftmaxThreePass`.
    tile_beats : int
        Beats of a tile, at least 8: the loop of the rescaled sum takes as long.
    rounding : str
        Of a rescaled sum: "half_up" or "truncate".

    Members
    -------
    i : In(stream.Signature(StructLayout(score, keep, last)))
    o : Out(stream.Signature(StructLayout(probability, last)))
    """

    def __init__(
        self, *, lanes: int, score_width: int, fraction: int, mantissa_bits: int, guard_bits: int, table: Sequence[int],
        out_bits: int, max_beats: int, tile_beats: int = SHORTEST_TILE, rounding: str = "half_up", target: str = "generic",
    ) -> None:
        if tile_beats < SHORTEST_TILE:
            raise ValueError(f"tile_beats must be at least {SHORTEST_TILE}, not {tile_beats!r}")
        self.lanes = lanes
        self.score = signed(score_width)
        self.max_beats = max_beats
        self.tile_beats = tile_beats
        unit_bits = mantissa_bits + guard_bits
        total_width = unit_bits + 1 + ceil_log2(lanes * max_beats)
        scores = {"score": data.ArrayLayout(self.score, lanes), "keep": lanes}
        exponential = partial(DistanceExponential, score_width=score_width, fraction=fraction, mantissa_bits=mantissa_bits,
                              guard_bits=guard_bits, table=table, target=target)
        self.front = LaneMaximum(lanes=lanes, score=self.score)
        # The lane above the others, never kept, is the maximum before: its exponential is the factor.
        self.distance = exponential(lanes=lanes + 1, side={"scores": scores["score"], "running": self.score, "tile": 1})
        members = self.distance.o.payload.shape().members
        self.rescale = OnlineSum(
            item=scores, added_width=members["total"], total_width=total_width, mantissa_bits=mantissa_bits,
            octave=self.distance.octave, maximum=self.score, rounding=rounding, target=target)
        self.divide = FrameReciprocal(divisor_width=total_width, start_bits=unit_bits, quotient_bits=RECIPROCAL_BITS,
                                      side={"maximum": self.score})
        self.second = exponential(lanes=lanes, side={"reciprocal": RECIPROCAL_BITS})
        self.scale = ExponentScale(lanes=lanes, mantissa_bits=mantissa_bits, octave=self.second.octave,
                                   drop=mantissa_bits + 16 - out_bits, out_bits=out_bits, target=target)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = front = self.front
        scores = {name: shape for name, shape in self.i.payload.shape().members.items() if name != "last"}
        m.submodules.maximum = maximum = TileMaximum(item=scores, value=self.score)
        m.submodules.cut = cut = FrameLimit(fields=maximum.i.payload.shape().members, max_beats=self.tile_beats)
        m.submodules.tiles = tiles = FrameBuffer(
            item=maximum.item, token=maximum.token.payload.shape().members, depth=2 * self.tile_beats)
        m.submodules.distance = distance = self.distance
        m.submodules.rescale = rescale = self.rescale
        m.submodules.divide = divide = self.divide
        m.submodules.buffer = buffer = FrameBuffer(
            item=scores, token=divide.o.payload.shape().members, depth=2 * self.max_beats)
        m.submodules.second = second = self.second
        m.submodules.scale = scale = self.scale
        link(m, wiring.flipped(self.i), limit.i)
        link(m, limit.o, front.i)
        join(m, front.o, cut.i, end=front.o.payload.last)
        link(m, cut.o, maximum.i)
        link(m, maximum.o, tiles.i)
        link(m, maximum.token, tiles.token)
        beat = tiles.o.payload
        join(m, tiles.o, distance.i, score=Cat(beat.score, beat.before), scores=beat.score, running=beat.maximum,
             tile=beat.last, last=beat.end)
        beat = distance.o.payload
        join(m, distance.o, rescale.i, score=beat.scores, added=beat.total, factor=beat.mantissa[self.lanes],
             octave=beat.octave[self.lanes], maximum=beat.running)
        link(m, rescale.o, buffer.i)
        link(m, rescale.token, divide.i)
        link(m, divide.o, buffer.token)
        join(m, buffer.o, second.i)
        join(m, second.o, scale.i)
        link(m, scale.o, wiring.flipped(self.o))
        return m


def join(m: Module, source: wiring.PureInterface, sink: wiring.PureInterface, **fields: ValueLike) -> None:
    """Connect two streams field by field: those given, and those of one name."""
    m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
    for name in sink.payload.shape().members:
        m.d.comb += sink.payload[name].eq(fields[name] if name in fields else source.payload[name])
