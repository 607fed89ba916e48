"""LayerNorm and RMSNorm of frames: sums in one pass, a mean, a root and a reciprocal per frame, one product per value."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, Value, ValueLike, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.units.frame_buffer import FrameBuffer, FrameLimit, link
from tilewright.rtl.units.frame_fold import FrameSum
from tilewright.rtl.units.frame_reciprocal import FrameReciprocal
from tilewright.rtl.units.frame_serial import FrameSerial
from tilewright.rtl.units.lane_tree import tree
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product

FACTOR_BITS = 17
ROOT_BITS = 16
SCALE_LATENCY = 5 + PRODUCT_LATENCY


def front_latency(lanes: int) -> int:
    """Of :class:`LaneSquares`."""
    return 1 + PRODUCT_LATENCY + ceil_log2(lanes)


class Widths:
    """Widths that follow from those of a value and of a frame."""

    def __init__(self, *, width: int, lanes: int, max_beats: int, epsilon: int) -> None:
        self.count = ceil_log2(lanes * max_beats) + 1
        self.total = signed(width + self.count - 1)
        self.square = 2 * width - 1
        self.squares = max(self.square + self.count - 1, epsilon.bit_length()) + 1
        self.variance = max(32, self.squares + self.squares % 2)
        self.exponent = (self.variance // 2 - 1).bit_length()

    def serials(self, width: int, *, centered: bool) -> tuple[int, ...]:
        """Digits of each serial unit between the sums and the buffer."""
        mean = (self.total.width + 1, width + 1) if centered else ()
        return (*mean, self.variance // 2 - 1, ROOT_BITS, FACTOR_BITS)


def rearranged(m: Module, source: wiring.PureInterface, sink: wiring.PureInterface) -> None:
    """Connect two streams by the names of the sink's fields."""
    m.d.comb += [sink.valid.eq(source.valid), source.ready.eq(sink.ready)]
    m.d.comb += [sink.payload[name].eq(source.payload[name]) for name in sink.payload.shape().members]


