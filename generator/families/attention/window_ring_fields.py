"""What the fields of a design with schedule `window_ring` may be."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilewright.spec import Problem

if TYPE_CHECKING:
    from tilewright.families.attention.spec import AttentionSpec

MASKS = ("window", "lambda")
OTHER = "streaming"
ALGORITHM = "two_pass"
MAX_CORES = 512


def ring_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    """A mask that no ring holds, too many cores, an algorithm that takes keys one after the other, blocks without meaning."""
    kind, numbers = spec.mask.kind, spec.mask.numbers
    if kind not in MASKS:
        yield Problem(("mask", "kind"), (
            f"{kind} with schedule window_ring, whose cores hold the keys of a window; write {' or '.join(MASKS)}, or "
            f"schedule: {OTHER}"))
    elif spec.cores > MAX_CORES:
        name = max(numbers, key=lambda name: numbers[name])
        most = max(MAX_CORES - (spec.cores - numbers[name]), 1)
        yield Problem(("mask", name), (
            f"{' + '.join(map(str, numbers.values()))} makes {spec.cores} cores; at most {MAX_CORES}: lower it to {most}"))
    if spec.algorithm != ALGORITHM:
        yield Problem(("softmax", "algorithm"), (
            f"{spec.algorithm} with schedule window_ring, which knows the greatest octave of all keys before the first weight; "
            f"write {ALGORITHM}"))
    for block in ("bias", "rotary", "cache"):
        if getattr(spec, block) is not None:
            yield Problem((block,), f"has no meaning with schedule window_ring; remove it, or write schedule: {OTHER}")
