"""A registered multiplier: one DSP block where the target has one, plain logic elsewhere."""

from amaranth.hdl import Module, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tilewright.rtl import ecp5

TARGETS = ("generic", "ecp5")


class Multiplier(wiring.Component):
    """``p(t + latency) = a(t) * b``, exact.

    ``b`` enters its register only while ``b_enable`` is high, so a stationary operand stays in the
    multiplier's own register; tie ``b_enable`` to 1 for an ordinary pipeline. One product per cycle.
    Registers start at zero and ignore the reset: what is on its way when it comes runs out.

    Parameters
    ----------
    a_shape, b_shape : Shape
        Signed or unsigned, up to 18 bits as signed numbers (17 unsigned) when ``target`` is "ecp5".
    latency : int
        1: input registers; 2: and an output register; 3: and one in between.
    target : str
        "ecp5" instantiates one ``MULT18X18D`` with its registers; "generic" is plain logic.
    stalls : bool
        Adds ``enable``, the clock enable of the registers inside the block. An ``EnableInserter`` around, which does not
        reach into a block, holds those in plain logic.

    Members
    -------
    a : In(a_shape)     b : In(b_shape)     b_enable : In(1)     enable : In(1), only with ``stalls``
    p : Out(signed(a_width + b_width)), where an unsigned operand counts one bit more
    """

    def __init__(self, *, a_shape: Shape, b_shape: Shape, latency: int = 2, target: str = "generic",
                 stalls: bool = False) -> None:
        if latency not in (1, 2, 3):
            raise ValueError(f"latency must be 1, 2 or 3, not {latency!r}")
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
        self.a_shape = Shape.cast(a_shape)
        self.b_shape = Shape.cast(b_shape)
        self.latency = latency
        self.target = target
        self.stalls = stalls
        signed_widths = [s.width + (not s.signed) for s in (self.a_shape, self.b_shape)]
        if target == "ecp5" and max(signed_widths) > ecp5.MULTIPLIER_WIDTH:
            raise ValueError(f"operands of {signed_widths} signed bits do not fit an 18 x 18 multiplier")
        super().__init__({
            "a": In(self.a_shape), "b": In(self.b_shape), "b_enable": In(1), **({"enable": In(1)} if stalls else {}),
            "p": Out(signed(sum(signed_widths)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.target == "ecp5":
            m.submodules.dsp = ecp5.mult18x18d(self.a, self.b, self.p, latency=self.latency, b_enable=self.b_enable,
                                               enable=self.enable if self.stalls else None)
            return m
        a = Signal(self.a_shape, reset_less=True)
        b = Signal(self.b_shape, reset_less=True)
        m.d.sync += a.eq(self.a)
        with m.If(self.b_enable):
            m.d.sync += b.eq(self.b)
        registered_product: Value = a * b
        for stage in range(2, self.latency + 1):
            registered = Signal(self.p.shape(), name=f"product_{stage}", reset_less=True)
            m.d.sync += registered.eq(registered_product)
            registered_product = registered
        m.d.comb += self.p.eq(registered_product)
        return m
