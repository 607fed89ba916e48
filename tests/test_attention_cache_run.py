"""Claims about jobs of a design with a cache, as a driver gives them: rows come once, and a sequence goes on."""

from typing import Any

import numpy as np
import pytest
from cache_designs import cached_design
from gemm_designs import TEST_BUILD
from tilewright.driver import open_driver
from tilewright.families.attention.runtime import JobError, make_job
from tilewright.sim.golden.attention_cache import cached_reference
from tilewright.sim.golden.attention_reference import attention_reference


def operands(rng: np.random.Generator, positions: int, **changes: Any) -> dict[str, Any]:
    rows = {name: rng.integers(-128, 128, (2, positions, 8)) for name in ("q", "k", "v")}
    return rows | {"score_multiplier": 9000000, "score_shift": 27, "out_scale": 4096} | changes


def test_a_sequence_goes_on_from_job_to_job() -> None:
    cached = cached_design(cache={"bits": 4})
    spec, rng = cached.spec, np.random.default_rng(3)
    steps = [operands(rng, 5), operands(rng, 1), operands(rng, 3), operands(rng, 2, start=1), operands(rng, 1)]
    run, model = open_driver(cached, "sim", root=TEST_BUILD).run(steps), open_driver(cached).run(steps)
    assert run.measured and run.cycles == model.cycles
    for number, (first, output) in enumerate(zip((0, 0, 0, 3, 3), run.outputs, strict=True)):
        k, v = (np.concatenate([step[name] for step in steps[first:number + 1]], axis=1) for name in ("k", "v"))
        k, v = ([[cached_reference(row, bits=4, group=8) for row in head] for head in rows.tolist()] for rows in (k, v))
        np.testing.assert_array_equal(output, attention_reference(
            steps[number]["q"], k, v, mask=spec.mask, tile_q=spec.tile_q, score_multiplier=9000000, score_shift=27,
            out_scale=4096, fraction=spec.fraction, guard_bits=spec.guard_bits, table=spec.table, octave=spec.octave,
            total_width=spec.total_width, value_width=spec.v.width, low=spec.out.low, high=spec.out.high))
        np.testing.assert_array_equal(output, model.outputs[number])


@pytest.mark.parametrize(("changes", "message"), [
    ({"k": np.zeros((2, 4, 8), int)}, "k: 4 positions; q has 3, and a cache takes the rows of these"),
    ({"v": np.zeros((2, 4, 8), int)}, "v: 4 positions; k has 3"),
    ({"start": 2}, "start: 2; allowed are 0 to 1"),
    ({}, "k: 3 positions behind 38; the design takes 40: begin another sequence with start"),
])
def test_a_bad_argument_is_told_by_name(changes: dict[str, Any], message: str) -> None:
    spec, rng = cached_design(limits={"queries": 38, "keys": 40}).spec, np.random.default_rng(4)
    before = make_job(spec, operands(rng, 38))
    with pytest.raises(JobError) as caught:
        make_job(spec, operands(rng, 3, **changes), before)
    assert str(caught.value) == message


def test_a_program_does_not_go_on_with_an_earlier_one() -> None:
    rng = np.random.default_rng(5)
    driver = open_driver(cached_design())
    driver.run([operands(rng, 2), operands(rng, 1)])
    with pytest.raises(JobError, match=r"^start: a program begins with a sequence of its own; what an earlier one left"):
        driver.run([operands(rng, 1)])
    assert driver.job(**operands(rng, 1, start=1)).shape == (2, 1, 8)


def test_a_design_without_a_cache_has_no_start() -> None:
    with pytest.raises(JobError, match=r"^start: not an argument of a job"):
        make_job(cached_design(cache=None).spec, operands(np.random.default_rng(6), 1, start=1))
