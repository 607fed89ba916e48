"""Shift a wide product right and say which way it rounds."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
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


def prescale_multiplier(multiplier: Value, shift: Value) -> Value:
    """``multiplier << (7 - shift % 8)``: leaves a right shift by ``8 * (shift // 8) + 7``.

    Costs 8:1 multiplexers on the multiplier in place of the product, and none at all in the datapath
    where parameters are loaded once and used often.
    """
    # 7 - x is ~x in three bits.
    return multiplier << ~shift[:FINE_BITS]


def shift_round_latency(mode: str) -> int:
    """Latency of :class:`ShiftRound` from ``product``."""
    return 3 if mode == "ort" else 1


class ShiftRound(wiring.Component):
    """Quotient of ``product / 2**(8 * coarse + 7)``, whether it overflows, and what rounds it up.

    ``quotient`` is the floor, truncated to its width; any bit of ``overflow`` says that the width does
    not hold the floor, ``negative`` on which side. The floor is to be rounded up where ``half`` is set and
    the quotient is odd or any bit of ``rest`` is set; :func:`add_rounded` has a carry chain evaluate that.

    - ``rne``: ``half`` is the first fraction bit; ``rest`` says where below it others are set.
    - ``half_up``: ``half`` is the first fraction bit; ``rest`` has no bits and counts as set.
    - ``ort``: as ``rne`` after rounding the product to 24 significant bits. That turns remainders within
      half a unit in the last place of 1/2 into ties and decides nothing else; the unit follows from the
      quotient's bit length b: ties agree in the 24 - b bits below the first fraction bit.

    Latency 1 cycle, 3 for ``ort``; one result per cycle, all outputs from registers.

    Parameters
    ----------
    product_width, quotient_width : int
    mode : str
        "rne", "ort" or "half_up".

    Members
    -------
    product : In(signed(product_width))    coarse : In(3), one cycle before its product
    quotient : Out(signed(quotient_width))    half, negative : Out(1)
    overflow : Out(8)    rest : Out(4), or Out(0) unless ``rne``
    """

    def __init__(self, *, product_width: int, quotient_width: int, mode: str) -> None:
        self.product_width = product_width
        self.quotient_width = quotient_width
        self.mode = mode
        self._coarse = Signal(COARSE_BITS, reset_less=True)
        self._reached = Signal(STEPS, reset_less=True)  # bit k: coarse >= k
        super().__init__({
            "product": In(signed(product_width)), "coarse": In(COARSE_BITS),
            "quotient": Out(signed(quotient_width)),
            "half": Out(1), "rest": Out(STEPS // 2 if mode == "rne" else 0),
            "overflow": Out(STEPS), "negative": Out(1),
        })

    @property
    def latency(self) -> int:
        return shift_round_latency(self.mode)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += [
            self._coarse.eq(self.coarse),
            self._reached.eq(Cat(self.coarse >= step for step in range(STEPS))),
        ]
        # Bit `below` of `aligned` is product bit 8 * coarse.
        below = FLOAT_BITS - (PRESCALE - 1) if self.mode == "ort" else 0
        aligned = Cat(Const(0, below), self.product).as_signed()
        for bit in reversed(range(COARSE_BITS)):  # the longest shift first maps to the fewest LUTs
            stage = Signal(signed(below + self.product_width), name=f"shifted_{STEP << bit}")
            m.d.comb += stage.eq(Mux(self._coarse[bit], aligned >> (STEP << bit), aligned))
            aligned = stage
        quotient = Signal(signed(self.quotient_width), reset_less=True)
        half = Signal(reset_less=True)
        negative = Signal(reset_less=True)
        overflow = Signal(len(self.overflow), reset_less=True)
        m.d.sync += [
            quotient.eq(aligned[below + PRESCALE:]),
            half.eq(aligned[below + PRESCALE - 1]),
            overflow.eq(self._overflows()),
            negative.eq(self.product[-1]),
        ]
        if self.mode == "ort":
            m.d.comb += self.half.eq(self._up_after_float(m, quotient, half, aligned[:FLOAT_BITS][::-1]))
        else:
            m.d.comb += self.half.eq(half)
        if self.mode == "rne":
            m.d.comb += self.rest.eq(delayed(m, self._set_below(PRESCALE - 1), 1, "rest"))
        for port, value in ((self.quotient, quotient), (self.overflow, overflow), (self.negative, negative)):
            m.d.comb += port.eq(delayed(m, value, self.latency - 1, port.name))
        return m

    def _bit(self, index: int) -> Value:
        """A bit of the product: zero below it, its sign above it."""
        if index < 0:
            return Const(0, 1)
        return self.product[min(index, self.product_width - 1)]

    def _set_below(self, index: int) -> Value:
        """Four bits, any of them set where a product bit below ``8 * coarse + index`` is set."""
        groups = []
        for step in range(STEPS):
            start = STEP * (step - 1) + index
            bits = [self._bit(k) for k in range(start, start + STEP) if k < self.product_width]
            groups.append(Cat(bits).any() & self._reached[step])
        return Cat(low | high for low, high in zip(groups[::2], groups[1::2], strict=True))

    def _overflows(self) -> Value:
        """Bits, any of them set where a product bit above the quotient differs from its sign."""
        sign = self.product[-1]
        groups = []
        start = PRESCALE + self.quotient_width - 1
        for step in range(STEPS):
            low = start + STEP * step
            bits = [self.product[k] for k in range(low, min(low + STEP, self.product_width - 1))]
            discarded = self._reached[step + 1] if step + 1 < STEPS else Const(0, 1)
            groups.append((Cat(bits) != sign.replicate(len(bits))) & ~discarded)
        return Cat(groups)

    def _up_after_float(self, m: Module, quotient: Value, half: Value, fraction: Value) -> Value:
        """Whether to round up had the product been rounded to 24 significant bits; two cycles later.

        ``fraction`` holds the 24 bits below ``half``, the highest first.
        """
        following = Signal(FLOAT_BITS, reset_less=True)
        rest = Signal(STEPS // 2, reset_less=True)
        m.d.sync += [
            following.eq(fraction),
            rest.eq(self._set_below(PRESCALE - 1 - FLOAT_BITS)),
        ]
        # With bit length b of the quotient the last bit of the window is following[23 - b]. A negative
        # floor has the bit length of its complement: they differ only where the remainder is 0.
        magnitude = quotient[:-1] ^ quotient[-1].replicate(self.quotient_width - 1)
        longer = [magnitude[k:].any() for k in range(len(magnitude))]  # b > k
        always = FLOAT_BITS - len(longer)
        inside = Signal(FLOAT_BITS)
        m.d.comb += inside.eq(Cat(Const((1 << always) - 1, always), [~bit for bit in reversed(longer)]))
        last = Cat([inside[k] & ~inside[k + 1] for k in range(FLOAT_BITS - 1)], inside[-1])
        # A tie from below reads .0111.., one from above .1000.., to the end of the window; at exactly
        # half a unit above, the window's last bit is a lone 1.
        unlike = Signal(FLOAT_BITS)
        m.d.comb += unlike.eq(~(following ^ half.replicate(FLOAT_BITS)))
        window_bits = Signal(FLOAT_BITS, reset_less=True)
        others = Signal(FLOAT_BITS + len(rest), reset_less=True)
        m.d.sync += [
            window_bits.eq(unlike & inside),
            others.eq(Cat(unlike & ~last, rest)),
        ]
        half_2, odd_2 = delayed(m, half, 1, "half"), delayed(m, quotient[0], 1, "odd")
        up = Signal(reset_less=True)
        tie = ~window_bits.any() | (half_2 & ~others.any())
        m.d.sync += up.eq(Mux(tie, odd_2, half_2))
        return up


def add_rounded(rounded: ShiftRound, offset: Value) -> Value:
    """Quotient of ``rounded``, plus one where it is to be rounded up, plus ``offset``.

    One carry chain without a LUT in front. The carry runs through places below the quotient first:
    ``bit + 1`` carries where the bit or the carry so far is set, ``half + 0`` where both are.
    """
    if len(rounded.rest):
        any_of = Cat(rounded.rest, rounded.quotient[0])
        places = Cat(any_of, rounded.half), Const((1 << len(any_of)) - 1, len(any_of) + 1)
    else:
        places = Cat(rounded.half), Cat(rounded.half)
    total = Cat(places[0], rounded.quotient).as_signed() + Cat(places[1], offset).as_signed()
    return total >> len(places[0])
