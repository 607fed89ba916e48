"""Processing elements: one multiplier, one accumulator or partial-sum adder, registers to the neighbours."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl import ecp5
from tilewright.rtl.delay import delayed
from tilewright.rtl.multiply import Multiplier

OVERFLOWS = ("exact", "wrap", "saturate")


def low_half(width: int) -> int:
    """Bits in the low half of a split accumulator."""
    return (width + 1) // 2


def saturated(value: Value, width: int) -> Value:
    """``value`` clamped to ``width`` signed bits."""
    high = (1 << (width - 1)) - 1
    return Mux(value > high, Const(high, signed(width)), Mux(value < -high - 1, Const(-high - 1, signed(width)), value))


def pass_on(m: Module, value: Value, port: Value, name: str, *, own: bool = False, reset: bool = False) -> None:
    """``port`` is ``value`` one cycle later; ``own`` and ``reset`` as in :func:`delayed`."""
    m.d.comb += port.eq(delayed(m, Value.cast(value), 1, name, own=own, reset=reset))


class OutputStationaryPe(wiring.Component):
    """Multiplies what passes by and keeps the sum.

    ``act`` moves east and ``weight`` south, one PE per cycle. The product of the operands that are at the inputs in
    cycle t is at hand ``pipeline`` cycles later, and so are its flags: it joins the sum at the end of that cycle if
    ``valid_in`` is high, and starts a new one if ``first_in`` is high, too. While ``done_in`` is high the sum is finished.

    The sum is split, so that its carry chain is half as long: the low half of ``acc`` (bits below
    ``low_half(acc_width)``) is complete while ``done_in`` is high, the high half one cycle later,
    while ``done_out`` is. ``overflow`` "exact" and "wrap" add modulo ``2**acc_width``; "saturate"
    clamps after every product. The flags move east. Only ``done`` is reset: it would drain what a job before the reset
    left into sums of the next.
    """

    FLAGS = ("valid", "first", "done")

    def __init__(self, *, act_shape: Shape, weight_shape: Shape, acc_width: int, overflow: str = "exact",
                 pipeline: int = 2, target: str = "generic") -> None:
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        self.act_shape = act_shape
        self.weight_shape = weight_shape
        self.acc_width = acc_width
        self.overflow = overflow
        self.pipeline = pipeline
        self.target = target
        flags = {f"{name}_in": In(1) for name in self.FLAGS} | {f"{name}_out": Out(1) for name in self.FLAGS}
        super().__init__({
            "act_in": In(act_shape), "act_out": Out(act_shape),
            "weight_in": In(weight_shape), "weight_out": Out(weight_shape), **flags, "acc": Out(acc_width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(
            a_shape=self.act_shape, b_shape=self.weight_shape, latency=self.pipeline, target=self.target)
        m.d.comb += [multiplier.a.eq(self.act_in), multiplier.b.eq(self.weight_in), multiplier.b_enable.eq(1)]
        for name in ("act", "weight", *self.FLAGS):
            pass_on(m, getattr(self, f"{name}_in"), getattr(self, f"{name}_out"), name, own=name in self.FLAGS,
                    reset=name == "done")
        if self.overflow == "saturate":
            self._saturating_sum(m, multiplier.p)
        else:
            self._split_sum(m, multiplier.p)
        return m

    def _saturating_sum(self, m: Module, product: Value) -> None:
        low = low_half(self.acc_width)
        acc = Signal(signed(self.acc_width), reset_less=True)
        with m.If(self.valid_in):
            m.d.sync += acc.eq(saturated(Mux(self.first_in, 0, acc) + product, self.acc_width))
        m.d.comb += self.acc.eq(Cat(acc[:low], delayed(m, acc[low:], 1, "high")))

    def _split_sum(self, m: Module, product: Value) -> None:
        low = low_half(self.acc_width)
        high = self.acc_width - low
        extended = Signal(signed(self.acc_width))
        acc_low = Signal(low, reset_less=True)
        acc_high = Signal(high, reset_less=True)
        carry = Signal(reset_less=True)
        m.d.comb += extended.eq(product)
        product_high = delayed(m, extended[low:], 1, "product_high")
        low_sum = self._add(m, "low", acc_low, extended[:low], clear=self.first_in)
        high_sum = self._add(m, "high", acc_high, product_high, clear=self.first_out, carry_in=carry)
        with m.If(self.valid_in):
            m.d.sync += Cat(acc_low, carry).eq(low_sum)
        with m.If(self.valid_out):
            m.d.sync += acc_high.eq(high_sum)
        m.d.comb += self.acc.eq(Cat(acc_low, acc_high))

    def _add(self, m: Module, name: str, kept: Value, added: Value, *, clear: Value,
             carry_in: Value | None = None) -> Value:
        if self.target == "ecp5":
            m.submodules[name], total = ecp5.clearable_add(kept, added, clear=clear, carry_in=carry_in)
            return total
        total = Mux(clear, 0, kept) + added
        return total if carry_in is None else total + carry_in


class StationaryOperandPe(wiring.Component):
    """Holds one operand, multiplies the passing one with it and adds the product to the passing sum.

    ``moving`` moves east, ``sum`` south, one PE per cycle. The held operand is double: ``load_in``
    shifts ``held_in`` (the PE above) into the shadow, ``swap_in`` makes the shadow the one in use from
    the operand in ``moving_in`` on. Both may be high in one cycle: the old shadow comes into use.
    ``sum_out(t + pipeline + 1) = sum_in(t + pipeline) + moving_in(t) * held``, as ``overflow`` says at
    ``sum_width`` bits. ``load`` and ``swap`` move east with the operand. No register is reset.
    """

    def __init__(self, *, moving_shape: Shape, held_shape: Shape, sum_width: int, overflow: str = "exact",
                 pipeline: int = 2, target: str = "generic") -> None:
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        self.moving_shape = moving_shape
        self.held_shape = held_shape
        self.sum_width = sum_width
        self.overflow = overflow
        self.pipeline = pipeline
        self.target = target
        super().__init__({
            "moving_in": In(moving_shape), "moving_out": Out(moving_shape),
            "held_in": In(held_shape), "held_out": Out(held_shape),
            "sum_in": In(signed(sum_width)), "sum_out": Out(signed(sum_width)),
            "load_in": In(1), "load_out": Out(1), "swap_in": In(1), "swap_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(
            a_shape=self.moving_shape, b_shape=self.held_shape, latency=self.pipeline, target=self.target)
        m.d.comb += [
            multiplier.a.eq(self.moving_in), multiplier.b.eq(self.held_out), multiplier.b_enable.eq(self.swap_in)]
        total = self.sum_in + multiplier.p
        if self.overflow == "saturate":
            total = saturated(total, self.sum_width)
        for name in ("moving", "load", "swap"):
            pass_on(m, getattr(self, f"{name}_in"), getattr(self, f"{name}_out"), name, own=name != "moving")
        pass_on(m, total, self.sum_out, "sum")
        shadow = Signal(self.held_shape, reset_less=True)
        with m.If(self.load_in):
            m.d.sync += shadow.eq(self.held_in)
        m.d.comb += self.held_out.eq(shadow)
        return m
