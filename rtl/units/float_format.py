"""Floating-point formats as hardware sees them: field widths and reserved codes."""

from dataclasses import dataclass

FLOAT32_MANTISSA = 23
FLOAT32_EXPONENT = 8
FLOAT32_BIAS = 127


@dataclass(frozen=True)
class FloatFormat:
    """Sign, ``exponent_bits``, ``mantissa_bits``; exponent 0 holds zero and the subnormals, the bias is IEEE's.

    ``largest`` is the greatest finite code with the sign clear, ``infinity`` and ``nan`` the codes written for
    these, None where the format has none. NaN is every code above ``infinity``, or above ``largest`` without one.
    """

    exponent_bits: int
    mantissa_bits: int
    largest: int
    infinity: int | None
    nan: int | None

    @property
    def width(self) -> int:
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent_bits - 1) - 1


# Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1.
E4M3 = FloatFormat(exponent_bits=4, mantissa_bits=3, largest=0x7E, infinity=None, nan=0x7F)
E5M2 = FloatFormat(exponent_bits=5, mantissa_bits=2, largest=0x7B, infinity=0x7C, nan=0x7E)
# The upper half of binary32.
BF16 = FloatFormat(exponent_bits=8, mantissa_bits=7, largest=0x7F7F, infinity=0x7F80, nan=0x7FC0)
