"""One division for every query, several of them under way."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.attention.normalize_rows import QUOTIENT_BITS, SCALE_BITS, RowDivider, division_cycles
from tilewright.rtl.hierarchy import shared


class Dividers(wiring.Component):
    """``factor`` and ``places`` of :class:`RowDivider` for every ``total``, ``interval`` cycles apart at least.

    They are there and ``done`` is high for the one cycle ``division_cycles(total_width)`` after ``start``. Serial dividers
    take turns, as many as that takes.
    """

    def __init__(self, *, total_width: int, interval: int) -> None:
        self.total_width = total_width
        self.count = -(-division_cycles(total_width) // interval)
        super().__init__({
            "start": In(1), "total": In(total_width), "scale": In(SCALE_BITS), "done": Out(1), "factor": Out(QUOTIENT_BITS),
            "places": Out(range(total_width))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        turn = Signal(self.count, init=1)  # one-hot
        with m.If(self.start):
            m.d.sync += turn.eq(turn.rotate_left(1))
        done, factor, places = [], [], []
        for number in range(self.count):
            divider = shared(lambda: RowDivider(total_width=self.total_width), "row_divider")
            m.submodules[f"divider_{number}"] = divider
            m.d.comb += [divider.start.eq(self.start & turn[number]), divider.total.eq(self.total),
                         divider.scale.eq(self.scale), divider.take.eq(divider.done)]
            done.append(divider.done)
            factor.append(Mux(divider.done, divider.factor, 0))
            places.append(Mux(divider.done, divider.places, 0))
        m.d.comb += [self.done.eq(Cat(*done).any()), self.factor.eq(_either(factor)), self.places.eq(_either(places))]
        return m


def _either(values: list[Value]) -> Value:
    """The one that is not 0."""
    result = values[0]
    for value in values[1:]:
        result = result | value
    return result
