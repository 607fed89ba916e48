"""`rotary.positions: cache_index` of an attention design: how many places there are, and what it contradicts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilewright.families.attention.fields import RINGS
from tilewright.spec import Problem

if TYPE_CHECKING:
    from tilewright.families.attention.spec import AttentionSpec


def places(spec: "AttentionSpec") -> int:
    """How many keys a query sees at most, where it and they are turned by their places among those; else 0."""
    if not spec.rotary or spec.rotary.positions == "original":
        return 0
    return min(sum(spec.mask.numbers.values()), spec.limits.keys)


def cache_index_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    """A mask that forgets no key or looks ahead, a tile whose rows see different ones; other schedules have no rotary."""
    if not spec.rotary or spec.rotary.positions == "original" or spec.schedule != "streaming":
        return
    if spec.mask.kind not in RINGS:
        yield Problem(("rotary", "positions"), (
            f"cache_index with mask {spec.mask.kind}, which forgets no key: places are positions; write original, or mask "
            f"{' or '.join(RINGS)}"))
    elif spec.mask.lookahead:
        yield Problem(("rotary", "positions"), (
            f"cache_index with mask.lookahead {spec.mask.lookahead}, where a query is not the last of the keys that it sees; "
            "write original, or remove the lookahead"))
    elif spec.heads % spec.kv_heads == 0 and spec.tile_q % spec.group == 0 and spec.tile_positions > 1:
        yield Problem(("engine", "tile_q"), (
            f"{spec.tile_q} with rotary.positions cache_index, where the rows of a tile share each turned key, and "
            f"heads / kv_heads {spec.group}: a tile has {spec.tile_positions} positions; write {spec.group}"))
