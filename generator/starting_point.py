"""The commented design file that ``tilewright new`` prints for a family."""

from importlib.resources import files


def starting_point(family: str) -> str:
    """The text of ``templates/new/<family>.yaml``."""
    return files("tilewright.templates").joinpath("new", f"{family}.yaml").read_text(encoding="utf-8")
