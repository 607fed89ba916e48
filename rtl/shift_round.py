"""Shift a wide product right and say which way it rounds."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.rtl.delay import delayed

FINE_BITS = 3
COARSE_BITS = 3
SHIFT_WIDTH = COARSE_BITS + FINE_BITS
STEP = 1 << FINE_BITS
STEPS = 1 << COARSE_BITS
# A product prescaled by STEP - 1 - fine carries this many more fraction bits, whatever the shift.
PRESCALE = STEP - 1
FLOAT_BITS = 24


def prescaled(multiplier: Value, shift: Value) -> Value:
    """``multiplier << (7 - shift % 8)``: leaves a right shift by ``8 * (shift // 8) + 7``.

    Costs 8:1 multiplexers on the multiplier in place of the product, and none at all in the datapath
    where parameters are loaded once and used often.
    """
    return (multiplier << (PRESCALE - shift[:FINE_BITS]).as_unsigned()[:FINE_BITS])[: len(multiplier) + PRESCALE]


class ShiftRound(wiring.Component):
    """Quotient of ``product / 2**(8 * coarse + 7)``, its overflow, and whether to round it up.

    ``quotient`` is the floor, truncated to its width; ``above`` and ``below`` say that the floor is beyond
    what the width holds. ``up`` adds one where the rounding mode asks for it:

    - ``half_up``: remainder >= 1/2; ``rne``: remainder > 1/2, or = 1/2 and the quotient odd;
    - ``ort``: as ``rne`` after rounding the product to 24 significant bits. That turns remainders within
      half a unit in the last place of 1/2 into ties and decides nothing else; the unit follows from the
      quotient's bit length b: ties agree in the 24 - b bits below the first fraction bit.

    Latency 1 cycle, 2 for ``ort``; one result per cycle. ``up`` is one LUT behind its registers.

    Parameters
    ----------
    product_width, quotient_width : int
    mode : str
        "rne", "ort" or "half_up".

    Members
    -------
    product : In(signed(product_width))    coarse : In(3)
    quotient : Out(signed(quotient_width))    up, above, below : Out(1)
    """

    def __init__(self, *, product_width: int, quotient_width: int, mode: str) -> None:
        self.product_width = product_width
        self.quotient_width = quotient_width
        self.mode = mode
        super().__init__({
            "product": In(signed(product_width)), "coarse": In(COARSE_BITS),
            "quotient": Out(signed(quotient_width)), "up": Out(1), "above": Out(1), "below": Out(1),
        })

    @property
    def latency(self) -> int:
        return 2 if self.mode == "ort" else 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        quotient = Signal(signed(self.quotient_width))
        first = Signal()  # first fraction bit
        m.d.sync += [
            quotient.eq(Cat(self._at(PRESCALE + k) for k in range(self.quotient_width))),
            first.eq(self._at(PRESCALE - 1)),
        ]
        if self.mode == "half_up":
            up: Value = first
        elif self.mode == "rne":
            rest = Signal()
            m.d.sync += rest.eq(self._any_below(PRESCALE - 1))
            up = first & (rest | quotient[0])
        else:
            up = self._up_after_float(m, quotient, first)
        later = self.latency - 1
        for port, value in zip((self.above, self.below), self._overflow(), strict=True):
            flag = Signal.like(port, name=f"{port.name}_flag")
            m.d.sync += flag.eq(value)
            m.d.comb += port.eq(delayed(m, flag, later, port.name))
        m.d.comb += [self.quotient.eq(delayed(m, quotient, later, "quotient")), self.up.eq(up)]
        return m

    def _bit(self, index: int) -> Value:
        """A bit of the product: zero below it, its sign above it."""
        if index < 0:
            return Const(0, 1)
        return self.product[min(index, self.product_width - 1)]

    def _at(self, index: int) -> Value:
        """Bit ``index`` above ``8 * coarse``."""
        return Array([self._bit(STEP * step + index) for step in range(STEPS)])[self.coarse]

    def _any_below(self, index: int) -> Value:
        """Any product bit below ``8 * coarse + index``."""
        groups = []
        for step in range(STEPS):
            start = STEP * (step - 1) + index
            bits = [self._bit(k) for k in range(max(start, 0), start + STEP) if k < self.product_width]
            if bits:
                groups.append(Cat(bits).any() & (self.coarse >= step))
        return Cat(groups).any()

    def _overflow(self) -> tuple[Value, Value]:
        """Product bits from the quotient's sign upwards that differ from the product's sign."""
        sign = self.product[-1]
        groups = []
        start = PRESCALE + self.quotient_width - 1
        for step in range(STEPS):
            low = start + STEP * step
            bits = [self.product[k] for k in range(low, min(low + STEP, self.product_width - 1))]
            if bits:
                groups.append((Cat(bits) != sign.replicate(len(bits))) & (self.coarse <= step))
        differs = Cat(groups).any()
        return differs & ~sign, differs & sign

    def _up_after_float(self, m: Module, quotient: Value, first: Value) -> Value:
        """Round up as if the product had been rounded to 24 significant bits before."""
        # Bit k of `unlike` is product bit 8 * coarse + 5 - k, compared with the complement of the first
        # fraction bit: a tie from below is .0111.., from above .1000..
        following = Signal(FLOAT_BITS)
        rest = Signal()
        m.d.sync += [
            following.eq(Cat(self._at(PRESCALE - 2 - k) for k in range(FLOAT_BITS))),
            rest.eq(self._any_below(PRESCALE - 1 - FLOAT_BITS)),
        ]
        unlike = ~(following ^ first.replicate(FLOAT_BITS))
        magnitude = quotient[:-1] ^ quotient[-1].replicate(self.quotient_width - 1)
        # With bit length b the last bit of the window is following[23 - b].
        longer = [magnitude[k:].any() for k in range(len(magnitude))]  # b > k
        window = Cat(Const((1 << FLOAT_BITS - len(longer)) - 1, FLOAT_BITS - len(longer)), [~bit for bit in reversed(longer)])
        last = Cat([window[k] & ~window[k + 1] for k in range(FLOAT_BITS - 1)], window[-1])
        inside = Signal()
        half_unit = Signal()
        first_later, odd = Signal(), Signal()
        m.d.sync += [
            inside.eq(~(unlike & window).any()),
            half_unit.eq(first & ~(unlike & window & ~last).any() & ~(unlike & ~window).any() & ~rest),
            first_later.eq(first),
            odd.eq(quotient[0]),
        ]
        return Mux(inside | half_unit, odd, first_later)
