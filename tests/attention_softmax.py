"""The `softmax` block of an attention design, for tests."""

from typing import Any

from tilewright.families.attention.fields import SOFTMAX_NUMBERS

ALGORITHMS = tuple(SOFTMAX_NUMBERS)


def softmax(algorithm: str, **fields: Any) -> dict[str, Any]:
    """``algorithm``, and those of ``fields`` that it asks for."""
    asked = ("fraction", *SOFTMAX_NUMBERS[algorithm])
    return {"algorithm": algorithm, **{name: value for name, value in fields.items() if name in asked}}
