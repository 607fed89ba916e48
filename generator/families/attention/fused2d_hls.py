"""What the HLS templates of schedule `fused2d` need, ready-made from the spec."""

from typing import Any

from tilewright.families.attention.hls import hls_context as attention_context
from tilewright.families.attention.spec import AttentionSpec


def hls_context(spec: AttentionSpec) -> dict[str, Any]:
    """The context of :func:`tilewright.hls.render_hls` for ``spec``: that of the family, and the columns of the array."""
    return attention_context(spec) | {
        "templates": {
            "attention.h": "attention_fused2d.h.j2",
            "attention_tile.h": "attention_tile.h.j2",
            "attention_array.h": "attention_fused2d_array.h.j2",
            "attention.cpp": "attention_fused2d.cpp.j2",
            "attention_tb.cpp": "attention_fused2d_tb.cpp.j2",
        },
        "cols": spec.cols,
    }
