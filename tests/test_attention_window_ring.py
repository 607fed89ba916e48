"""Claims about the hardware of schedule `window_ring`: it equals the golden model, cycles do not depend on the window."""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from amaranth.sim import Simulator, SimulatorContext
from attention_bench import prove
from gemm_designs import CACHE
from pairwise import pairwise_rows, spanning_rows
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.families import family_of
from tilewright.families.attention import window_ring_hardware as hardware
from tilewright.families.attention.drawing import MOST_DRAWN
from tilewright.families.attention.schedules import schedule_of
from tilewright.families.attention.stimulus import Stimulus, as_case
from tilewright.families.attention.vectors import write_case
from tilewright.sim.runner import build_harness, run_harness
from tilewright.synth.synthesize import block_namer
from tilewright.verify import verify

MASKS: dict[str, dict[str, Any]] = {  # fewer cores than an interval has cycles, one, more than there are in its power of two
    "window": {"kind": "window", "window": 3}, "own_key": {"kind": "window", "window": 1},
    "band": {"kind": "window", "window": 4, "lookahead": 3}, "lambda": {"kind": "lambda", "sink": 2, "window": 4},
    "many_sinks": {"kind": "lambda", "sink": 7, "window": 2, "lookahead": 5}}
HEADS = {"mha": (2, 2), "gqa": (6, 2), "mqa": (3, 1)}  # heads, kv_heads
CHUNKS = {"one": (4, 4), "fewer_than_interval": (6, 2), "many": (16, 2)}  # head_dim, lanes
FORMATS = {
    "int8": ("int8", "int8", "int8", "int8"), "wide": ("int16", "int8", "int16", "int16"),
    "mixed": ("int4", "int16", "int4", "int8")}
WIDTHS = {"fine": (12, 15, 1, 6), "coarse": (8, 8, 8, 3)}  # fraction, mantissa, guard, table
FACTORS: dict[str, tuple[str, ...]] = {
    "mask": tuple(MASKS), "heads": tuple(HEADS), "chunks": tuple(CHUNKS), "formats": tuple(FORMATS), "widths": tuple(WIDTHS)}
PLAIN = {"mask": "lambda", "heads": "mha", "chunks": "many", "formats": "int8", "widths": "fine"}
JOBS = ((7, 11), (1, 40), (9, 9))  # queries, keys
ROWS = list(pairwise_rows(FACTORS))


def ring(mask: dict[str, Any], *, model: dict[str, int], lanes: int, **blocks: Any) -> Design:
    """A design with the schedule `window_ring`; ``blocks`` are further blocks of its file."""
    text = yaml.safe_dump({"design": "ring", "family": "attention", "model": model,
                           "engine": {"schedule": "window_ring", "lanes": lanes}, "mask": mask, **blocks})
    return parse_design(text.encode(), source="ring.yaml")


def design_of(row: dict[str, str], *, jobs: Sequence[tuple[int, int]] = JOBS) -> Design:
    """The design of a row of factors."""
    heads, kv_heads = HEADS[row["heads"]]
    head_dim, lanes = CHUNKS[row["chunks"]]
    fraction, mantissa_bits, guard_bits, table_bits = WIDTHS[row["widths"]]
    return ring(
        MASKS[row["mask"]], model={"head_dim": head_dim, "heads": heads, "kv_heads": kv_heads}, lanes=lanes,
        softmax={"fraction": fraction, "mantissa_bits": mantissa_bits, "guard_bits": guard_bits, "table_bits": table_bits},
        numbers=dict(zip(("q", "k", "v", "out"), FORMATS[row["formats"]], strict=True)),
        limits={"queries": 9, "keys": 40}, workload=[{"queries": m, "keys": n} for m, n in jobs])


@pytest.mark.parametrize("row", spanning_rows(ROWS), ids=lambda row: "-".join(row.values()))
def test_every_choice_equals_golden(row: dict[str, str], tmp_path: Path) -> None:
    """Every pair of choices: ``volume_attention.py``."""
    assert prove(design_of(row), tmp_path) > 1000


@pytest.mark.parametrize("row", ROWS[:1], ids=lambda row: "-".join(row.values()))
def test_verify_proves_it(row: dict[str, str], tmp_path: Path) -> None:
    outcome = verify(build(design_of(row), tmp_path), cache=CACHE.parent)
    assert outcome.passed, outcome.first_divergence
    assert sum(check.vectors for check in outcome.checks) > 1000


@pytest.mark.parametrize(("window", "lookahead"), [(4, 0), (8, 0), (5, 4)])
def test_a_query_takes_as_many_cycles_whatever_the_window(window: int, lookahead: int, tmp_path: Path) -> None:
    """16 positions more of two heads are 16 * 2 * 4 cycles more, counted by the hardware."""
    design = ring({"kind": "window", "window": window, "lookahead": lookahead}, lanes=2,
                  model={"head_dim": 4, "heads": 2, "kv_heads": 1},
                  numbers=dict.fromkeys(("q", "k", "v", "out"), "int4"), limits={"queries": 40, "keys": 40})
    spec, folder = design.spec, build(design, tmp_path).folder
    harness = build_harness(folder, cache=CACHE, optimize=False)
    stimulus = Stimulus(spec, np.random.default_rng(1))
    cycles = []
    for length in (24, 40):
        case = as_case(spec, f"square_{length}", (stimulus.job(length, length),))
        write_case(tmp_path / case.name, spec, case)
        run = run_harness(harness, tmp_path / case.name)
        assert run.passed and run.counters["cycles"] == case.cycles, run.message
        cycles.append(run.counters["cycles"])
    assert spec.interval == 4 and cycles[1] - cycles[0] == 16 * 2 * 4


