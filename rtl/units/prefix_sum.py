"""Running sums of a stream of several lanes."""

from collections.abc import Mapping

from amaranth.hdl import Cat, Const, Mux, Signal, Value, ValueLike, unsigned
from amaranth.lib import data
from amaranth.utils import ceil_log2
from tilewright.rtl.units.pipeline import Pipelined, Stages


def prefix_sum_latency(lanes: int) -> int:
    """Latency of :class:`PrefixSum`."""
    return ceil_log2(lanes) + 1


class PrefixSum(Pipelined):
    """Running sum of each frame, over the lanes of a beat and on from beat to beat, modulo ``2**sum_width``.

    Inclusive sums count their own ``x``, exclusive ones only what came before. A frame ends with the beat whose ``last``
    is 1. A Kogge-Stone network of ``ceil(log2(lanes))`` registered levels adds within the beat; one more adds the
    total of the beats before, which is one adder from beat to beat.

    Latency ``ceil(log2(lanes)) + 1`` cycles, one beat per cycle.

    Reference: Kogge and Stone, "A parallel algorithm for the efficient solution of a general class of recurrence
    equations", IEEE Transactions on Computers, 1973.

    Parameters
    ----------
    lanes : int
        At least 1.
    width, sum_width : int
        Bits of ``x`` and of the sums, unsigned.
    inclusive : bool

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": ArrayLayout(width, lanes), "last": 1})))
    o : Out(stream.Signature(StructLayout({"sum": ArrayLayout(sum_width, lanes), "last": 1})))
    """

    def __init__(self, *, lanes: int, width: int, sum_width: int, inclusive: bool) -> None:
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        self.lanes = lanes
        self.width = width
        self.sum_width = sum_width
        self.inclusive = inclusive
        super().__init__(
            inputs={"x": data.ArrayLayout(unsigned(width), lanes), "last": 1},
            outputs={"sum": data.ArrayLayout(unsigned(sum_width), lanes), "last": 1},
            latency=prefix_sum_latency(lanes))

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        levels = ceil_log2(self.lanes)
        sums: list[Value] = [i.x[n] for n in range(self.lanes)]
        for level in range(levels):
            step = 1 << level
            sums = [self._narrow(stages.stage(sums[n] + sums[n - step] if n >= step else sums[n], f"sum_{n}_{level}"))
                    for n in range(self.lanes)]
        last = stages.stage(i.last, "last", cycles=levels)
        valid = self._valid_after(stages, levels)

        m = stages.m
        before = Signal(self.sum_width)  # total of the earlier beats of this frame
        with m.If(stages.advance & valid):
            m.d.sync += before.eq(Mux(last, 0, before + sums[-1]))
        parts = sums if self.inclusive else [Const(0, 1), *sums[:-1]]
        totals = [stages.stage(part + before, f"total_{n}", shape=unsigned(self.sum_width))
                  for n, part in enumerate(parts)]
        return {"sum": Cat(*totals), "last": stages.stage(last, "last_out")}

    def _narrow(self, total: Value) -> Value:
        return total[:self.sum_width]

    def _valid_after(self, stages: Stages, cycles: int) -> Value:
        """``i.valid`` as it was ``cycles`` stages ago: a bubble adds nothing to the total of a frame."""
        valid: Value = self.i.valid
        for cycle in range(cycles):
            register = Signal(name=f"valid_{cycle + 1}")
            with stages.m.If(stages.advance):
                stages.m.d.sync += register.eq(valid)
            valid = register
        return valid
