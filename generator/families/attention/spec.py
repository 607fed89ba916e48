"""The spec of `family: attention`: scaled dot-product attention, its state independent of the sequence's length."""

import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_serializer
from pydantic_core.core_schema import SerializerFunctionWrapHandler
from tilewright.families.attention.cache import filled_cache, stored_bits
from tilewright.families.attention.checks import problems
from tilewright.families.attention.fields import (
    MAX_JOBS,
    RINGS,
    BiasField,
    Cache,
    CacheField,
    Engine,
    Job,
    Limits,
    Mask,
    MaskField,
    Model,
    Numbers,
    RotaryField,
    Softmax,
    without_default,
)
from tilewright.families.attention.fused2d_fields import ALGORITHM as FUSED_ALGORITHM
from tilewright.families.attention.fusemax import UPDATE_STEPS
from tilewright.families.attention.window import LOG2E, octaves_of
from tilewright.families.attention.words import summary
from tilewright.formats import IntFormat, signed_width
from tilewright.spec import Problem, Spec

RING_INTERVAL = 4     # cycles from query to query in a ring, at least
LOOPS = {  # cycles that a row's running sums take around: with a shift, a product, or neither
    "two_pass": 5, "online_shift": 5, "online": 6, "three_pass": 3, "ibert": 3, "unified_max": 6}
PARABOLA_BITS = 15    # of I-BERT's exponentials: 16 with a sign
SCALED_BITS = 16
KEY_TILES = 8         # on their way through a fused array
PHASE_BITS = 32       # of a turn, in rotary position embedding
WAVE_BITS = 14        # fraction bits of its sines


