"""Proves a unit: RTL, HLS C++ and golden model equal bit for bit, results on schedule, the error as claimed."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tilewright.units.base import Error, Parameters, Unit
from tilewright.units.fields import WORD_BITS, Fields, beat_width, beat_words, unpack
from tilewright.units.mutation import mutants
from tilewright.units.project import GENERIC, Case, Project, make_case, variant_name, write_project

SHORT_BEATS = 300  # for the cocotb bench, whose every cycle costs some 50 us
SAMPLE_BEATS = 4096
STALLS = (0.2, 0.5, 0.9)
RESET_CYCLES = (1, 7, 60, 200)
GOLDEN_CODES = 1 << 16  # input codes up to which even a sample's error is that of all of them
MUTANTS = 3  # of each kind
TOLERANCE = 0.1  # between a claimed figure and the measured one
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """One claim, whether it held, and on how many compared results."""

    name: str
    passed: bool
    vectors: int = 0
    seconds: float = 0.0
    message: str = ""


@dataclass
class Proof:
    """Every check of one unit and one set of parameters."""

    unit: str
    variant: str
    checks: list[Check] = field(default_factory=list)
    error: dict[str, Any] | None = None  # measured and claimed
    cycles: dict[str, int] = field(default_factory=dict)  # of the largest case, none stalled: model, measured, ideal
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def first_divergence(self) -> str | None:
        return next((f"{self.variant}: {check.name}: {check.message}" for check in self.checks if not check.passed), None)

    def payload(self) -> dict[str, Any]:
        """Plain enough for JSON."""
        return {
            "unit": self.unit, "variant": self.variant, "passed": self.passed,
            "checks": [{"name": check.name, "passed": check.passed, "vectors": check.vectors,
                        "seconds": round(check.seconds, 3), "message": check.message} for check in self.checks],
            "cycles": [{"job": self.variant, **self.cycles}] if self.cycles else [], "error": self.error,
            "first_divergence": self.first_divergence, "seconds": round(self.seconds, 3)}

    @staticmethod
    def from_payload(payload: dict[str, Any]) -> "Proof":
        """The proof that ``payload`` was made from."""
        cycles = {key: value for job in payload["cycles"] for key, value in job.items() if key != "job"}
        return Proof(payload["unit"], payload["variant"], [Check(**check) for check in payload["checks"]],
                     payload["error"], cycles, payload["seconds"])


def prove(
    unit: Unit[Any], p: Parameters, build: Path, *, full: bool = False, protocol: bool = False, seed: int = 1,
    cache: Path | None = None, progress: Progress = lambda text: None,
) -> Proof:
    """Write the unit's folder below ``build/units`` and run every check on it.

    The sample is about ``SAMPLE_BEATS`` beats; ``full`` adds every input code, or the unit's ``full_beats`` where there
    are too many, more patterns of stalls, and every target. ``protocol`` adds the formal proof, the cocotb bench and, of the
    catalogue's configuration, mutants. ``seed`` chooses data, stalls and mutants. ``cache`` keeps what was compiled.
    """
    start = time.monotonic()
    cache = cache or build / ".cache"
    outcome = Proof(unit.name, variant_name(unit, p))
    progress(f"{outcome.variant}: golden model")
    cases = _cases(unit, p, seed, full)
    largest = list(cases)[-1]
    outcome.error, checks = _error(unit, p, cases[largest], full)
    outcome.checks += checks
    progress(f"{outcome.variant}: Verilog and C++")
    project = write_project(build / "units", unit, p, cases, every_target=full)
    progress(f"{outcome.variant}: RTL")
    outcome.checks += _rtl(project, outcome, cache / "verilator", seed, full)
    progress(f"{outcome.variant}: HLS C++")
    outcome.checks += _hls(project, cache / "hls", full)
    if protocol:
        progress(f"{outcome.variant}: stream rules")
        outcome.checks += _formal(project)
        if p == type(p)():
            progress(f"{outcome.variant}: mutants")
            outcome.checks += _mutants(project, cache / "verilator", seed)
        outcome.checks += _cocotb(project, cache / "verilator", seed)
    outcome.seconds = time.monotonic() - start
    return outcome


def _cases(unit: Unit[Any], p: Parameters, seed: int, full: bool) -> dict[str, Case]:
    """Vectors by name: short, sample, and the largest last."""
    def stimulus(count: int) -> Case:
        return make_case(unit, p, unit.stimulus(p, np.random.default_rng(seed), count))

    cases = {"short": stimulus(SHORT_BEATS), "sample": stimulus(SAMPLE_BEATS)}
    if full:
        if unit.domain(p) is None:
            cases["volume"] = stimulus(unit.full_beats(p))
        else:
            cases["exhaustive"] = make_case(unit, p, unit.exhaustive(p))
    return cases


def _error(unit: Unit[Any], p: Parameters, case: Case, full: bool) -> tuple[dict[str, Any] | None, list[Check]]:
    """Measured and claimed error; a sample may miss the worst case, it must not exceed it."""
    start = time.monotonic()
    claim = unit.error(p)
    if claim is None:
        return None, []
    domain = unit.domain(p)
    if not full and domain is not None and domain <= GOLDEN_CODES:
        case, full = make_case(unit, p, unit.exhaustive(p)), True
    measured, values = measured_error(claim, case)
    reproduced = measured <= claim.figure * (1 + TOLERANCE)
    if full and not claim.bound:
        reproduced &= measured >= claim.figure * (1 - TOLERANCE)
    message = "" if reproduced else f"|{claim.quantity}| is {measured:.3g} at most, the claim is {claim.figure:.3g}"
    found = {"quantity": claim.quantity, "claimed": claim.figure, "measured": measured, "bound": claim.bound}
    return found, [Check("error as claimed", reproduced, values, time.monotonic() - start, message)]


def measured_error(claim: Error, case: Case) -> tuple[float, int]:
    """The largest deviation of a case's results, and how many were judged."""
    _, deviation = claim.deviation(case.beats, case.results)
    if not len(deviation) or not np.isfinite(deviation).all():
        return float("inf"), len(deviation)
    return float(np.abs(deviation).max()), len(deviation)


