"""The behavioural model of the ECP5 multiplier, against plain logic under Verilator."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    ResetInserter,
    Signal,
    signed,
    unsigned,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from row_bench import run_rows
from tilewright.emit import rtlil_to_verilog
from tilewright.rtl.hierarchy import to_rtlil
from tilewright.rtl.multiply import Multiplier

CORNERS = np.array([1 << 17, 1 << 17 | 1, (1 << 18) - 1, 0, 1, 1 << 7, (1 << 7) - 1, (1 << 17) - 1])
ROWS = 20_000
SEED = 11


def models() -> str:
    return (resources.files("tilewright.boards") / "ecp5_models.v").read_text(encoding="utf-8")


def bits(rows: np.ndarray, low: int, width: int) -> np.ndarray:
    """One field of flat rows, as non-negative integers."""
    field = np.unpackbits(rows.astype("<u4").view(np.uint8), axis=1, bitorder="little")[:, low:low + width]
    return field @ (1 << np.arange(width, dtype=np.int64))


def operands(rng: np.random.Generator) -> np.ndarray:
    """Rows of a (18 bits), b (18), and 28 control bits: every pair of corners first, then random."""
    a, b = rng.integers(0, 1 << 18, (2, ROWS))
    pairs = np.array([(x, y) for x in CORNERS for y in CORNERS]).T
    a[:pairs.shape[1]], b[:pairs.shape[1]] = pairs
    control = rng.integers(0, 1 << 28, ROWS)
    control[:pairs.shape[1]] = 1  # enabled, not reset
    flat = (a | b << 18 | control << 36).astype(np.uint64)
    rows = np.zeros((ROWS, 3), dtype=np.uint32)
    rows[:, 0], rows[:, 1] = flat & 0xFFFF_FFFF, flat >> np.uint64(32)
    return rows


class Pairs(wiring.Component):
    """Every multiplier of ``cases`` twice, as DSP block and as plain logic; 40 bits of response for each."""

    def __init__(self, cases: list[tuple[object, object, int]]) -> None:
        self.cases = cases
        width = 80 * len(cases)
        super().__init__({"stimulus": In(96), "response": Out(-(-width // 32) * 32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        enable, reset = self.stimulus[36], self.stimulus[37:40].all()  # one cycle in eight
        answers = []
        for i, (a_shape, b_shape, latency) in enumerate(self.cases):
            for target in ("ecp5", "generic"):
                unit = Multiplier(a_shape=a_shape, b_shape=b_shape, latency=latency, target=target)
                m.submodules[f"{target}_{i}"] = ResetInserter(reset)(unit)
                product = Signal(signed(40), name=f"product_{target}_{i}")
                m.d.comb += [unit.a.eq(self.stimulus[:18]), unit.b.eq(self.stimulus[18:36]),
                             unit.b_enable.eq(enable), product.eq(unit.p)]
                answers.append(product)
        m.d.comb += self.response.eq(Cat(*answers))
        return m


def test_multiplier_model_equals_plain_logic_at_every_latency_with_enable_and_reset(tmp_path: Path) -> None:
    shapes = [(signed(8), signed(8)), (unsigned(8), signed(9)), (signed(18), signed(18)),
              (unsigned(17), unsigned(17))]
    cases = [(a, b, latency) for a, b in shapes for latency in (1, 2, 3)]
    verilog = rtlil_to_verilog(to_rtlil(Pairs(cases), name="top"))
    stimulus = operands(np.random.default_rng(SEED))
    response = run_rows(tmp_path, [verilog, models()], stimulus)
    for i, case in enumerate(cases):
        dsp, plain = bits(response, 80 * i, 40), bits(response, 80 * i + 40, 40)
        np.testing.assert_array_equal(dsp, plain, err_msg=f"{case}, seed {SEED}")
        assert len(np.unique(plain)) > 1000, f"{case}: the stimulus says little"


class Moded(wiring.Component):
    """One DSP block with an enable and a reset for each register and run-time signs; its reference."""

    def __init__(self, *, reset_mode: str) -> None:
        self.reset_mode = reset_mode
        super().__init__({"stimulus": In(96), "response": Out(96)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = self.stimulus[:18], self.stimulus[18:36]
        sign_a, sign_b = self.stimulus[36], self.stimulus[37]
        enables = self.stimulus[38:42]
        resets = [self.stimulus[42 + 3 * i:45 + 3 * i].all() for i in range(4)]
        product = Signal(36)
        ports: dict[str, object] = {"i_CLK0": ClockSignal(), "i_SIGNEDA": sign_a, "i_SIGNEDB": sign_b,
                                    "i_SOURCEA": Const(0), "i_SOURCEB": Const(0)}
        ports |= {f"i_CE{i}": enables[i] for i in range(4)} | {f"i_RST{i}": resets[i] for i in range(4)}
        ports |= {f"i_A{i}": a[i] for i in range(18)} | {f"i_B{i}": b[i] for i in range(18)}
        ports |= {f"o_P{i}": product[i] for i in range(36)}
        parameters = {f"p_REG_{name}_{kind}": f"{kind}{'0' if kind == 'CLK' else i}"
                      for i, name in enumerate(("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"))
                      for kind in ("CLK", "CE", "RST")}
        m.submodules.dsp = Instance("MULT18X18D", p_RESETMODE=self.reset_mode, **parameters, **ports)

        def register(value: object, i: int, width: int) -> Signal:
            """One stage with enable and reset ``i``; an asynchronous reset clears at once."""
            state = Signal(width, name=f"state_{i}")
            with m.If(resets[i]):
                m.d.sync += state.eq(0)
            with m.Elif(enables[i]):
                m.d.sync += state.eq(value)
            seen = Signal(width, name=f"seen_{i}")
            m.d.comb += seen.eq(Mux(resets[i], 0, state) if self.reset_mode == "ASYNC" else state)
            return seen

        held_a, held_b = register(Cat(a, sign_a), 0, 19), register(Cat(b, sign_b), 1, 19)
        signed_a, signed_b = Signal(signed(19)), Signal(signed(19))
        m.d.comb += [signed_a.eq(Cat(held_a[:18], held_a[17] & held_a[18])),
                     signed_b.eq(Cat(held_b[:18], held_b[17] & held_b[18]))]
        expected = register(register((signed_a * signed_b)[:36], 2, 36), 3, 36)
        m.d.comb += self.response.eq(Cat(product, expected))
        return m


@pytest.mark.parametrize("reset_mode", ["SYNC", "ASYNC"])
def test_multiplier_model_honours_every_enable_reset_and_sign(tmp_path: Path, reset_mode: str) -> None:
    verilog = rtlil_to_verilog(to_rtlil(Moded(reset_mode=reset_mode), name="top"))
    response = run_rows(tmp_path, [verilog, models()], operands(np.random.default_rng(SEED)))
    product, expected = bits(response, 0, 36), bits(response, 36, 36)
    np.testing.assert_array_equal(product, expected, err_msg=f"seed {SEED}")
    assert len(np.unique(product)) > 1000
