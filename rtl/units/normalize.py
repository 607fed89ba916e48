"""Shift an unsigned number left until its leading one is the highest bit."""

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.utils import ceil_log2
from tilewright.rtl.units.pipeline import Stages

LONG_SHIFT = 8  # a step as long as this gets a stage of its own: it looks at as many bits first


def _steps(width: int) -> list[int]:
    return [1 << bit for bit in reversed(range(ceil_log2(width)))]


def normalize_latency(width: int) -> int:
    """Stages of :func:`normalized`."""
    steps = _steps(width)
    return sum(step >= LONG_SHIFT for step in steps) + any(step < LONG_SHIFT for step in steps)


def normalized(stages: Stages, value: Value, name: str) -> tuple[Value, Value]:
    """``(value << (width - 1 - place), place)`` with ``place`` that of the leading one; ``(0, 0)`` for 0."""
    width = len(value)
    steps = _steps(width)
    padded = 1 << len(steps)
    shifted: Value = Cat(value, Const(0, padded - width))
    bits: list[Value] = []
    for step in steps:
        found = stages.named(shifted[padded - step:].any(), f"{name}_in_{step}")
        shifted = stages.named(Mux(found, shifted, shifted << step)[:padded], f"{name}_by_{step}")
        bits = [found, *bits]
        if step >= LONG_SHIFT or step == 1:
            shifted = stages.stage(shifted, f"{name}_from_{step}")
            bits = [stages.stage(bit, f"{name}_bit_{step}_{place}") for place, bit in enumerate(bits)]
    return shifted[padded - width:], Cat(bits)
