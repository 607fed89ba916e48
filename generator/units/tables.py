"""Tables of the numeric units: every entry correctly rounded, computed here once for RTL, HLS C++ and golden model."""

import functools
import math
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext

DIGITS = 60  # decimal digits on the way: far more than any entry has
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


@functools.cache
def exp2_falling(value_bits: int, table_bits: int) -> tuple[int, ...]:
    """``round(2**(value_bits - i / 2**table_bits))`` for i = 0 .. ``2**table_bits``."""
    with localcontext(prec=DIGITS):
        return tuple(_rounded(Decimal(2) ** (value_bits - Decimal(i) / (1 << table_bits)))
                     for i in range((1 << table_bits) + 1))


@functools.cache
def exp2_rising(value_bits: int, table_bits: int) -> tuple[int, ...]:
    """``round(2**(value_bits + i / 2**table_bits))`` for i = 0 .. ``2**table_bits``."""
    with localcontext(prec=DIGITS):
        return tuple(_rounded(Decimal(2) ** (value_bits + Decimal(i) / (1 << table_bits)))
                     for i in range((1 << table_bits) + 1))


@functools.cache
def exp_falling(value_bits: int, scale: float, count: int) -> tuple[int, ...]:
    """``round(2**value_bits * exp(-k * scale))`` for k below ``count``."""
    with localcontext(prec=DIGITS):
        return tuple(_rounded((1 << value_bits) * (-k * Decimal(scale)).exp()) for k in range(count))


@functools.cache
def log2(value_bits: int, table_bits: int) -> tuple[int, ...]:
    """``round(2**value_bits * log2(1 + i / 2**table_bits))`` for i = 0 .. ``2**table_bits``."""
    with localcontext(prec=DIGITS):
        scale = (1 << value_bits) / Decimal(2).ln()
        return tuple(_rounded((1 + Decimal(i) / (1 << table_bits)).ln() * scale)
                     for i in range((1 << table_bits) + 1))


@functools.cache
def reciprocal(value_bits: int, table_bits: int) -> tuple[int, ...]:
    """``round(2**value_bits / (1 + (i + 1/2) / 2**table_bits))`` for i below ``2**table_bits``."""
    return tuple(((1 << value_bits + table_bits + 2) + divisor) // (2 * divisor)
                 for divisor in range((2 << table_bits) + 1, 4 << table_bits, 2))


@functools.cache
def rsqrt(value_bits: int, count: int) -> tuple[int, ...]:
    """``round(2**value_bits / sqrt(i + 1))`` for i below ``count``."""
    return tuple((math.isqrt((4 << 2 * value_bits) // (i + 1)) + 1) // 2 for i in range(count))


@functools.cache
def sigmoid(value_bits: int, steps: int, reach: int) -> tuple[int, ...]:
    """``round(2**value_bits * sigmoid(i / steps))`` for i = 0 .. ``steps * reach``."""
    with localcontext(prec=DIGITS):
        return tuple(_rounded((1 << value_bits) / (1 + (-Decimal(i) / steps).exp())) for i in range(steps * reach + 1))


@functools.cache
def gelu(fraction_bits: int, steps: int, entries: int) -> tuple[int, ...]:
    """``round(2**fraction_bits * x * Phi(-x))`` at ``x = i / steps`` for i below ``entries``, the last one 0."""
    with localcontext(prec=DIGITS):
        scaled = [_rounded((1 << fraction_bits) * x * _normal_tail(x))
                  for x in (Decimal(i) / steps for i in range(entries - 1))]
    return (*scaled, 0)


@functools.cache
def unary(function: str, x_width: int, x_fraction_bits: int, y_width: int, y_fraction_bits: int) -> tuple[int, ...]:
    """``function`` of every signed ``x``, by x read unsigned: to nearest, ties to even, saturated to signed bits."""
    limit = 1 << y_width - 1
    codes = [*range(1 << x_width - 1), *range(-(1 << x_width - 1), 0)]
    with localcontext(prec=DIGITS):
        values = [FUNCTIONS[function](Decimal(code) / (1 << x_fraction_bits)) * (1 << y_fraction_bits) for code in codes]
        return tuple(min(max(int(value.to_integral_value(ROUND_HALF_EVEN)), -limit), limit - 1) for value in values)


@functools.cache
def quarter_sine(value_bits: int, table_bits: int) -> tuple[int, ...]:
    """``round(2**value_bits * sin(2 * pi * k / 2**table_bits))`` for k = 0 .. ``2**(table_bits - 2)``.

    There are no ties: of such angles, only multiples of a quarter of a turn have a rational sine (Niven's theorem).
    """
    with localcontext(prec=DIGITS):
        return tuple(_rounded((1 << value_bits) * _sine(2 * PI * k / (1 << table_bits)))
                     for k in range((1 << table_bits - 2) + 1))


@functools.cache
def rotary_steps(phase_bits: int, head_dim: int, base: int) -> tuple[int, ...]:
    """``round(2**phase_bits * base**(-2 * i / head_dim) / (2 * pi))``, turns per position, for i below ``head_dim / 2``."""
    with localcontext(prec=DIGITS):
        return tuple(_rounded((1 << phase_bits) * Decimal(base) ** (-Decimal(2 * i) / head_dim) / (2 * PI))
                     for i in range(head_dim // 2))


def _sine(x: Decimal) -> Decimal:
    """The power series; good to 50 digits up to a quarter of a turn."""
    term = total = x
    power = 1
    while abs(term) > Decimal(10) ** -50:
        power += 2
        term *= -x * x / (power * (power - 1))
        total += term
    return total


def _normal_tail(x: Decimal) -> Decimal:
    """``Phi(-x)``: a half minus the power series of the density's integral; good to 30 digits; 0 from x = 9 on, below 2e-19."""
    if x >= 9:
        return Decimal(0)
    term = total = x
    power = 0
    while abs(term) > Decimal(10) ** -50:
        power += 1
        term *= -x * x / (2 * power)
        total += term / (2 * power + 1)
    return Decimal("0.5") - total / (2 * PI).sqrt()


def _rounded(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_HALF_UP))


def _sigmoid(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def _gelu(x: Decimal) -> Decimal:
    return max(x, Decimal(0)) - abs(x) * _normal_tail(abs(x))


FUNCTIONS: dict[str, Callable[[Decimal], Decimal]] = {
    "exp": lambda x: x.exp(), "gelu": _gelu, "sigmoid": _sigmoid, "silu": lambda x: x * _sigmoid(x),
    "tanh": lambda x: 2 * _sigmoid(2 * x) - 1,
}
