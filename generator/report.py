"""The report of a build folder: ``report/report.html`` for people, ``report/report.json`` for machines.

Reads ``design.yaml``, ``manifest.json`` and what the commands left in ``report/``: ``verify.json``,
``synth.json``, ``run.json``, ``digits.json``, each the object its command prints with ``--json``. A section
whose file is missing says which command writes it. The same files give the same bytes.
"""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from tilewright import report_view as view
from tilewright.design import Design, load_design
from tilewright.errors import UserError
from tilewright.families import family_of
from tilewright.families.base import Family
from tilewright.files import write_file
from tilewright.portrait import Portrait
from tilewright.report_jobs import job_figures, roofline, run_jobs, timeline, verified_jobs
from tilewright.report_words import count

Json = dict[str, Any]

RESULTS = ("verify", "synth", "run", "digits")
TARGET = "--board ulx3s-85f"  # of the synthesis that a report proposes
TARGET_WITHOUT_BOARD = "--device ecp5-85f"


@dataclass(frozen=True)
class Report:
    """The two files, and for each result that a command can leave whether its data was there."""

    html: Path
    json: Path
    sections: dict[str, bool]


@dataclass(frozen=True)
class Material:
    """Everything a report is made of. ``stale`` names results of another version of the design."""

    design: Design
    family: Family
    portrait: Portrait
    results: dict[str, Json | None]
    stale: list[str]
    manifest: Json

    def result(self, name: str) -> Json:
        """A result, empty where there is none."""
        return self.results[name] or {}

    @property
    def obtainable(self) -> tuple[str, ...]:
        """Those of ``RESULTS`` that a command can leave for this design."""
        return RESULTS if self.family.runs_demo else tuple(name for name in RESULTS if name != "digits")

    @property
    def target(self) -> str:
        """What to synthesize for: where it was done, else a proposal."""
        synth = self.result("synth")
        if synth.get("board"):
            return f"--board {synth['board']}"
        return TARGET if self.family.has_board_top else TARGET_WITHOUT_BOARD

    @property
    def measured(self) -> list[tuple[str, str, list[Json]]]:
        """Title, circumstances and jobs of each list of jobs whose cycles are known."""
        workload = self.design.spec.model_dump(mode="json").get("workload", [])
        verified = verified_jobs(self.results["verify"], workload)
        lists = [("The workload", "back to back, ports never stalling", verified)]
        for title, name in (("The run", "run"), ("The digits", "digits")):
            lists.append((title, f"on the {view.backend(self.results[name])}", run_jobs(self.results[name])))
        return [(title, note, jobs) for title, note, jobs in lists if jobs]

    @property
    def versions(self) -> dict[str, str]:
        """Tool to version, as the build and the commands recorded them."""
        versions: dict[str, str] = {}
        for holder in (self.manifest, *(self.result(name) for name in RESULTS)):
            for key in ("versions", "tools"):
                versions |= {str(tool): str(version) for tool, version in holder.get(key, {}).items()}
        return dict(sorted(versions.items(), key=lambda item: item[0].lower()))


def load_material(folder: Path) -> Material:
    """What lies in build folder ``folder``; ``UserError`` where that is not what a build leaves."""
    if not (folder / "design.yaml").is_file():
        raise UserError(
            f"{folder}: not a build folder, it has no design.yaml; make it with 'tilewright build'"
        )
    design = load_design(folder / "design.yaml")
    results = {name: _read(folder / "report" / f"{name}.json", f"tilewright {name}") for name in RESULTS}
    stale = [
        name
        for name, result in results.items()
        if result and result.get("hash", design.content_hash) != design.content_hash
    ]
    family = family_of(design.spec)
    return Material(
        design=design,
        family=family,
        portrait=family.portrait(design.spec),
        results=results | dict.fromkeys(stale),
        stale=stale,
        manifest=_read(folder / "manifest.json", "tilewright build") or {},
    )


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
    ``UserError`` where the folder or one of its files is not what a build and the commands leave.
    """
    material = load_material(folder)
    try:
        summary = summarize(material)
        page = render(material, source=source or f"{material.design.name}.yaml")
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        names = ", ".join(f"{name}.json" for name in RESULTS if material.results[name] is not None)
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        advice = "run their commands again"
        raise UserError(f"{folder / 'report'}: cannot read {names} ({detail}); {advice}") from error
    html, data = folder / "report" / "report.html", folder / "report" / "report.json"
    write_file(html, page)
    write_file(data, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return Report(html, data, {name: material.results[name] is not None for name in material.obtainable})


def summarize(material: Material) -> Json:
    """The content of ``report.json``: the results as they are, without pixels, and what follows from them."""
    portrait = material.portrait
    return {
        "name": material.design.name,
        "hash": material.design.content_hash,
        "title": portrait.title,
        "facts": dict(portrait.facts),
        "peak_macs_per_cycle": portrait.macs_per_cycle,
        "stream_bytes_per_cycle": portrait.bytes_per_cycle,
        "jobs": [job_figures(portrait, job) for _, _, jobs in material.measured for job in jobs],
        **{
            name: result and {key: value for key, value in result.items() if key != "pixels"}
            for name, result in material.results.items()
        },
        "versions": material.versions,
    }


def render(material: Material, *, source: str) -> str:
    """The page: one HTML file that needs nothing else."""
    portrait, measured = material.portrait, material.measured
    jobs = [job for _, _, of_list in measured for job in of_list]
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_template),
    )
    return environment.get_template("report.html.j2").render(
        name=material.design.name,
        hash=material.design.content_hash,
        source=source,
        stale=material.stale,
        portrait=portrait,
        peak=count(portrait.macs_per_cycle),
        target=material.target,
        runs_demo=material.family.runs_demo,
        versions=material.versions,
        timelines=[timeline(portrait, jobs, title=title, note=note) for title, note, jobs in measured],
        roofline=roofline(portrait, jobs),
        synth=view.synthesis(material.results["synth"], portrait),
        verify=view.verification(material.results["verify"]),
        digits=view.digits(material.results["digits"]),
    )


def _template(name: str) -> str | None:
    file = files("tilewright.templates").joinpath("report", name)
    return file.read_text(encoding="utf-8") if file.is_file() else None
