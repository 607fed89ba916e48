"""``tilewright schema``: the JSON Schema of a family's design file."""

import json
from typing import Annotated

import typer
from tilewright.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def schema(
        family: Annotated[str, typer.Option("--family", help="The kind of accelerator.")] = "gemm",
        as_json: AsJson = False,
    ) -> None:
        """Print the JSON Schema of a design file, for editors that complete and check YAML."""
        from tilewright.console import emit
        from tilewright.design import require_family, schema_of

        require_family(family)
        content = schema_of(family)
        emit(content, as_json, lambda: print(json.dumps(content, indent=2)))
