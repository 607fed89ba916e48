"""Rotary position embedding: pairs of a row's elements turned by an angle that grows with the row's position."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.delay import delayed
from tilewright.rtl.hierarchy import shared
from tilewright.rtl.multiply import Multiplier
from tilewright.rtl.units.pipeline import Stages
from tilewright.rtl.wide_multiply import WideMultiply, wide_multiply_latency

PHASE_BITS = 32  # of a turn
WAVE_BITS = 14   # fraction bits of a sine
TURN_SHAPE = signed(WAVE_BITS + 2)
PRODUCT_LATENCY = 2
PAIR_LATENCY = PRODUCT_LATENCY + 3  # products, their sum, rounded, clamped


@dataclass(frozen=True)
class Turns:
    """``steps``: by how many turns of 2**-32 the phase of each pair grows from a position to the next.

    ``wave``: a quarter of the sine, from 0 to 2**14, ``2**(T - 2) + 1`` entries for a table of 2**T angles.
    ``places``: how many keys a query sees at most, where a key is turned by its place among those and the query by that of
    the last; 0: rows are turned by their positions.
    """

    steps: tuple[int, ...]
    wave: tuple[int, ...]
    places: int = 0

    def positions(self, keys_max: int) -> int:
        """How many angles a pair may be turned by, among up to ``keys_max`` keys."""
        return self.places or keys_max

    def bounded(self, position: Value) -> Value:
        """What the query at ``position`` is turned by."""
        return Mux(position < self.places, position, self.places - 1) if self.places else position


def angle_latency(positions: int) -> int:
    """Cycles from a position to sine and cosine: step, product with the position, angle, table, quadrant."""
    return 1 + wide_multiply_latency(PHASE_BITS + 1, ceil_log2(max(positions, 2))) + 3


def rotary_latency(positions: int) -> int:
    """Of :class:`Rotary`."""
    return angle_latency(positions) + PAIR_LATENCY


class Angle(wiring.Component):
    """Sine and cosine of ``position * step`` turns of 2**-32, by the nearest angle of a table, angle_latency - 1 cycles later.

    Of the other quarters the table's is a mirror image.
    """

    def __init__(self, *, positions: int, wave: Sequence[int], target: str) -> None:
        self.positions = positions
        self.wave = tuple(wave)
        self.target = target
        self.angle_bits = ceil_log2(len(wave) - 1) + 2
        super().__init__({"position": In(range(max(positions, 2))), "step": In(PHASE_BITS),
                          "cosine": Out(TURN_SHAPE), "sine": Out(TURN_SHAPE)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.phase = phase = WideMultiply(a_width=PHASE_BITS + 1, b_width=len(self.position), target=self.target)
        m.d.comb += [phase.a.eq(Cat(self.step, Const(0, 1)).as_signed()), phase.b.eq(self.position)]
        low = PHASE_BITS - self.angle_bits
        angle = Signal(self.angle_bits, reset_less=True)
        m.d.sync += angle.eq(phase.p[low:PHASE_BITS] + phase.p[low - 1])
        quarter = len(self.wave) - 1
        both = data.StructLayout({"sine": WAVE_BITS + 1, "cosine": WAVE_BITS + 1})
        words = [both.const({"sine": self.wave[k], "cosine": self.wave[quarter - k]}).as_value().value for k in range(quarter)]
        found = data.View(both, Stages(m, Const(1, 1)).table(words, angle[:-2], "wave", shape=both.size))
        quadrant = delayed(m, angle[-2:], 1, "quadrant")
        odd = quadrant[0]
        m.d.sync += [
            self.cosine.eq(_signed(Mux(odd, found.sine, found.cosine), quadrant[0] ^ quadrant[1])),
            self.sine.eq(_signed(Mux(odd, found.cosine, found.sine), quadrant[1]))]
        return m


class RotaryPair(wiring.Component):
    """``clamp(rne((x * cosine - y * sine) / 2**14))``, ``clamp(rne((x * sine + y * cosine) / 2**14))``, PAIR_LATENCY later."""

    def __init__(self, *, shape: Shape, target: str) -> None:
        self.element = shape
        self.target = target
        super().__init__({"x": In(shape), "y": In(shape), "cosine": In(TURN_SHAPE), "sine": In(TURN_SHAPE),
                          "turned_x": Out(shape), "turned_y": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def product(element: Value, factor: Value, name: str) -> Value:
            m.submodules[name] = multiplier = Multiplier(a_shape=self.element, b_shape=TURN_SHAPE, latency=PRODUCT_LATENCY,
                                                         target=self.target)
            m.d.comb += [multiplier.a.eq(element), multiplier.b.eq(factor), multiplier.b_enable.eq(1)]
            return multiplier.p

        sums = {
            "x": product(self.x, self.cosine, "x_cosine") - product(self.y, self.sine, "y_sine"),
            "y": product(self.x, self.sine, "x_sine") + product(self.y, self.cosine, "y_cosine")}
        high = (1 << self.element.width - 1) - 1
        for name, total in sums.items():
            total = delayed(m, total, 1, f"{name}_sum")
            floor = total[WAVE_BITS:].as_signed()
            half, rest = total[WAVE_BITS - 1], total[:WAVE_BITS - 1].any()
            rounded = delayed(m, floor + Cat(half & (rest | floor[0]), Const(0, 1)).as_signed(), 1, f"{name}_rounded")
            clamped = Mux(rounded > high, high, Mux(rounded < -high - 1, -high - 1, rounded))
            m.d.sync += getattr(self, f"turned_{name}").eq(clamped)
        return m


class Rotary(wiring.Component):
    """``lanes`` elements of a row, chunk ``chunk`` of it, turned for ``position``; ``rotary_latency(positions)`` cycles later.

    A chunk in every cycle, no state. Elements 2i and 2i + 1 of a row are pair i. To the bit:
    ``tilewright.sim.golden.attention_rotary``.

    Reference: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv:2104.09864, 2021.

    Parameters
    ----------
    shape : Shape of an element, signed       lanes : even
    positions : how many there are            turns : Turns
    """

    def __init__(self, *, shape: Shape, lanes: int, positions: int, turns: Turns, target: str = "generic") -> None:
        head_dim = 2 * len(turns.steps)
        if lanes % 2 or head_dim % lanes:
            raise ValueError(f"lanes must be even and divide {head_dim}, not {lanes!r}")
        self.element = shape
        self.lanes = lanes
        self.positions = positions
        self.turns = turns
        self.target = target
        self.chunks = head_dim // lanes
        super().__init__({
            "data": In(data.ArrayLayout(shape, lanes)), "position": In(range(max(positions, 2))),
            "chunk": In(range(max(self.chunks, 2))), "turned": Out(data.ArrayLayout(shape, lanes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        position = delayed(m, self.position, 1, "position")
        elements = data.View(self.data.shape(), delayed(m, self.data.as_value(), angle_latency(self.positions), "data"))
        pairs = self.lanes // 2
        for k in range(pairs):
            m.submodules[f"angle_{k}"] = angle = shared(
                lambda: Angle(positions=self.positions, wave=self.turns.wave, target=self.target), "rotary_angle")
            m.submodules[f"pair_{k}"] = pair = shared(
                lambda: RotaryPair(shape=self.element, target=self.target), f"rotary_pair_{self.element.width}")
            m.d.comb += [
                angle.position.eq(position), angle.step.eq(self._step(m, self.turns.steps[k::pairs], k)),
                pair.x.eq(elements[2 * k]), pair.y.eq(elements[2 * k + 1]), pair.cosine.eq(angle.cosine),
                pair.sine.eq(angle.sine), self.turned[2 * k].eq(pair.turned_x), self.turned[2 * k + 1].eq(pair.turned_y)]
        return m

    def _step(self, m: Module, of_chunks: Sequence[int], k: int) -> Value:
        """The step of pair k of the chunk, a cycle later."""
        if self.chunks == 1:
            return Const(of_chunks[0], PHASE_BITS)
        return Stages(m, Const(1, 1)).table(of_chunks, self.chunk, f"steps_{k}", shape=unsigned(PHASE_BITS))


def _signed(magnitude: Value, negative: Value) -> Value:
    return Mux(negative, -magnitude, magnitude)
