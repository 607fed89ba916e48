"""GELU as ReLU minus a small correction from a table."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Mux, ValueLike, signed, unsigned
from amaranth.lib import data
from tilewright.rtl.units.interpolate import INTERPOLATE_LATENCY, interpolated
from tilewright.rtl.units.pipeline import Pipelined, Stages


class Gelu(Pipelined):
    """``y = x * Phi(x)``, both with ``fraction_bits`` fraction bits, ``x`` signed, Phi the normal distribution.

    What ReLU is off by is small, even and gone at 5.5. With ``hi`` the bits of ``abs(x)`` from ``step_bits`` up and
    ``lo`` those below::

        delta = table[hi] + ((table[hi + 1] - table[hi]) * lo >> step_bits)        0 beyond the end of the table
        y = max(x, 0) - delta

    Latency 9 cycles (absolute value; limit; table 2; product 3; sum; difference), one result per cycle. One ROM, one
    multiplier.

    Reference: Sarkar et al., "Edge-MoE: Memory-Efficient Multi-Task Vision Transformer Architecture with Task-Level
    Sparsity via Mixture-of-Experts", ICCAD 2023; the function: Hendrycks and Gimpel, 2016.

    Parameters
    ----------
    target : str
        "generic" or "ecp5".
    table : Sequence[int]
        ``round(2**fraction_bits * v * Phi(-v))`` at every ``v = i * 2**(step_bits - fraction_bits)``; the last is 0.
    width, step_bits : int
        ``width`` is that of ``x``; ``lo`` at most 17 bits for one 18 x 18 multiplier.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width)})))
    o : Out(stream.Signature(StructLayout({"y": signed(width)})))
    """

    LATENCY = 3 + INTERPOLATE_LATENCY

    def __init__(self, *, table: Sequence[int], width: int, step_bits: int, target: str = "generic") -> None:
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.step_bits = step_bits
        super().__init__(
            inputs={"x": signed(width)}, outputs={"y": signed(width)}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        last = len(self.table) - 1
        magnitude = stages.stage(Mux(i.x < 0, -i.x, i.x), "magnitude", shape=unsigned(self.width))
        inside = magnitude[self.step_bits:] < last
        index = stages.stage(
            Mux(inside, magnitude[self.step_bits:], 0), "index", shape=unsigned((last - 1).bit_length()))
        rest = stages.stage(magnitude[:self.step_bits], "rest")
        delta = interpolated(stages, self.table, index, rest, name="delta", target=self.target)
        inside = stages.stage(inside, "inside", cycles=1 + INTERPOLATE_LATENCY)
        relu = stages.stage(Mux(i.x < 0, 0, i.x), "relu", cycles=self.LATENCY - 1)
        return {"y": stages.stage(relu - Mux(inside, delta, 0), "y", shape=signed(self.width))}
