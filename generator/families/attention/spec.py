"""The spec of `family: attention`: scaled dot-product attention, its state independent of the sequence's length."""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from tilewright.families.attention.cache import stored_bits
from tilewright.families.attention.checks import problems
from tilewright.families.attention.structure import AttentionStructure
from tilewright.families.attention.window import LOG2E, octaves_of
from tilewright.families.attention.words import summary
from tilewright.formats import IntFormat, signed_width
from tilewright.spec import Problem

PARABOLA_BITS = 15    # of I-BERT's exponentials: 16 with a sign
SCALED_BITS = 16
KEY_TILES = 8         # on their way through a fused array
PHASE_BITS = 32       # of a turn, in rotary position embedding
WAVE_BITS = 14        # fraction bits of its sines


class AttentionSpec(AttentionStructure):
    """O = softmax(scale * Q @ K.T + mask) @ V for each head, keys and values streamed once for every query tile."""

    # -- numbers -------------------------------------------------------------------------------------

    @property
    def q(self) -> IntFormat:
        """Format of the queries."""
        return self.numbers.q

    @property
    def k(self) -> IntFormat:
        """Format of the keys."""
        return self.numbers.k

    @property
    def v(self) -> IntFormat:
        """Format of the values."""
        return self.numbers.v

    @property
    def out(self) -> IntFormat:
        """Format of the results."""
        return self.numbers.out

    @property
    def score_width(self) -> int:
        """Signed bits of the exact dot product of a query and a key, and of each of its partial sums."""
        products = [a * b for a in (self.q.low, self.q.high) for b in (self.k.low, self.k.high)]
        return signed_width(self.head_dim * min(products), self.head_dim * max(products))

    @property
    def scaled_width(self) -> int:
        """Signed bits of a score after scaling, ``fraction`` of them behind the binary point."""
        return SCALED_BITS

    @property
    def score_multiplier_width(self) -> int:
        """Bits of a job's unsigned score multiplier."""
        return 24

    @property
    def score_shift_width(self) -> int:
        """Bits of the right shift that follows it."""
        return 6

    @property
    def out_scale_width(self) -> int:
        """Bits of a job's unsigned output scale, 12 of them behind the binary point."""
        return 16

    @property
    def bias_shape(self) -> tuple[int, int] | None:
        """Heads that have a table of the bias, 1 if all share it, and entries of each, which have as many bits as a score."""
        if self.bias is None:
            return None
        return self.heads if self.bias.per_head else 1, 2 * self.bias.reach + 1

    def rotary_tables(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the phase of each pair of elements grows by from position to position, and a quarter of the sine."""
        from tilewright.units import tables

        if self.rotary is None:
            raise ValueError("the design has no rotary")
        return (tables.rotary_steps(PHASE_BITS, self.head_dim, self.rotary.base),
                tables.quarter_sine(WAVE_BITS, self.rotary.table_bits))

    @property
    def fraction(self) -> int:
        """Fraction bits of a scaled score."""
        return self.softmax.fraction

    @property
    def phi(self) -> int | None:
        """What weights refer to instead of a greatest score, in natural logarithms; None: a greatest score or octave."""
        return self.softmax.phi if "phi" in self.softmax.numbers else None

    @property
    def tells_again(self) -> bool:
        """Whether a stream tells of each tile if its keys and values come once more; a cache has them."""
        return self.phi is not None and self.cache is None

    @property
    def window(self) -> tuple[int, int]:
        """Scores above phi that a row of weights below phi may see, in natural logarithms; nothing without phi."""
        low, high = self.softmax.window
        return (low, high) if self.phi is not None else (0, 0)

    @property
    def rise_octaves(self) -> int:
        """Octaves that a weight may be above 1."""
        return octaves_of(self.window[1], self.fraction)

    @property
    def has_table(self) -> bool:
        """Whether exponentials come from a table; else from a parabola, and what describes the table is 0."""
        return "table_bits" in self.softmax.numbers

    @property
    def mantissa_bits(self) -> int:
        """Fraction bits of an exponential's mantissa."""
        return self.softmax.mantissa_bits if self.has_table else 0

    @property
    def guard_bits(self) -> int:
        """Bits behind the mantissa in a weight."""
        return self.softmax.guard_bits if self.has_table else 0

    @property
    def table_bits(self) -> int:
        """Logarithm of the number of intervals of the mantissa's table."""
        return self.softmax.table_bits if self.has_table else 0

    @property
    def octave(self) -> Literal["below", "above", "none"]:
        """Which whole power of two an exponential refers to; none: weights refer to the greatest score itself."""
        octaves: dict[str, Literal["below", "above", "none"]] = {
            "two_pass": "below", "online_shift": "above"}
        return octaves.get(self.algorithm, "none")

    @property
    def table(self) -> tuple[int, ...]:
        """Mantissas at the ends of the table's intervals, ``2**table_bits + 1`` of them; none of a parabola."""
        from tilewright.units import tables

        if not self.has_table:
            return ()
        make = tables.exp2_rising if self.octave == "below" else tables.exp2_falling
        return make(self.mantissa_bits, self.table_bits)

    @property
    def parabola(self) -> tuple[int, int, int] | None:
        """ln 2, linear and constant coefficient of I-BERT's exponential in steps of a scaled score; None with a table."""
        from tilewright.units.ibert import exponential_numbers

        if self.has_table:
            return None
        numbers = exponential_numbers(Decimal(1) / (1 << self.fraction))
        return numbers["ln2"], numbers["linear"], numbers["constant"]

    @property
    def level_width(self) -> int:
        """Signed bits of what a row's weights refer to: its greatest octave, or its greatest score."""
        if self.octave == "none":
            return SCALED_BITS
        ends = [x * LOG2E + (1 << 15) >> 16 for x in (-1 << SCALED_BITS - 1, (1 << SCALED_BITS - 1) - 1)]
        if self.octave == "below":
            return signed_width(ends[0] >> self.fraction, ends[1] >> self.fraction)
        return signed_width(-(-ends[0] >> self.fraction), -(-ends[1] >> self.fraction))

    @property
    def weight_width(self) -> int:
        """Unsigned bits of a weight: up to 2 or 1 or with phi octaves above, with its guard bits."""
        return self.mantissa_bits + self.guard_bits + 1 + self.rise_octaves if self.has_table else PARABOLA_BITS

    @property
    def total_width(self) -> int:
        """Unsigned bits of a row's sum of weights over ``limits.keys`` keys, or over the cores of a ring."""
        return self.weight_width + ((self.cores if self.is_ring else self.limits.keys) - 1).bit_length()

    @property
    def accumulator_width(self) -> int:
        """Signed bits of a row's running sum of weighted values, one element."""
        return self.total_width + self.v.width

    # -- on chip -------------------------------------------------------------------------------------

    @property
    def query_buffer_bits(self) -> int:
        """Two banks of a tile's queries; a ring keeps none."""
        return 0 if self.is_ring else 2 * self.tile_q * self.head_dim * self.q.width

    @property
    def accumulator_bits(self) -> int:
        """Two banks of a tile's running sums: one is drained while the other fills; a ring keeps none.

        A fused array has one, and two of the sums of a key tile's weights and weighted values.
        """
        if self.is_ring:
            return 0
        if self.is_fused:
            partial = self.weight_width + self.v.width + (self.cols - 1).bit_length()
            return self.tile_q * (self.head_dim * self.accumulator_width + 2 * (self.head_dim + 1) * partial)
        return 2 * self.tile_q * self.head_dim * self.accumulator_width

    @property
    def row_state_bits(self) -> int:
        """Octave or score, and sum of weights, of each row of a tile; a ring keeps none.

        On a fused array its rise in key tiles on their way, too.
        """
        if self.is_ring:
            return 0
        rises = KEY_TILES * SCALED_BITS if self.is_fused else 0
        return self.tile_q * (self.level_width + self.total_width + rises)

    @property
    def ring_bits(self) -> int:
        """Two banks of a row of keys and of one of values in each core: one is read while the other is replaced."""
        return 2 * self.cores * self.head_dim * (self.k.width + self.v.width)

    @property
    def bias_bits(self) -> int:
        """The table of the bias."""
        return math.prod(self.bias_shape) * SCALED_BITS if self.bias_shape else 0

    @property
    def cache_bits(self) -> int:
        """Cached keys and values with their exponents; 0 without a cache."""
        if not self.cache:
            return 0
        row = sum(stored_bits(self.cache, self.head_dim, number.width) for number in (self.k, self.v))
        return self.kv_heads * self.cache.slots * row

    @property
    def on_chip_bits(self) -> int:
        """All of the above: but for a cache that has a slot for each key, their number enters only by its logarithm."""
        return (self.query_buffer_bits + self.accumulator_bits + self.row_state_bits + self.bias_bits + self.ring_bits
                + self.cache_bits)

    # -- in words, and what the fields contradict ------------------------------------------------------

    def summary(self) -> list[tuple[str, str]]:
        """Model, engine, mask, bias, numbers, buffers and workload."""
        return summary(self)

    def problems(self) -> Iterator[Problem]:
        """Model and engine, mask, bias, widths of the softmax, limits and workload."""
        return problems(self)
