"""What a command prints: its result on stdout, everything else on stderr.

``console`` prints results for people; a command's result goes through ``emit``, which prints
the JSON object instead when that was asked for. ``progress`` is a console on stderr.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from tilewright.errors import CheckFailed, TilewrightError

# Markup and highlighting would read meaning into file names and `workload[0]`.
console = Console(markup=False, highlight=False, soft_wrap=True)
progress = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def emit(payload: Mapping[str, Any], as_json: bool, render: Callable[[], None]) -> None:
    """Print a command's result: ``payload`` as one JSON object, or what ``render`` prints."""
    if as_json:
        print(json.dumps(payload, indent=2))
    else:
        render()


def rows(lines: Sequence[tuple[str, ...]]) -> None:
    """Print lines of columns, each column as wide as its widest entry."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        text = "  ".join(entry.ljust(width) for entry, width in zip(line, widths, strict=True))
        console.print(text.rstrip())


def fail(error: TilewrightError, as_json: bool) -> int:
    """Tell a bad ending; its exit code.

    The messages go to stderr. With ``--json``, stdout gets an object too; not for ``CheckFailed``,
    which a command raises after it printed what the check found.
    """
    if as_json and not isinstance(error, CheckFailed):
        payload = {"passed": False, "exit_code": error.exit_code, "messages": error.messages}
        print(json.dumps(payload, indent=2))
    for message in error.messages:
        print(message, file=sys.stderr)
    return error.exit_code