SHUT = 700  # cycles: every place between the ports is taken long before


def test_a_result_port_that_stays_shut_holds_everything_up_and_loses_nothing() -> None:
    """More queries than the engine has places for: they wait for slots, results for the queue."""
    spec = ring({"kind": "window", "window": 2}, model={"head_dim": 4, "heads": 1, "kv_heads": 1}, lanes=4,
                limits={"queries": 100, "keys": 100}, numbers=dict.fromkeys(("q", "k", "v", "out"), "int4")).spec
    job = Stimulus(spec, np.random.default_rng(3)).job(90, 100)
    schedule, engine = schedule_of(spec), hardware.engine(spec)
    seen: list[list[int]] = []

    def feed(port: Any, beats: list[list[int]]) -> Callable[[SimulatorContext], Awaitable[None]]:
        async def send(context: SimulatorContext) -> None:
            for number, beat in enumerate(beats):
                context.set(port.valid, 1)
                context.set(port.payload, {"data": beat, "last": number == len(beats) - 1})
                await context.tick().until(port.ready)
            context.set(port.valid, 0)

        return send

    async def offer(context: SimulatorContext) -> None:
        context.set(engine.job.payload, job.fields)
        context.set(engine.job.valid, 1)
        await context.tick().until(engine.job.ready)
        context.set(engine.job.valid, 0)

    async def receive(context: SimulatorContext) -> None:
        await context.tick().repeat(SHUT)
        held_up = context.get(engine.counter_active)
        await context.tick().repeat(50)
        assert context.get(engine.counter_active) == held_up < 90
        context.set(engine.result.ready, 1)
        while len(seen) < 90:
            result, = await context.tick().sample(engine.result.payload.data).until(engine.result.valid)
            seen.append(list(result))

    simulator = Simulator(engine)
    simulator.add_clock(1e-6)
    for name, beats in schedule.operands(spec, job).items():
        simulator.add_testbench(feed(getattr(engine, name), beats.tolist()))
    simulator.add_testbench(offer)
    simulator.add_testbench(receive)
    simulator.run_until(5e-3)
    assert seen == schedule.pack_result(spec, job.result).tolist()


def test_no_memory_grows_with_the_sequence_and_cores_are_one_module() -> None:
    short, long = (ring(MASKS["lambda"], model={"head_dim": 8, "heads": 1, "kv_heads": 1}, lanes=2,
                        limits={"queries": 8, "keys": keys}) for keys in (8, 65_536))
    texts = [family_of(design.spec).stream_rtlil(design.spec) for design in (short, long)]
    found = [re.findall(r"^  memory width (\d+) size (\d+) (\S+)$", text, re.MULTILINE) for text in texts]
    assert found[0] == found[1]
    for module in ("score_core", "value_core", "core_sum", "shared_exponential", "row_divider"):
        assert len(re.findall(rf"^module \\ring_{module}$", texts[0], re.MULTILINE)) == 1
    rows = [re.search(rf"^module \\ring_{module}$.*?^  memory width (\d+) size (\d+) \\{name}$", texts[0],
                      re.MULTILINE | re.DOTALL) for module, name in (("score_core", "queries"), ("value_core", "values"))]
    assert short.spec.cores * sum(int(row[1]) * int(row[2]) for row in rows if row) == short.spec.ring_bits


def test_multipliers_of_cores_become_blocks_of_the_device() -> None:
    spec = design_of(PLAIN | {"formats": "wide"}).spec
    text = family_of(spec).stream_rtlil(spec, target="ecp5")
    for module in ("score_core", "value_core"):
        body = re.search(rf"^module \\ring_{module}$(.*?)^end$", text, re.MULTILINE | re.DOTALL)
        assert body and len(re.findall(r"multiplier_\d+$", body[1], re.MULTILINE)) == spec.lanes
    assert text.count("MULT18X18D") > 4


def test_every_block_of_a_netlist_is_found() -> None:
    """A submodule that is renamed would silently fall into what is left."""
    spec = design_of(PLAIN).spec
    family = family_of(spec)
    modules = dict(re.findall(r"^module (\S+)$(.*?)^end$", family.stream_rtlil(spec), re.MULTILINE | re.DOTALL))
    named = block_namer(family.blocks(spec))

    def paths(module: str, prefix: str) -> Iterator[str]:
        for kind, name in re.findall(r"^  cell (\S+) \\?(\S+)$", modules[module], re.MULTILINE):
            if kind in modules:
                yield f"{prefix}{name}"
                yield from paths(kind, f"{prefix}{name}.")

    found = {named(path) for path in paths(f"\\{spec.design}", "")}
    assert found - {"control"} == set(family.blocks(spec).values())


@pytest.mark.parametrize(("window", "lanes"), [(3, 2), (16, 8), (300, 8)])
def test_cores_are_drawn_multiplier_by_multiplier_or_as_a_texture(window: int, lanes: int) -> None:
    spec = ring({"kind": "window", "window": window}, model={"head_dim": 16, "heads": 1, "kv_heads": 1}, lanes=lanes).spec
    portrait = family_of(spec).portrait(spec)
    one_by_one = window * lanes <= MOST_DRAWN
    assert portrait.figure.count('class="kept') == (2 * window * lanes if one_by_one else 0)
    assert portrait.figure.count("<pattern") == (0 if one_by_one else 2)
    assert f"{window} cores hold an int8 key" in portrait.sentence
