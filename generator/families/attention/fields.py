"""The words of a `family: attention` design file: its blocks, their fields and bounds."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_serializer
from pydantic_core.core_schema import SerializerFunctionWrapHandler
from tilewright.formats import IntFormat
from tilewright.spec import Part

MAX_SIZE = 65_536
MAX_JOBS = 4_096
MAX_TILE_Q = 16
MAX_COLS = 16
MAX_WEIGHT_BITS = 16  # mantissa_bits + guard_bits
FORMATS = ("int4", "int8", "int16")
RINGS = ("window", "lambda")  # masks whose later keys forget earlier ones

INT8 = IntFormat(8, signed=True)
ENGINE_FIELDS: dict[str, tuple[str, ...]] = {  # what each schedule asks for
    "streaming": ("tile_q", "lanes", "order"), "window_ring": ("lanes",), "fused2d": ("tile_q", "cols")}
MaskKind = Literal["none", "causal", "window", "lambda", "prefix"]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]
TABLE = ("mantissa_bits", "guard_bits", "table_bits")
SOFTMAX_NUMBERS: dict[str, tuple[str, ...]] = {  # what each algorithm asks for beside the fraction
    "two_pass": TABLE, "online_shift": TABLE, "online": TABLE, "three_pass": TABLE, "ibert": (),
    "unified_max": (*TABLE, "phi", "window")}
MASK_NUMBERS: dict[str, tuple[str, ...]] = {  # what each kind of mask asks for; RINGS also take a lookahead
    "none": (), "causal": (), "window": ("window",), "lambda": ("sink", "window"), "prefix": ("prefix",)}


def _format(value: Any) -> IntFormat:
    if isinstance(value, IntFormat):
        value = value.name
    if value not in FORMATS:
        raise ValueError(f"not one of {', '.join(FORMATS)}")
    return IntFormat.parse(value)


Format = Annotated[
    IntFormat,
    PlainValidator(_format),
    PlainSerializer(lambda value: value.name, return_type=str),
    WithJsonSchema({"enum": list(FORMATS)}),
]


class Model(Part):
    """The attention layer: head size and how many heads share keys and values."""

    head_dim: int = Field(default=64, ge=4, le=256, description="elements of a query, key or value of one head")
    heads: int = Field(default=1, ge=1, le=64, description="query heads")
    kv_heads: int = Field(default=1, ge=1, le=64, description="key and value heads; fewer than heads: grouped queries")


class Engine(Part):
    """The datapath: rows of the query tile, and elements that it takes each cycle."""

    schedule: Literal["streaming", "window_ring", "fused2d"] = Field(
        default="streaming", description="what moves: keys and values past a tile of queries (streaming); queries past a ring "
                                         "of cores, a key and a value each (window_ring); a tile of queries and one of keys "
                                         "through an array that does scores, exponentials and values in turn (fused2d)")
    tile_q: int = Field(default=4, ge=1, le=MAX_TILE_Q, description="rows of a query tile, which share each key")
    lanes: int = Field(default=8, ge=1, le=32, description="elements of a head in a beat, multipliers of a row")
    order: Literal["rows", "tiles"] = Field(
        default="rows", description="beats of q and result: row by row; or a chunk of every position of a tile, then the next "
                                    "chunk, as a GEMM engine has them")
    cols: int = Field(default=8, ge=1, le=MAX_COLS, description="fused2d: keys that a query tile meets at a time")

    @property
    def meaningful(self) -> tuple[str, ...]:
        """The fields that the schedule asks for."""
        return ENGINE_FIELDS[self.schedule]

    @model_serializer(mode="wrap")
    def _asked(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kept = ("schedule", *self.meaningful)
        return {name: value for name, value in handler(self).items() if name in kept}


class Mask(Part):
    """Which keys a query at position i of the key axis sees; a number of another kind is 0.

    none: all. causal: j <= i. window: i - window < j <= i + lookahead. prefix: j < prefix or j <= i.
    lambda: j <= i + lookahead and (j < sink or j > i - window).
    """

    kind: MaskKind = Field(description="which keys a query sees")
    window: int = Field(default=0, ge=0, le=MAX_SIZE, description="latest keys that are seen, the query's own included")
    lookahead: int = Field(
        default=0, ge=0, le=MAX_SIZE, description="window, lambda: keys that are seen behind the query's own position")
    sink: int = Field(default=0, ge=0, le=MAX_SIZE, description="first keys, seen by every later query")
    prefix: int = Field(default=0, ge=0, le=MAX_SIZE, description="first keys, seen by every query")

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers that the kind asks for, by name, and a lookahead if there is one."""
        looks = ("lookahead",) if self.lookahead and self.kind in RINGS else ()
        return {name: getattr(self, name) for name in (*MASK_NUMBERS[self.kind], *looks)}

    @property
    def needs_positions(self) -> bool:
        """Whether a query's position decides; then a job has at least as many keys as queries."""
        return self.kind != "none"

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value != 0}


def _mask(value: Any) -> Any:
    """A kind alone stands for the mapping."""
    return {"kind": value} if isinstance(value, str) else value


MaskField = Annotated[
    Mask,
    BeforeValidator(_mask),
    WithJsonSchema({"oneOf": [{"enum": ["none", "causal"]}, Mask.model_json_schema()]}),
]


