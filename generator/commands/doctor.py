"""``tilewright doctor``: what is installed, what is missing, what adds it."""

import typer
from tilewright.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def doctor(as_json: AsJson = False) -> None:
        """Tell what is installed, what is missing, and the command that adds it."""
        from tilewright.console import console, emit, rows
        from tilewright.doctor import Diagnosis, diagnose

        def render(diagnosis: Diagnosis) -> None:
            rows([
                (item.state, item.name, item.purpose, item.version or item.wanted) for item in diagnosis.items
            ])
            for note in diagnosis.notes:
                console.print(f"note  {note}")
            for fix in diagnosis.fixes(needed=False):
                console.print(f"to add what is missing:  {fix}")

        diagnosis = diagnose()
        emit(diagnosis.as_payload(), as_json, lambda: render(diagnosis))
        if not diagnosis.passed:
            raise typer.Exit(3)
