"""Claims about the demo: handwritten digits on the generated engine."""

from pathlib import Path

import pytest
from tilewright.demo import classify_digits
from tilewright.design import Design, parse_design
from tilewright.errors import UserError
from tilewright.starting_point import starting_point


def default_design(*overrides: str) -> Design:
    return parse_design(starting_point("gemm").encode(), source="gemm.yaml", overrides=overrides)


def test_every_logit_of_every_digit_leaves_the_rtl_as_the_golden_model_says(tmp_path: Path) -> None:
    result = classify_digits(default_design(), root=tmp_path)
    assert result["backend"] == "sim" and result["measured"]
    assert result["equal_golden"] == len(result["labels"]) == len(result["predictions"]) == 360
    assert result["outputs"] == 3600
    assert result["accuracy"] == pytest.approx(346 / 360)
    assert result["float_accuracy"] == pytest.approx(347 / 360)
    assert [job["cycles"] for job in result["job_cycles"]] == [job["model"] for job in result["job_cycles"]]
    assert [job["reuse_weights"] for job in result["job_cycles"]] == [False, True, True] * 2


def test_small_engines_take_the_digits_in_small_batches(tmp_path: Path) -> None:
    design = default_design("limits={m: 50, n: 32, k: 64}", "array.rows=5", "workload=[{m: 5, n: 5, k: 5}]")
    result = classify_digits(design, root=tmp_path, backend="golden")
    assert result["jobs"] == 2 * 8 and result["equal_golden"] == 360
    assert max(job["m"] for job in result["job_cycles"]) == 50


@pytest.mark.parametrize(
    "override, reason",
    [
        ("numbers.weight=int7", "b: "),
        ("numbers.weight=uint8", "b: "),
        ("numbers.requant=none", "no requantization"),
        ("numbers.requant={out: int7}", "zero_point: "),
        ("limits.n=16", "n is 32; the design takes 1 to 16"),
        ("limits.k=32", "k is 64; the design takes 1 to 32"),
    ],
)
def test_a_design_that_cannot_take_the_network_is_refused_with_the_reason(tmp_path, override, reason):
    design = default_design(override, "workload=[{m: 8, n: 8, k: 8}]")
    with pytest.raises(UserError, match=r"gemm\.yaml: the digits do not fit this design: job 0: ") as caught:
        classify_digits(design, root=tmp_path, backend="golden")
    assert reason in str(caught.value) and len(str(caught.value).splitlines()) == 1
