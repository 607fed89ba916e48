"""``tilewright new FAMILY``: a commented design file to start from."""

from typing import Annotated

import typer
from tilewright.options import AsJson
from tilewright.starting_point import starting_points


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""

    @app.command()
    def new(
        family: Annotated[str, typer.Argument(
            help=f"The kind of accelerator: {', '.join(starting_points())}.", show_default=False)],
        as_json: AsJson = False,
    ) -> None:
        """Print a commented starting point: tilewright new FAMILY > my.yaml."""
        from tilewright.console import emit
        from tilewright.design import require_family
        from tilewright.starting_point import starting_point

        require_family(family)
        text = starting_point(family)
        emit({"family": family, "text": text}, as_json, lambda: print(text, end=""))
