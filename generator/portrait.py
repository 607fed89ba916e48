"""What a family tells a report about one of its designs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup


@dataclass(frozen=True)
class Work:
    """What a job asks of the engine: useful MACs, MACs with ragged tiles filled up, bytes at its ports.

    ``name`` is its size in words, ``note`` what sets it apart from another job of that size, or empty.
    """

    name: str
    note: str
    macs: int
    padded_macs: int
    bytes_moved: float


@dataclass(frozen=True)
class Portrait:
    """A design in words, numbers and one drawing.

    ``figure`` is inline SVG in the classes of the report's style sheet. ``work`` takes a job as the design
    file writes it (its fields as a mapping). ``bytes_per_cycle`` is what all data ports move at most.
    In the report's own sentences ``engine`` is what computes, ``size`` what the name of a job's work counts,
    ``padding`` what multipliers do when they are busy with what no result needs, ``idle`` where they are not.
    """

    title: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    figure: Markup
    caption: str
    macs_per_cycle: int
    bytes_per_cycle: float
    work: Callable[[Mapping[str, Any]], Work]
    engine: str
    size: str
    padding: str
    idle: str
