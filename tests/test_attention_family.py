"""Claims about `family: attention` at the command line: check, build, run, report, and what it refuses."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cache_designs import cached_design
from gemm_designs import TEST_BUILD
from tilewright import cli
from tilewright.build import build
from tilewright.design import Design, parse_design
from tilewright.driver import open_driver
from tilewright.errors import ToolError
from tilewright.families import family_of
from tilewright.families.attention.drawing import MOST_DRAWN
from tilewright.families.attention.runtime import ARGUMENTS, AttentionRuntime, JobError, make_job
from tilewright.families.attention.work import moved_bits, padded_macs, seen_keys, tile_keys, useful_macs
from tilewright.sim.golden.attention_mask import visible
from tilewright.sim.golden.attention_reference import attention_reference
from tilewright.synth.synthesize import block_namer

DESIGN = """\
design: {name}
family: attention
model: {model}
engine: {engine}
mask: {mask}
softmax: {softmax}
limits: {{queries: 12, keys: 20}}
workload: [{{queries: 3, keys: 5}}, {{queries: 1, keys: 9}}]
"""
MASKS = ("{kind: none}", "{kind: causal}", "{kind: window, window: 3}", "{kind: lambda, sink: 2, window: 3}",
         "{kind: prefix, prefix: 4}", "{kind: window, window: 3, lookahead: 2}",
         "{kind: lambda, sink: 2, window: 1, lookahead: 4}")
SHAPES = ((1, 1), (3, 5), (5, 5), (7, 20), (12, 12))


def text_of(name: str = "attention_tiny", *, model: str = "{head_dim: 8, heads: 4, kv_heads: 2}",
            engine: str = "{tile_q: 2, lanes: 4}", mask: str = "{kind: causal}", softmax: str = "{}") -> str:
    return DESIGN.format(name=name, model=model, engine=engine, mask=mask, softmax=softmax)


def design(**changes: str) -> Design:
    """4 heads of 8 in 2 groups, 2 x 4 multipliers; ``changes`` replace parts, in flow YAML."""
    return parse_design(text_of(**changes).encode(), source="tiny.yaml")


def operands(queries: int = 3, keys: int = 5, **changes: Any) -> dict[str, Any]:
    """The arguments of a legal job of :func:`design`; ``changes`` replace them, None drops one."""
    rng = np.random.default_rng(1)
    given = {
        "q": rng.integers(-128, 128, (4, queries, 8)), "k": rng.integers(-128, 128, (2, keys, 8)),
        "v": rng.integers(-128, 128, (2, keys, 8)), "score_multiplier": 9000000, "score_shift": 27, "out_scale": 4096}
    return {name: value for name, value in (given | changes).items() if value is not None}


def expected(spec: Any, job: dict[str, Any]) -> Any:
    """The result of ``job`` on Python integers, tile by tile."""
    return attention_reference(
        job["q"], job["k"], job["v"], mask=spec.mask, tile_q=spec.tile_q, score_multiplier=job["score_multiplier"],
        score_shift=job["score_shift"], out_scale=job.get("out_scale", 4096), fraction=spec.fraction,
        guard_bits=spec.guard_bits, table=spec.table, octave=spec.octave, total_width=spec.total_width,
        value_width=spec.v.width, low=spec.out.low, high=spec.out.high)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``tiny.yaml`` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(text_of())
    return tmp_path


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, list[str]]:
    """Exit code, stdout, and the lines of stderr."""
    code = cli.main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err.splitlines()


# -- from the design file to results ---------------------------------------------------------------------


def test_check_tells_what_the_design_comes_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = command(capsys, "check", "tiny.yaml", "--json")
    found = json.loads(out)
    assert (code, err) == (0, []) and found["family"] == "attention"
    derived = {"group": 2, "chunks": 2, "interval": 5, "macs_per_cycle": 16, "weight_width": 17, "total_width": 22}
    assert derived.items() <= found["derived"].items()


def test_a_build_has_rtl_hls_and_simulation_but_no_driver(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = command(capsys, "build", "tiny.yaml")
    assert code == 0 and "driver" not in out
    built = folder / "build" / "attention_tiny"
    assert {path.name for path in built.iterdir()} == {"design.yaml", "hls", "manifest.json", "report", "rtl", "sim"}
    assert (built / "rtl" / "attention_tiny.v").read_text().count("module attention_tiny(") == 1
    assert {path.name for path in (built / "sim/vectors/workload").iterdir()} == {
        "jobs.txt", "q.txt", "k.txt", "v.txt", "result.txt", "cycles.txt"}
    assert [line.split()[:2] for line in (built / "sim/vectors/workload/jobs.txt").read_text().splitlines()] == [
        ["3", "5"], ["1", "9"]]


def test_run_gives_what_the_definition_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [operands(), operands(1, 9, out_scale=None), operands(5, 5, score_shift=24)]
    np.savez(folder / "x.npz", **{f"{name}_{number}": value for number, job in enumerate(jobs)
                                  for name, value in job.items()})
    code, out, err = command(capsys, "run", "tiny.yaml", "--data", "x.npz", "--json")
    payload = json.loads(out)
    assert code == 0, err
    assert [(job["queries"], job["keys"]) for job in payload["job_cycles"]] == [(3, 5), (1, 9), (5, 5)]
    assert payload["cycles"] == sum(job["cycles"] for job in payload["job_cycles"]) > 0
    spec = design().spec
    with np.load(folder / "x.out.npz") as results:
        for number, job in enumerate(jobs):
            np.testing.assert_array_equal(results[f"c_{number}"], expected(spec, job))


def test_the_compiled_rtl_gives_the_same_results_and_cycles_as_golden() -> None:
    tiny = design()
    program = [operands(), operands(1, 9), operands(12, 20), operands(2, 2)]
    run, model = open_driver(tiny, "sim", root=TEST_BUILD).run(program), open_driver(tiny).run(program)
    for output, wanted in zip(run.outputs, model.outputs, strict=True):
        np.testing.assert_array_equal(output, wanted)
    assert run.measured and run.cycles == model.cycles


def test_an_expected_result_that_differs_is_told_with_its_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = operands()
    right = np.array(expected(design().spec, job))
    wrong = right.copy()
    wrong[1, 2, 3] += 1
    np.savez(folder / "x.npz", **{f"{name}_0": value for name, value in job.items()}, expected_0=wrong)
    code, _, err = command(capsys, "run", "tiny.yaml", "--data", "x.npz")
    assert (code, err) == (1, [f"job 0: c[1][2][3] is {right[1, 2, 3]}, expected_0 says {wrong[1, 2, 3]}; "
                               f"1 of {right.size} values differ"])


def test_operands_of_four_dimensions_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(folder / "x.npz", q_0=np.zeros((1, 1, 1, 1), int))
    assert command(capsys, "run", "tiny.yaml", "--data", "x.npz") == (
        2, "", ["x.npz: q_0: has 4 dimensions; at most 3 are allowed"])


@pytest.mark.parametrize(("changes", "message"), [
    ({"q": None}, "q: missing"),
    ({"score_shift": None}, "score_shift: missing"),
    ({"scale": 1}, f"scale: not an argument of a job; allowed: {', '.join(ARGUMENTS)}"),
    ({"q": np.zeros((4, 3, 8))}, "q: holds float64; only integers are allowed"),
    ({"q": np.zeros((3, 3, 8), int)}, "q: shape (3, 3, 8); (4, positions, 8) is needed"),
    ({"k": np.zeros((5, 8), int)}, "k: shape (5, 8); (2, positions, 8) is needed"),
    ({"v": np.zeros((2, 4, 8), int)}, "v: 4 positions; k has 5"),
    ({"k": np.full((2, 5, 8), 128)}, "k: 128 at [0, 0, 0]; allowed are -128 to 127"),
    ({"q": np.zeros((4, 13, 8), int)}, "q: 13 positions; the design takes 1 to 12"),
    ({"q": np.zeros((4, 0, 8), int)}, "q: 0 positions; the design takes 1 to 12"),
    ({"k": np.zeros((2, 21, 8), int), "v": np.zeros((2, 21, 8), int)}, "k: 21 positions; the design takes 1 to 20"),
    ({"q": np.zeros((4, 6, 8), int)}, "q: 6 positions; k has 5, and mask causal needs as many at least"),
    ({"score_multiplier": 1 << 24}, "score_multiplier: 16777216; allowed are 0 to 16777215"),
    ({"score_shift": -1}, "score_shift: -1; allowed are 0 to 63"),
    ({"out_scale": [1, 2]}, "out_scale: shape (2,); one value is needed"),
    ({"out_scale": 1.5}, "out_scale: holds float64; only integers are allowed"),
])
def test_a_bad_argument_is_told_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as caught:
        make_job(design().spec, operands(**changes))
    assert str(caught.value) == message


def test_one_head_needs_no_axis_and_no_mask_no_keys_before() -> None:
    spec = design(model="{head_dim: 8}", mask="none").spec
    job = make_job(spec, operands(q=np.ones((7, 8), int), k=np.ones((5, 8), int), v=np.ones((1, 5, 8), int), out_scale=None))
    assert (job.q.shape, job.k.shape, job.out_scale) == ((1, 7, 8), (1, 5, 8), 4096)
    with pytest.raises(JobError, match=r"^q: shape \(7, 4\); \(1, positions, 8\) or \(positions, 8\) is needed$"):
        make_job(spec, operands(q=np.ones((7, 4), int)))


def test_results_that_are_not_of_the_jobs_are_refused() -> None:
    runtime = AttentionRuntime(design().spec)
    job = runtime.job(operands(), None)
    text = "0 0 0 0\n" * (4 * 3 * 2)
    assert runtime.results(text, [job])[0].shape == runtime.result_shape(job) == (4, 3, 8)
    with pytest.raises(ValueError, match=r"^1 result beats too few$"):
        runtime.results(text.removesuffix("0 0 0 0\n"), [job])
    with pytest.raises(ValueError, match=r"^1 result beats too many$"):
        runtime.results(f"{text}1 2 3 4\n", [job])


# -- boards ----------------------------------------------------------------------------------------------


def test_a_board_is_refused_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = ["family: 'attention' has no top for boards; families with one: gemm"]
    assert command(capsys, "synth", "tiny.yaml", "--board", "ulx3s") == (2, "", refused)
    assert not (folder / "build").exists()
    np.savez(folder / "x.npz", **{f"{name}_0": value for name, value in operands().items()})
    code, _, err = command(capsys, "run", "tiny.yaml", "--data", "x.npz", "--backend", "board", "--port", "/dev/null")
    assert (code, err) == (2, refused)


def test_no_device_answers_for_it() -> None:
    from tilewright.driver import BoardBackend

    with pytest.raises(ToolError, match=r"^board: attention_tiny has no registers to be driven by$"):
        BoardBackend(AttentionRuntime(design().spec), None)


# -- work, blocks, report --------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [(2, 1), (4, 4), (6, 2)])
@pytest.mark.parametrize("mask", MASKS)
def test_work_is_counted_as_the_mask_is_defined(mask: str, heads: tuple[int, int]) -> None:
    """Against the mask pair by pair and the tiles key by key."""
    for rows in (1, heads[0] // heads[1], 2 * heads[0] // heads[1]):
        spec = design(model=f"{{head_dim: 8, heads: {heads[0]}, kv_heads: {heads[1]}}}", mask=mask,
                      engine=f"{{tile_q: {rows}, lanes: 4}}").spec
        for queries, keys in SHAPES:
            position = np.arange(queries)[:, None] + keys - queries
            seen = visible(spec.mask, position, np.arange(keys))
            np.testing.assert_array_equal(seen_keys(spec, queries, keys), seen.sum(axis=1))
            per_row = np.repeat(seen, spec.group, axis=0)
            met = [int(per_row[first:first + rows].any(axis=0).sum()) for first in range(0, len(per_row), rows)]
            np.testing.assert_array_equal(tile_keys(spec, queries, keys), met)
            assert useful_macs(spec, queries, keys) == 2 * heads[0] * 8 * seen.sum()
            assert padded_macs(spec, queries, keys) == 2 * heads[1] * 8 * rows * sum(met)


def test_the_cycle_model_never_beats_the_multipliers() -> None:
    spec = design().spec
    jobs = family_of(spec).cycles(spec)
    assert [job.job for job in jobs] == ["3x5", "1x9"]
    assert all(job.first_step <= job.last_step < job.done and job.active >= job.ideal > 0 for job in jobs)


@pytest.mark.parametrize("make", [design, cached_design])
def test_every_block_of_a_netlist_is_found(make: Callable[[], Design]) -> None:
    """A submodule that is renamed would silently fall into what is left."""
    spec = make().spec
    family = family_of(spec)
    modules = dict(re.findall(r"^module (\S+)$(.*?)^end$", family.stream_rtlil(spec), re.MULTILINE | re.DOTALL))
    named = block_namer(family.blocks(spec))

    def paths(module: str, prefix: str) -> Any:
        for kind, name in re.findall(r"^  cell (\S+) \\?(\S+)$", modules[module], re.MULTILINE):
            if kind in modules:
                yield f"{prefix}{name}"
                yield from paths(kind, f"{prefix}{name}.")

    found = {named(path) for path in paths(f"\\{spec.design}", "")}
    assert found >= set(family.blocks(spec).values())


class Tags(HTMLParser):
    """Demands that every element is closed by its own end tag; keeps the words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def test_the_report_speaks_of_an_engine_and_proposes_nothing_it_cannot_do(
        folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = design().spec
    assert command(capsys, "build", "tiny.yaml")[0] == 0
    report = folder / "build/attention_tiny/report"
    cycles, before = [], 0
    for job in family_of(spec).cycles(spec):
        cycles.append({"job": job.job, "model": job.done - before, "measured": job.done - before, "ideal": job.ideal,
                       "first_step": job.first_step, "last_step": job.last_step, "done": job.done})
        before = job.done
    (report / "verify.json").write_text(json.dumps({"passed": True, "checks": [], "cycles": cycles}))
    code, out, _ = command(capsys, "report", "tiny.yaml", "--json")
    assert code == 0 and json.loads(out)["sections"] == {"verify": True, "synth": False, "run": False}
    words = " ".join(Tags((report / "report.html").read_text()).text.split())
    for claim in ("4 heads of 8", "split by what the engine did", "queries \u00d7 keys", "3 \u00d7 5",
                  "against what the engine (16 MACs per cycle)", "tilewright synth tiny.yaml --device ecp5-85f"):
        assert claim in words
    assert not re.search("digits|--board|array|tilewright demo|m \u00d7 n", words)
    summary = json.loads((report / "report.json").read_text())
    assert [(job["queries"], job["keys"], job["macs"]) for job in summary["jobs"]] == [
        (3, 5, useful_macs(spec, 3, 5)), (1, 9, useful_macs(spec, 1, 9))]
    assert all(0 < job["utilization"] <= 1 for job in summary["jobs"])


@pytest.mark.parametrize(("rows", "lanes", "kv_heads"), [(1, 1, 4), (2, 4, 2), (16, 32, 1), (16, 8, 4)])
def test_the_engine_is_drawn_multiplier_by_multiplier_or_as_a_texture(rows: int, lanes: int, kv_heads: int) -> None:
    spec = design(model=f"{{head_dim: 32, heads: 4, kv_heads: {kv_heads}}}", engine=f"{{tile_q: {rows}, lanes: {lanes}}}").spec
    figure = str(family_of(spec).portrait(spec).figure)
    Tags(figure)
    one_by_one = rows * lanes <= MOST_DRAWN
    assert figure.count('class="kept') == (2 * rows * lanes if one_by_one else 0)
    assert figure.count("<pattern") == (0 if one_by_one else 2)


def test_the_work_of_a_job_counts_keys_and_values_once_for_every_tile() -> None:
    spec = design().spec
    work = family_of(spec).portrait(spec).work({"queries": 3, "keys": 5})
    assert work.bytes_moved == 4 * 3 * 8 * 2 + 2 * (3 + 4 + 5) * 8 * 2
    assert work.padded_macs == work.macs == 2 * 4 * 8 * (3 + 4 + 5)


@pytest.mark.parametrize("algorithm", ["three_pass", "ibert"])
def test_scores_of_a_key_that_comes_twice_are_twice_the_work_and_the_words(algorithm: str) -> None:
    spec = design(softmax=f"{{algorithm: {algorithm}}}").spec
    portrait = family_of(spec).portrait(spec)
    work = portrait.work({"queries": 3, "keys": 5})
    assert work.bytes_moved == 4 * 3 * 8 * 2 + 2 * (3 + 4 + 5) * 8 * 3
    assert work.macs == 2 * 4 * 8 * (3 + 4 + 5) and work.padded_macs == 3 * 4 * 8 * (3 + 4 + 5)
    assert "keys stream past twice and int8 values once" in portrait.sentence and "scores again" in portrait.padding


def test_the_same_design_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = build(design(), tmp_path / "a"), build(design(), tmp_path / "b")
    assert first.files == second.files and len(first.files) > 20


@pytest.mark.parametrize("tile_q", [1, 4, 16])
@pytest.mark.parametrize("head_dim", [16, 64])
def test_traffic_is_within_a_constant_of_the_bound_for_its_memory(tile_q: int, head_dim: int) -> None:
    """With M elements on the chip, a tile's queries and sums, attention moves in the order of N**2 * d**2 / M words or more."""
    spec = parse_design(yaml.safe_dump({
        "design": "traffic", "family": "attention", "model": {"head_dim": head_dim}, "engine": {"tile_q": tile_q},
        "workload": [{"queries": 1, "keys": 1}]}).encode(), source="traffic.yaml").spec
    memory = 2 * tile_q * head_dim
    for length in (16, 64, 256, 1000):
        words = moved_bits(spec, length, length) / 8
        assert words == length * head_dim * (2 + 2 * -(-length // tile_q))
        assert 4 <= words * memory / (length * head_dim) ** 2 <= 4 + 8 * tile_q / length
