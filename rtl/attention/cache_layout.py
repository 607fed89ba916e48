"""How rows of keys or values lie in a cache."""

from dataclasses import dataclass

from amaranth.hdl import Array, Const, Mux, Value, ValueLike
from amaranth.lib import data
from amaranth.utils import exact_log2


@dataclass(frozen=True)
class CacheSize:
    """What an engine's caches hold: ``slots`` rows a head, all or ``ring`` of them in turn, in ``bits`` bits an element.

    Where that is fewer than the element has, ``group_chunks`` beats share an exponent.
    """

    slots: int
    ring: int
    bits: int
    group_chunks: int


@dataclass(frozen=True)
class CacheLayout:
    """Rows of ``chunks`` words for each of ``kv_heads`` heads, ``slots`` rows a head.

    Without a ``ring`` (0) key j lies in slot j. With one, a power of two, the first ``sink`` keys keep their slots and the
    others take turns in the ring: ``slots`` is ``sink + ring``, and a tile of ``positions`` queries that sees ``window`` keys
    back needs ``ring >= window + positions - 1``.
    """

    kv_heads: int
    slots: int
    chunks: int
    keys_max: int
    ring: int = 0
    sink: int = 0
    window: int = 0

    @property
    def rows(self) -> int:
        """Rows of all heads."""
        return self.kv_heads * self.slots

    @property
    def place(self) -> data.StructLayout:
        """Which row is read: of a head, the key's number."""
        return place_layout(kv_heads=self.kv_heads, keys_max=self.keys_max)

    def row(self, head: Value, key: Value) -> Value:
        """The number of a row."""
        return head * self.slots + self.slot(key)

    def slot(self, key: Value) -> ValueLike:
        """Where a head's row of ``key`` lies."""
        if not self.ring:
            return key
        turn = (key - self.sink)[:exact_log2(self.ring)]
        return Mux(key < self.sink, key, turn + self.sink) if self.sink else turn


def place_layout(*, kv_heads: int, keys_max: int) -> data.StructLayout:
    """A row of keys or values: its head and the key's number."""
    return data.StructLayout({"head": range(kv_heads), "key": range(keys_max)})


def quotient(value: Value, divisor: int, values: int) -> ValueLike:
    """``value // divisor`` for a value below ``values``."""
    if divisor == 1:
        return value
    if divisor & (divisor - 1) == 0:
        return value >> exact_log2(divisor)
    return Array(Const(k // divisor, range(values)) for k in range(values))[value]
