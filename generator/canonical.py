"""The one way to write a spec down: every field, in the order of the schema, defaults filled in.

Written here and not by a YAML library, since the content hash of a design must not
change with the version of one.
"""

import json
from typing import Any

from tilewright.scalars import resolve
from tilewright.spec import Spec


def canonical(spec: Spec) -> str:
    """The canonical YAML text of ``spec``: blocks at the top, one line for what is below them."""
    lines: list[str] = []
    for key, value in spec.model_dump(mode="json").items():
        if isinstance(value, dict):
            lines += [f"{key}:", *(f"  {name}: {_flow(entry)}" for name, entry in value.items())]
        elif isinstance(value, list):
            lines += [f"{key}:", *(f"  - {_flow(entry)}" for entry in value)]
        else:
            lines.append(f"{key}: {_flow(value)}")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(_flow(entry) for entry in value)}]"
    if isinstance(value, str) and value.replace("_", "").isalnum() and value.isascii() and _is_text(value):
        return value
    return json.dumps(value)


def _is_text(word: str) -> bool:
    """Whether ``word`` without quotes is read back as the same text."""
    try:
        return resolve(word) == word
    except ValueError:
        return False
