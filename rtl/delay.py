"""Fixed delays."""

from amaranth.hdl import Module, Signal, Value


def delayed(m: Module, value: Value, cycles: int, name: str, *, reset: bool = False) -> Value:
    """``value`` as it was ``cycles`` clock cycles ago.

    ``reset`` clears the registers on reset: for what counts or starts something. Data goes without, which
    keeps the reset net small.
    """
    for cycle in range(cycles):
        stage = Signal.like(value, name=f"{name}_d{cycle + 1}", reset_less=not reset)
        m.d.sync += stage.eq(value)
        value = stage
    return value
