"""Claims about rotary position embedding in attention engines: tables, golden model, spec, RTL and HLS C++."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from amaranth.hdl import signed
from amaranth.sim import Simulator
from gemm_designs import TEST_BUILD
from hls_build import csim
from hypothesis import given, settings
from hypothesis import strategies as st
from test_attention import operands, parameters, spec
from test_attention_rtl import PLAIN, design_of, memories
from test_spec_attention import refusals
from tilewright.build import build
from tilewright.canonical import canonical
from tilewright.design import parse_design
from tilewright.driver import open_driver
from tilewright.families import family_of
from tilewright.families.attention.fields import Job
from tilewright.families.attention.hardware import stream_rtlil
from tilewright.families.attention.schedules import schedule_of
from tilewright.formats import IntFormat
from tilewright.rtl.attention.rotary import Rotary, Turns, rotary_latency
from tilewright.sim.golden.attention import attention, float_attention
from tilewright.sim.golden.attention_rotary import float_rotated, rotated, rotated_reference
from tilewright.synth.synthesize import block_namer
from tilewright.units import tables

POSITIONS = 65_536

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")  # components that refuse their parameters


def turns(head_dim: int, *, base: int = 10_000, table_bits: int = 10) -> dict[str, tuple[int, ...]]:
    return {"steps": tables.rotary_steps(32, head_dim, base), "wave": tables.quarter_sine(14, table_bits)}


def whole_turn(table_bits: int) -> dict[str, list[int]]:
    angles = [2 * math.pi * a / 2**table_bits for a in range(2**table_bits)]
    return {"cosines": [round(2**14 * math.cos(a)) for a in angles], "sines": [round(2**14 * math.sin(a)) for a in angles]}


def bounds(number: str) -> dict[str, int]:
    parsed = IntFormat.parse(number)
    return {"low": parsed.low, "high": parsed.high}


# ---- tables and golden ---------------------------------------------------------------------------


@pytest.mark.parametrize("table_bits", range(6, 13))
def test_a_quarter_of_the_sine_is_rounded_to_nearest_and_nothing_lies_between(table_bits: int) -> None:
    wave = tables.quarter_sine(14, table_bits)
    exact = [2**14 * math.sin(2 * math.pi * k / 2**table_bits) for k in range(2 ** (table_bits - 2) + 1)]
    assert wave == tuple(map(round, exact)) and (wave[0], wave[-1]) == (0, 2**14)
    assert min(abs(value % 1 - 0.5) for value in exact) > 1e-6


@pytest.mark.parametrize("base", [2, 10_000, 10_000_000])
def test_steps_are_turns_per_position_in_32_bits(base: int) -> None:
    for head_dim in (4, 64, 256):
        steps = tables.rotary_steps(32, head_dim, base)
        assert len(steps) == head_dim // 2 and steps[0] == 683_565_276
        for pair, step in enumerate(steps):
            assert abs(step - 2**32 * base ** (-2 * pair / head_dim) / (2 * math.pi)) < 0.5 + 1e-5


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_golden_equals_big_integers_at_any_position(data: st.DataObject) -> None:
    head_dim, table_bits = data.draw(st.sampled_from([4, 6, 16])), data.draw(st.integers(6, 12))
    limits = bounds(data.draw(st.sampled_from(["int4", "int8", "int16"])))
    of = turns(head_dim, base=data.draw(st.integers(2, 10_000_000)), table_bits=table_bits)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    position = rng.integers(0, POSITIONS, 5)
    rows = rng.integers(limits["low"], limits["high"] + 1, (2, 5, head_dim))
    rows[0, 0] = limits["low"]
    expected = rotated_reference(rows, position, steps=of["steps"], **whole_turn(table_bits), **limits)
    assert rotated(rows.astype(np.int16), position, **of, **limits).tolist() == expected


@pytest.mark.parametrize("table_bits", [6, 10, 12])
@pytest.mark.parametrize("number", ["int4", "int8", "int16"])
def test_an_element_is_as_far_from_its_exact_place_as_the_angle_and_the_rounding_say(number: str, table_bits: int) -> None:
    """Half an angle and what the step's rounding adds up to, half a last place of sine and cosine, half a unit."""
    limits, rng = bounds(number), np.random.default_rng(3)
    position = np.array([*range(20), 1000, POSITIONS - 1])
    rows = rng.integers(limits["low"], limits["high"] + 1, (4, len(position), 16))
    result = rotated(rows, position, **turns(16, table_bits=table_bits), **limits)
    exact = float_rotated(rows, position, base=10_000).clip(limits["low"], limits["high"])
    x, y = np.abs(rows[:, :, ::2]), np.abs(rows[:, :, 1::2])
    angle = math.pi * 2.0**-table_bits + 2 * math.pi * position * 2.0**-33
    bound = np.hypot(x, y) * angle[:, None] + (x + y) * 2.0**-15 + 0.5
    assert (np.abs(result - exact) <= np.repeat(bound, 2, axis=2)).all()
    assert not (result == exact).all()


