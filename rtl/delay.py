"""Fixed delays."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory


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


def delayed_in_memory(m: Module, value: Value, cycles: int, name: str) -> Value:
    """``value`` as it was ``cycles`` clock cycles ago, at least 2: words of a memory instead of ranks of registers."""
    if cycles < 2:
        raise ValueError(f"cycles must be at least 2, not {cycles!r}")
    depth = cycles - 1  # a word is read in the cycle in which it is written anew; the register behind is one cycle more
    m.submodules[name] = memory = Memory(shape=unsigned(len(value)), depth=depth, init=[])
    write, read = memory.write_port(), memory.read_port(domain="comb")
    place = Signal(range(depth), name=f"{name}_place")
    m.d.sync += place.eq(Mux(place == depth - 1, 0, place + 1))
    m.d.comb += [write.en.eq(1), write.addr.eq(place), write.data.eq(value), read.addr.eq(place)]
    return delayed(m, read.data, 1, name)
