"""LayerNorm of I-BERT: the mean in a first pass, the squares of what is left in a second, one product per value in a third."""

from amaranth.hdl import Cat, Module, Mux, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameSum
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.lane_tree import tree
from tilewright.rtl.units.normalization import FrameMean, FrameRoot, Widths, rearranged
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product
from tilewright.rtl.units.split_product import split_product, split_product_latency

FACTOR_BITS = 32  # of 2**31 / 1
OUT_BITS = 32


def totals_latency(lanes: int) -> int:
    """Of :class:`LaneTotals`."""
    return 1 + ceil_log2(lanes)


def spread_latency(lanes: int) -> int:
    """Of :class:`LaneSpread`."""
    return 2 + PRODUCT_LATENCY + ceil_log2(lanes)


def scale_latency(width: int, shift: int) -> int:
    """Of :class:`LaneFactor`."""
    return split_product_latency(width + 1, FACTOR_BITS - shift)


def square_width(width: int, shift: int) -> int:
    """Bits of ``(y >> shift)**2``."""
    return 2 * (width - shift) + 1


def root_width(*, width: int, shift: int, lanes: int, max_beats: int) -> int:
    """Bits of the root of a frame's squares."""
    return (square_width(width, shift) + ceil_log2(lanes * max_beats) + 1) // 2


