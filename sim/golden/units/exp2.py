"""Powers of two with a negative exponent, bit for bit as the hardware computes them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def exp2(
    t: ArrayLike, *, table: ArrayLike, fraction_bits: int, table_bits: int, value_bits: int, guard_bits: int
) -> NDArray[np.int64]:
    """``2**(-t / 2**fraction_bits)`` with ``value_bits + guard_bits`` fraction bits, for ``t >= 0``.

    ``table[i] = round(2**(value_bits - i / 2**table_bits))``, one entry more than intervals, is interpolated in the
    fraction of ``t`` and shifted right by its integer part ``n``; 0 from ``n = value_bits + guard_bits`` on. Every
    ``>>`` is a floor.
    """
    octaves = np.asarray(t).astype(np.int64)
    values = np.asarray(table).astype(np.int64)
    n = octaves >> fraction_bits
    fraction = octaves - (n << fraction_bits)
    lower_bits = fraction_bits - table_bits
    index, rest = fraction >> lower_bits, fraction & (1 << lower_bits) - 1
    value = values[index] - ((values[index] - values[index + 1]) * rest >> lower_bits)
    return np.where(n >= value_bits + guard_bits, 0, (value << guard_bits) >> np.minimum(n, 62))
