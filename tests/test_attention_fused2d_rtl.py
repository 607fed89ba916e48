"""Claims about the fused engine as hardware: it equals the golden model, cycles included."""

import re
from collections.abc import Mapping
from importlib import resources
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from attention_bench import prove
from gemm_designs import CACHE, TEST_BUILD
from pairwise import spanning_rows
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.driver import open_driver
from tilewright.emit import rtlil_to_verilog
from tilewright.families import family_of
from tilewright.families.attention.fused2d_hardware import stream_rtlil
from tilewright.families.attention.fusemax import Arrays, Layer, cycles
from tilewright.families.attention.stimulus import Stimulus, as_case
from tilewright.families.attention.vectors import write_case
from tilewright.sim.runner import build_harness, run_harness
from tilewright.synth.synthesize import block_namer
from tilewright.verify import verify

ARGUMENTS = ("q", "k", "v", "score_multiplier", "score_shift", "out_scale")
MASKS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"}, "causal": {"kind": "causal"}, "window": {"kind": "window", "window": 5},
    "lambda": {"kind": "lambda", "sink": 2, "window": 4, "lookahead": 3}, "prefix": {"kind": "prefix", "prefix": 3},
    "band": {"kind": "window", "window": 3, "lookahead": 4}}
HEADS = {  # heads, kv_heads, tile_q: groups of one; a tile of whole groups, no powers of two; a group of whole tiles
    "mha": (1, 1, 4), "whole_groups": (9, 3, 6), "whole_tiles": (4, 1, 2), "one_row": (2, 1, 1)}
SHAPES = {"square": (4, 4), "one_column": (6, 1), "odd": (5, 3), "wide": (4, 16)}  # head_dim, cols
FORMATS = {
    "int8": ("int8", "int8", "int8", "int8"), "wide": ("int16", "int16", "int16", "int16"),
    "mixed": ("int4", "int16", "int4", "int8")}
WIDTHS = {"fine": (12, 15, 1, 6), "coarse": (8, 8, 8, 3), "short": (10, 9, 4, 4)}  # fraction, mantissa, guard, table
FACTORS = {"mask": tuple(MASKS), "heads": tuple(HEADS), "shape": tuple(SHAPES), "formats": tuple(FORMATS),
           "widths": tuple(WIDTHS)}
ROWS = [dict(zip(FACTORS, line.split(), strict=True)) for line in """\
none mha square int8 fine
none whole_groups one_column wide coarse
none whole_tiles odd mixed short
causal one_row square mixed coarse
window one_row one_column int8 short
lambda whole_tiles wide int8 coarse
prefix mha one_column mixed fine
causal mha wide wide short
window whole_groups wide mixed fine
lambda one_row odd wide fine
prefix whole_groups square int8 short
window mha odd int8 coarse
window whole_tiles square wide fine
causal whole_groups odd int8 fine
prefix one_row wide wide coarse
lambda mha square mixed short
causal whole_tiles one_column int8 fine
none one_row wide int8 fine
lambda whole_groups one_column int8 fine
prefix whole_tiles odd int8 fine
band mha square wide coarse
band whole_tiles wide mixed fine
band whole_groups odd int8 short
band one_row one_column wide fine""".splitlines()]
PLAIN = {"mask": "causal", "heads": "mha", "shape": "square", "formats": "int8", "widths": "fine"}


def design_of(row: Mapping[str, str], *, queries: int = 9, keys: int = 40, **blocks: Any) -> Design:
    """The design of a row."""
    heads, kv_heads, tile_q = HEADS[row["heads"]]
    head_dim, cols = SHAPES[row["shape"]]
    fraction, mantissa_bits, guard_bits, table_bits = WIDTHS[row["widths"]]
    text = yaml.safe_dump({
        "design": "fused_pairs", "family": "attention",
        "model": {"head_dim": head_dim, "heads": heads, "kv_heads": kv_heads},
        "engine": {"schedule": "fused2d", "tile_q": tile_q, "cols": cols}, "mask": MASKS[row["mask"]],
        "softmax": {"fraction": fraction, "mantissa_bits": mantissa_bits, "guard_bits": guard_bits, "table_bits": table_bits},
        "numbers": dict(zip(("q", "k", "v", "out"), FORMATS[row["formats"]], strict=True)),
        "limits": {"queries": queries, "keys": keys}, "workload": [{"queries": m, "keys": n} for m, n in ((7, 11), (1, 40))],
        **blocks})
    return parse_design(text.encode(), source="pairs.yaml")


