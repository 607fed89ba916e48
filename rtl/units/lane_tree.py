"""The lanes of a beat combined into one value."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Mux, Value
from tilewright.rtl.units.pipeline import Stages

Combine = Callable[[Value, Value], Value]


def tree(stages: Stages, values: Sequence[Value], combine: Combine, name: str) -> Value:
    """``values`` combined two by two, a register behind each level; ``ceil(log2(count))`` stages."""
    level = list(values)
    depth = 0
    while len(level) > 1:
        depth += 1
        pairs = [level[k:k + 2] for k in range(0, len(level), 2)]
        level = [stages.stage(combine(*pair) if len(pair) == 2 else pair[0], f"{name}_{depth}_{k}")
                 for k, pair in enumerate(pairs)]
    return level[0]


def larger(a: Value, b: Value) -> Value:
    """The greater of two."""
    return Mux(a < b, b, a)