def test_position_0_leaves_a_row_as_it_is() -> None:
    rows = np.arange(-128, 128).reshape(1, 16, 16)
    np.testing.assert_array_equal(rotated(rows, np.zeros(16, int), **turns(16), low=-128, high=127), rows)


@pytest.mark.parametrize("shift", [1, 77, 60_000])
def test_a_dot_product_depends_on_the_distance_alone(shift: int) -> None:
    """As far as the roundings of both rows allow."""
    rng = np.random.default_rng(1)
    q, k = rng.integers(-20_000, 20_001, (2, 1, 9, 8))
    position = np.arange(9)
    of = turns(8, table_bits=12) | bounds("int16")

    def scores(first: int) -> np.ndarray:
        return np.einsum("hid,hjd->hij", rotated(q, position + first, **of), rotated(k, position + first, **of))

    error = 20_000 * math.sqrt(2) * (math.pi / 4096 + 2 * math.pi * (shift + 9) * 2.0**-33) + 40_000 * 2.0**-15 + 0.5
    most = 2 * 8 * error * (20_000 * math.sqrt(2) + error)
    difference = np.abs(scores(shift) - scores(0))
    assert 0 < difference.max() < 2 * most < np.abs(scores(0)).max()


def test_golden_refuses_rows_that_do_not_fit_the_steps() -> None:
    with pytest.raises(ValueError, match=r"shapes \(1, 3, 6\) and \(3,\) are not \(heads, count, 8\) and \(count,\)"):
        rotated(np.zeros((1, 3, 6), int), np.arange(3), **turns(8), low=-8, high=7)


# ---- spec ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("blocks", "text"), [
    ({"rotary": {"base": 1}}, "rotary.base: 1 is not an integer from 2 to 10000000"),
    ({"rotary": {"table_bits": 13}}, "rotary.table_bits: 13 is not an integer from 6 to 12"),
    ({"rotary": {"theta": 10_000}}, "unknown key 'theta' in rotary; known are base, table_bits, positions"),
    ({"rotary": None}, "rotary: nothing is not a mapping of base, table_bits, positions"),
    ({"rotary": {}, "model": {"head_dim": 12}, "engine": {"lanes": 3}},
     "engine.lanes: 3 is odd, and rotary turns pairs; the nearest even divisor of model.head_dim: 4"),
    ({"rotary": {}, "model": {"head_dim": 14}, "engine": {"lanes": 8}},
     "engine.lanes: 8 does not divide model.head_dim, which is 14; the nearest that does: 14"),
    ({"rotary": {}, "model": {"head_dim": 9}, "engine": {"lanes": 3}},
     "model.head_dim: 9 is odd, and rotary turns pairs; write 10"),
    ({"rotary": {}, "limits": {"queries": 9, "keys": 8}},
     "limits.queries: 9 is above limits.keys, and with rotary a job has no more queries than keys; lower it to 8"),
])
def test_a_rotary_that_cannot_be_is_refused(blocks: dict[str, Any], text: str) -> None:
    assert refusals(**blocks) == [text]


