"""RTLIL becomes Verilog that a person can read and a tool reproduces."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from tilewright.emit import rtlil_to_verilog
from tilewright.errors import ToolError
from tilewright.rtl.hierarchy import shared, to_rtlil


class Leaf(wiring.Component):
    """A register with enable and initial value, and a memory, one word of which differs if ``odd``."""

    def __init__(self, *, odd: bool = False) -> None:
        self.odd = odd
        super().__init__({"en": In(1), "d": In(signed(8)), "address": In(4), "q": Out(signed(8), init=5)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.store = store = Memory(shape=8, depth=16, init=[1] if self.odd else [],
                                            attrs={"ram_style": "block"})
        read, write = store.read_port(), store.write_port()
        m.d.comb += [read.addr.eq(self.address), read.en.eq(1), write.addr.eq(self.address),
                     write.data.eq(self.d), write.en.eq(self.en)]
        with m.If(self.en):
            m.d.sync += self.q.eq(self.d + read.data)
        return m


class Pair(wiring.Component):
    """Two leaves, and a signal whose name is a Verilog keyword."""

    def __init__(self, *, odd: bool = False) -> None:
        self.odd = odd
        super().__init__({"en": In(1), "d": In(signed(8)), "address": In(4), "q": Out(signed(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        keyword = Signal(signed(8), name="wire")
        leaves = [shared(lambda: Leaf(odd=self.odd), "leaf") for _ in range(2)]
        for i, leaf in enumerate(leaves):
            m.submodules[f"leaf_{i}"] = leaf
            m.d.comb += [leaf.en.eq(self.en), leaf.d.eq(self.d if i == 0 else leaves[0].q),
                         leaf.address.eq(self.address)]
        m.d.sync += keyword.eq(leaves[1].q)
        m.d.comb += self.q.eq(keyword)
        return m


def emitted(**parameters: bool) -> str:
    return rtlil_to_verilog(to_rtlil(Pair(**parameters), name="pair"))


def test_equal_designs_give_equal_text_without_versions_and_source_locations() -> None:
    text = emitted()
    assert text == emitted()
    assert not re.search(r"yosys|src|generator|\.py|/", text, re.IGNORECASE)


def test_a_shared_component_appears_once_and_clock_and_reset_come_first() -> None:
    text = emitted()
    assert len(re.findall(r"^module pair_leaf\(clk, rst, en, d, address, q\);", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^  pair_leaf leaf_[01] \(", text, re.MULTILINE)) == 2


def test_identifiers_need_no_escape_and_are_no_keywords() -> None:
    text = emitted()
    assert "\\" not in text
    assert not re.search(r"(reg|wire)[^;]* wire\b", text)


def test_registers_keep_enable_reset_and_initial_value() -> None:
    text = emitted()
    assert "output reg" not in text and "reg signed [7:0] q = 8'h05;" in text
    assert re.search(r"always @\(posedge clk\)\s+if \(rst\) q <= 8'h05;\s+else if \(en\) q <= ", text)


def test_memories_keep_their_style_and_are_initialised_by_a_loop_where_they_can() -> None:
    assert '(* ram_style = "block" *)' in emitted()
    assert re.search(r"for \(i = 0; i <= 15; i = i \+ 1\) \w+\[i\] = 8'h00;", emitted())
    assert re.search(r"\w+\[0\] = 8'h01;\n +\w+\[1\] = 8'h00;", emitted(odd=True))


def test_broken_rtlil_is_one_line_that_names_the_log() -> None:
    with pytest.raises(ToolError, match=r"^yosys: .*; log: (.*yosys\.log)\Z") as raised:
        rtlil_to_verilog("module \\broken\n  wire nonsense\nend\n")
    log = Path(str(raised.value).rpartition("log: ")[2])
    assert "ERROR" in log.read_text()