class LaneSquares(Pipelined):
    """The sum of a beat's kept values, of their squares, and their count; one multiplier per lane."""

    def __init__(self, *, lanes: int, width: int, target: str = "generic") -> None:
        self.lanes = lanes
        self.width = width
        self.target = target
        levels = ceil_log2(lanes)
        super().__init__(
            inputs={"x": data.ArrayLayout(signed(width), lanes), "keep": lanes, "last": 1},
            outputs={"x": data.ArrayLayout(signed(width), lanes), "keep": lanes, "total": signed(width + levels),
                     "squares": 2 * width - 1 + levels, "count": levels + 1, "last": 1},
            latency=front_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        kept = [stages.stage(Mux(i.keep[k], i.x[k], 0), f"kept_{k}", shape=signed(self.width)) for k in range(self.lanes)]
        squares = [staged_product(stages, x, x, f"square_{k}", target=self.target)[:2 * self.width - 1]
                   for k, x in enumerate(kept)]
        keep = stages.stage(i.keep, "keep", cycles=1 + PRODUCT_LATENCY)
        late = [stages.stage(x, f"late_{k}", cycles=PRODUCT_LATENCY) for k, x in enumerate(kept)]
        levels = ceil_log2(self.lanes)
        return {
            "x": Cat(*(stages.stage(x, f"x_{k}", cycles=levels) for k, x in enumerate(late))),
            "keep": stages.stage(keep, "keep_out", cycles=levels),
            "total": tree(stages, late, lambda a, b: a + b, "total"),
            "squares": tree(stages, squares, lambda a, b: a + b, "squares"),
            "count": tree(stages, [keep[k] for k in range(self.lanes)], lambda a, b: a + b, "count"),
            "last": stages.stage(i.last, "last", cycles=self.latency),
        }


class FrameMean(FrameSerial):
    """``mean = rhe(total / count)`` as magnitude and sign, and ``weight = 2 * |total| - count * |mean|``.

    Restoring division and one more step for the rounding. ``mean * weight`` is what the sum of squares loses when the mean
    is taken off every value; without ``has_weight`` it is missing.
    """

    def __init__(self, *, width: int, widths: Widths, side: Mapping[str, ShapeLike], has_weight: bool = True) -> None:
        self.width = width
        self.widths = widths
        self.weight: dict[str, ShapeLike] = {"weight": widths.total.width + 1} if has_weight else {}
        super().__init__(
            inputs={"total": widths.total, "count": widths.count}, outputs={"mean": width, "negative": 1, **self.weight},
            side=side, steps=widths.total.width + 1)

    def digits(self, m: Module, i: data.View, start: Value, step: Value, left: Value) -> Mapping[str, ValueLike]:
        bits = self.widths.total.width
        negative, up = Signal(reset_less=True), Signal(reset_less=True)
        magnitude, quotient = Signal(bits, reset_less=True), Signal(bits, reset_less=True)
        count, remainder = Signal(self.widths.count, reset_less=True), Signal(self.widths.count, reset_less=True)
        brought_down = Cat(quotient[-1], remainder)
        difference = Signal(self.widths.count + 2)  # its top bit: the count does not fit
        m.d.comb += difference.eq(brought_down - count)
        absolute = Mux(i.total < 0, -i.total, i.total)[:bits]
        with m.If(start):
            m.d.sync += [negative.eq(i.total < 0), magnitude.eq(absolute), quotient.eq(absolute), count.eq(i.count),
                         remainder.eq(0)]
        with m.If(step):
            with m.If(left == 1):
                above = Cat(Const(0, 1), remainder) - count  # twice the remainder against the count
                m.d.sync += up.eq((above > 0) | ((above == 0) & quotient[0]))
            with m.Else():
                m.d.sync += [quotient.eq(Cat(~difference[-1], quotient)),
                             remainder.eq(Mux(difference[-1], brought_down, difference))]
        none = count == 0
        left_over = (remainder - Mux(up, count, 0)).as_signed()
        weight = (magnitude + left_over)[:bits + 1]
        return {"mean": Mux(none, 0, quotient + up), "negative": negative, **{name: weight for name in self.weight}}


class FrameVariance(FrameSerial):
    """``variance = squares - mean * weight + epsilon``: a bit of the mean per step, and one for the subtraction."""

    def __init__(self, *, width: int, widths: Widths, epsilon: int, side: Mapping[str, ShapeLike]) -> None:
        self.width = width
        self.widths = widths
        self.epsilon = epsilon
        super().__init__(
            inputs={"mean": width, "negative": 1, "weight": widths.total.width + 1, "squares": widths.squares},
            outputs={"variance": widths.variance, "mean": signed(width)}, side=side, steps=width + 1)

    def digits(self, m: Module, i: data.View, start: Value, step: Value, left: Value) -> Mapping[str, ValueLike]:
        mean, bits = Signal(signed(self.width), reset_less=True), Signal(self.width, reset_less=True)
        weight = Signal(self.widths.total.width + 1, reset_less=True)
        product, variance = Signal(self.widths.variance, reset_less=True), Signal(self.widths.variance, reset_less=True)
        with m.If(start):
            m.d.sync += [mean.eq(Mux(i.negative, -i.mean, i.mean)), bits.eq(i.mean), weight.eq(i.weight), product.eq(0),
                         variance.eq(i.squares + self.epsilon)]
        with m.If(step):
            with m.If(left == 1):
                m.d.sync += variance.eq(variance - product)
            with m.Else():
                m.d.sync += [product.eq((product << 1) + Mux(bits[-1], weight, 0)), bits.eq(bits << 1)]
        return {"variance": variance, "mean": mean}


class FrameLeading(FrameSerial):
    """``radicand``: the variance shifted left by pairs of bits until one of the highest two is set; ``exponent`` says how far.

    ``radicand`` has 32 bits, ``floor(variance * 2**(30 - 2 * exponent))``; two bits per step.
    """

    def __init__(self, *, widths: Widths, side: Mapping[str, ShapeLike]) -> None:
        self.widths = widths
        super().__init__(inputs={"variance": widths.variance},
                         outputs={"radicand": 2 * ROOT_BITS, "exponent": widths.exponent}, side=side,
                         steps=widths.variance // 2 - 1)

    def digits(self, m: Module, i: data.View, start: Value, step: Value, left: Value) -> Mapping[str, ValueLike]:
        variance = Signal(self.widths.variance, reset_less=True)
        exponent = Signal(self.widths.exponent, reset_less=True)
        with m.If(start):
            m.d.sync += [variance.eq(i.variance), exponent.eq(self.widths.variance // 2 - 1)]
        with m.If(step & ~variance[-2:].any()):
            m.d.sync += [variance.eq(variance << 2), exponent.eq(exponent - 1)]
        return {"radicand": variance[-2 * ROOT_BITS:], "exponent": exponent}


class FrameRoot(FrameSerial):
    """``divisor = floor(sqrt(radicand))`` of ``bits`` bits, exact, a bit per step; a trial subtraction of ``bits + 2`` bits."""

    def __init__(self, *, bits: int, side: Mapping[str, ShapeLike]) -> None:
        self.bits = bits
        super().__init__(inputs={"radicand": 2 * bits}, outputs={"divisor": bits}, side=side, steps=bits)

    def digits(self, m: Module, i: data.View, start: Value, step: Value, left: Value) -> Mapping[str, ValueLike]:
        radicand = Signal(2 * self.bits, reset_less=True)  # leaves at the top, two bits a step
        root, remainder = Signal(self.bits, reset_less=True), Signal(self.bits + 1, reset_less=True)
        brought_down = Cat(radicand[-2:], remainder)
        difference = Signal(self.bits + 4)  # its top bit: the trial does not fit
        m.d.comb += difference.eq(brought_down - Cat(Const(1, 2), root))
        with m.If(start):
            m.d.sync += [radicand.eq(i.radicand), root.eq(0), remainder.eq(0)]
        with m.If(step):
            m.d.sync += [radicand.eq(radicand << 2), root.eq(Cat(~difference[-1], root)),
                         remainder.eq(Mux(difference[-1], brought_down, difference))]
        return {"divisor": root}


class LaneScale(Pipelined):
    """``o = ((x - mean) * factor << (out_fraction - 16)) >> exponent``, 0 where not kept; one multiplier per lane."""

    def __init__(
        self, *, lanes: int, width: int, mean: Mapping[str, ShapeLike], exponent: int, out_fraction: int,
        target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.width = width
        self.centered = bool(mean)
        self.out_fraction = out_fraction
        self.target = target
        super().__init__(
            inputs={"x": data.ArrayLayout(signed(width), lanes), "keep": lanes, "reciprocal": FACTOR_BITS,
                    "exponent": exponent, **mean, "last": 1},
            outputs={"o": data.ArrayLayout(signed(out_fraction + 2), lanes), "last": 1}, latency=SCALE_LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> dict[str, ValueLike]:
        return {"o": Cat(*(self._lane(stages, i, k) for k in range(self.lanes))),
                "last": stages.stage(i.last, "last", cycles=self.latency)}

    def _lane(self, stages: Stages, i: data.View, k: int) -> Value:
        offset = i.x[k] - i.mean if self.centered else i.x[k]
        y = stages.stage(offset, f"offset_{k}")
        y = stages.stage(Mux(stages.stage(i.keep[k], f"keep_{k}"), y, 0), f"y_{k}", shape=signed(self.width + self.centered))
        factor = stages.stage(i.reciprocal, f"factor_{k}", cycles=2)
        exponent = stages.stage(i.exponent, f"exponent_{k}", cycles=2 + PRODUCT_LATENCY)
        product = staged_product(stages, y, factor, f"product_{k}", target=self.target) << self.out_fraction - 16
        coarse = stages.stage(product >> Cat(Const(0, 3), exponent[3:]), f"coarse_{k}")
        fine = stages.stage(exponent[:3], f"fine_{k}")
        shifted = stages.stage(coarse >> fine, f"shifted_{k}", shape=signed(self.out_fraction + 2))
        return stages.stage(shifted, f"o_{k}")


class Normalize(wiring.Component):
    """Frames of values divided by the root of the sum of their squares; LayerNorm takes their mean off first.

    The arithmetic to the bit is in :mod:`tilewright.sim.golden.units.normalization`: exact sums, a mean rounded half to
    even, the variance shifted by an even number of bits into 32, its exact root, and the reciprocal of that with 17
    bits. One value per lane per cycle; two multipliers per lane and none besides. Latency 122 cycles from a frame's
    last beat to its first result, 74 of RMSNorm, with one lane of 16 bits and 1024 beats. The serial units between
    the sums and the buffer work on frames one behind the other: frames of at least about 30 beats stream back to
    back. A frame without ``last`` ends at its ``max_beats``-th beat. Lanes whose ``keep`` bit is 0 do not count and
    give 0. A reset drops everything.

    Reference: Kim et al., "I-BERT: Integer-only BERT Quantization", ICML 2021, section 3.6; Zhang and Sennrich, "Root
    Mean Square Layer Normalization", NeurIPS 2019. The normalising shift is our own.

    Parameters
    ----------
    lanes, width : int
        Values per beat, signed, of 4..17 bits.
    centered : bool
        LayerNorm; False: RMSNorm.
    epsilon : int
        Added to the sum of squares.
    out_fraction : int
        Results are in units of ``2**-out_fraction``; 16..24.
    max_beats : int
        A power of two.
    target : str
        "generic" or "ecp5".

    Members
    -------
    i : In(stream.Signature(StructLayout(x, keep, last)))
    o : Out(stream.Signature(StructLayout(o, last)))
    """

    def __init__(
        self, *, lanes: int, width: int, centered: bool, epsilon: int, out_fraction: int, max_beats: int,
        target: str = "generic",
    ) -> None:
        self.lanes = lanes
        self.width = width
        self.centered = centered
        self.epsilon = epsilon
        self.max_beats = max_beats
        self.widths = Widths(width=width, lanes=lanes, max_beats=max_beats, epsilon=epsilon)
        self.mean: dict[str, ShapeLike] = {"mean": signed(width)} if centered else {}
        self.front = LaneSquares(lanes=lanes, width=width, target=target)
        self.scale = LaneScale(lanes=lanes, width=width, mean=self.mean, exponent=self.widths.exponent,
                               out_fraction=out_fraction, target=target)
        super().__init__({"i": In(self.front.i.signature.flip()), "o": Out(self.scale.o.signature)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        widths = self.widths
        item = {"x": data.ArrayLayout(signed(self.width), self.lanes), "keep": self.lanes}
        m.submodules.limit = limit = FrameLimit(fields=self.i.payload.shape().members, max_beats=self.max_beats)
        m.submodules.front = front = self.front
        values = {name: front.o.payload.shape().members[name] for name in ("total", "squares", "count")}
        m.submodules.sums = sums = FrameSum(item=item, values={name: field for name, field in values.items()}, sums={
            "total": widths.total, "squares": widths.squares, "count": widths.count})
        m.submodules.leading = leading = FrameLeading(widths=widths, side=self.mean)
        m.submodules.root = root = FrameRoot(bits=ROOT_BITS, side={"exponent": widths.exponent, **self.mean})
        m.submodules.divide = divide = FrameReciprocal(
            divisor_width=ROOT_BITS, start_bits=ROOT_BITS - 1, quotient_bits=FACTOR_BITS,
            side={"exponent": widths.exponent, **self.mean})
        m.submodules.buffer = buffer = FrameBuffer(
            item=item, token=divide.o.payload.shape().members, depth=2 * self.max_beats)
        m.submodules.scale = scale = self.scale
        link(m, wiring.flipped(self.i), limit.i)
        for source, sink in ((limit, front), (front, sums), (sums, buffer), (buffer, scale), (leading, root), (root, divide)):
            link(m, source.o, sink.i)
        link(m, divide.o, buffer.token)
        link(m, scale.o, wiring.flipped(self.o))
        if self.centered:
            m.submodules.average = average = FrameMean(width=self.width, widths=widths, side={"squares": widths.squares})
            m.submodules.variance = variance = FrameVariance(
                width=self.width, widths=widths, epsilon=self.epsilon, side={})
            rearranged(m, sums.token, average.i)
            link(m, average.o, variance.i)
            link(m, variance.o, leading.i)
        else:
            m.d.comb += [
                leading.i.valid.eq(sums.token.valid), sums.token.ready.eq(leading.i.ready),
                leading.i.payload.variance.eq(sums.token.payload.squares + self.epsilon),
            ]
        return m
