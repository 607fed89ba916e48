"""Lattice ECP5 primitives, wrapped so that their ports read as buses.

Yosys infers ``MULT18X18D`` without its registers and spends LUTs to gate an accumulator; both cost
speed, so the ECP5 forms of the datapath instantiate the primitives. Sources: Lattice FPGA-TN-02205
(sysDSP usage guide) for ``MULT18X18D``; the carry cell's equations as in Yosys' ``CCU2C`` model.
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value

MULTIPLIER_WIDTH = 18


def mult18x18d(
    a: Value, b: Value, product: Value, *, latency: int, b_enable: Value, enable: Value | None = None
) -> Module:
    """One signed 18 x 18 multiplier with ``latency`` of its own register stages.

    latency 1 registers the inputs; 2 adds the output register; 3 adds the pipeline register between.
    ``b_enable`` is the clock enable of the ``b`` input register, ``enable`` that of all others (None: always).
    No register is reset. Operands stand in the high
    bits, above zeros that cost no wire; sign bits below them would be as many arcs to one block.
    """
    operands = [Cat(value, Const(0, 1)) if not value.shape().signed else value for value in (a, b)]
    unused = [MULTIPLIER_WIDTH - len(value) for value in operands]
    a_bits, b_bits = (Cat(Const(0, below), value) for below, value in zip(unused, operands, strict=True))
    product_bits = Signal(2 * MULTIPLIER_WIDTH)
    ports: dict[str, object] = {
        "i_CLK0": ClockSignal(), "i_RST0": Const(0), "i_CE0": Const(1) if enable is None else enable, "i_CE1": b_enable,
        "i_SIGNEDA": Const(1), "i_SIGNEDB": Const(1), "i_SOURCEA": Const(0), "i_SOURCEB": Const(0),
    }
    parameters: dict[str, object] = {
        "p_REG_INPUTA_CLK": "CLK0", "p_REG_INPUTA_CE": "CE0", "p_REG_INPUTA_RST": "RST0",
        "p_REG_INPUTB_CLK": "CLK0", "p_REG_INPUTB_CE": "CE1", "p_REG_INPUTB_RST": "RST0",
        "p_REG_PIPELINE_CLK": "CLK0" if latency >= 3 else "NONE",
        "p_REG_OUTPUT_CLK": "CLK0" if latency >= 2 else "NONE",
        "p_RESETMODE": "SYNC", "p_GSR": "DISABLED",
    }
    for i in range(MULTIPLIER_WIDTH):
        ports[f"i_A{i}"] = a_bits[i]
        ports[f"i_B{i}"] = b_bits[i]
        ports[f"i_C{i}"] = Const(0)
    for i in range(2 * MULTIPLIER_WIDTH):
        ports[f"o_P{i}"] = product_bits[i]
    m = Module()
    m.d.comb += product.eq(product_bits[sum(unused):].as_signed())
    m.submodules.dsp = Instance("MULT18X18D", **parameters, **ports)
    return m


def clearable_add(kept: Value, added: Value, *, clear: Value, carry_in: Value | None = None) -> tuple[Module, Value]:
    """``(0 if clear else kept) + added + carry_in`` in carry cells alone: no LUT besides.

    Both operands have the same width w; the result has w + 1 bits, the highest is the carry out.
    Each half of a ``CCU2C`` (D tied high) computes propagate = C ? B : A ^ B and generate = B: a full
    adder while C is low, and B passed on while C is high.
    """
    width = len(kept)
    assert len(added) == width
    init = Const(0xC6CC, 16)
    pairs = (width + 2) // 2
    result = Signal(width + 1)
    kept_bits = Signal(2 * pairs)
    added_bits = Signal(2 * pairs)
    sums = Signal(2 * pairs)
    m = Module()
    m.d.comb += [kept_bits.eq(kept.as_unsigned()), added_bits.eq(added.as_unsigned()), result.eq(sums)]
    carry: Value = Const(0) if carry_in is None else carry_in
    for i in range(pairs):
        even, odd = 2 * i, 2 * i + 1
        carry_out = Signal(name=f"carry_{i}")
        m.submodules[f"pair_{i}"] = Instance(
            "CCU2C", p_INIT0=init, p_INIT1=init, p_INJECT1_0="NO", p_INJECT1_1="NO",
            i_CIN=carry, o_COUT=carry_out,
            i_A0=kept_bits[even], i_B0=added_bits[even], i_C0=clear, i_D0=Const(1), o_S0=sums[even],
            i_A1=kept_bits[odd], i_B1=added_bits[odd], i_C1=clear, i_D1=Const(1), o_S1=sums[odd])
        carry = carry_out
    return m, result
