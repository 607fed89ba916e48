"""Two of everything that one tile fills while the other is read."""

from typing import Any

from amaranth.hdl import Mux, Value

BANKS = 2


def of_bank(bank: Value, both: Any) -> Value:
    """What ``both`` holds for ``bank``."""
    return Mux(bank, Value.cast(both[1]), Value.cast(both[0]))
