"""Sigmoid, hyperbolic tangent and SiLU from one table of the sigmoid."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Cat, Const, Mux, Value, ValueLike, signed, unsigned
from amaranth.lib import data
from tilewright.rtl.units.interpolate import INTERPOLATE_LATENCY, interpolated
from tilewright.rtl.units.pipeline import Pipelined, Stages
from tilewright.rtl.units.product import PRODUCT_LATENCY, staged_product


def interpolated_magnitude(
    stages: Stages, table: Sequence[int], x: Value, *, doubled: bool, step_bits: int, target: str
) -> tuple[Value, Value]:
    """``(T(abs(x)), x < 0)`` after ``MAGNITUDE_LATENCY`` stages, ``T`` the table's curve, constant beyond its end.

    ``doubled``: of ``2 * x``. Stages: absolute value; clip; then those of the interpolation, rounded half up.
    """
    negative = x[-1]
    magnitude = stages.stage(Mux(negative, -x, x), "magnitude", shape=unsigned(len(x)))
    if doubled:
        magnitude = Cat(Const(0, 1), magnitude)
    end = len(table) - 1 << step_bits
    if magnitude.shape().width > end.bit_length() - 1:
        clipped: Value = Mux(magnitude < end, magnitude, end)
    else:
        clipped = magnitude
    clipped = stages.stage(clipped, "clipped", shape=unsigned(max(end.bit_length(), step_bits + 1)))
    curve = interpolated(
        stages, (*table, table[-1]), clipped[step_bits:], clipped[:step_bits], rounding="half_up", target=target)
    return curve[:-1], stages.stage(negative, "negative", cycles=MAGNITUDE_LATENCY)


MAGNITUDE_LATENCY = 2 + INTERPOLATE_LATENCY


class Sigmoid(Pipelined):
    """``y = sigmoid(x / 2**fraction_bits)`` with ``value_bits`` fraction bits, ``x`` signed.

    ``m`` is ``abs(x)``, at most the end of the table, ``hi`` its bits from ``step_bits`` up and ``lo`` those below::

        s = table[hi] + round_half_up((table[hi + 1] - table[hi]) * lo / 2**step_bits)
        y = 2**value_bits - s if x < 0 else s

    Latency 9 cycles (absolute value; clip; table 2; product 3; sum; sign), one result per cycle. One ROM, one multiplier.

    Reference: the symmetric table with linear interpolation of Amin, Curtis and Hayes-Gill, "Piecewise linear
    approximation applied to nonlinear function of a neural network", 1997.

    Parameters
    ----------
    target : str
        "generic" or "ecp5".
    table : Sequence[int]
        ``round(2**value_bits * sigmoid(i * 2**(step_bits - fraction_bits)))``.
    width, step_bits, value_bits : int
        ``width`` is that of ``x``.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width)})))
    o : Out(stream.Signature(StructLayout({"y": value_bits + 1})))
    """

    LATENCY = MAGNITUDE_LATENCY + 1

    def __init__(self, *, table: Sequence[int], width: int, step_bits: int, value_bits: int, target: str = "generic") -> None:
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.step_bits = step_bits
        self.value_bits = value_bits
        super().__init__(
            inputs={"x": signed(width)}, outputs={"y": value_bits + 1}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        curve, negative = interpolated_magnitude(
            stages, self.table, i.x, doubled=False, step_bits=self.step_bits, target=self.target)
        return {"y": _signed_curve(stages, curve, negative, self.value_bits)}


class Tanh(Pipelined):
    """``y = tanh(x / 2**fraction_bits)`` with ``value_bits`` fraction bits: ``2 * sigmoid(2 * x) - 1``.

    ``s`` as in :class:`Sigmoid` from ``m = 2 * abs(x)``; then ``y = 2 * s - 2**value_bits``, negated where ``x < 0``.
    Latency 9 cycles, one result per cycle. One ROM, one multiplier.

    Reference, parameters: see :class:`Sigmoid`.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width)})))
    o : Out(stream.Signature(StructLayout({"y": signed(value_bits + 2)})))
    """

    LATENCY = MAGNITUDE_LATENCY + 1

    def __init__(self, *, table: Sequence[int], width: int, step_bits: int, value_bits: int, target: str = "generic") -> None:
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.step_bits = step_bits
        self.value_bits = value_bits
        super().__init__(
            inputs={"x": signed(width)}, outputs={"y": signed(value_bits + 2)}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        curve, negative = interpolated_magnitude(
            stages, self.table, i.x, doubled=True, step_bits=self.step_bits, target=self.target)
        twice, one = curve << 1, 1 << self.value_bits
        y = Mux(negative, one - twice, twice - one)
        return {"y": stages.stage(y, "y", shape=signed(self.value_bits + 2))}


class Silu(Pipelined):
    """``y = x * sigmoid(x)``, both with ``fraction_bits`` fraction bits, ``x`` signed.

    With ``s`` the result of :class:`Sigmoid`: ``y = round_half_up(x * s / 2**value_bits)``. Latency 13 cycles
    (the sigmoid's 9; product 3; rounding), one result per cycle. One ROM, two multipliers.

    Reference: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", 2018; the sigmoid as in :class:`Sigmoid`, and so the parameters.

    Members
    -------
    i : In(stream.Signature(StructLayout({"x": signed(width)})))
    o : Out(stream.Signature(StructLayout({"y": signed(width)})))
    """

    LATENCY = Sigmoid.LATENCY + PRODUCT_LATENCY + 1

    def __init__(self, *, table: Sequence[int], width: int, step_bits: int, value_bits: int, target: str = "generic") -> None:
        self.table = tuple(table)
        self.target = target
        self.width = width
        self.step_bits = step_bits
        self.value_bits = value_bits
        super().__init__(
            inputs={"x": signed(width)}, outputs={"y": signed(width)}, latency=self.LATENCY)

    def datapath(self, stages: Stages, i: data.View) -> Mapping[str, ValueLike]:
        curve, negative = interpolated_magnitude(
            stages, self.table, i.x, doubled=False, step_bits=self.step_bits, target=self.target)
        gate = _signed_curve(stages, curve, negative, self.value_bits)
        x = stages.stage(i.x, "x", cycles=Sigmoid.LATENCY)
        product = staged_product(stages, x, gate, "product", target=self.target)
        y = (product >> self.value_bits) + product[self.value_bits - 1]
        return {"y": stages.stage(y, "y", shape=signed(self.width))}


def _signed_curve(stages: Stages, curve: Value, negative: Value, value_bits: int) -> Value:
    """``curve``, or one minus it where ``negative``; a stage."""
    one = 1 << value_bits
    return stages.stage(Mux(negative, one - curve, curve), "sigmoid", shape=unsigned(value_bits + 1))
