"""Two's-complement fixed point from one format to another."""

from collections.abc import Mapping

from amaranth.hdl import Const, Mux, Value, ValueLike, signed
from amaranth.lib import data
from tilewright.rtl.units.pipeline import Pipelined, Stages

ROUNDINGS = ("trunc", "rhu", "rhe")
OVERFLOWS = ("wrap", "sat")


def saturated(value: Value, width: int) -> Value:
    """``value``, signed, clamped to ``width`` bits; ``value`` itself where it is not wider."""
    if len(value) <= width:
        return value
    above = value[width - 1:]  # all alike in range: copies of the sign
    most = Mux(value[-1], Const(-(1 << width - 1), signed(width)), Const((1 << width - 1) - 1, signed(width)))
    return Mux(above.all() | ~above.any(), value[:width].as_signed(), most)


class FixedConvert(Pipelined):
    """``x / 2**in_frac`` as ``y / 2**out_frac``: shift, round, then saturate or wrap.

    ``trunc`` rounds toward minus infinity, ``rhu`` to nearest with ties up, ``rhe`` with ties to even. ``sat`` clamps to the
    range of ``y``, ``wrap`` keeps its low bits. Latency 2 cycles (what rounds; sum and range), one result per cycle.

    Reference: the quantization and overflow modes of ``ap_fixed`` (``AP_TRN``, ``AP_RND``, ``AP_RND_CONV``; ``AP_WRAP``,
    ``AP_SAT``).

    Parameters
    ----------
    in_width, out_width : int
        Bits of ``x`` and ``y``, two's complement.
    in_frac, out_frac : int
        Fraction bits of ``x`` and ``y``; ``in_frac - out_frac`` is at most ``in_width``.
    rounding, overflow : str

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(in_width)})))
    o : Out(stream.Signature(StructLayout({"y": signed(out_width)})))
    """

    LATENCY = 2

    def __init__(
        self, *, in_width: int, in_frac: int, out_width: int, out_frac: int, rounding: str, overflow: str
    ) -> None:
        if rounding not in ROUNDINGS:
            raise ValueError(f"rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}")
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        if in_frac - out_frac > in_width:
            raise ValueError(f"out_frac must be at least {in_frac - in_width}, not {out_frac!r}")
        self.in_width = in_width
        self.in_frac = in_frac
        self.out_width = out_width
        self.out_frac = out_frac
        self.rounding = rounding
        self.overflow = overflow
        super().__init__(inputs={"x": signed(in_width)}, outputs={"y": signed(out_width)}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        drop = self.in_frac - self.out_frac
        if drop <= 0:
            value = stages.stage(i.x << -drop, "shifted")
            up: Value = Const(0, 1)
        else:
            value = stages.stage(i.x >> drop, "floor")
            half, rest, odd = i.x[drop - 1], i.x[:drop - 1].any(), (i.x >> drop)[0]
            up = {"trunc": Const(0, 1), "rhu": half, "rhe": half & (rest | odd)}[self.rounding]
            up = stages.stage(up, "up")
        total = stages.named(value + up, "total")
        result = saturated(total, self.out_width) if self.overflow == "sat" else total
        return {"y": stages.stage(result, "y", shape=signed(self.out_width))}
