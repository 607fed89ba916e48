"""The words of a `family: gemm` design file: its blocks, their fields and bounds."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema
from tilewright.formats import IntFormat
from tilewright.spec import BRANCH, OperandFormat, Part

MAX_ARRAY = 64
MAX_SIZE = 65_536
MAX_JOBS = 4_096
MIN_ACC_WIDTH = 4  # of a requantizer
MAX_ACC_WIDTH = 48
ORT_MULTIPLIER_BITS = 24  # the significand of the float32 scale that ONNX Runtime multiplies by

WORD, MAPPING = f"{BRANCH}word", f"{BRANCH}mapping"  # the two ways to write acc and requant
INT8 = IntFormat(8, signed=True)
Dataflow = Literal["output_stationary", "weight_stationary", "input_stationary"]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE)]


class Array(Part):
    """The grid of processing elements (PEs)."""

    rows: int = Field(ge=1, le=MAX_ARRAY, description="PEs down")
    cols: int = Field(ge=1, le=MAX_ARRAY, description="PEs across")
    dataflow: Dataflow = Field(default="output_stationary", description="the operand that stays in its PE")
    pe_pipeline: int = Field(default=2, ge=1, le=3, description="register stages of a PE's multiplier")


class Accumulator(Part):
    """An accumulator of a chosen width, and what it does with a sum that does not fit."""

    width: int = Field(ge=MIN_ACC_WIDTH, le=MAX_ACC_WIDTH, description="bits, signed")
    overflow: Literal["wrap", "saturate", "error"] = Field(
        default="error", description="error: the width is proved sufficient, or the design is refused"
    )


class Requant(Part):
    """Accumulator to result: add bias, multiply, round, shift, add zero point, clamp."""

    mode: Literal["rne", "ort", "half_up"] = Field(
        default="rne", description="rounding: to nearest even; as ONNX Runtime does; half up"
    )
    multiplier_bits: int = Field(default=24, ge=2, le=24, description="bits of the unsigned multiplier")
    out: OperandFormat = Field(
        default=INT8, description="format of the results", json_schema_extra={"default": "int8"}
    )


def _tag(value: Any) -> str:
    return WORD if isinstance(value, str) else MAPPING


def _acc(value: Any) -> Any:
    """A width alone means: this width, proved sufficient."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"width": value}
    return value


class Numbers(Part):
    """Formats of operands, sums and results."""

    act: OperandFormat = Field(
        default=INT8, description="format of the activations, A", json_schema_extra={"default": "int8"}
    )
    weight: OperandFormat = Field(
        default=INT8, description="format of the weights, B", json_schema_extra={"default": "int8"}
    )
    act_zero_point: bool = Field(
        default=False, description="subtract a run-time zero point from every activation"
    )
    weight_zero_point: bool = Field(
        default=False, description="subtract a run-time zero point from every weight"
    )
    acc: Annotated[
        Annotated[Literal["auto"], Tag(WORD)] | Annotated[Accumulator, Tag(MAPPING)],
        Discriminator(_tag),
        BeforeValidator(_acc),
        WithJsonSchema({
            "oneOf": [
                {"const": "auto"},
                {"type": "integer", "minimum": MIN_ACC_WIDTH, "maximum": MAX_ACC_WIDTH},
                Accumulator.model_json_schema(),
            ],
        }),
    ] = Field(default="auto", description="accumulator: auto is as wide as the worst case at limits.k needs")
    requant: Annotated[
        Annotated[Literal["none"], Tag(WORD)] | Annotated[Requant, Tag(MAPPING)],
        Discriminator(_tag),
        WithJsonSchema({"oneOf": [{"const": "none"}, Requant.model_json_schema()]}),
    ] = Field(default=Requant(), description="none: the results are the accumulators, without bias")
    activation: Literal["none", "relu", "clip"] = Field(
        default="none", description="relu: not below the zero point; clip: run-time bounds for each channel"
    )


class Limits(Part):
    """The largest job the engine takes; buffers and counters are sized for it."""

    m: Size = Field(default=128, description="rows of A and of C")
    n: Size = Field(default=128, description="columns of B and of C")
    k: Size = Field(default=256, description="columns of A, rows of B")


class Job(Part):
    """One C = A @ B with A of m x k and B of k x n."""

    m: Size = Field(description="rows of A and of C")
    n: Size = Field(description="columns of B and of C")
    k: Size = Field(description="columns of A, rows of B")
    reuse_weights: bool = Field(
        default=False, description="keep B and channel parameters of the job before; they are not sent again"
    )
