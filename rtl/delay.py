"""Fixed delays."""

from amaranth.hdl import Module, Signal, Value


def delayed(m: Module, value: Value, cycles: int, name: str) -> Value:
    """``value`` as it was ``cycles`` clock cycles ago; cleared on reset."""
    for cycle in range(cycles):
        stage = Signal.like(value, name=f"{name}_d{cycle + 1}")
        m.d.sync += stage.eq(value)
        value = stage
    return value
