"""Fixed delays."""

from amaranth.hdl import Module, Signal, Value


def delayed(m: Module, value: Value, cycles: int, name: str, *, reset: bool = False, own: bool = False) -> Value:
    """``value`` as it was ``cycles`` clock cycles ago.

    ``reset`` clears the registers on reset: for what counts or starts something. Data goes without, which
    keeps the reset net small. ``own`` registers are not merged with others that always hold the same, so that
    each serves its neighbourhood: one register for a whole diagonal of PEs would sit far from most of them.
    """
    attributes = {"keep": 1} if own else {}
    for cycle in range(cycles):
        stage = Signal.like(value, name=f"{name}_d{cycle + 1}", reset_less=not reset, attrs=attributes)
        m.d.sync += stage.eq(value)
        value = stage
    return value
