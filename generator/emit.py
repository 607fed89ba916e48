"""RTLIL to readable, reproducible Verilog."""

import re
import shutil
import tempfile
from pathlib import Path

from tilewright.errors import ToolError
from tilewright.synth.yosys import run_yosys

# Initial values, and what steers a synthesis tool; every other attribute records where something came from.
KEPT_ATTRIBUTES = frozenset({
    "init", "keep", "keep_hierarchy", "ram_style", "ram_block", "syn_ramstyle", "syn_keep", "no_rw_check",
    "async_reg", "max_fanout", "blackbox"})

_PORT = re.compile(r"^(  wire .*?\b(?:input|output|inout)) (\d+) (.*)$", re.MULTILINE)
_ATTRIBUTE = re.compile(r"^ *attribute \\(\S+) .*\n", re.MULTILINE)
_ESCAPED = re.compile(r"\\(\S+) ")
_MEMORY_INIT = re.compile(r"^  initial begin\n((?:    \S+ ?\[\d+\] = [^;\n]+;\n)+)  end\n", re.MULTILINE)
_MEMORY_WORD = re.compile(r"    (\S+) ?\[(\d+)\] = ([^;\n]+);")
_PLAIN = re.compile(r"\b[A-Za-z_]\w*")


def rtlil_to_verilog(rtlil_text: str) -> str:
    """Hierarchical Verilog-2001 of every module of ``rtlil_text``; the top module is not looked for.

    Registers become ``always @(posedge clk) if (rst) ... else if (enable) ...`` and keep their
    initial values. Clock and reset come first among the ports. Identifiers that Verilog would
    have to escape (``pe.mul``, ``a$8``) are renamed (``pe_mul``, ``a_8``), the same everywhere. No
    source locations and no tool version are written: equal RTLIL gives equal text. ToolError if Yosys refuses
    the text.
    """
    folder = Path(tempfile.mkdtemp(prefix="tilewright-"))
    try:
        (folder / "design.il").write_text(_prepare(rtlil_text), encoding="utf-8")
        run_yosys([
            "read_rtlil design.il",
            "proc -norom", "opt_clean", "opt_dff -simple-dffe", "memory_collect", "opt_clean -purge",
            "setattr -unset src -unset full_case", "setattr -mod -unset src",
            "write_verilog design.v",
        ], folder=folder)
        text = (folder / "design.v").read_text(encoding="utf-8")
    except ToolError:
        raise  # the folder stays: the message names the log in it
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return _short_memory_init(_plain_identifiers(text.split("\n", 1)[1].lstrip("\n")))


def _prepare(rtlil_text: str) -> str:
    """Drop attributes that do not steer synthesis; number ports from 1 with clock and reset in front."""
    def port(match: re.Match[str]) -> str:
        rank = {"\\clk": 1, "\\rst": 2}.get(match[3].split()[-1], int(match[2]) + 3)
        return f"{match[1]} {rank} {match[3]}"

    text = _ATTRIBUTE.sub(lambda match: match[0] if match[1] in KEPT_ATTRIBUTES else "", rtlil_text)
    return _PORT.sub(port, text)


def _plain_identifiers(verilog: str) -> str:
    taken = set(_PLAIN.findall(_ESCAPED.sub("", verilog)))
    plain: dict[str, str] = {}

    def rename(match: re.Match[str]) -> str:
        name = match[1]
        if name not in plain:
            base = re.sub(r"\W+", "_", name).strip("_") or "signal"
            if base == name or base[0].isdigit():  # a keyword of Verilog, or a number in front
                base = f"s_{base}"
            candidate, count = base, 1
            while candidate in taken:
                count += 1
                candidate = f"{base}_{count}"
            taken.add(candidate)
            plain[name] = candidate
        return plain[name]

    return _ESCAPED.sub(rename, verilog)


def _short_memory_init(verilog: str) -> str:
    """A memory that starts with one value everywhere is initialised by a loop, not by a line per word."""
    def loop(match: re.Match[str]) -> str:
        words = _MEMORY_WORD.findall(match[1])
        name, value = words[0][0], words[0][2]
        if any((word[0], word[2]) != (name, value) for word in words):
            return match[0]
        first, last = int(words[0][1]), int(words[-1][1])
        if [int(word[1]) for word in words] != list(range(first, last + 1)):
            return match[0]
        return (f"  initial begin : {name}_init\n    integer i;\n"
                f"    for (i = {first}; i <= {last}; i = i + 1) {name}[i] = {value};\n  end\n")

    return _MEMORY_INIT.sub(loop, verilog)
