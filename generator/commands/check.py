"""``tilewright check``: is the design file right, and what follows from it."""

import typer
from tilewright.options import AsJson, DesignFile, Overrides


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def check(design_file: DesignFile, overrides: Overrides, as_json: AsJson = False) -> None:
        """Check a design file; tell every mistake by file:line:column, or what the design comes to."""
        from tilewright.console import emit, rows
        from tilewright.design import load_design

        design = load_design(design_file, overrides)
        payload = {
            "passed": True,
            "name": design.name,
            "family": design.spec.family,
            "hash": design.content_hash,
            "source": design.source,
            "overrides": list(design.overrides),
            "derived": design.spec.derived(),
        }
        lines = [("ok", design.name), *design.spec.summary(), ("hash", design.content_hash)]
        emit(payload, as_json, lambda: rows(lines))
