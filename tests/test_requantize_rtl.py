"""Claims about the requantization unit: RTL against golden, bit for bit, through Verilator."""

import gc
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from row_bench import run_rows
from test_requantize import SEED, OnnxRuntime, corner_cases, onnx_runtime_case
from tilewright.emit import rtlil_to_verilog
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.requantize import MODES, Requantize, requantize_latency
from tilewright.sim.golden.requantize import requantize

# Units that are refused, or only asked for their parameters, are never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

ECP5_MODELS = resources.files("tilewright.boards") / "ecp5_models.v"

# Words of a unit's stimulus row: two for acc, one for every parameter.
FIELDS = ("acc", "acc_high", "bias", "multiplier", "shift", "zero_point", "low", "high")


class Units(wiring.Component):
    """Several units side by side behind two flat ports, one row of words each."""

    def __init__(self, units: list[Requantize]) -> None:
        self.units = units
        super().__init__({
            "stimulus": In(32 * len(FIELDS) * max(len(units), 1)), "response": Out(32 * max(len(units), 3))
        })  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index, unit in enumerate(self.units):
            m.submodules[f"unit_{index}"] = unit
            words = [self.stimulus.word_select(index * len(FIELDS) + k, 32) for k in range(len(FIELDS))]
            row = dict(zip(FIELDS, words, strict=True))
            acc = Cat(row["acc"], row["acc_high"])
            if unit.split:
                low_width = (unit.acc_width + 1) // 2
                high = Signal(64 - low_width)
                m.d.sync += high.eq(acc[low_width:])
                acc = Cat(acc[:low_width], high)
            m.d.comb += unit.acc.eq(acc)
            for name in FIELDS[2:]:
                if hasattr(unit, name):
                    m.d.comb += getattr(unit, name).eq(row[name])
            result = Signal(signed(32), name=f"result_{index}")
            m.d.comb += [result.eq(unit.result), self.response.word_select(index, 32).eq(result)]
        return m


def run_units(folder: Path, units: list[Requantize], cases: list[dict[str, np.ndarray]]) -> list[np.ndarray]:
    """Results of every unit: row i is what stood at its output ``latency`` cycles after row i."""
    count, tail = len(cases[0]["acc"]), max(unit.latency for unit in units)
    words = np.zeros((count + tail, len(units), len(FIELDS)), np.int64)
    for index, case in enumerate(cases):
        words[:count, index, 0] = case["acc"] & 0xFFFFFFFF
        words[:count, index, 1] = case["acc"] >> 32
        for k, name in enumerate(FIELDS[2:], start=2):
            words[:count, index, k] = case[name]
    verilog = rtlil_to_verilog(to_rtlil(Units(units), name="top"))
    models = [ECP5_MODELS.read_text(encoding="utf-8")] if any(unit.target == "ecp5" for unit in units) else []
    stimulus = (words.reshape(count + tail, -1) & 0xFFFFFFFF).astype(np.uint32)
    response = run_rows(folder, [verilog, *models], stimulus).astype(np.int32)
    return [response[unit.latency :, index][:count] for index, unit in enumerate(units)]


