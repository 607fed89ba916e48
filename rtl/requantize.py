"""Requantization: bias, scale by multiplier and shift, round, zero point, clamp; one result per cycle."""

from amaranth.hdl import Cat, Const, Elaboratable, EnableInserter, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl.delay import delayed
from tilewright.rtl.multiply import TARGETS
from tilewright.rtl.round_significand import RoundSignificand
from tilewright.rtl.shift_round import (
    COARSE_BITS,
    FINE_BITS,
    PRESCALE,
    SHIFT_WIDTH,
    ShiftRound,
    add_rounded,
    prescale_multiplier,
    shift_round_latency,
)
from tilewright.rtl.wide_multiply import WideMultiply, wide_multiply_latency

MODES = ("rne", "ort", "half_up")
ACTIVATIONS = ("none", "relu", "clip")
BIAS_WIDTH = 32
MAX_MULTIPLIER_BITS = 24


class Requantize(wiring.Component):
    """``result(t + latency) = clamp(round((acc + bias) * multiplier / 2**shift) + zero_point, low, high)``.

    Exact integers; a feed-forward pipeline without handshake, one result per cycle; unless it ``stalls``, it never waits.
    Every member belongs to cycle t, except the high half of ``acc`` when ``split`` is set. Roundings:

    - ``rne``: to nearest, ties to even. ``half_up``: to nearest, ties up.
    - ``ort``: as ONNX Runtime's float32 kernels: ``acc + bias`` to 24 significant bits, the product to 24
      significant bits, then to an integer, each to nearest even.

    ``latency`` is 7 cycles with ``split`` off and 8 with it on; ``ort`` adds 4; ``multiplier_bits`` below
    11 take 1 off. :func:`requantize_latency` is the exact count. No register is reset: what is on its way when
    a reset comes runs out.

    Reference: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2.

    Parameters
    ----------
    acc_width : int
        4..48 bits, signed.
    multiplier_bits : int
        1..24.
    out_shape : Shape
        Of the result, signed or unsigned, 2..16 bits.
    mode : str
        "rne", "ort" or "half_up".
    activation : str
        "clip": ``low`` and ``high`` come with every accumulator. "none": they are the bounds of
        ``out_shape``, and no members. "relu": likewise, but ``low`` is ``zero_point`` where that is higher.
    split : bool
        Bits ``ceil(acc_width / 2)`` and up of ``acc`` arrive in cycle t + 1, the others and all parameters
        in t. So the latency counts from the low half; from the high half it is that of the plain unit.
    prescale : bool
        True: ``multiplier`` and ``shift`` are plain. False: they are what :func:`prescale` made of them,
        which saves about 85 LUTs per unit where units load their parameters through one place.
    target : str
        "generic" or "ecp5".
    stalls : bool
        A cycle in which ``enable`` is low does not count: no register moves.

    Members
    -------
    acc : In(signed(acc_width))
    bias : In(signed(32))
    multiplier : In(multiplier_bits), or In(multiplier_bits + 7) prescaled
    shift : In(6), or In(3) prescaled
    zero_point : In(signed(out_width + 1))
    low, high : In(out_shape)
        ``low <= high``; only with activation "clip".
    enable : In(1)
        Only with ``stalls``.
    result : Out(out_shape)
    """

    def __init__(
        self, *, acc_width: int, out_shape: Shape, mode: str = "rne",
        multiplier_bits: int = MAX_MULTIPLIER_BITS, activation: str = "clip", split: bool = False,
        prescale: bool = True, target: str = "generic", stalls: bool = False,
    ) -> None:
        out_shape = Shape.cast(out_shape)
        if not 4 <= acc_width <= 48:
            raise ValueError(f"acc_width must be 4..48, not {acc_width!r}")
        if not 2 <= out_shape.width <= 16:
            raise ValueError(f"out_shape must have 2..16 bits, not {out_shape.width!r}")
        if not 1 <= multiplier_bits <= MAX_MULTIPLIER_BITS:
            raise ValueError(f"multiplier_bits must be 1..{MAX_MULTIPLIER_BITS}, not {multiplier_bits!r}")
        for name, value, allowed in (
            ("mode", mode, MODES), ("activation", activation, ACTIVATIONS), ("target", target, TARGETS)
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        self.acc_width = acc_width
        self.out_shape = out_shape
        self.mode = mode
        self.multiplier_bits = multiplier_bits
        self.activation = activation
        self.split = split
        self.prescale = prescale
        self.target = target
        self.stalls = stalls
        bounds = {"low": In(out_shape), "high": In(out_shape)} if activation == "clip" else {}
        super().__init__({
            "acc": In(signed(acc_width)), "bias": In(signed(BIAS_WIDTH)),
            "multiplier": In(unsigned(multiplier_bits + (0 if prescale else PRESCALE))),
            "shift": In(SHIFT_WIDTH if prescale else COARSE_BITS),
            "zero_point": In(signed(out_shape.width + 1)), **bounds,
            **({"enable": In(1)} if stalls else {}), "result": Out(out_shape),
        })

    @property
    def latency(self) -> int:
        """Cycles from ``acc`` (its low half, if split) to ``result``."""
        return requantize_latency(
            acc_width=self.acc_width, mode=self.mode, multiplier_bits=self.multiplier_bits, split=self.split)

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        total = self._sum(m)
        m.submodules.multiply = multiply = WideMultiply(
            a_width=len(total), b_width=self.multiplier_bits + PRESCALE, target=self.target, stalls=self.stalls)
        m.submodules.shift_round = shift_round = ShiftRound(
            product_width=len(multiply.p), quotient_width=self.out_shape.width + 2, mode=self.mode)
        multiplier, coarse = self.multiplier, self.shift
        if self.prescale:
            multiplier, coarse = prescale(self.multiplier, self.shift)
        before_multiply = _sum_latency(self.mode, self.split)
        before_shift = before_multiply + multiply.latency
        m.d.comb += [
            multiply.a.eq(total),
            multiply.b.eq(delayed(m, multiplier, before_multiply, "multiplier")),
            shift_round.product.eq(multiply.p),
            shift_round.coarse.eq(delayed(m, coarse, before_shift - 1, "coarse")),
        ]
        clamped = self._clamp(m, shift_round, before_shift + shift_round.latency)
        m.d.comb += self.result.eq(delayed(m, clamped, 1, "result"))
        if not self.stalls:
            return m
        m.d.comb += multiply.enable.eq(self.enable)
        return EnableInserter(self.enable)(m)

    def _sum(self, m: Module) -> Value:
        """``acc + bias``; with mode ort, as float32 holds it. The multipliers may lie far away: a register ends it."""
        width = _sum_width(self.acc_width)
        total = Signal(signed(width))
        if self.split:
            low_width = (self.acc_width + 1) // 2
            low = delayed(m, (self.acc[:low_width] + self.bias[:low_width])[:low_width + 1], 1, "low")
            bias_high = delayed(m, self.bias[low_width:], 1, "bias_high").as_signed()
            high = self.acc[low_width:].as_signed() + bias_high + low[-1]
            m.d.comb += total.eq(Cat(low[:-1], high[:width - low_width]))
        else:
            m.d.comb += total.eq(self.acc + self.bias)
        if self.mode != "ort":
            return delayed(m, total, 1, "total")
        m.submodules.round_sum = round_sum = RoundSignificand(width=width)
        m.d.comb += round_sum.i.eq(delayed(m, total, 1, "total"))
        return delayed(m, round_sum.rounded, 1, "rounded")

    def _clamp(self, m: Module, scaled: ShiftRound, cycles: int) -> Value:
        """Quotient, rounding and zero point in one carry chain; run-time bounds in chains beside it."""
        width = self.out_shape.width
        lowest = -(1 << width - 1) if self.out_shape.signed else 0
        highest = lowest + (1 << width) - 1
        zero_point = delayed(m, self.zero_point, cycles - 1, "zero_point")

        def plus(offset: Value, name: str) -> Value:
            """Rounded quotient + ``offset``, which is valid one cycle before the quotient."""
            offset = delayed(m, offset, 1, name)
            total = Signal(signed(width + 3), name=name)
            m.d.comb += total.eq(add_rounded(scaled, offset))
            return total

        overflow = scaled.overflow.any()
        if self.activation == "clip":
            low = delayed(m, self.low, cycles - 1, "low")
            high = delayed(m, self.high, cycles - 1, "high")
            above_low = plus((zero_point - low)[:width + 2].as_signed(), "above_low")
            above_high = plus((zero_point - high)[:width + 2].as_signed(), "above_high")
            under = Mux(overflow, scaled.negative, above_low[-1])
            over = Mux(overflow, ~scaled.negative, ~above_high[-1])  # or equal: the same result
            low, high = delayed(m, low, 1, "low_last"), delayed(m, high, 1, "high_last")
            return _select(over, high, _select(under, low, plus(zero_point, "shifted")[:width]))
        # Counted from the lowest result, everything in range has zeros above the result's bits.
        above_lowest = plus((zero_point - lowest)[:width + 2].as_signed(), "above_lowest")
        outside = overflow | above_lowest[width:].any()
        below = Mux(overflow, scaled.negative, above_lowest[-1])
        clamped = _select(outside, (~below).replicate(width), above_lowest[:width]) ^ Const(lowest, width)
        if self.activation == "none":
            return clamped
        floor = Mux(zero_point < lowest, lowest, Mux(zero_point > highest, highest, zero_point))
        return _select(scaled.negative, delayed(m, floor[:width], 1, "floor"), clamped)


def _select(condition: Value, chosen: Value, otherwise: Value) -> Value:
    """A multiplexer in gates: one with constants becomes a register's set and reset, which are slower."""
    width = len(otherwise)
    return (chosen[:width] & condition.replicate(width)) | (otherwise & (~condition).replicate(width))


def prescale(multiplier: Value, shift: Value) -> tuple[Value, Value]:
    """``(multiplier, shift)`` as a :class:`Requantize` with ``prescale=False`` takes them; combinational."""
    return prescale_multiplier(multiplier, shift), shift[FINE_BITS:]


def requantize_latency(*, acc_width: int, mode: str, multiplier_bits: int, split: bool) -> int:
    """Latency of the :class:`Requantize` with these parameters."""
    a_width = _sum_width(acc_width) + (mode == "ort")
    product = wide_multiply_latency(a_width, multiplier_bits + PRESCALE)
    return _sum_latency(mode, split) + product + shift_round_latency(mode) + 1


def _sum_width(acc_width: int) -> int:
    return max(acc_width, BIAS_WIDTH) + 1


def _sum_latency(mode: str, split: bool) -> int:
    """From ``acc`` to the input of the multiplication."""
    return int(split) + 1 + (1 + RoundSignificand.LATENCY if mode == "ort" else 0)
