"""Claims about the GEMM spec: derived widths and sizes."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tilewright.design import load_design
from tilewright.families.gemm.spec import MAX_BUFFER_BITS, GemmSpec
from tilewright.formats import IntFormat, signed_width
from tilewright.spec import ContradictionError

# jschon, which serves here as an independent validator, calls a deprecated part of rfc3986.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:rfc3986")

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("gemm_*.yaml"))


def spec(**blocks: Any) -> GemmSpec:
    return GemmSpec.model_validate(
        {"design": "gemm", "family": "gemm", "array": {"rows": 8, "cols": 8}} | blocks
    )


# -- numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("int2", -2, 1), ("int8", -128, 127), ("int16", -32768, 32767), ("uint2", 0, 3), ("uint16", 0, 65535)],
)
def test_formats_have_the_bounds_of_twos_complement(name: str, low: int, high: int) -> None:
    number = IntFormat.parse(name)
    assert (number.low, number.high, number.name, str(number)) == (low, high, name, name)


@pytest.mark.parametrize(
    "name", ["int1", "int17", "uint1", "int", "int08", "int8 ", "int8\n", "Int8", "i8", "int-8"]
)
def test_formats_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not int2 to int16 or uint2 to uint16"):
        IntFormat.parse(name)


@given(low=st.integers(-(2**60), 2**60), high=st.integers(-(2**60), 2**60))
def test_signed_width_is_the_narrowest_that_holds_both_ends(low: int, high: int) -> None:
    width = signed_width(low, high)
    assert (
        IntFormat(width, signed=True).low <= min(low, high) and max(low, high) <= IntFormat(width, True).high
    )
    if width > 1:
        narrower = IntFormat(width - 1, signed=True)
        assert min(low, high) < narrower.low or max(low, high) > narrower.high


def brute_force_extremes(
    act: str, weight: str, act_zero_point: bool, weight_zero_point: bool
) -> tuple[int, int]:
    """Smallest and largest product over every operand and every zero point."""

    def operands(name: str, has_zero_point: bool) -> set[int]:
        number = IntFormat.parse(name)
        values = range(number.low, number.high + 1)
        return {x - z for x in values for z in (values if has_zero_point else (0,))}

    products = [
        a * w
        for a, w in itertools.product(operands(act, act_zero_point), operands(weight, weight_zero_point))
    ]
    return min(products), max(products)


SMALL_FORMATS = ("int2", "int3", "int4", "int5", "uint2", "uint3", "uint4", "uint5")


@settings(deadline=None, max_examples=300, derandomize=True)
@given(
    act=st.sampled_from(SMALL_FORMATS),
    weight=st.sampled_from(SMALL_FORMATS),
    act_zero_point=st.booleans(),
    weight_zero_point=st.booleans(),
    k=st.integers(1, 65536),
)
def test_exact_accumulator_holds_the_extreme_sums_and_is_not_a_bit_wider(
    act: str, weight: str, act_zero_point: bool, weight_zero_point: bool, k: int
) -> None:
    low, high = brute_force_extremes(act, weight, act_zero_point, weight_zero_point)
    numbers = {
        "act": act,
        "weight": weight,
        "act_zero_point": act_zero_point,
        "weight_zero_point": weight_zero_point,
    }
    found = spec(numbers=numbers, limits={"m": 1, "n": 1, "k": k}, array={"rows": 1, "cols": 1})
    accumulator = IntFormat(found.exact_acc_width, signed=True)
    assert accumulator.low <= k * low and k * high <= accumulator.high
    narrower = IntFormat(found.exact_acc_width - 1, signed=True)
    assert k * low < narrower.low or k * high > narrower.high
    assert (found.acc_width, found.acc_overflow) == (found.exact_acc_width, "exact")


@pytest.mark.parametrize(
    ("act", "weight", "k", "zero_points", "width"),
    [
        ("int8", "int8", 1, False, 16),
        ("int8", "int8", 256, False, 24),
        ("uint8", "uint8", 1, False, 17),
        ("uint8", "int8", 256, False, 24),
        ("int8", "int8", 1, True, 17),
        ("int8", "int8", 256, True, 25),
        ("int2", "int2", 1, False, 4),
        ("int16", "int16", 65536, False, 48),
    ],
)
def test_exact_accumulator_at_known_points(
    act: str, weight: str, k: int, zero_points: bool, width: int
) -> None:
    numbers = {"act": act, "weight": weight, "act_zero_point": zero_points, "weight_zero_point": zero_points}
    found = spec(numbers=numbers, limits={"m": 1, "n": 1, "k": k}, array={"rows": 1, "cols": 1})
    assert found.exact_acc_width == width


@pytest.mark.parametrize(
    ("acc", "width", "overflow"),
    [
        ("auto", 24, "exact"),
        (24, 24, "exact"),
        (48, 48, "exact"),
        ({"width": 30, "overflow": "error"}, 30, "exact"),
        ({"width": 24, "overflow": "wrap"}, 24, "exact"),
        ({"width": 23, "overflow": "wrap"}, 23, "wrap"),
        ({"width": 4, "overflow": "saturate"}, 4, "saturate"),
    ],
)
def test_chosen_accumulator_overflows_only_when_narrower_than_exact(
    acc: Any, width: int, overflow: str
) -> None:
    found = spec(numbers={"acc": acc})
    assert (found.acc_width, found.acc_overflow) == (width, overflow)


def test_operands_are_a_bit_wider_and_signed_behind_a_zero_point() -> None:
    plain = spec(numbers={"act": "uint8", "weight": "int4"})
    assert (plain.act_operand.name, plain.weight_operand.name) == ("uint8", "int4")
    moved = spec(
        numbers={"act": "uint8", "weight": "int4", "act_zero_point": True, "weight_zero_point": True}
    )
    assert (moved.act_operand.name, moved.weight_operand.name) == ("int9", "int5")


def test_results_are_requantized_or_the_accumulators() -> None:
    requantized = spec(numbers={"requant": {"mode": "half_up", "multiplier_bits": 8, "out": "uint4"}})
    assert requantized.has_requant
    assert (requantized.rounding, requantized.multiplier_bits, requantized.out.name) == (
        "half_up",
        8,
        "uint4",
    )
    assert (requantized.zero_point_width, requantized.bias_width, requantized.shift_width) == (5, 32, 6)
    assert requantized.channel_width == 32 + 8 + 6 + 5
    plain = spec(numbers={"requant": "none"})
    assert not plain.has_requant
    assert (plain.rounding, plain.multiplier_bits, plain.out.name, plain.channel_width) == (
        "none",
        0,
        "int24",
        0,
    )


def test_clip_adds_two_bounds_to_a_channel() -> None:
    assert spec(numbers={"activation": "clip"}).channel_width == spec().channel_width + 16


# -- structure and buffers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataflow", "act", "weight", "k_block"),
    [("output_stationary", 5, 3, None), ("weight_stationary", 5, 3, 5), ("input_stationary", 3, 5, 5)],
)
def test_lanes_follow_the_dataflow(dataflow: str, act: int, weight: int, k_block: int | None) -> None:
    found = spec(array={"rows": 5, "cols": 3, "dataflow": dataflow})
    assert (found.act_lanes, found.weight_lanes, found.result_lanes, found.k_block) == (
        act,
        weight,
        3,
        k_block,
    )
    assert (found.rows, found.cols, found.dataflow, found.pe_pipeline) == (5, 3, dataflow, 2)


@pytest.mark.parametrize(
    ("dataflow", "act_beats", "weight_beats", "partial_sums"),
    [
        ("output_stationary", 30, 4 * 30, 0),
        ("weight_stationary", 6 * 20, 4 * 30, 20 * 3),
        ("input_stationary", 30, 6 * 11, 11 * 3),
    ],
)
def test_buffers_hold_what_is_read_again(
    dataflow: str, act_beats: int, weight_beats: int, partial_sums: int
) -> None:
    found = spec(
        array={"rows": 5, "cols": 3, "dataflow": dataflow},
        limits={"m": 20, "n": 11, "k": 30},
        numbers={"act": "uint4", "weight": "int6", "act_zero_point": True},
    )
    assert (found.act_buffer_beats, found.weight_buffer_beats) == (act_beats, weight_beats)
    assert found.act_buffer_bits == 2 * act_beats * found.act_lanes * 5
    assert found.weight_buffer_bits == 2 * weight_beats * found.weight_lanes * 6
    assert found.partial_sum_buffer_bits == partial_sums * found.acc_width
    channels = 11 if dataflow == "input_stationary" else 12
    assert found.channel_buffer_bits == 2 * channels * found.channel_width
    assert found.buffer_bits == sum(
        (
            found.act_buffer_bits,
            found.weight_buffer_bits,
            found.channel_buffer_bits,
            found.partial_sum_buffer_bits,
        )
    )


@settings(deadline=None, max_examples=100, derandomize=True)
@given(
    st.sampled_from(["output_stationary", "weight_stationary", "input_stationary"]),
    *[st.sampled_from([1, 100, 3000, 65536])] * 3,
)
def test_advice_on_buffers_is_the_largest_limit_that_fits(dataflow: str, m: int, n: int, k: int) -> None:
    array = {"rows": 8, "cols": 8, "dataflow": dataflow}
    limits = {"m": m, "n": n, "k": k}
    job = [{"m": 1, "n": 1, "k": 1}]
    try:
        assert spec(array=array, limits=limits, workload=job).buffer_bits <= MAX_BUFFER_BITS
    except ValidationError as error:
        contradiction = error.errors()[0]["ctx"]["error"]
        assert isinstance(contradiction, ContradictionError)
        (problem,) = contradiction.problems
        advice = problem.text.partition("lower ")[2]
        for part in advice.split(" or ") if advice.startswith("limits") else ():
            name, size = part.removeprefix("limits.").split(" to ")
            assert spec(array=array, limits=limits | {name: int(size)}, workload=job)
            with pytest.raises(ValidationError):
                spec(array=array, limits=limits | {name: int(size) + 1}, workload=job)


# -- workload ------------------------------------------------------------------------------------------


def test_workload_is_one_job_at_the_limits_unless_written() -> None:
    (job,) = spec(limits={"m": 3, "n": 4, "k": 5}).workload
    assert (job.m, job.n, job.k, job.reuse_weights) == (3, 4, 5, False)


def test_weights_may_be_reused_by_any_number_of_jobs_of_the_same_n_and_k() -> None:
    jobs = [{"m": 4, "n": 4, "k": 4}, *[{"m": m, "n": 4, "k": 4, "reuse_weights": True} for m in (1, 9, 2)]]
    assert [job.reuse_weights for job in spec(workload=jobs).workload] == [False, True, True, True]


def test_largest_workload_is_accepted() -> None:
    assert len(spec(workload=[{"m": 1, "n": 1, "k": 1}] * 4096).workload) == 4096


# -- the model -----------------------------------------------------------------------------------------


def test_spec_is_frozen_and_hashable() -> None:
    found = spec()
    with pytest.raises(ValidationError, match="frozen"):
        found.top = "axi"  # type: ignore[misc]
    assert hash(found) == hash(spec()) and found == spec() and found != spec(top="axi")


def test_summary_and_derived_serve_every_example() -> None:
    for path in EXAMPLES:
        found = load_design(path).spec
        json.dumps(found.derived())
        assert {"acc_width", "act_lanes", "buffer_bits", "out"} <= found.derived().keys()
        assert dict(found.summary()).keys() >= {"array", "numbers", "buffers", "workload"}
