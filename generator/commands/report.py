"""``tilewright report``: one page about a design and everything that was measured on it."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from tilewright.options import AsJson, DesignFile, Overrides


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def report(
        design_file: DesignFile,
        overrides: Overrides,
        build_dir: Annotated[Path, typer.Option(help="Where builds are kept.")] = Path("build"),
        as_json: AsJson = False,
    ) -> None:
        """Write report.html and report.json from what verify, synth, run and demo measured so far."""
        from tilewright.console import console, emit
        from tilewright.design import load_design
        from tilewright.errors import UserError
        from tilewright.report import write_report

        design = load_design(design_file, overrides)
        folder = build_dir / design.name
        if not (folder / "design.yaml").is_file():
            raise UserError(f"{folder}: not built yet; run 'tilewright build {design_file}' first")
        if load_design(folder / "design.yaml").content_hash != design.content_hash:
            raise UserError(
                f"{folder}: built from another version of {design_file}; "
                f"run 'tilewright build {design_file}' again"
            )
        settings = [word for override in design.overrides for word in ("--set", override)]
        source = shlex.join([str(design_file), *settings])
        written = write_report(folder, source=source)
        payload = {
            "report": str(written.html),
            "json": str(written.json),
            "hash": design.content_hash,
            "sections": written.sections,
        }

        def render() -> None:
            console.print(f"report   {written.html}")
            if absent := [name for name, present in written.sections.items() if not present]:
                console.print(f"without  {', '.join(absent)}: not run yet")

        emit(payload, as_json, render)
