"""What a scalar means, and how a message shows it.

Only what all YAML readers agree on has a meaning here; `010`, `0x10`, `1_000`, `1:30`, `2001-01-01`
and `.nan` are refused, `no`, `yes`, `on` and `off` are text.
"""

import re
from typing import Any

MAX_DIGITS = 18  # every such integer fits 64 bits

# Not text, or a line break that would make our line numbers differ from an editor's.
UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

_NULL = ("", "~", "null", "Null", "NULL")
_TRUE = ("true", "True", "TRUE")
_FALSE = ("false", "False", "FALSE")
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_AMBIGUOUS = re.compile(
    r"[-+]?0[0-9_]+(\.[0-9_]*)?([eE][-+]?[0-9]+)?"  # octal
    r"|[-+]?0[xXoObB][0-9a-fA-F_]+"
    r"|[-+]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?"  # digit groups
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"  # sexagesimal
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"  # dates and times
)


def resolve(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar; ``ValueError`` where YAML readers disagree about it."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INTEGER.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of {len(text)} digits; at most {MAX_DIGITS}")
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if abs(number) == float("inf"):
            raise ValueError(f"{_shown(text)} is too large a number")
        return number
    if _AMBIGUOUS.fullmatch(text):
        raise ValueError(
            f"YAML readers disagree about {_shown(text)}; write a plain decimal number, or quote a text"
        )
    return quoted(text)


def quoted(text: str) -> str:
    """``text``, which a scalar in quotes always is; ``ValueError`` when escapes made it unprintable."""
    if unwanted := UNWANTED.search(text):
        raise ValueError(f"the text has an escaped character U+{ord(unwanted[0]):04X}; remove it")
    return text


def _shown(text: str) -> str:
    return shorten(one_line(text))


def shorten(text: str) -> str:
    """``text``, cut where it would make a message hard to read."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(text: str) -> str:
    """``text`` with whatever would not print on one line escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def describe(node: Any) -> str:
    """``node`` as a message shows it: short, on one line, in YAML's words."""
    if node is None or isinstance(node, bool):
        return {None: "nothing", True: "true", False: "false"}[node]
    if isinstance(node, dict):
        return "a mapping"
    if isinstance(node, list | tuple):
        return f"a list of {len(node)}"
    return shorten(repr(node))