class Bias(Part):
    """A table of what joins a scaled score, by the distance from query to key; loaded with a job and kept for the next."""

    reach: int = Field(ge=1, le=1024, description="distances beyond it count as it, on both sides: 2 * reach + 1 entries")
    per_head: bool = Field(default=False, description="a table for each query head, not one for all")


def without_default(schema: dict[str, Any]) -> None:
    """The default of a block that may be absent is no value of its schema."""
    del schema["default"]


def _written(value: Any) -> Any:
    """A block is there or it is not; a null in its place is neither."""
    if value is None:
        raise ValueError("no mapping")
    return value


BiasField = Annotated[Bias | None, BeforeValidator(_written), WithJsonSchema(Bias.model_json_schema())]


class Rotary(Part):
    """Rotary position embedding: pairs of elements of queries and keys are turned by an angle that grows with the position."""

    base: int = Field(default=10_000, ge=2, le=10_000_000, description="pair i turns base**(2 * i / head_dim) times slower")
    table_bits: int = Field(default=10, ge=6, le=12, description="angles come in steps of 2**-table_bits turns")
    positions: Literal["original", "cache_index"] = Field(
        default="original", description="what a position is: a row's place on the axis of the keys; or, with masks window and "
                                        "lambda, a key's among those that the query sees, a query's that of the last of them")

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if (name, value) != ("positions", "original")}


RotaryField = Annotated[Rotary | None, BeforeValidator(_written), WithJsonSchema(Rotary.model_json_schema())]


def _pair(value: Any) -> Any:
    """A list of a file is a tuple."""
    return tuple(value) if isinstance(value, list) else value


WindowField = Annotated[
    tuple[Annotated[int, Field(ge=-128, le=128)], ...], Field(min_length=2, max_length=2), BeforeValidator(_pair)]


class Softmax(Part):
    """The exponential: what the weights of a row are relative to, and with how many bits."""

    algorithm: Literal["two_pass", "online_shift", "online", "three_pass", "ibert", "unified_max"] = Field(
        default="two_pass", description="weights below the greatest octave, which exponentials are rounded down or up to: "
                                        "two_pass, online_shift; below the greatest score so far: online; below that of all "
                                        "keys, which stream past twice: three_pass, ibert (a parabola, no table); or below "
                                        "phi: unified_max")
    fraction: int = Field(default=10, ge=8, le=12, description="fraction bits of a scaled score, which has 16 bits")
    mantissa_bits: int = Field(default=12, ge=8, le=15, description="fraction bits of an exponential's mantissa")
    guard_bits: int = Field(default=4, ge=0, le=8, description="bits behind the mantissa that survive small weights")
    table_bits: int = Field(default=5, ge=3, le=8, description="the mantissa's table has 2**table_bits intervals")
    phi: int = Field(default=0, ge=-128, le=128, description="what scores are expected to lie at, in natural logarithms")
    window: WindowField = Field(
        default=(-8, 4), description="lowest and highest score above phi; a row with another is computed once more, as online")

    @property
    def numbers(self) -> tuple[str, ...]:
        """The fields that the algorithm asks for beside the fraction."""
        return SOFTMAX_NUMBERS[self.algorithm]

    @model_serializer(mode="wrap")
    def _asked(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        kept = ("algorithm", "fraction", *self.numbers)
        return {name: value for name, value in handler(self).items() if name in kept}


class Numbers(Part):
    """Formats of operands and results."""

    q: Format = Field(default=INT8, description="format of the queries", json_schema_extra={"default": "int8"})
    k: Format = Field(default=INT8, description="format of the keys", json_schema_extra={"default": "int8"})
    v: Format = Field(default=INT8, description="format of the values", json_schema_extra={"default": "int8"})
    out: Format = Field(default=INT8, description="format of the results", json_schema_extra={"default": "int8"})


class Limits(Part):
    """The largest job the engine takes; counters and sums are sized for it, memories are not."""

    queries: Size = Field(default=1024, description="positions of a job's queries")
    keys: Size = Field(default=1024, description="positions of a job's keys and values")


class Cache(Part):
    """Keys and values kept on the chip: each comes once, with its position's job, and every later job of the sequence reads it.

    So does a tile that unified_max computes anew. Masks window and lambda: a ring behind the sinks. Others: a slot for every
    key. What is not written is derived.
    """

    slots: int = Field(
        default_factory=int, ge=1, le=3 * MAX_SIZE,
        description="rows of each kv head; default: limits.keys, or of a ring the fewest that do")
    bits: Literal[4, 8, 16] = Field(
        default_factory=lambda: 16, description="of a stored element; default: the fewer of k's and v's")
    group: int = Field(
        default_factory=int, ge=1, le=256,
        description="elements that share an exponent, where one of k and v has more bits; default: 16 or the next that fits")

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value != 0}


CacheField = Annotated[Cache | None, BeforeValidator(_written), WithJsonSchema(Cache.model_json_schema())]


class Job(Part):
    """Attention of ``queries`` positions to ``keys`` positions, all heads; the queries are the last of the positions."""

    queries: Size = Field(description="positions of the queries")
    keys: Size = Field(description="positions of the keys and values")