def test_every_pair_of_choices_is_in_a_row() -> None:
    for one, other in combinations(FACTORS, 2):
        assert {(row[one], row[other]) for row in ROWS} == set(product(FACTORS[one], FACTORS[other]))


@pytest.mark.parametrize("row", spanning_rows(ROWS), ids=lambda row: "-".join(row.values()))
def test_every_choice_equals_golden(row: dict[str, str], tmp_path: Path) -> None:
    """Free, on the cycle model's schedule; stalled; after resets. Every pair of choices: ``volume_attention.py``."""
    assert prove(design_of(row), tmp_path) > 1000


def test_verify_proves_it(tmp_path: Path) -> None:
    """With cocotb too: one slow port, offers that hold, illegal shapes, misplaced ends."""
    outcome = verify(build(design_of(PLAIN), tmp_path), cache=CACHE.parent)
    assert outcome.passed, outcome.first_divergence
    assert sum(check.vectors for check in outcome.checks) > 1000


def test_a_square_takes_the_closed_form_and_a_fill_that_does_not_grow(tmp_path: Path) -> None:
    """On 8 x 8 PEs and 8 lanes, counted by the RTL."""
    head_dim = 16
    design = design_of(PLAIN | {"mask": "none"}, queries=128, keys=128, model={"head_dim": head_dim},
                       engine={"schedule": "fused2d", "tile_q": 8, "cols": 8}, workload=[{"queries": 64, "keys": 64}])
    built = build(design, tmp_path / "build").folder
    harness = build_harness(built, cache=CACHE, optimize=False)
    stimulus = Stimulus(design.spec, np.random.default_rng(1))
    for length in (64, 128):
        case = as_case(design.spec, f"square_{length}", (stimulus.job(length, length),))
        write_case(tmp_path / case.name, design.spec, case)
        run = run_harness(harness, tmp_path / case.name)
        assert run.passed, run.message
        layer = Layer(batch=1, heads=1, queries=length, keys=length, key_dim=head_dim, value_dim=head_dim)
        closed = cycles(Arrays(rows=8, cols=8, clock_mhz=1), layer)
        assert closed == length / 8 * (length / 8 * (10 + 2 * head_dim) + head_dim)
        assert run.counters["cycles"] == case.cycles == closed + 5 * head_dim + 43
        assert run.counters["active"] == (length // 8) ** 2 * head_dim


def test_a_program_gives_the_same_results_and_cycles_as_golden() -> None:
    """Through the driver, which reads results of tiles that lack rows."""
    design = design_of(PLAIN | {"heads": "whole_groups"})
    stimulus = Stimulus(design.spec, np.random.default_rng(3))
    program = [{name: getattr(job, name) for name in ARGUMENTS}
               for job in (stimulus.job(queries, keys) for queries, keys in ((5, 9), (1, 1), (7, 40)))]
    run, model = open_driver(design, "sim", root=TEST_BUILD).run(program), open_driver(design).run(program)
    for output, wanted in zip(run.outputs, model.outputs, strict=True):
        np.testing.assert_array_equal(output, wanted)
    assert run.measured and run.cycles == model.cycles


@pytest.mark.parametrize(("formats", "head_dim"), [("int8", 4), ("wide", 16)])
def test_multiplier_blocks_give_the_same(formats: str, head_dim: int, tmp_path: Path) -> None:
    """Scores of one 17-bit chunk and more, and of three."""
    design = design_of(PLAIN | {"formats": formats}, model={"head_dim": head_dim}, engine={
        "schedule": "fused2d", "tile_q": 2, "cols": 2})
    spec = design.spec
    text = stream_rtlil(spec, target="ecp5")
    of_pe = [body for name, body in modules(text).items() if name.startswith("fused_pairs_fused_pe")]
    assert sum(body.count("cell \\MULT18X18D ") for body in of_pe) == 1
    built = build(design, tmp_path / "build").folder
    verilog = tmp_path / "ecp5.v"
    verilog.write_text(rtlil_to_verilog(text))
    blocks = Path(str(resources.files("tilewright.boards") / "ecp5_models.v"))
    harness = build_harness(built, sources=[verilog, blocks], top=spec.design, cache=CACHE, optimize=False)
    for vectors in (built / "sim" / "vectors" / "corners", built / "sim" / "vectors" / "random_0"):
        for stall in (0.0, 0.5):
            outcome = run_harness(harness, vectors, stall=stall)
            assert outcome.passed and outcome.values > 90, outcome.message


# -- structure ------------------------------------------------------------------------------------------


def modules(rtlil: str) -> dict[str, str]:
    """The text of each module."""
    return dict(re.findall(r"^module \\(\S+)$(.*?)^end$", rtlil, re.MULTILINE | re.DOTALL))


def test_a_pe_a_row_and_a_lane_are_elaborated_once() -> None:
    found = modules(stream_rtlil(design_of(PLAIN).spec))
    assert len([name for name in found if name.endswith("fused_pe")]) == 1
    row = found["fused_pairs_fused_row"]
    assert len(re.findall(r"cell \\fused_pairs_fused_pe ", row)) == 4
    top = found["fused_pairs_engine"]
    for part in ("fused_row", "vector_lane", "row_maximum"):
        assert len(re.findall(rf"cell \\fused_pairs_{part} ", top)) == 4


def test_a_pe_has_one_multiplier() -> None:
    """Of 18 x 18 bits at most, whatever the formats."""
    for formats in FORMATS:
        found = modules(stream_rtlil(design_of(PLAIN | {"formats": formats, "widths": "fine"}).spec))
        of_pe = {name: body for name, body in found.items() if "fused_pe" in name}
        products = [product for body in of_pe.values() for product in re.findall(r"cell \$mul .*?^  end$", body, re.M | re.S)]
        assert len(products) == 1
        widths = [int(width) for width in re.findall(r"parameter \\[AB]_WIDTH (\d+)", products[0])]
        assert widths and max(widths) <= 18


def test_no_memory_grows_with_the_sequence() -> None:
    """And those that the spec counts are those that there are."""
    depths = []
    for keys in (64, 65_536):
        spec = design_of(PLAIN, keys=keys).spec
        found = {name: (int(width), int(depth)) for width, depth, name in re.findall(
            r"^\s*memory width (\d+) size (\d+) \\(\w+)", stream_rtlil(spec), re.MULTILINE)}
        bits = {name: width * depth for name, (width, depth) in found.items()}
        assert bits["queries"] == spec.query_buffer_bits
        assert spec.tile_q * (bits["sums"] + bits["partials"]) == spec.accumulator_bits
        assert spec.tile_q * (bits["rises"] + 16 + spec.total_width) == spec.row_state_bits
        depths.append({name: depth for name, (_, depth) in found.items()})
    assert depths[0] == depths[1]


def test_every_block_of_a_netlist_is_found() -> None:
    spec = design_of(PLAIN).spec
    found_modules = modules(stream_rtlil(spec))
    named = block_namer(family_of(spec).blocks(spec))

    def paths(module: str, prefix: str) -> Any:
        for kind, name in re.findall(r"^  cell \\(\S+) \\?(\S+)$", found_modules[module], re.MULTILINE):
            if kind in found_modules:
                yield f"{prefix}{name}"
                yield from paths(kind, f"{prefix}{name}.")

    assert {named(path) for path in paths(spec.design, "")} >= set(family_of(spec).blocks(spec).values())
