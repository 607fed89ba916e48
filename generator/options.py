"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DesignFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The design, a YAML file.", show_default=False)
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set", metavar="FIELD=VALUE", default_factory=list, show_default=False,
        help="Replace a field of the file: --set array.rows=5. May be repeated.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
