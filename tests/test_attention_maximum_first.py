"""Claims about the softmax algorithms whose keys stream past a tile twice, the first time for their greatest score."""

import re
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator
from attention_softmax import softmax
from tilewright.families.attention.cycles import walk
from tilewright.families.attention.fields import Job
from tilewright.families.attention.hardware import cycle_engine, stream_rtlil
from tilewright.families.attention.spec import AttentionSpec
from tilewright.rtl.attention.maximum_first import MaximumFirstWeights, ParabolaExponential
from tilewright.rtl.attention.online_weights import Exponential
from tilewright.sim.golden.units.exponential import exp, i_exp

ROWS = 3
ALGORITHMS = ("three_pass", "ibert")


def spec(algorithm: str, **blocks: Any) -> AttentionSpec:
    base = {"design": "passes", "family": "attention", "model": {"head_dim": 8}, "limits": {"queries": 8, "keys": 64}}
    return AttentionSpec.model_validate(base | {"softmax": softmax(algorithm)} | blocks)


def weight_of(of: AttentionSpec, fall: int) -> int:
    """The weight of a score that lies ``fall`` below the greatest one."""
    if of.parabola:
        ln2, linear, constant = of.parabola
        return int(i_exp(fall, ln2=ln2, linear=linear, constant=constant)) >> constant.bit_length() + 15
    return int(exp(fall, table=of.table, fraction_bits=of.fraction, octave_bits=of.fraction, table_bits=of.table_bits,
                   value_bits=of.mantissa_bits, guard_bits=of.guard_bits))


def exponential(of: AttentionSpec) -> Exponential | ParabolaExponential:
    if of.parabola:
        ln2, linear, constant = of.parabola
        return ParabolaExponential(ln2=ln2, linear=linear, constant=constant, target="generic")
    return Exponential(fraction=of.fraction, mantissa_bits=of.mantissa_bits, guard_bits=of.guard_bits, table=of.table,
                       target="generic")


@pytest.mark.parametrize("fraction", [8, 10, 12])
def test_a_parabola_of_every_octave_and_end_is_that_of_i_bert(fraction: int) -> None:
    of = spec("ibert", softmax=softmax("ibert", fraction=fraction))
    assert of.parabola is not None
    ends = np.arange(32)[:, None] * of.parabola[0] + np.arange(-2, 3)
    falls = np.unique(np.clip([*ends.ravel(), *np.random.default_rng(1).integers(0, 1 << 16, 400), 65535], 0, 65535)).tolist()
    unit = exponential(of)
    found: list[int] = []

    async def bench(context: Any) -> None:
        for fall in [*falls, *[0] * unit.LATENCY]:
            context.set(unit.fall, fall)
            found.append(context.get(unit.value))
            await context.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert found[unit.LATENCY:] == [weight_of(of, fall) for fall in falls]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_weights_are_relative_to_the_greatest_score_of_all_keys_a_row_sees(algorithm: str) -> None:
    """Tiles of 1 to 9 keys, at the closest pace and with pauses, rows that see some of them, one row of a tile perhaps none."""
    of = spec(algorithm)
    rng = np.random.default_rng(5)
    tiles = [(rng.integers(-9000, 9000, (count, ROWS)), rng.integers(0, 2, (count, ROWS))) for count in (1, 2, 9, 1, 5, 3)]
    keys = [(scores[key], seen[key], key == 0, second)
            for scores, seen in tiles for second in (0, 1) for key in range(len(scores))]
    weights = MaximumFirstWeights(rows=ROWS, score_width=22, exponential=exponential(of), total_width=of.total_width,
                                  target="generic")
    found: list[list[tuple[int, int]]] = [[] for _ in range(ROWS)]
    starts = np.cumsum([0, *(ROWS + rng.integers(0, 3, len(keys) - 1) * rng.integers(0, 2, len(keys) - 1))]).tolist()
    comes = dict(zip(starts, keys, strict=True))

    async def bench(context: Any) -> None:
        for cycle in range(starts[-1] + 60):
            context.set(weights.valid, cycle in comes)
            if cycle in comes:
                scores, seen, first, second = comes[cycle]
                for row in range(ROWS):
                    context.set(weights.scores[row], int(scores[row]))
                context.set(weights.visible, int(seen @ (1 << np.arange(ROWS))))
                context.set(weights.first, int(first))
                context.set(weights.second, second)
                context.set(weights.multiplier, 1)
            if offer := context.get(weights.offer):
                found[offer.bit_length() - 1].append((context.get(weights.entry.weight), context.get(weights.entry.total)))
            await context.tick()

    simulator = Simulator(weights)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    for row in range(ROWS):
        expected = []
        for scores, seen in tiles:
            visible = [int(score) for score, sees in zip(scores[:, row], seen[:, row], strict=True) if sees]
            total = 0
            for score, sees in zip(scores[:, row], seen[:, row], strict=True):
                weight = weight_of(of, max(visible) - int(score)) if sees else 0
                total += weight
                expected.append((weight, total))
        assert found[row] == expected, row


def engine(algorithm: str) -> AttentionSpec:
    """Of one chunk to a key and one row: nothing but the loop of the sums keeps keys apart."""
    return spec(algorithm, engine={"tile_q": 1, "lanes": 8})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keys_follow_each_other_and_themselves_at_the_pace_of_the_loop(algorithm: str) -> None:
    of = engine(algorithm)
    assert (of.loop, of.interval) == (3, 3)
    for keys in (1, 2, 7, 64):
        (cycles,) = walk(cycle_engine(of), [Job(queries=1, keys=keys)])
        assert (cycles.active, cycles.last_step - cycles.first_step) == (2 * keys, 3 * (2 * keys - 1))


def test_value_rows_have_no_shifter_and_no_multiplier_but_that_of_the_product() -> None:
    """The same query finds the shifters and the products of sums of the algorithms with a running reference."""
    counts = {}
    for algorithm in ("two_pass", "online", *ALGORITHMS):
        modules = re.findall(r"^module (\S+)$(.*?)^end$", stream_rtlil(engine(algorithm)), re.MULTILINE | re.DOTALL)
        within = "".join(text for name, text in modules if "value_row" in name)
        counts[algorithm] = [len(re.findall(rf"cell \${kind} ", within)) for kind in ("shr|shr", "sshr", "mul")]
    assert counts["three_pass"] == counts["ibert"] == [0, 0, 8]
    assert sum(counts["two_pass"][:2]) > 0 and counts["online"][2] > 8
