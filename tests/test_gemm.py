"""Claims about `family: gemm`: golden model, RTL on both targets, HLS, cycle model, hierarchy."""

from pathlib import Path

import numpy as np
import pytest
from gemm_designs import CACHE, ROOT, TEST_BUILD, design, ecp5_models, random_case, run_random, small
from hypothesis import given, settings
from hypothesis import strategies as st
from tilewright.build import build
from tilewright.design import load_design
from tilewright.emit import rtlil_to_verilog
from tilewright.families import family_of
from tilewright.families.gemm.cycles import ideal_cycles, walk
from tilewright.families.gemm.fields import Job
from tilewright.families.gemm.hardware import cycle_engine, stream_rtlil
from tilewright.families.gemm.stimulus import Stimulus
from tilewright.families.gemm.vectors import pack_act, pack_weight, result_index, unpack_result
from tilewright.sim.golden.gemm import accumulate, gemm, gemm_reference
from tilewright.sim.runner import build_harness, run_harness

DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")
LIMIT = {"exact": {}, "wrap": {"acc_width": 9}, "saturate": {"acc_width": 9}}


# ---- golden --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_golden_equals_big_integers_in_every_order_and_overflow(data: st.DataObject) -> None:
    m, n, k = (data.draw(st.integers(1, 5)) for _ in range(3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    a, b = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
    overflow = data.draw(st.sampled_from(sorted(LIMIT)))
    options = {"act_zero_point": data.draw(st.integers(-128, 127)), "weight_zero_point": data.draw(st.integers(-8, 7)),
               "k_block": data.draw(st.sampled_from([None, 1, 2, 3])), "overflow": overflow, **LIMIT[overflow]}
    assert accumulate(a, b, **options).tolist() == gemm_reference(a, b, **options)


def test_golden_does_not_wrap_on_narrow_numpy_types() -> None:
    a = np.full((1, 300), -128, np.int8)
    assert accumulate(a, a.T).item() == 300 * 128 * 128
    assert accumulate(a, a.T, act_zero_point=127).item() == 300 * 255 * 128


def test_golden_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="overflow must be one of exact, wrap, saturate, not 'clip'"):
        accumulate([[1]], [[1]], overflow="clip")
    with pytest.raises(ValueError, match=r"shapes \(1, 2\) and \(1, 1\) are not \(M, K\) and \(K, N\)"):
        accumulate([[1, 2]], [[1]])
    with pytest.raises(ValueError, match="mode 'rne' needs bias, multiplier and shift"):
        gemm([[1]], [[1]], mode="rne")


# ---- beats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (3, 4, 5), (7, 9, 11), (6, 8, 4)])
def test_beats_hold_every_element_once_and_unpack_undoes_pack(dataflow: str, m: int, n: int, k: int) -> None:
    spec = small(dataflow).spec
    a, b = np.arange(1, m * k + 1).reshape(m, k), np.arange(1, k * n + 1).reshape(k, n)
    for packed, matrix in ((pack_act(spec, a), a), (pack_weight(spec, b), b)):
        assert sorted(packed[packed != 0]) == sorted(matrix.ravel())
    index = result_index(spec, m, n)
    assert sorted(index[index >= 0]) == list(range(m * n))
    c = np.arange(m * n).reshape(m, n)
    np.testing.assert_array_equal(unpack_result(spec, np.where(index < 0, 99, c.ravel()[index]), m, n), c)


# ---- RTL -----------------------------------------------------------------------------------------

CONFIGURATIONS = {
    "os_defaults": {},
    "ws_defaults": {"dataflow": "weight_stationary"},
    "is_defaults": {"dataflow": "input_stationary"},
    "os_single_pe_no_requant": {"rows": 1, "cols": 1, "numbers": "{requant: none}", "pipeline": 1},
    "ws_row_wrap_relu": {"rows": 1, "cols": 5, "dataflow": "weight_stationary",
                         "numbers": "{acc: {width: 14, overflow: wrap}, activation: relu}"},
    "is_column_saturate": {"rows": 6, "cols": 1, "dataflow": "input_stationary", "pipeline": 3,
                           "numbers": "{acc: {width: 15, overflow: saturate}, activation: clip}"},
    "os_zero_points_uint8": {"numbers": "{act: uint8, weight: uint8, act_zero_point: true, weight_zero_point: true, "
                                        "requant: {mode: half_up, out: uint8}}"},
    "ws_zero_points_ort": {"dataflow": "weight_stationary",
                           "numbers": "{act: uint8, act_zero_point: true, requant: {mode: ort}}"},
    "os_int16_int4_ort": {"numbers": "{act: int16, weight: int4, requant: {mode: ort, out: int16}, activation: relu}"},
    "os_saturate_int2": {"numbers": "{act: int2, weight: uint2, acc: {width: 4, overflow: saturate}, "
                                    "requant: {out: int2}}"},
    "ws_saturate_no_requant": {"dataflow": "weight_stationary", "pipeline": 1,
                               "numbers": "{acc: {width: 16, overflow: saturate}, requant: none}"},
    "is_tight_limits": {"dataflow": "input_stationary", "rows": 4, "cols": 3, "limits": "{m: 3, n: 4, k: 4}"},
    "os_limits_of_one": {"rows": 4, "cols": 3, "limits": "{m: 1, n: 1, k: 1}"},
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_rtl_equals_golden_and_cycle_model_equals_counter(name: str, tmp_path: Path) -> None:
    built = design(name, **CONFIGURATIONS[name])
    for seed in range(1, 7):
        for stall in (0.0, 0.3, 0.7):
            result = run_random(built, tmp_path / str(seed), seed=seed, stall=stall)
            assert result.passed and result.values > 0, result.message
            if not stall:
                assert result.counters["cycles"] == int((tmp_path / str(seed) / "cycles.txt").read_text())
                assert result.counters["output_stall"] == 0


@pytest.mark.parametrize("name", ["os_defaults", "ws_defaults"])
def test_ecp5_form_equals_golden_and_the_plain_form_cycle_for_cycle(name: str, tmp_path: Path) -> None:
    built = design(f"ecp5_{name}", **CONFIGURATIONS[name])
    folder = build(built, TEST_BUILD).folder
    verilog, models = tmp_path / "ecp5.v", tmp_path / "models.v"
    verilog.write_text(rtlil_to_verilog(stream_rtlil(built.spec, target="ecp5")))
    assert "MULT18X18D" in verilog.read_text()
    models.write_text(ecp5_models())
    plain = build_harness(folder, cache=CACHE)
    ecp5 = build_harness(folder, sources=[verilog, models], top=built.name, cache=CACHE)
    for seed in (1, 2, 3):
        random_case(built, tmp_path / str(seed), seed=seed)
        for stall in (0.0, 0.5):
            runs = [run_harness(harness, tmp_path / str(seed), stall=stall, seed=seed) for harness in (plain, ecp5)]
            assert all(run.passed and run.values > 0 for run in runs), [run.message for run in runs]
            assert runs[0].done_cycles == runs[1].done_cycles


def test_a_tall_array_forgets_at_reset_what_it_was_about_to_drain(tmp_path: Path) -> None:
    """A sum ends in the last row 39 cycles behind the first: long after a job behind the reset has begun."""
    built = design("tall", rows=40, cols=2, limits="{m: 40, n: 4, k: 8}",
                   numbers="{requant: none}")
    folder = build(built, TEST_BUILD).folder
    harness = build_harness(folder, cache=CACHE)
    random_case(built, tmp_path / "case", seed=1)
    for cycle in range(20, 90, 3):
        result = run_harness(harness, tmp_path / "case", reset_at=cycle)
        assert result.passed and result.values > 0, result.message


# ---- cycle model ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (1, 1), (5, 3), (16, 16), (32, 32), (64, 64)])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_one_job_pays_its_pipeline_once(dataflow: str, rows: int, cols: int) -> None:
    """Output-stationary: steps + R + C + 16. The others also load the first tile: R more."""
    engine = cycle_engine(design("bound", rows=rows, cols=cols, dataflow=dataflow,
                                 limits="{m: 128, n: 128, k: 128}").spec)
    allowance = rows + cols + 16 + (rows if dataflow != "output_stationary" else 0)
    for m, n, k in ((128, 128, 128), (64, 64, 64), (65, 77, 99), (rows, cols, max(rows, cols)), (100, 100, 100)):
        job = Job(m=m, n=n, k=k)
        if dataflow == "output_stationary" and k < max(rows, cols):
            continue
        if dataflow != "output_stationary" and (m if dataflow == "weight_stationary" else n) < max(rows, cols, 4):
            continue
        cycles = next(walk(engine, [job])).done
        assert cycles <= ideal_cycles(engine, job) + allowance, (m, n, k)


def test_back_to_back_jobs_pay_the_fill_once() -> None:
    engine = cycle_engine(load_design(ROOT / "examples/gemm_int8_8x8.yaml").spec)
    jobs = [Job(m=64, n=64, k=64)] * 10
    assert list(walk(engine, jobs))[-1].done <= 10 * 4096 + 32


def test_the_default_design_keeps_its_headline() -> None:
    engine = cycle_engine(load_design(ROOT / "examples/gemm_int8_8x8.yaml").spec)
    assert next(walk(engine, [Job(m=64, n=64, k=64)])).done <= 4128
    assert 128**3 / 64 / next(walk(engine, [Job(m=128, n=128, k=128)])).done >= 0.995


# ---- hierarchy and determinism -------------------------------------------------------------------


def test_the_pe_appears_once_whatever_the_array_is() -> None:
    for rows, cols in ((2, 2), (16, 16)):
        text = stream_rtlil(design("once", rows=rows, cols=cols).spec)
        assert text.count("module \\once_pe\n") == 1
        assert text.count("cell \\once_pe ") == cols  # in the row, which is instantiated itself
        assert text.count("cell \\once_row ") == rows


def test_the_same_design_gives_the_same_bytes(tmp_path: Path) -> None:
    first = build(small("weight_stationary"), tmp_path / "a")
    second = build(small("weight_stationary"), tmp_path / "b")
    assert first.fresh and second.fresh
    assert first.files == second.files
    assert (first.folder / "manifest.json").read_bytes() == (second.folder / "manifest.json").read_bytes()


def test_stimulus_reaches_ragged_edges_kept_weights_and_both_bounds() -> None:
    spec = load_design(ROOT / "examples/gemm_int8_8x8.yaml").spec
    jobs = Stimulus(spec, np.random.default_rng(3)).jobs(Stimulus(spec, np.random.default_rng(3)).random_shapes(40))
    shapes = np.array([job.shape for job in jobs])
    assert any(job.reuse_weights for job in jobs)
    assert (shapes[:, 0] % spec.rows != 0).any() and (shapes[:, 1] % spec.cols != 0).any()
    results = np.concatenate([job.result.ravel() for job in jobs if job.result is not None])
    assert results.min() == spec.out.low and results.max() == spec.out.high and np.unique(results).size > 200


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_workload_of_the_cycle_report_is_the_workload(dataflow: str) -> None:
    built = small(dataflow)
    report = family_of(built.spec).cycles(built.spec)
    assert [job.job for job in report] == [f"{job.m}x{job.n}x{job.k}" for job in built.spec.workload]
    assert build(built, TEST_BUILD).folder.name == built.name
