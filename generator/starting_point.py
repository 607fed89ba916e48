"""The commented design file that ``tilewright new`` prints for a family."""

from importlib.resources import files


def starting_points() -> list[str]:
    """The names of all families, from their starting points: what a command may name without loading a family."""
    folder = files("tilewright.templates").joinpath("new")
    return sorted(path.name.removesuffix(".yaml") for path in folder.iterdir() if path.name.endswith(".yaml"))


def starting_point(family: str) -> str:
    """The text of ``templates/new/<family>.yaml``."""
    return files("tilewright.templates").joinpath("new", f"{family}.yaml").read_text(encoding="utf-8")