def test_a_rotary_is_written_down_only_where_there_is_one() -> None:
    assert "rotary" not in canonical(spec())
    assert "\nrotary:\n  base: 10000\n  table_bits: 10\nsoftmax:\n" in canonical(spec(rotary={}))
    assert dict(spec(rotary={}).summary())["rotary"] == "base 10000, 1024 angles"
    with pytest.raises(ValueError, match="the design has no rotary"):
        spec().rotary_tables()


# ---- hardware ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lanes", "positions", "number", "table_bits", "target"), [
    (2, POSITIONS, "int8", 10, "generic"), (4, 40, "int16", 6, "generic"), (8, 2, "int4", 12, "generic"),
    (8, 1, "int8", 8, "generic")])
def test_the_component_turns_a_chunk_in_every_cycle(
        lanes: int, positions: int, number: str, table_bits: int, target: str) -> None:
    head_dim, count, of, limits = 8, 40, turns(8, table_bits=table_bits), bounds(number)
    rng = np.random.default_rng(2)
    rows = rng.integers(limits["low"], limits["high"] + 1, (1, count, head_dim))
    if number == "int16":
        rows[0, ::2] = rng.choice([-24_576, -8192, 0, 8192], (count // 2, head_dim))  # times odd factors: halves to round
    position = rng.integers(0, positions, count)
    rotary = Rotary(shape=signed(IntFormat.parse(number).width), lanes=lanes, positions=positions, turns=Turns(**of),
                    target=target)
    latency, chunks, found = rotary_latency(positions), head_dim // lanes, []

    async def bench(context: Any) -> None:
        for cycle in range(count * chunks + latency):
            row, chunk = divmod(min(cycle, count * chunks - 1), chunks)
            context.set(rotary.position, int(position[row]))
            context.set(rotary.chunk, chunk)
            for lane in range(lanes):
                context.set(rotary.data[lane], int(rows[0, row, chunk * lanes + lane]))
            if cycle >= latency:
                found.append([context.get(rotary.turned[lane]) for lane in range(lanes)])
            await context.tick()

    simulator = Simulator(rotary)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    np.testing.assert_array_equal(np.reshape(found, (count, head_dim)), rotated(rows, position, **of, **limits)[0])


def test_the_component_refuses_lanes_that_part_a_pair() -> None:
    for lanes in (3, 6):
        with pytest.raises(ValueError, match=f"lanes must be even and divide 8, not {lanes}"):
            Rotary(shape=signed(8), lanes=lanes, positions=9, turns=Turns(**turns(8)))


def test_keys_take_as_long_as_without_and_results_come_once_later() -> None:
    plain, turned = (list(schedule_of(of).walk(of, [Job(queries=9, keys=40)] * 3)) for of in (spec(), spec(rotary={})))
    for number, (before, after) in enumerate(zip(plain, turned, strict=True)):
        assert after.done - before.done == 12 and after.active == before.active, number
    assert rotary_latency(2) == rotary_latency(POSITIONS) == 12


def test_the_report_finds_the_unit_and_multipliers_fit_their_blocks() -> None:
    of = spec(rotary={}, numbers={"q": "int16", "k": "int16"})
    named = block_namer(family_of(of).blocks(of))
    assert {named(f"engine.rotary_{name}.pair_0.x_sine") for name in "qk"} == {"rotary"}
    assert "MULT18X18D" in stream_rtlil(of, target="ecp5")
    assert ("Rotary", "base 10000, pairs of elements turned in steps of 1/1024 turn") in family_of(of).portrait(of).facts


def test_tables_do_not_grow_with_the_sequence() -> None:
    found = [memories(design_of(PLAIN | {"rotary": "fine"}, keys=keys).spec) for keys in (64, POSITIONS)]
    depths = [{name: depth for name, (_, depth) in one.items()} for one in found]
    assert depths[0] == depths[1]
    assert [depth for name, depth in depths[0].items() if name.endswith(" wave")] == [1 << 12 - 2]


# ---- jobs ----------------------------------------------------------------------------------------


ROTARY = {"design": "rotary", "family": "attention", "model": {"head_dim": 8, "heads": 4, "kv_heads": 2},
          "engine": {"tile_q": 4, "lanes": 4}, "mask": "causal", "rotary": {"base": 500, "table_bits": 9},
          "limits": {"queries": 6, "keys": 12}, "workload": [{"queries": 3, "keys": 5}, {"queries": 1, "keys": 9}]}
DESIGN = parse_design(yaml.safe_dump(ROTARY).encode(), source="rotary.yaml")


def test_attention_is_that_of_rows_turned_by_their_positions() -> None:
    """Of queries that begin somewhere on the keys' axis; on the golden model and on the compiled RTL, cycles included."""
    program, expected = [], []
    for queries, keys in ((3, 5), (1, 9), (6, 12), (2, 2)):
        q, k, v = operands(DESIGN.spec, queries, keys, seed=keys)
        program.append({"q": q, "k": k, "v": v, "score_multiplier": 9000, "score_shift": 18})
        of = turns(8, base=500, table_bits=9) | bounds("int8")
        q, k = rotated(q, np.arange(keys - queries, keys), **of), rotated(k, np.arange(keys), **of)
        expected.append(attention(q, k, v, **parameters(DESIGN.spec, score_multiplier=9000, score_shift=18)))
    model, run = (open_driver(DESIGN, backend, root=TEST_BUILD).run(program) for backend in ("golden", "sim"))
    for outputs in (model.outputs, run.outputs):
        for output, wanted in zip(outputs, expected, strict=True):
            np.testing.assert_array_equal(output, wanted)
    assert run.measured and run.cycles == model.cycles


def test_error_against_float_attention_with_float_rotations() -> None:
    """Rows are off by the bound of an element, so scores by what those make of a sum, and weights by twice that."""
    of = spec(mask={"kind": "causal"}, numbers={"q": "int16", "k": "int16"}, rotary={"table_bits": 12})
    rng = np.random.default_rng(4)
    q, k = rng.integers(-20_000, 20_001, (4, 64, 8)), rng.integers(-20_000, 20_001, (2, 64, 8))
    v = rng.integers(-128, 128, (2, 64, 8))
    position, tables_of = np.arange(64), turns(8, table_bits=12) | bounds("int16")
    scale = 1.5 / (20_000**2 / 3 * math.sqrt(8))
    multiplier, shift = round(scale * 2**10 * 2**40), 40
    result = attention(rotated(q, position, **tables_of), rotated(k, position, **tables_of), v,
                       **parameters(of, score_multiplier=multiplier, score_shift=shift))
    exact = float_attention(float_rotated(q, position, base=10_000), float_rotated(k, position, base=10_000), v, mask=of.mask,
                            score_scale=multiplier / 2**shift / 2**of.fraction, out_scale=1)
    unturned = float_attention(q, k, v, mask=of.mask, score_scale=scale, out_scale=1)
    element = 20_000 * math.sqrt(2) * math.pi / 4096 + 40_000 * 2.0**-15 + 0.5 + 0.1
    most = np.abs(q).max() * math.sqrt(2)
    score = 8 * element * (2 * most + element) * scale
    assert np.abs(result - exact).max() < 1 + 256 * math.expm1(2 * score) < np.abs(unturned - exact).max()


# ---- HLS C++ -------------------------------------------------------------------------------------


KERNELS: dict[str, dict[str, Any]] = {
    "by_position": {"mask": "causal"},
    "by_position_in_16_bits": {"mask": "none", "numbers": {"q": "int16"}},
    "by_place_and_once_more": {
        "mask": {"kind": "lambda", "sink": 2, "window": 3}, "engine": {"tile_q": 2, "lanes": 4},
        "rotary": {"base": 500, "positions": "cache_index"}, "softmax": {"algorithm": "unified_max"}},
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_equals_golden(name: str, tmp_path: Path) -> None:
    fields = ROTARY | {"bias": {"reach": 2}} | KERNELS[name]
    built = build(parse_design(yaml.safe_dump(fields).encode(), source="rotary.yaml"), tmp_path)
    result = csim(built.folder / "hls")
    assert result.code == 0 and result.failed == 0 and result.compared > 300, result.output