class AttentionSpec(Spec):
    """O = softmax(scale * Q @ K.T + mask) @ V for each head, keys and values streamed once for every query tile."""

    family: Literal["attention"]
    model: Model = Model()
    engine: Engine = Engine()
    mask: MaskField = Field(default=Mask(kind="none"), description="which keys a query sees")
    bias: BiasField = Field(default=None, description="what joins a scaled score, by distance; absent: nothing",
                            json_schema_extra=without_default)
    rotary: RotaryField = Field(default=None, description="positions turn queries and keys; absent: they do not",
                                json_schema_extra=without_default)
    softmax: Softmax = Field(default=Softmax(), validate_default=True)
    numbers: Numbers = Numbers()
    limits: Limits = Limits()
    cache: CacheField = Field(default=None, description="keys and values kept on the chip; absent: none",
                              json_schema_extra=without_default)
    top: Literal["stream"] = Field(default="stream", description="stream: bare engine")
    workload: tuple[Job, ...] = Field(
        default=(), validate_default=True, min_length=1, max_length=MAX_JOBS,
        description="the jobs to verify and to estimate; default: one at the limits, with a cache a sequence of two",
    )

    @field_validator("softmax")
    @classmethod
    def _algorithm(cls, value: Softmax, info: ValidationInfo) -> Softmax:
        """Schedule fused2d knows one algorithm, and so takes it where none is written."""
        fused = getattr(info.data.get("engine"), "schedule", None) == "fused2d"
        if fused and "algorithm" not in value.model_fields_set:
            return value.model_copy(update={"algorithm": FUSED_ALGORITHM})
        return value

    @field_validator("cache")
    @classmethod
    def _cache(cls, value: Cache | None, info: ValidationInfo) -> Cache | None:
        return value and filled_cache(value, info.data)

    @field_validator("workload", mode="before")
    @classmethod
    def _jobs(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list):
            return tuple(value)
        if value == ():
            limits = info.data.get("limits", Limits())
            if info.data.get("cache"):
                first = min(limits.queries, limits.keys)
                step = (Job(queries=1, keys=first + 1),) if first < limits.keys else ()
                return (Job(queries=first, keys=first), *step)
            return (Job(queries=limits.queries, keys=limits.keys),)
        return value

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}

    # -- structure -----------------------------------------------------------------------------------

    @property
    def schedule(self) -> str:
        """`streaming`, `window_ring` or `fused2d`."""
        return self.engine.schedule

    @property
    def is_fused(self) -> bool:
        """Whether scores, exponentials and values take turns on one array."""
        return self.schedule == "fused2d"

    @property
    def head_dim(self) -> int:
        """Elements of a query, key or value."""
        return self.model.head_dim

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.model.heads

    @property
    def kv_heads(self) -> int:
        """Key and value heads."""
        return self.model.kv_heads

    @property
    def group(self) -> int:
        """Query heads that share one head of keys and values."""
        return self.heads // self.kv_heads

    @property
    def tile_q(self) -> int:
        """Rows of a query tile: (position, head of the group) pairs that meet a key together; 1 in a ring."""
        return 1 if self.is_ring else self.engine.tile_q

    @property
    def is_ring(self) -> bool:
        """Whether keys and values stay in a ring of cores while queries come past."""
        return self.schedule == "window_ring"

    @property
    def cores(self) -> int:
        """Of a ring: the keys that a query can see, on both sides, each in a core of its own; else 0."""
        return max(sum(self.mask.numbers.values()), 1) if self.is_ring else 0

    @property
    def lanes(self) -> int:
        """Elements of a head in a beat of every stream; multipliers of a row for scores, and as many for values.

        On a fused array a beat has an element of each of its rows, or of each of its columns.
        """
        return 1 if self.is_fused else self.engine.lanes

    @property
    def cols(self) -> int:
        """Keys that a query tile meets at a time: the columns of a fused array."""
        return self.engine.cols if self.is_fused else 1

    @property
    def order(self) -> str:
        """`rows` or `tiles`: which beat of q and result follows which."""
        return self.engine.order

    @property
    def tile_positions(self) -> int:
        """Positions of a query tile, all heads of their group; 1 where a group fills a tile or more."""
        return max(self.tile_q // self.group, 1)

    @property
    def chunks(self) -> int:
        """Beats of one query, key, value or result."""
        return self.head_dim // self.lanes

    @property
    def interval(self) -> int:
        """Cycles from one key to the next: its beats, one score after another, or the loop of the running sums.

        In a ring from one query to the next: its beats, or RING_INTERVAL. On a fused array from one key tile to the next: what
        a lane does for it.
        """
        if self.is_ring:
            return max(self.chunks, RING_INTERVAL)
        if self.is_fused:
            return UPDATE_STEPS + 2 * self.head_dim
        return max(self.chunks, self.tile_q, self.loop)

    @property
    def loop(self) -> int:
        """Cycles from one addition to a row's running sums to the next one."""
        return LOOPS[self.algorithm]

    @property
    def passes(self) -> int:
        """How often a tile's keys stream past it: twice where their greatest score comes before the first weight."""
        return 2 if self.algorithm in ("three_pass", "ibert") else 1

    @property
    def cache_ring(self) -> int:
        """Slots of a cache whose rows take turns; 0: every key has its own, or there is no cache."""
        return self.cache.slots - self.mask.sink if self.cache and self.mask.kind in RINGS else 0

    @property
    def macs_per_cycle(self) -> int:
        """Multipliers of scores and values, which on a fused array are the same."""
        if self.is_fused:
            return self.tile_q * self.cols
        return 2 * (self.cores if self.is_ring else self.tile_q) * self.lanes

    @property
    def needs_positions(self) -> bool:
        """Whether a query's position counts; then a job has at least as many keys as queries."""
        return self.mask.needs_positions or any(block is not None for block in (self.bias, self.rotary, self.cache))

    def positioned_by(self) -> str:
        """What makes a query's position count."""
        if self.mask.needs_positions:
            return f"mask {self.mask.kind}"
        return "a bias" if self.bias else "rotary" if self.rotary else "a cache"

    def tiles(self, queries: int) -> int:
        """Query tiles of one kv head for a job of ``queries`` positions."""
        return -(-queries * self.group // self.tile_q)

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
    def algorithm(self) -> str:
        """`two_pass`, `online_shift`, `online`, `three_pass`, `ibert` or `unified_max`."""
        return self.softmax.algorithm

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
