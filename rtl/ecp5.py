"""Lattice ECP5 primitives, wrapped so that their ports read as buses.

Yosys infers ``MULT18X18D`` without its registers and spends LUTs to gate an accumulator; both cost
speed, so the ECP5 forms of the datapath instantiate the primitives. Sources: Lattice FPGA-TN-02205
(sysDSP usage guide) for ``MULT18X18D``; the carry cell's equations as in Yosys' ``CCU2C`` model.
"""

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value

MULTIPLIER_WIDTH = 18


def mult18x18d(a: Value, b: Value, product: Value, *, latency: int, b_enable: Value) -> Instance:
    """One signed 18 x 18 multiplier with ``latency`` of its own register stages.

    latency 1 registers the inputs; 2 adds the output register; 3 adds the pipeline register between.
    ``b_enable`` is the clock enable of the ``b`` input register. Every register clears on reset.
    """
    a_bits, b_bits = Signal(MULTIPLIER_WIDTH), Signal(MULTIPLIER_WIDTH)
    ports: dict[str, object] = {
        "i_CLK0": ClockSignal(), "i_RST0": ResetSignal(), "i_CE0": Const(1), "i_CE1": b_enable,
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
        ports[f"o_P{i}"] = product[i]
    m = Module()
    m.d.comb += [a_bits.eq(a), b_bits.eq(b)]
    m.submodules.dsp = Instance("MULT18X18D", **parameters, **ports)
    return m


def gated_add(kept: Value, added: Value, *, keep: Value, carry_in: Value | None = None) -> tuple[Module, Value]:
    """``(kept if keep else 0) + added + carry_in`` in carry cells alone: no LUT besides.

    Both operands have the same width w; the result has w + 1 bits, the highest is the carry out.
    Each half of a ``CCU2C`` computes propagate = (A & C) ^ B and generate = B, which is a full adder
    for C = 1 and passes B for C = 0.
    """
    width = len(kept)
    assert len(added) == width
    init = 0x6C6C
    result = Signal(width + 1)
    pairs = (width + 2) // 2
    kept_bits, added_bits = Signal(2 * pairs), Signal(2 * pairs)
    sums = Signal(2 * pairs)
    m = Module()
    m.d.comb += [kept_bits.eq(kept.as_unsigned()), added_bits.eq(added.as_unsigned()), result.eq(sums)]
    carry: Value = Const(0) if carry_in is None else carry_in
    for i in range(pairs):
        carry_out = Signal(name=f"carry_{i}")
        m.submodules[f"pair_{i}"] = Instance(
            "CCU2C", p_INIT0=Const(init, 16), p_INIT1=Const(init, 16), p_INJECT1_0="NO", p_INJECT1_1="NO",
            i_CIN=carry, o_COUT=carry_out,
            i_A0=kept_bits[2 * i], i_B0=added_bits[2 * i], i_C0=keep, i_D0=Const(1), o_S0=sums[2 * i],
            i_A1=kept_bits[2 * i + 1], i_B1=added_bits[2 * i + 1], i_C1=keep, i_D1=Const(1),
            o_S1=sums[2 * i + 1])
        carry = carry_out
    return m, result
