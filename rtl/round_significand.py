"""Round an integer to the significant bits of a float32, as the conversion to float32 does."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

SIGNIFICANT_BITS = 24


class RoundSignificand(wiring.Component):
    """``rounded(t + 1) = i(t)`` to 24 significant bits, to nearest, ties to even; exact in one more bit.

    With k bits too many, ``(i + 2**(k - 1) - 1 + i[k]) & ~(2**k - 1)``: rounding to nearest even treats
    both signs alike, so the magnitude is needed only for k. The register stands behind k; the sum and
    the mask behind it are combinational, for a register that follows.

    Parameters
    ----------
    width : int
        Of the signed input, at least 26.

    Members
    -------
    i : In(signed(width))    rounded : Out(signed(width + 1))
    """

    LATENCY = 1

    def __init__(self, *, width: int) -> None:
        if width < SIGNIFICANT_BITS + 2:
            raise ValueError(f"width must be at least {SIGNIFICANT_BITS + 2}, not {width!r}")
        self.width = width
        super().__init__({"i": In(signed(width)), "rounded": Out(signed(width + 1))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        excess = self.width - 1 - SIGNIFICANT_BITS
        # Bits above the 24 lowest of the magnitude, less one where i is negative: a power of two then counts
        # one bit fewer, and is exact either way.
        above = Signal(excess)
        m.d.comb += above.eq(self.i[SIGNIFICANT_BITS:-1] ^ self.i[-1].replicate(excess))
        discarded = Signal(excess, reset_less=True)  # k ones
        unit = Signal(reset_less=True)  # bit k, where k > 0
        value = Signal(signed(self.width), reset_less=True)
        mask = [above[k:].any() for k in range(excess)]
        highest = Cat([mask[k] & ~mask[k + 1] for k in range(excess - 1)], mask[-1])
        m.d.sync += [
            value.eq(self.i),
            discarded.eq(Cat(mask)),
            unit.eq((highest & self.i[1 : excess + 1]).any()),
        ]
        total = Signal(signed(self.width + 1))
        m.d.comb += [
            total.eq(value + Cat(discarded[1:], Const(0, 1)) + unit),
            self.rounded.eq(Cat(total[:excess] & ~discarded, total[excess:])),
        ]
        return m