def case_for(
    unit: Requantize, rng: np.random.Generator, count: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Stimulus fields and the golden results."""
    width, is_signed = unit.out_shape.width, unit.out_shape.signed
    case = corner_cases(rng, acc_width=unit.acc_width, out_width=width, signed=is_signed, count=count)
    case["multiplier"] >>= 24 - unit.multiplier_bits
    if unit.activation != "clip":
        case["low"] = np.full(count, -(1 << width - 1) if is_signed else 0)
        case["high"] = case["low"] + (1 << width) - 1
    if unit.activation == "relu":
        case["low"] = np.maximum(case["low"], case["zero_point"])
    expected = requantize(**case, mode=unit.mode)
    if not unit.prescale:
        case["multiplier"] = case["multiplier"] << 7 - case["shift"] % 8
        case["shift"] = case["shift"] // 8
    return case, expected


OUTS = {"int2": signed(2), "int8": signed(8), "uint8": unsigned(8), "int16": signed(16)}
VARIANTS: list[tuple[int, str, dict[str, Any]]] = [
    (32, "int8", {}),
    (32, "int8", {"split": True, "activation": "none"}),
    (32, "uint8", {"split": True, "activation": "relu", "prescale": False}),
    (33, "int16", {"activation": "none"}),
    (24, "uint8", {"prescale": False, "activation": "none"}),
    (8, "int2", {"split": True}),
    (31, "int8", {"activation": "relu", "split": True}),
    (48, "int16", {"split": True}),
    (20, "int8", {"multiplier_bits": 8}),
    (4, "int8", {"multiplier_bits": 16, "activation": "relu"}),
]


def assert_equals_golden(
    folder: Path, variants: list[tuple[str, tuple[int, str, dict[str, Any]]]], *, target: str, count: int
) -> None:
    rng = np.random.default_rng(SEED)
    units = [
        Requantize(mode=mode, acc_width=acc_width, out_shape=OUTS[out], target=target, **others)
        for mode, (acc_width, out, others) in variants
    ]
    cases = [case_for(unit, rng, count) for unit in units]
    results = run_units(folder, units, [case for case, _ in cases])
    for variant, (case, expected), seen in zip(variants, cases, results, strict=True):
        wrong = np.flatnonzero(seen != expected)
        if len(wrong):
            row = {name: values[wrong[0]] for name, values in case.items()}
            pytest.fail(
                f"seed {SEED}, {target} {variant}: {len(wrong)} of {count} differ, first at row {wrong[0]}: "
                f"{row}, expected {expected[wrong[0]]}, got {seen[wrong[0]]}"
            )


@pytest.mark.parametrize("mode", MODES)
def test_rtl_equals_golden_after_exactly_its_latency(tmp_path: Path, mode: str) -> None:
    chosen = {"rne": VARIANTS, "ort": VARIANTS[:4] + VARIANTS[5:9], "half_up": VARIANTS[1:9:2]}[mode]
    count = 120_000 // len(chosen)
    assert_equals_golden(tmp_path, [(mode, variant) for variant in chosen], target="generic", count=count)


def test_rtl_on_ecp5_multipliers_equals_golden(tmp_path: Path) -> None:
    variants = [("rne", VARIANTS[k]) for k in (0, 2, 7, 8)] + [("ort", VARIANTS[k]) for k in (1, 7)]
    assert_equals_golden(tmp_path, [*variants, ("half_up", VARIANTS[1])], target="ecp5", count=12_000)


def test_rtl_in_mode_ort_equals_onnx_runtime(tmp_path: Path) -> None:
    rng, count = np.random.default_rng(SEED), 60_000
    units, cases, expected = [], [], []
    for out, split, zero_point in (("int8", True, -7), ("uint8", False, 200)):
        case = onnx_runtime_case(rng, count=count, decimal=out == "int8")
        oracle = OnnxRuntime(out, count)
        expected.append(oracle.requantize(case["acc"], **case["scales"], zero_point=zero_point))
        bias = np.where(abs(case["acc"]) < 1 << 30, rng.integers(-(1 << 30), 1 << 30, count), 0)
        unit = Requantize(mode="ort", acc_width=32, out_shape=OUTS[out], activation="none", split=split)
        units.append(unit)
        fixed = {name: np.full(count, zero_point) for name in ("zero_point", "low", "high")}
        cases.append({**fixed, **case["integers"], "acc": case["acc"] - bias, "bias": bias})
    for seen, wanted in zip(run_units(tmp_path, units, cases), expected, strict=True):
        np.testing.assert_array_equal(seen, wanted)


def test_stimulus_reaches_every_rounding_and_both_bounds() -> None:
    unit = Requantize(mode="rne", acc_width=32, out_shape=signed(8))
    case, rne = case_for(unit, np.random.default_rng(SEED), 12_000)
    differing = {mode: np.count_nonzero(requantize(**case, mode=mode) != rne) for mode in ("ort", "half_up")}
    inside = np.count_nonzero((rne > case["low"]) & (rne < case["high"]))
    assert min(*differing.values(), inside // 30) > 100, (differing, inside)
    del unit
    assert np.count_nonzero(rne == case["low"]) > 1000 < np.count_nonzero(rne == case["high"])


@pytest.mark.parametrize(
    ("parameters", "latency"),
    [
        ({}, 7),
        ({"split": True}, 8),
        ({"mode": "half_up", "split": True}, 8),
        ({"mode": "ort"}, 11),
        ({"mode": "ort", "split": True}, 12),
        ({"acc_width": 48}, 7),
        ({"multiplier_bits": 8}, 6),
    ],
)
def test_latency_is_the_documented_one(parameters: dict[str, Any], latency: int) -> None:
    plain = {"acc_width": 32, "mode": "rne", "multiplier_bits": 24, "split": False}
    assert requantize_latency(**{**plain, **parameters}) == latency


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"acc_width": 49}, "acc_width must be 4..48, not 49"),
        ({"out_shape": signed(17)}, "out_shape must have 2..16 bits, not 17"),
        ({"multiplier_bits": 25}, "multiplier_bits must be 1..24, not 25"),
        ({"mode": "nearest"}, "mode must be one of rne, ort, half_up, not 'nearest'"),
        ({"activation": "gelu"}, "activation must be one of none, relu, clip, not 'gelu'"),
        ({"target": "xilinx"}, "target must be one of generic, ecp5, not 'xilinx'"),
    ],
)
def test_unit_names_the_parameter_it_refuses(parameters: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Requantize(**{"acc_width": 32, "out_shape": signed(8), **parameters})
    gc.collect()
