"""Claims about attention between GEMM engines: their streams are wired to each other, nothing in between."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stream_chain import Chain, as_heads, as_matrix, design, gemm, run
from tilewright.design import Design
from tilewright.families.attention import vectors as attention_vectors
from tilewright.families.attention.ports import ports as attention_ports
from tilewright.families.attention.stimulus import Stimulus as AttentionStimulus
from tilewright.families.attention.stimulus import with_result as attention_result
from tilewright.families.attention.vectors import JOB_FIELDS as ATTENTION_FIELDS
from tilewright.families.gemm import vectors as gemm_vectors
from tilewright.families.gemm.ports import ports as gemm_ports
from tilewright.families.gemm.stimulus import Stimulus as GemmStimulus
from tilewright.families.gemm.stimulus import with_result as gemm_result
from tilewright.families.gemm.vectors import CHANNEL_FIELDS
from tilewright.families.gemm.vectors import JOB_FIELDS as GEMM_FIELDS
from tilewright.sim.harness import Input, Result, fields, lanes

Array = Any
COLUMNS = (*GEMM_FIELDS, "keys", "depth")  # of jobs.txt: the last engine's job, keys, elements of a position
STALLS = ("0", "0.2", "0.5", "0.9")
DEPTH, OUTPUTS = 6, 7
MASK = "causal"  # for queries that are the last of the positions, one tile meets every key


def attention(name: str, *, model: dict[str, int], tile_q: int, lanes: int, **blocks: Any) -> Design:
    return design(name, family="attention", model=model, engine={"tile_q": tile_q, "lanes": lanes, "order": "tiles"}, mask=MASK,
                  limits={"queries": 16, "keys": 16}, **blocks)


@cache
def chain(name: str) -> Chain:
    """Queries projected, attended, results projected.

    "own": two heads with keys and values of their own, three beats to a row, tiles of three positions. "shared": four heads to
    two of keys and values, which are projected too, one beat to a row, tiles of two positions. "cached": the same, and what
    was projected stays.
    """
    links = {"wq": ("attend", "q"), "attend": ("wo", "act")}
    if name == "own":
        return Chain({
            "wq": gemm("own_wq", rows=3, cols=2, dataflow="output_stationary"),
            "attend": attention("own_attention", model={"head_dim": 6, "heads": 2, "kv_heads": 2}, tile_q=3, lanes=2),
            "wo": gemm("own_wo", rows=2, cols=3, dataflow="weight_stationary")}, links)
    cache = {"cache": {"bits": 4}} if name == "cached" else {}
    keys = gemm("shared_keys", rows=2, cols=4, dataflow="weight_stationary")
    return Chain({
        "wq": gemm("shared_wq", rows=2, cols=4, dataflow="output_stationary"), "wk": keys, "wv": keys,
        "attend": attention(f"{name}_attention", model={"head_dim": 4, "heads": 4, "kv_heads": 2}, tile_q=4, lanes=4, **cache),
        "wo": gemm("shared_wo", rows=4, cols=2, dataflow="weight_stationary")},
        links | {"wk": ("attend", "k"), "wv": ("attend", "v")})


class Layer:
    """Jobs of a chain, each on one tile of queries, and what its golden models make of them."""

    def __init__(self, of: Chain, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.specs = {name: design.spec for name, design in of.engines.items()}
        self.stimulus = {name: AttentionStimulus(spec, rng) if name == "attend" else GemmStimulus(spec, rng)
                         for name, spec in self.specs.items()}
        self.jobs: dict[str, list[Any]] = {name: [] for name in of.engines}

    def project(self, name: str, act: Array | None, outputs: int, *, rows: int = 0, reuse: bool = False) -> Array:
        """A GEMM job of engine ``name`` and its result; its activations are drawn where none are given."""
        depth = DEPTH if act is None else act.shape[1]
        job = self.stimulus[name].job(rows or len(act), outputs, depth, before=self.jobs[name][-1] if reuse else None)
        self.jobs[name].append(job if act is None else gemm_result(self.specs[name], replace(job, a=act)))
        return self.jobs[name][-1].result

    def attend(self, queries: int, keys: int, *, reuse: bool = False) -> None:
        """A job of every engine."""
        spec = self.specs["attend"]
        q = as_heads(self.project("wq", None, spec.heads * spec.head_dim, rows=queries, reuse=reuse), spec.heads)
        job = self.stimulus["attend"].job(queries, keys)
        k, v = job.k, job.v
        if "wk" in self.specs:
            rows = queries if spec.cache else keys
            k, v = (as_heads(self.project(name, None, spec.kv_heads * spec.head_dim, rows=rows, reuse=reuse), spec.kv_heads)
                    for name in ("wk", "wv"))
            if rows < keys:
                before = self.jobs["attend"][-1]
                k, v = np.concatenate([before.k, k], axis=1), np.concatenate([before.v, v], axis=1)
        self.jobs["attend"].append(attention_result(spec, replace(job, q=q, k=k, v=v)))
        self.project("wo", as_matrix(self.jobs["attend"][-1].result), OUTPUTS, reuse=reuse)

    def write(self, folder: Path) -> None:
        """The vectors of every stream that is not wired."""
        folder.mkdir()
        for name, jobs in self.jobs.items():
            if name == "attend":
                files = attention_vectors.case_files(self.specs[name], attention_vectors.Case("chain", tuple(jobs)))
            else:
                files = gemm_vectors.case_files(self.specs[name], gemm_vectors.Case("chain", tuple(jobs)))
            if name == "wo":
                depths = [job.shape[2] for job in self.jobs["wq"]]
                more = [f" {job.keys} {depth}" for job, depth in zip(self.jobs["attend"], depths, strict=True)]
                lines = files.pop("jobs.txt").splitlines()
                (folder / "jobs.txt").write_text("".join(f"{a}{b}\n" for a, b in zip(lines, more, strict=True)))
            else:
                files[f"{name}_job.txt"] = files.pop("jobs.txt")
                del files["result.txt"]
                files = {file if file.startswith(name) else f"{name}_{file}": text for file, text in files.items()}
            for file, text in files.items():
                (folder / file).write_text(text)


def inputs(of: Chain) -> list[Input]:
    """The streams into a chain: jobs of every engine but the last, and operands that no other engine makes."""
    streams = []
    attend = of.engines["attend"].spec
    width, shared = attend.heads * attend.head_dim, attend.kv_heads * attend.head_dim
    keys = "job.m" if attend.cache else "job.keys"
    sizes = {"wq": ("job.m", "job.depth", width), "wk": (keys, "job.depth", shared), "wv": (keys, "job.depth", shared),
             "wo": ("job.m", "job.k", "job.n")}
    for name, engine in of.engines.items():
        front = "" if name == of.final else f"{name}_"
        if name == "attend":
            ports = attention_ports(engine.spec)
            streams.append(Input("attend_job", fields(ATTENTION_FIELDS, ports.job), "1"))
            streams += [Input(f"attend_{tensor}", lanes(attend.lanes, 8), f"job.keys * {shared // attend.lanes}", has_last=True)
                        for tensor in ("k", "v") if ("attend", tensor) not in of.links.values()]
            continue
        ports = gemm_ports(engine.spec)
        m, k, n = sizes[name]
        if front:
            streams.append(Input(f"{front}job", fields(GEMM_FIELDS, ports.job), "1"))
            tiled, times = (m, k) if ports.dataflow == "output_stationary" else (k, m)
            streams.append(Input(f"{front}act", lanes(ports.rows, 8), f"tiles({tiled}, {ports.rows}) * {times}", has_last=True))
        weights = f"job.reuse_weights ? 0 : tiles({n}, {ports.cols}) * {k}"
        streams.append(Input(f"{front}weight", lanes(ports.cols, 8), weights, has_last=True))
        streams.append(Input(f"{front}channel", fields(CHANNEL_FIELDS, ports.channel), f"job.reuse_weights ? 0 : {n}"))
    return streams


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The harness of a chain."""
    @cache
    def executable(name: str) -> Path:
        of = chain(name)
        ports = gemm_ports(of.engines["wo"].spec)
        result = Result(ports.result.lanes, ports.result.width, ports.result.signed, f"tiles(job.n, {ports.cols}) * job.m")
        return of.compile(tmp_path_factory.mktemp(name), jobs=COLUMNS, job=ports.job, inputs=inputs(of), result=result,
                          ports=ports)
    return executable


