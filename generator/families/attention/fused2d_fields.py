"""What the fields of a design with schedule `fused2d` may be."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilewright.spec import Problem

if TYPE_CHECKING:
    from tilewright.families.attention.spec import AttentionSpec

OTHER = "streaming"
ALGORITHM = "online"


def fused_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    """An algorithm with other weights, blocks without meaning."""
    if spec.algorithm != ALGORITHM:
        yield Problem(("softmax", "algorithm"), (
            f"{spec.algorithm} with schedule fused2d, whose weights are below the greatest score; write {ALGORITHM}"))
    for block in ("bias", "rotary", "cache"):
        if getattr(spec, block) is not None:
            yield Problem((block,), f"has no meaning with schedule fused2d; remove it, or write schedule: {OTHER}")
