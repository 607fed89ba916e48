"""The `softmax` block of an attention design, for tests."""

from typing import Any

from tilewright.families.attention.fields import SOFTMAX_NUMBERS

ALGORITHMS = tuple(SOFTMAX_NUMBERS)


def softmax(algorithm: str, **fields: Any) -> dict[str, Any]:
    """``algorithm``, and those of ``fields`` that it asks for."""
    asked = ("fraction", *SOFTMAX_NUMBERS[algorithm])
    if "window" in asked and {"mantissa_bits", "guard_bits"} <= fields.keys():  # as low as weights of so few bits allow
        fields = {"window": [-min(8, int((fields["mantissa_bits"] + fields["guard_bits"]) * 0.69)), 4], **fields}
    return {"algorithm": algorithm, **{name: value for name, value in fields.items() if name in asked}}
