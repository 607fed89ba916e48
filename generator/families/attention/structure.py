"""The blocks of a `family: attention` design file together, and the structure of the engine that they describe."""

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_serializer
from pydantic_core.core_schema import SerializerFunctionWrapHandler
from tilewright.families.attention.cache import filled_cache
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
from tilewright.spec import Spec

RING_INTERVAL = 4     # cycles from query to query in a ring, at least
LOOPS = {  # cycles that a row's running sums take around: with a shift, a product, or neither
    "two_pass": 5, "online_shift": 5, "online": 6, "three_pass": 3, "ibert": 3, "unified_max": 6}


class AttentionStructure(Spec):
    """The fields of a design file, and heads, tiles, beats and cycles that follow from them."""

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

    @property
    def algorithm(self) -> str:
        """`two_pass`, `online_shift`, `online`, `three_pass`, `ibert` or `unified_max`."""
        return self.softmax.algorithm