def proves(executable: Path, folder: Path, jobs: Sequence[Any]) -> None:
    """Every result of every run equals the golden one: free, stalled, after a reset."""
    values = sum(job.result.size for job in jobs)
    free = run(executable, folder)
    assert free["passed"] and free["values"] == values, free
    for seed, stall in enumerate(STALLS):
        for reset in ((), ("--reset-at", str(free["cycles"] // 3))):
            said = run(executable, folder, "--stall", stall, "--seed", str(seed), *reset)
            assert said["passed"] and said["values"] == values, said


@pytest.mark.parametrize("name", ["own", "shared", "cached"])
def test_three_engines_in_a_row_equal_three_golden_models_in_a_row(
        name: str, compiled: Callable[[str], Path], tmp_path: Path) -> None:
    layer = Layer(chain(name), seed=1)
    most = layer.specs["attend"].tile_positions
    shapes = [(most, most, False), (most, 9, True), (1, 12, True), (1, 1, False), (2, 16, True), (most, 5, False)]
    if name == "cached":
        shapes = [(2, 2, False), (1, 3, True), (2, 5, True), (1, 6, True), (1, 1, False), (2, 3, True)]
    for queries, keys, reuse in 2 * shapes:
        layer.attend(queries, keys, reuse=reuse)
    layer.write(tmp_path / "jobs")
    outputs = np.concatenate([job.result.ravel() for job in layer.jobs["wo"]])
    assert len(np.unique(outputs)) > 50
    proves(compiled(name), tmp_path / "jobs", layer.jobs["wo"])


def test_a_long_prefill_is_a_job_for_each_tile(compiled: Callable[[str], Path], tmp_path: Path) -> None:
    """What the chain makes of 8 positions, 3 at a time, is what the golden models make of all at once."""
    of = chain("own")
    layer, whole = Layer(of, seed=2), Layer(of, seed=2)
    whole.attend(8, 8)
    (wq,), (attend,), (wo,) = (whole.jobs[name] for name in ("wq", "attend", "wo"))
    for start, end in ((0, 3), (3, 6), (6, 8)):
        reuse = {"reuse_weights": start > 0}
        layer.jobs["wq"].append(replace(wq, a=wq.a[start:end], result=wq.result[start:end], **reuse))
        layer.jobs["attend"].append(replace(attend, q=attend.q[:, start:end], k=attend.k[:, :end], v=attend.v[:, :end],
                                            result=attend.result[:, start:end]))
        layer.jobs["wo"].append(replace(wo, a=wo.a[start:end], result=wo.result[start:end], **reuse))
    layer.write(tmp_path / "jobs")
    proves(compiled("own"), tmp_path / "jobs", layer.jobs["wo"])
