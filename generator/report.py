"""The report of a build folder: ``report/report.html`` for people, ``report/report.json`` for machines.

Reads ``design.yaml``, ``manifest.json`` and what the commands left in ``report/``: ``verify.json``,
``synth.json``, ``run.json``, ``digits.json``, each the object its command prints with ``--json``. A section
whose file is missing says which command writes it. The same files give the same bytes.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from tilewright import report_view as view
from tilewright.design import Design, load_design
from tilewright.errors import UserError
from tilewright.families.gemm_portrait import portrait as portrait_of
from tilewright.portrait import Portrait

Json = dict[str, Any]

RESULTS = ("verify", "synth", "run", "digits")


@dataclass(frozen=True)
class Report:
    """The two files, and for each of ``RESULTS`` whether its data was there."""

    html: Path
    json: Path
    sections: dict[str, bool]


def load_results(folder: Path, content_hash: str) -> tuple[dict[str, Json | None], list[str]]:
    """What the commands left in ``folder/report``, None where there is nothing for this design.

    The second value names the files that carry the hash of another design: they count as missing.
    ``UserError`` if a file is broken.
    """
    results = {name: _read(folder / "report" / f"{name}.json", f"tilewright {name}") for name in RESULTS}
    stale = [
        name
        for name, result in results.items()
        if result and result.get("hash", content_hash) != content_hash
    ]
    return results | dict.fromkeys(stale), stale


def _read(path: Path, command: str) -> Json | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object; write it again with '{command}'")
    return value


def write_report(folder: Path, *, source: str | None = None) -> Report:
    """Render the report of build folder ``folder``.

    ``source`` is the design file as commands should name it; by default ``<name>.yaml``.
    Raises ``UserError`` where the folder or one of its files is not what a build leaves.
    """
    if not (folder / "design.yaml").is_file():
        raise UserError(
            f"{folder}: not a build folder, it has no design.yaml; make it with 'tilewright build'"
        )
    design = load_design(folder / "design.yaml")
    manifest = _read(folder / "manifest.json", "tilewright build") or {}
    results, stale = load_results(folder, design.content_hash)
    portrait = portrait_of(design.spec)
    try:
        summary = summarize(design, portrait, results, manifest)
        page = render(
            design, portrait, results, manifest, source=source or f"{design.name}.yaml", stale=stale
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        names = ", ".join(f"{name}.json" for name, result in results.items() if result is not None)
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"{folder / 'report'}: cannot read {names} ({detail}); run their commands again"
        ) from error
    html, data = folder / "report" / "report.html", folder / "report" / "report.json"
    write_atomically(html, page)
    write_atomically(data, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return Report(html, data, {name: result is not None for name, result in results.items()})


def write_atomically(path: Path, text: str) -> None:
    """Write ``path`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _all_jobs(results: Mapping[str, Json | None]) -> list[Json]:
    return (
        view.verified_jobs(results["verify"])
        + view.run_jobs(results["run"])
        + view.run_jobs(results["digits"])
    )


def summarize(
    design: Design, portrait: Portrait, results: Mapping[str, Json | None], manifest: Mapping[str, Any]
) -> Json:
    """The content of ``report.json``: the results as they are, without pixels, and what follows from them."""
    jobs = []
    for job in _all_jobs(results):
        if job.get("cycles"):
            work = portrait.work(job)
            ideal = work.macs / portrait.macs_per_cycle
            jobs.append(
                {
                    "m": job["m"],
                    "n": job["n"],
                    "k": job["k"],
                    "reuse_weights": bool(job.get("reuse_weights")),
                    "cycles": job["cycles"],
                    "ideal": ideal,
                    "utilization": round(ideal / job["cycles"], 6),
                    "macs": work.macs,
                    "bytes": work.bytes_moved,
                }
            )
    kept = {
        name: result and {key: value for key, value in result.items() if key != "pixels"}
        for name, result in results.items()
    }
    return {
        "name": design.name,
        "hash": design.content_hash,
        "title": portrait.title,
        "facts": dict(portrait.facts),
        "peak_macs_per_cycle": portrait.macs_per_cycle,
        "stream_bytes_per_cycle": portrait.bytes_per_cycle,
        "jobs": jobs,
        **kept,
        "versions": _versions(results, manifest),
    }


def _versions(results: Mapping[str, Json | None], manifest: Mapping[str, Any]) -> dict[str, str]:
    versions: dict[str, str] = {}
    for holder in (manifest, *(result or {} for result in results.values())):
        for key in ("versions", "tools"):
            if isinstance(holder.get(key), dict):
                versions |= {str(tool): str(version) for tool, version in holder[key].items()}
    return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def render(
    design: Design,
    portrait: Portrait,
    results: Mapping[str, Json | None],
    manifest: Mapping[str, Any],
    *,
    source: str,
    stale: Sequence[str] = (),
) -> str:
    """The page: one HTML file that needs nothing else."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_template),
    )
    verified, ran = view.verified_jobs(results["verify"]), view.run_jobs(results["run"])
    read = view.run_jobs(results["digits"])
    timelines = [
        chart
        for chart in (
            view.timeline(
                portrait, verified, title="The workload", note="back to back, ports never stalling"
            ),
            view.timeline(portrait, ran, title="The run", note=f"on {(results['run'] or {}).get('backend')}"),
            view.timeline(
                portrait, read, title="The digits", note=f"on {(results['digits'] or {}).get('backend')}"
            ),
        )
        if chart
    ]
    jobs = verified + ran + read
    sections = {
        "timelines": timelines,
        "legend": view.legend(timelines, portrait, jobs),
        "roofline": view.roofline(portrait, jobs),
        "synth": view.synthesis(results["synth"], portrait),
        "verify": view.verification(results["verify"]),
        "digits": view.digits(results["digits"]),
    }
    return environment.get_template("report.html.j2").render(
        name=design.name,
        hash=design.content_hash,
        portrait=portrait,
        source=source,
        stale=stale,
        peak=view.count(portrait.macs_per_cycle),
        versions=_versions(results, manifest),
        board=(results["synth"] or {}).get("board"),
        **sections,
    )


def _template(name: str) -> str | None:
    file = files("tilewright.templates").joinpath("report", name)
    return file.read_text(encoding="utf-8") if file.is_file() else None
