"""The exponential of a distance on somebody else's multiplier: what happens before, between and after its two products."""

from collections.abc import Sequence
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Value, unsigned
from amaranth.lib.memory import Memory
from amaranth.utils import ceil_log2
from tilewright.rtl.units.exp import LOG2E, LOG2E_BITS

DISTANCE_BITS = 16
OCTAVE_BITS = ((LOG2E << DISTANCE_BITS) + (1 << LOG2E_BITS) >> LOG2E_BITS).bit_length()  # of a distance in octaves


class FallingTable:
    """``e(t) = exp(-t / 2**fraction)`` with ``places`` fraction bits, of 16 unsigned bits, as that of ``rtl.units.exp.Exp``.

    In four steps, between which the caller multiplies and keeps what it needs:

    - ``y = octaves(t * LOG2E)``;
    - ``start, fall = word(m, y, ...)``, a cycle later, from a ROM of ``2**table_bits`` words;
    - ``mantissa(start, fall * rest(y))``;
    - ``power(mantissa, whole(y))``.
    """

    def __init__(self, *, table: Sequence[int], fraction: int, guard_bits: int) -> None:
        self.table = tuple(table)
        self.fraction = fraction
        self.guard_bits = guard_bits
        self.start_width = table[0].bit_length()
        self.fall_width = max(before - after for before, after in pairwise(table)).bit_length()
        self.lower_bits = fraction - ceil_log2(len(table) - 1)
        self.places = self.start_width - 1 + guard_bits

    def octaves(self, product: Value) -> Value:
        """The distance in octaves, ``fraction`` of its bits behind the point, to nearest."""
        return ((product + (1 << LOG2E_BITS - 1)) >> LOG2E_BITS)[:OCTAVE_BITS]

    def rest(self, y: Value) -> Value:
        """Where in its interval the distance lies."""
        return y[:self.lower_bits]

    def whole(self, y: Value) -> Value:
        """Whole octaves."""
        return y[self.fraction:]

    def word(self, m: Module, y: Value, enable: Value, name: str) -> tuple[Value, Value]:
        """The mantissa where the interval of ``y`` starts, and how far it falls: from the cycle after ``enable`` on."""
        words = [before | before - after << self.start_width for before, after in pairwise(self.table)]
        memory = Memory(shape=unsigned(self.start_width + self.fall_width), depth=len(words), init=words)
        m.submodules[name] = memory
        port = memory.read_port()
        m.d.comb += [port.addr.eq(y[self.lower_bits:self.fraction]), port.en.eq(enable)]
        return port.data[:self.start_width], port.data[self.start_width:]

    def mantissa(self, start: Value, product: Value) -> Value:
        """The mantissa at the distance."""
        return (start - (product >> self.lower_bits)[:self.start_width])[:self.start_width]

    def power(self, mantissa: Value, whole: Value) -> Value:
        """The mantissa, ``whole`` octaves down; 0 where nothing of it is left."""
        shift = whole[:ceil_log2(self.places)]
        return Mux(whole >= self.places, 0, Cat(Const(0, self.guard_bits), mantissa) >> shift)[:self.places + 1]
