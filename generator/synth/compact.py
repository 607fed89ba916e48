"""A mapped netlist as Verilog that compiles fast: LUTs as expressions, registers as vectors.

With a module for every cell, compiling the simulation of an 8x8 array takes minutes. Here the simple cells (LUT,
carry, multiplexer, register) are written out by the equations of their models; multipliers and memories stay
instances. That both forms compute the same is a test.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilewright.synth.netlist import Netlist

Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Control:
    """What the registers of one vector share: nets, or "0" and "1" for constants.

    ``gated`` resets wait for the enable.
    """

    clock: Any
    falling: bool
    enable: Any
    enable_low: bool
    reset: Any
    reset_low: bool
    asynchronous: bool
    gated: bool


@dataclass(frozen=True)
class Register:
    """One flip-flop: its vector, the net of its input, and what it is in reset and at the start."""

    control: Control
    data: Any
    reset_value: str
    start_value: str


def compact_verilog(netlist: Netlist) -> str:
    """Module ``netlist.top``, with the ports of the design."""
    return _Writer(netlist).text()


class _Writer:
    def __init__(self, netlist: Netlist) -> None:
        self._netlist = netlist
        self._names: dict[Any, str] = {"0": "1'b0", "1": "1'b1", "x": "1'b0", "z": "1'b0"}
        self._wires: list[str] = []
        self._lines: list[str] = []

    def text(self) -> str:
        ports = self._netlist.module["ports"]
        for name, port in ports.items():
            if port["direction"] == "input":
                for i, bit in enumerate(port["bits"]):
                    self._names[bit] = f"{name}[{i}]" if len(port["bits"]) > 1 else name
        vectors: dict[Control, list[Register]] = {}
        others: list[Cell] = []
        for cell in self._netlist.cells.values():
            register = _register(cell)
            if register is None:
                others.append(cell)
            elif cell["connections"].get("Q"):
                vector = vectors.setdefault(register.control, [])
                number = list(vectors).index(register.control)
                self._names[cell["connections"]["Q"][0]] = f"r{number}[{len(vector)}]"
                vector.append(register)
        for number, (control, registers) in enumerate(vectors.items()):
            self._vector(f"r{number}", control, registers)
        for number, other in enumerate(others):
            write = _LOGIC.get(other["type"])
            if write:
                write(self, other)
            else:
                self._instance(f"u{number}", other)
        for name, port in ports.items():
            if port["direction"] == "output":
                self._lines.append(f"  assign {name} = {self.bus(port['bits'])};")
        heads = [f"  {port['direction']} {_range(len(port['bits']))}{name};" for name, port in ports.items()]
        wires = [f"  wire {name};" for name in self._wires]
        return "\n".join([f"module {self._netlist.top}({', '.join(ports)});", *heads, *wires, *self._lines,
                          "endmodule", ""])

    def name(self, bit: Any) -> str:
        """What a net is called; a new one is declared."""
        if bit not in self._names:
            self._names[bit] = f"n{bit}"
            self._wires.append(f"n{bit}")
        return self._names[bit]

    def bus(self, bits: Sequence[Any]) -> str:
        """Nets from bit 0 up as one expression."""
        names = [self.name(bit) for bit in reversed(bits)]
        return names[0] if len(names) == 1 else f"{{{', '.join(names)}}}"

    def pin(self, cell: Cell, port: str) -> str:
        """The net at an input; an open one is 0."""
        return self.name((cell["connections"].get(port) or ["0"])[0])

    def drive(self, cell: Cell, port: str, expression: str) -> None:
        """Assign to the net at an output, if there is one."""
        if bits := cell["connections"].get(port):
            self._lines.append(f"  assign {self.name(bits[0])} = {expression};")

    def _vector(self, name: str, control: Control, registers: Sequence[Register]) -> None:
        width = len(registers)
        start, reset = ("".join(getattr(register, field) for register in reversed(registers))
                        for field in ("start_value", "reset_value"))
        data = "{" + ", ".join(self.name(register.data) for register in reversed(registers)) + "}"
        enable = ("~" if control.enable_low else "") + self.name(control.enable)
        clear = ("~" if control.reset_low else "") + self.name(control.reset)
        edge = f"{'negedge' if control.falling else 'posedge'} {self.name(control.clock)}"
        load = f"{name} <= {data};" if control.enable == "1" else f"if ({enable}) {name} <= {data};"
        if control.reset != "0" or control.reset_low:
            zero = f"{name} <= {width}'b{reset};"
            if control.asynchronous:
                edge += f" or {'negedge' if control.reset_low else 'posedge'} {self.name(control.reset)}"
            if control.gated:
                load = f"if ({enable}) begin if ({clear}) {zero} else {name} <= {data}; end"
            else:
                load = f"if ({clear}) {zero} else {load}"
        self._lines += [f"  reg [{width - 1}:0] {name} = {width}'b{start};", f"  always @({edge}) {load}"]

    def _instance(self, name: str, cell: Cell) -> None:
        parameters = ", ".join(f".{key}({_parameter(value)})" for key, value in cell["parameters"].items())
        ports = ", ".join(f".{port}({self.bus(bits)})" for port, bits in cell["connections"].items() if bits)
        self._lines.append(f"  {cell['type']} #({parameters}) {name}({ports});")


def _lut(writer: _Writer, cell: Cell, init: str, inputs: str, output: str) -> None:
    writer.drive(cell, output, lut_expression(_init(cell, init), [writer.pin(cell, port) for port in inputs.split()]))


def _carry_pair(writer: _Writer, cell: Cell) -> None:
    """Both halves of a CCU2C: the sum is propagate ^ carry, the carry passes where propagate is 1."""
    carry = writer.pin(cell, "CIN")
    for half in "01":
        pins = [writer.pin(cell, f"{port}{half}") for port in "ABCD"]
        init = _init(cell, f"INIT{half}")
        propagate, generate = lut_expression(init, pins), lut_expression(init[:4], pins[:2])
        injected = _text(cell, f"INJECT1_{half}", "YES") == "YES"
        writer.drive(cell, f"S{half}", f"({propagate})" if injected else f"({propagate}) ^ {carry}")
        made = "1'b0" if injected else f"({generate})"
        carry = f"(({propagate}) ? {carry} : {made})"
    writer.drive(cell, "COUT", carry)


def _choice(select: str, high: str, low: str) -> Callable[[_Writer, Cell], None]:
    def write(writer: _Writer, cell: Cell) -> None:
        writer.drive(cell, "Z", f"{writer.pin(cell, select)} ? {writer.pin(cell, high)} : {writer.pin(cell, low)}")

    return write


def _majority(writer: _Writer, cell: Cell) -> None:
    a, b, carry = (writer.pin(cell, port) for port in ("I0", "I1", "CI"))
    writer.drive(cell, "CO", f"({a} & {b}) | (({a} | {b}) & {carry})")


_LOGIC: dict[str, Callable[[_Writer, Cell], None]] = {
    "LUT4": lambda writer, cell: _lut(writer, cell, "INIT", "A B C D", "Z"),
    "SB_LUT4": lambda writer, cell: _lut(writer, cell, "LUT_INIT", "I0 I1 I2 I3", "O"),
    "CCU2C": _carry_pair,
    "SB_CARRY": _majority,
    "PFUMX": _choice("C0", "ALUT", "BLUT"),
    "L6MUX21": _choice("SD", "D1", "D0"),
}


def lut_expression(table: str, inputs: Sequence[str]) -> str:
    """Verilog of a truth table: ``table[i]`` is the output where the inputs, lowest first, read i."""
    if set(table) == {"0"} or set(table) == {"1"}:
        return f"1'b{table[0]}"
    low, high = table[:len(table) // 2], table[len(table) // 2:]
    rest, top = inputs[:-1], inputs[-1]
    if low == high or top == "1'b0":
        return lut_expression(low, rest)
    if top == "1'b1":
        return lut_expression(high, rest)
    zeros, ones = "0" * len(low), "1" * len(low)
    if low == zeros:
        return top if high == ones else f"{top} & {_closed(high, rest)}"
    if low == ones:
        return f"~{top}" if high == zeros else f"~{top} | {_closed(high, rest)}"
    if high == zeros:
        return f"~{top} & {_closed(low, rest)}"
    if high == ones:
        return f"{top} | {_closed(low, rest)}"
    if all(a != b for a, b in zip(low, high, strict=True)):
        return f"{top} ^ {_closed(low, rest)}"
    return f"{top} ? {_closed(high, rest)} : {_closed(low, rest)}"


def _closed(table: str, inputs: Sequence[str]) -> str:
    return f"({lut_expression(table, inputs)})"


def _register(cell: Cell) -> Register | None:
    """The flip-flop that ``cell`` is; None for another cell."""
    connections = cell["connections"]

    def net(port: str, unconnected: str = "0") -> Any:
        bits = connections.get(port) or [unconnected]
        return unconnected if bits[0] in ("x", "z") else bits[0]

    if cell["type"] == "TRELLIS_FF":
        enable_mode = _text(cell, "CEMUX", "1")
        start = "1" if _text(cell, "REGSET", "RESET") == "SET" else "0"
        control = Control(
            clock=net("CLK"), falling=_text(cell, "CLKMUX", "CLK") == "INV",
            enable=enable_mode if enable_mode in ("0", "1") else net("CE"), enable_low=enable_mode == "INV",
            reset=net("LSR"), reset_low=_text(cell, "LSRMUX", "LSR") == "INV",
            asynchronous=_text(cell, "SRMODE", "LSR_OVER_CE") == "ASYNC", gated=False)
        return Register(control, net("DI"), start, start)
    if match := re.fullmatch(r"SB_DFF(N?)(E?)(SR|R|SS|S|)", cell["type"]):
        falling, enabled, reset = match.groups()
        control = Control(
            clock=net("C"), falling=bool(falling), enable=net("E", "1") if enabled else "1", enable_low=False,
            reset=net(reset[-1]) if reset else "0", reset_low=False,
            asynchronous=reset in ("R", "S"), gated=reset in ("SR", "SS") and bool(enabled))
        return Register(control, net("D"), "1" if reset in ("S", "SS") else "0", "0")
    return None


def _init(cell: Cell, name: str) -> str:
    """A LUT's contents, from input value 0 up."""
    return str(cell["parameters"][name])[::-1].ljust(16, "0").replace("x", "0")


def _text(cell: Cell, name: str, otherwise: str) -> str:
    return str(cell["parameters"].get(name, otherwise)).strip()


def _parameter(value: str) -> str:
    """A parameter out of JSON: bits are a number; text that looks like bits has a space behind it."""
    return f"{len(value)}'b{value}" if re.fullmatch("[01xz]+", value) else f'"{value.rstrip()}"'


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""