def _rtl(project: Project, outcome: Proof, cache: Path, seed: int, full: bool) -> Iterator[Check]:
    """The batch harness: free running on schedule, stalled on both sides, reset half-way."""
    from tilewright.sim.unit_runner import build_harness

    for target in project.targets:
        rtl = "rtl" if target == GENERIC else f"rtl for {target}"
        harness = build_harness(project.folder, project.unit.name, cache, project.sources(target))
        for name in list(project.cases)[1:]:  # the short case is for the cocotb bench
            yield from _free_running(project, outcome, harness, rtl, name)
            for stall in STALLS if full and target == GENERIC and name == "sample" else STALLS[1:2]:
                yield _batch(project, harness, name, f"{rtl} == golden, stall {stall}: {name}", stall=stall, seed=seed)
        for cycle in RESET_CYCLES if full and target == GENERIC else RESET_CYCLES[2:3]:
            yield _batch(project, harness, "sample", f"{rtl} == golden after a reset in cycle {cycle}: sample",
                         stall=0.3, seed=seed, reset_at=cycle)


def _free_running(project: Project, outcome: Proof, harness: Path, rtl: str, name: str) -> Iterator[Check]:
    from tilewright.sim.unit_runner import read_cycles

    seen = project.folder / "sim" / f"cycles_{name}.bin"
    check = _batch(project, harness, name, f"{rtl} == golden: {name}", cycles=seen)
    yield check
    if not check.passed:
        return
    model, measured = project.cases[name].cycles, read_cycles(seen)
    wrong = np.flatnonzero(model != measured)
    message = ""
    if len(wrong):
        message = f"result {wrong[0]} came in cycle {measured[wrong[0]]}, the schedule says {model[wrong[0]]}"
    yield Check(f"{rtl} on schedule: {name}", not len(wrong), len(model), 0.0, message)
    outcome.cycles = {"model": int(model[-1]), "measured": int(measured[-1]), "ideal": len(model)}


def _batch(project: Project, harness: Path, case: str, claim: str, *, stall: float = 0.0, **options: Any) -> Check:
    from tilewright.sim.unit_runner import run_harness

    cycles = project.cases[case].cycles
    gap = int(np.diff(cycles, prepend=0).max())  # the longest time without a result
    run = run_harness(harness, project.vectors(case), stall=stall, patience=int((1000 + 4 * gap) / (1 - stall)),
                      silence=64 + 2 * gap, **options)
    message = run.message
    if run.divergent is not None:
        message = _difference(project, case, run.divergent, run.expected, run.actual)
    return Check(claim, run.passed and run.beats == len(cycles), run.beats, run.seconds,
                 f"{message}, in cycle {run.cycles}; rerun: {run.command}" if message else "")


def _difference(project: Project, case: str, beat: int, expected: int, actual: int) -> str:
    """Which fields of which result differ; of an elementwise unit, also what went in."""
    inputs, outputs = project.unit.input_fields(project.parameters), project.unit.output_fields(project.parameters)
    wanted, got = (_beat(outputs, value) for value in (expected, actual))
    texts = [f"{name} expected {wanted[name]}, got {got[name]}" for name in outputs if wanted[name] != got[name]]
    beats = project.cases[case].beats
    taken = ""
    if len(project.cases[case].cycles) == len(next(iter(beats.values()))):
        taken = " of " + _values({name: beats[name][beat].tolist() for name in inputs})
    return f"result {beat}{taken}: {'; '.join(texts)}"


