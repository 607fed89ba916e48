"""A function of few bits, as a table of all its values."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Shape, ShapeLike, ValueLike
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages


class Lookup(Pipelined):
    """``y = table[x]``; a negative ``x`` counts from the end of the table, as its bits read unsigned.

    Latency 2 cycles (ROM; its output register), one result per cycle. One ROM of ``2**width`` words.

    Parameters
    ----------
    table : Sequence[int]
        ``2**width`` values.
    x_shape, y_shape : ShapeLike
        Of ``x``, signed or unsigned, and of the values.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": x_shape})))
    o : Out(stream.Signature(StructLayout({"y": y_shape})))
    """

    LATENCY = 2

    def __init__(self, *, table: Sequence[int], x_shape: ShapeLike, y_shape: ShapeLike) -> None:
        self.x_shape = Shape.cast(x_shape)
        self.y_shape = Shape.cast(y_shape)
        if len(table) != 1 << self.x_shape.width:
            raise ValueError(f"table must have {1 << self.x_shape.width} entries, not {len(table)}")
        self.table = tuple(table)
        super().__init__(inputs={"x": self.x_shape}, outputs={"y": self.y_shape}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        return {"y": stages.stage(stages.table(self.table, i.x.as_unsigned(), "values", shape=self.y_shape), "y")}
