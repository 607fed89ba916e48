"""Breaks a unit's Verilog in one place: a proof is worth what it catches.

Four kinds of fault: a constant changed (an operand's lowest bit, a ROM word's highest), a comparison turned round, one moved
by its boundary (``<`` to ``<=``), and a stall dropped: the unit sees ``o.ready`` high whatever the consumer says. Of
constants and boundaries some change nothing that can be seen; a comparison turned round and a dropped stall always should.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

OPPOSITES = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
NEIGHBOURS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}

_EXPRESSION = re.compile(r"^  assign \S+(?: ?\[\S+\])? = (.*);$", re.MULTILINE)
_ROM_WORD = re.compile(r"^    \S+\[\d+\] = (.*);$", re.MULTILINE)
_CONSTANT = re.compile(r"\b(\d+)'(s?h)([0-9a-f]+)\b")
_COMPARISON = re.compile(r" (==|!=|<=|>=|<|>) ")
_PORT = re.compile(r"^  (?:input|wire) .*\bo__ready;$|^module .*$", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """A broken copy of a unit's Verilog."""

    kind: str
    place: str  # the line, as it was and as it is
    verilog: str


def mutants(verilog: str, seed: int, each: int = 1) -> Iterator[Mutant]:
    """Up to ``each`` mutants of every kind that the text has a place for, of constants as many in ROMs; chosen by ``seed``."""
    rng = np.random.default_rng(seed)
    comparisons = [site for line in _EXPRESSION.finditer(verilog) for site in _found(_COMPARISON, line)]
    sites = [
        ("constant", [site for line in _EXPRESSION.finditer(verilog) for site in _found(_CONSTANT, line)]),
        ("constant", [site for line in _ROM_WORD.finditer(verilog) for site in _found(_CONSTANT, line)]),
        ("comparison", comparisons),
        ("boundary", [site for site in comparisons if site[1] in NEIGHBOURS]),
    ]
    for kind, found in sites:
        for index in sorted(rng.permutation(len(found))[:each].tolist()):
            yield _mutant(kind, verilog, found[index])
    yield Mutant("stall", "o__ready -> 1'h1", _without_stall(verilog))


def _found(pattern: re.Pattern[str], line: re.Match[str]) -> Iterator[re.Match[str]]:
    return pattern.finditer(line.string, line.start(1), line.end(1))


def _mutant(kind: str, verilog: str, site: re.Match[str]) -> Mutant:
    if kind == "constant":
        width, base, digits = site.groups()
        is_rom_word = _ROM_WORD.match(verilog, verilog.rfind("\n", 0, site.start()) + 1)
        bit = int(width) - 1 if is_rom_word else 0
        after = f"{width}'{base}{int(digits, 16) ^ 1 << bit:0{len(digits)}x}"
    else:
        after = f" {(OPPOSITES if kind == 'comparison' else NEIGHBOURS)[site[1]]} "
    start, end = verilog.rfind("\n", 0, site.start()) + 1, verilog.index("\n", site.end())
    broken = verilog[:site.start()] + after + verilog[site.end():]
    before = verilog[start:end].strip()
    return Mutant(kind, f"{before} -> {broken[start:broken.index(chr(10), site.start())].strip()}", broken)


def _without_stall(verilog: str) -> str:
    """The top module is the first; its declarations keep the port."""
    kept: list[str] = []

    def hide(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    top, end, rest = _PORT.sub(hide, verilog).partition("endmodule")
    broken = re.sub(r"\bo__ready\b(?!\()", "1'h1", top) + end + rest
    return re.sub("\0(\\d+)\0", lambda match: kept[int(match[1])], broken)