def _beat(fields: Fields, payload: int) -> dict[str, int | list[int]]:
    words = [payload >> WORD_BITS * word & 0xFFFF_FFFF for word in range(beat_words(fields))]
    values = unpack(fields, np.array([words], np.uint32))
    return {name: values[name][0].tolist() for name in fields}


def _values(fields: dict[str, int | list[int]]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in fields.items())


def _hls(project: Project, cache: Path, full: bool) -> Iterator[Check]:
    """The C++ under the sanitizers on short cases, optimized on large ones."""
    from tilewright.sim.unit_runner import OPTIMIZED, SANITIZED, build_hls, run_hls

    levels: list[tuple[str, tuple[str, ...], list[str]]] = [
        ("address and undefined-behaviour sanitizers", SANITIZED, ["sample"])]
    if full:
        levels.append(("optimized", OPTIMIZED, list(project.cases)[2:]))
    for level, flags, names in levels:
        executable = build_hls(project.folder, project.unit.name, cache, flags)
        for name in names:
            start = time.monotonic()
            compared, message = run_hls(executable, project.vectors(name))
            passed = compared == len(project.cases[name].cycles)
            yield Check(f"hls == golden, {level}: {name}", passed, compared, time.monotonic() - start, message)


def _formal(project: Project) -> Iterator[Check]:
    """The rules of a stream, proved for every input."""
    from tilewright.units.formal import stream_rules

    unit, p = project.unit, project.parameters
    for rule, seconds, message in stream_rules(
            project.sources()[0], unit.name, input_width=beat_width(unit.input_fields(p)),
            output_width=beat_width(unit.output_fields(p)), latency=unit.timing(p).latency):
        yield Check(f"formal: {rule}", not message, 0, seconds, message)
    if (check := equality(project)) is not None:
        yield check


def equality(project: Project) -> Check | None:
    """RTL and specification, compared for every input; None where there is no specification."""
    from tilewright.units.equality import disprove

    unit, p = project.unit, project.parameters
    specification = unit.specification(p)
    if specification is None:
        return None
    inputs, outputs = unit.input_fields(p), unit.output_fields(p)
    seconds, found = disprove(project.sources()[0], project.specification, unit.name, inputs=inputs, outputs=outputs,
                              latency=unit.timing(p).latency, cut=specification.cut)
    message = ""
    if found is not None:
        taken, result = _values(_beat(inputs, found.taken)), _values(_beat(outputs, found.result))
        message = f"{taken} gives {result}" if found.valid else f"{taken} gives nothing in the cycle of its result"
        message += "" if found.operands else ", and operands of the multiplier are wrong"
    return Check("formal: equals its specification", found is None, 0, seconds, message)


def _mutants(project: Project, cache: Path, seed: int) -> Iterator[Check]:
    """Broken copies of the Verilog; of each kind they are tried until the harness catches one.

    A changed constant or a moved boundary may change nothing that can be seen. Where no boundary is caught, that fails
    nothing: most units have few, and a maximum does not care for equal values.
    """
    from tilewright.sim.unit_runner import build_harness

    survivors: dict[str, list[str]] = {}
    caught: dict[str, float] = {}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-", dir=project.folder) as name:
        for runtime in cache.glob("runtime-*"):  # the mutants themselves are not worth keeping
            (Path(name) / runtime.name).symlink_to(runtime.resolve())
        for mutant in mutants(project.sources()[0].read_text(encoding="utf-8"), seed, MUTANTS):
            if mutant.kind in caught:
                continue
            source = Path(name) / "mutant.v"
            source.write_text(mutant.verilog, encoding="utf-8")
            harness = build_harness(project.folder, project.unit.name, Path(name), [source])
            runs = (("sample", 0.0), ("sample", STALLS[1]), (list(project.cases)[-1], 0.0))
            survived = survivors.setdefault(mutant.kind, [])
            if all(_batch(project, harness, case, "", stall=stall, seed=seed).passed for case, stall in runs):
                survived.append(mutant.place)
            else:
                caught[mutant.kind] = time.monotonic() - start
    for kind, places in survivors.items():
        tried = len(places) + (kind in caught)
        yield Check(f"mutant caught: {kind}, {tried} tried", kind in caught or kind == "boundary", tried,
                    caught.get(kind, 0.0), f"survived: {'; '.join(places)}" if places else "")


def _cocotb(project: Project, cache: Path, seed: int) -> list[Check]:
    """The cocotb bench on the short case."""
    from tilewright.sim.unit_runner import run_cocotb

    return [Check(f"cocotb: {check.name}", check.passed, check.values, check.seconds, check.message)
            for check in run_cocotb(project.folder, project.unit.name, cache, seed=seed)]
