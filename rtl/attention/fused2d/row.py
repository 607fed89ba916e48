"""A row of the fused array: a query, and the keys of a tile."""

from collections.abc import Callable

from amaranth.hdl import Module, Mux, Shape, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2
from tilewright.rtl.attention.fused2d.pe import FusedPE, command_layout
from tilewright.rtl.attention.weights import SCALED
from tilewright.rtl.delay import delayed
from tilewright.rtl.hierarchy import shared


def greatest_latency(cols: int) -> int:
    """Cycles from the levels of a row's PEs to the greatest of them: two levels of comparisons each."""
    return (ceil_log2(cols) + 1) // 2


def partial_latency(cols: int) -> int:
    """Cycles from the terms of a row's PEs to their sum: a level of adders each."""
    return ceil_log2(cols)


class FusedRow(wiring.Component):
    """``cols`` PEs that share a query, its ``top`` and all steps; ``operands`` come down the columns.

    ``greatest`` is that of the ``level`` of all PEs, greatest_latency(cols) cycles later, ``partial`` the sum of their ``term``
    partial_latency(cols) cycles later.
    """

    def __init__(self, *, cols: int, query: Shape, operand: Shape, score_width: int, term: Shape,
                 pe: Callable[[], FusedPE]) -> None:
        self.cols = cols
        self.pe = pe
        super().__init__({
            "query": In(query), "operands": In(data.ArrayLayout(operand, cols)), "top": In(SCALED), "seen": In(cols),
            "keep": In(1), "command": In(command_layout(score_width)), "greatest": Out(SCALED),
            "partial": Out(Shape(term.width + ceil_log2(cols), True))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        levels: list[Value] = []
        terms: list[Value] = []
        for col in range(self.cols):
            m.submodules[f"pe_{col}"] = pe = shared(self.pe, "fused_pe")
            m.d.comb += [
                pe.query.eq(self.query), pe.operand.eq(self.operands[col]), pe.top.eq(self.top), pe.seen.eq(self.seen[col]),
                pe.keep.eq(self.keep), pe.command.eq(self.command)]
            levels.append(pe.level)
            terms.append(pe.term)
        for stage in range(greatest_latency(self.cols)):
            for _ in range(2):
                levels = self._pairs(levels, self._larger)
            levels = [delayed(m, level, 1, f"greatest_{stage}_{k}") for k, level in enumerate(levels)]
        for stage in range(partial_latency(self.cols)):
            terms = [delayed(m, term, 1, f"partial_{stage}_{k}")
                     for k, term in enumerate(self._pairs(terms, lambda a, b: a + b))]
        m.d.comb += [self.greatest.eq(levels[0]), self.partial.eq(terms[0])]
        return m

    @staticmethod
    def _pairs(values: list[Value], join: Callable[[Value, Value], Value]) -> list[Value]:
        return [join(*values[k:k + 2]) if k + 1 < len(values) else values[k] for k in range(0, len(values), 2)]

    @staticmethod
    def _larger(a: Value, b: Value) -> Value:
        return Mux(a > b, a, b).as_signed()