class LaneTotals(Pipelined):
    """The sum of a beat's kept values and their count beside the beat; latency 1 cycle and one per level of the tree."""

    def __init__(self, *, lanes: int, width: int) -> None:
        self.lanes = lanes
        self.width = width
        levels = ceil_log2(lanes)
        fields = {"x": data.ArrayLayout(signed(width), lanes), "keep": lanes}
        super().__init__(inputs={**fields, "last": 1},
                         outputs={**fields, "total": signed(width + levels), "count": levels + 1, "last": 1},
                         latency=totals_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        kept = [stages.stage(Mux(i.keep[k], i.x[k], 0), f"kept_{k}", shape=signed(self.width)) for k in range(self.lanes)]
        keep = stages.stage(i.keep, "keep")
        return {
            "x": Cat(*(stages.stage(i.x[k], f"x_{k}", cycles=self.latency) for k in range(self.lanes))),
            "keep": stages.stage(keep, "keep_out", cycles=self.latency - 1),
            "total": tree(stages, kept, lambda a, b: a + b, "total"),
            "count": tree(stages, [keep[k] for k in range(self.lanes)], lambda a, b: a + b, "count"),
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }


class LaneSpread(Pipelined):
    """``y = x - mean`` of each lane, 0 where not kept, and the sum of a beat's ``(y >> shift)**2``; one multiplier per lane."""

    def __init__(self, *, lanes: int, width: int, shift: int, target: str = "generic") -> None:
        self.lanes = lanes
        self.width = width
        self.shift = shift
        self.target = target
        super().__init__(
            inputs={"x": data.ArrayLayout(signed(width), lanes), "keep": lanes, "mean": signed(width), "last": 1},
            outputs={"y": data.ArrayLayout(signed(width + 1), lanes),
                     "squares": square_width(width, shift) + ceil_log2(lanes), "last": 1},
            latency=spread_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        keep = stages.stage(i.keep, "keep")
        later = self.latency - 2
        values, squares = [], []
        for k in range(self.lanes):
            offset = stages.stage(i.x[k] - i.mean, f"offset_{k}")
            y = stages.stage(Mux(keep[k], offset, 0), f"y_{k}", shape=signed(self.width + 1))
            part = y[self.shift:].as_signed()
            square = staged_product(stages, part, part, f"square_{k}", target=self.target)
            squares.append(square[:square_width(self.width, self.shift)])
            values.append(stages.stage(y, f"y_{k}_out", cycles=later))
        return {
            "y": Cat(*values), "squares": tree(stages, squares, lambda a, b: a + b, "squares"),
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }


class LaneFactor(Pipelined):
    """``o = (y * reciprocal) >> 1``; as many multipliers per lane as both operands have pieces of 17 bits."""

    def __init__(self, *, lanes: int, width: int, shift: int, target: str = "generic") -> None:
        self.lanes = lanes
        self.target = target
        super().__init__(
            inputs={"y": data.ArrayLayout(signed(width + 1), lanes), "reciprocal": FACTOR_BITS - shift, "last": 1},
            outputs={"o": data.ArrayLayout(signed(OUT_BITS), lanes), "last": 1}, latency=scale_latency(width, shift))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        products = [split_product(stages, i.y[k], i.reciprocal, f"product_{k}", target=self.target)
                    for k in range(self.lanes)]
        return {"o": Cat(*(product[1:OUT_BITS + 1] for product in products)),
                "last": stages.stage(i.last, "last", cycles=self.latency)}


class LayerNormIBert(wiring.Component):
    """Frames of values, their mean taken off, divided by the root of the sum of their squares, in I-BERT's integers.

    Per frame of n kept values x::

        mean = sum(x) / n to nearest, ties to even;    y = x - mean
        std = isqrt(sum(floor(y / 2**shift)**2)) << shift
        F = floor(2**31 / std)                         2**(32 - shift) - 1 where std is 0
        o = floor(y * F / 2)                           in units of sqrt(n) / 2**30

    The sum of squares is exact, so no frame overflows; F keeps its bits where ``shift`` is the smallest that leaves the sum
    32 bits on calibrated data. A std of 0, of equal values or ones that differ by less than ``2**shift``, counts
    as half a step, ``2**shift / 2``, less one unit of F: equal values give 0, and o stays within 32 bits. Gains
    belong into the scale of what follows, and so does their addend ``floor((beta / gamma) * 2**30 / sqrt(n))``.

    One value per lane per cycle; two buffers of frames. Per lane one multiplier for the square and two for the product, four
    where a value has more than 17 bits. Latency ``n + 96`` cycles from the last beat of a frame of ``n`` to its first
    result with one lane of 16 bits, ``shift`` 3 and 1024 beats. The serial units between the passes work on frames one
    behind the other: frames of at least about 35 beats stream back to back. A frame without ``last`` ends at its
    ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not count and give 0. A reset drops everything.

    Reference: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, section 3.6.

    Parameters
    ----------
    lanes, width : int
        Values per beat, signed, of 4..22 bits.
    shift : int
        Places by which a value is shorter before it is squared; at least ``width - 17``.
    max_beats : int
        A power of two.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout(x, keep, last)))
    o : Out(stream.Signature(StructLayout(o, last)))
    """

    def __init__(self, *, lanes: int, width: int, shift: int, max_beats: int, target: str = "generic") -> None:
        self.lanes = lanes
        self.width = width
        self.shift = shift
        self.max_beats = max_beats
        self.widths = Widths(width=width, lanes=lanes, max_beats=max_beats, epsilon=0)
        self.front = LaneTotals(lanes=lanes, width=width)
        self.spread = LaneSpread(lanes=lanes, width=width, shift=shift, target=target)
        self.scale = LaneFactor(lanes=lanes, width=width, shift=shift, target=target)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        root_bits = root_width(width=self.width, shift=self.shift, lanes=self.lanes, max_beats=self.max_beats)
        values = {"x": data.ArrayLayout(signed(self.width), self.lanes), "keep": self.lanes}
        spreads = {"y": data.ArrayLayout(signed(self.width + 1), self.lanes)}
        totals = self.front.o.payload.shape().members
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = front = self.front
        m.submodules.totals = total = FrameSum(
            item=values, values={name: totals[name] for name in ("total", "count")},
            sums={"total": self.widths.total, "count": self.widths.count})
        m.submodules.average = average = FrameMean(
            width=self.width, widths=self.widths, side={}, has_weight=False)
        m.submodules.values = waiting_values = FrameBuffer(
            item=values, token={"mean": signed(self.width)}, depth=2 * self.max_beats)
        m.submodules.spread = spread = self.spread
        m.submodules.squares = squares = FrameSum(
            item=spreads, values={"squares": spread.o.payload.shape().members["squares"]}, sums={"squares": 2 * root_bits})
        m.submodules.root = root = FrameRoot(bits=root_bits, side={})
        m.submodules.divide = divide = FrameReciprocal(
            divisor_width=root_bits, start_bits=0, quotient_bits=FACTOR_BITS - self.shift, side={})
        m.submodules.buffer = buffer = FrameBuffer(
            item=spreads, token=divide.o.payload.shape().members, depth=2 * self.max_beats)
        m.submodules.scale = scale = self.scale
        link(m, wiring.flipped(self.i), limit.i)
        for source, sink in ((limit, front), (front, total), (total, waiting_values), (waiting_values, spread),
                             (spread, squares), (squares, buffer), (buffer, scale), (root, divide)):
            link(m, source.o, sink.i)
        rearranged(m, total.token, average.i)
        mean = average.o.payload.mean
        m.d.comb += [
            waiting_values.token.valid.eq(average.o.valid), average.o.ready.eq(waiting_values.token.ready),
            waiting_values.token.payload.mean.eq(Mux(average.o.payload.negative, -mean, mean)),
            root.i.valid.eq(squares.token.valid), squares.token.ready.eq(root.i.ready),
            root.i.payload.radicand.eq(squares.token.payload.squares),
        ]
        link(m, divide.o, buffer.token)
        link(m, scale.o, wiring.flipped(self.o))
        return m
