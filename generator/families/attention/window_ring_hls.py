"""What the HLS templates of schedule `window_ring` need."""

from typing import Any

from tilewright.families.attention import hls
from tilewright.families.attention.spec import AttentionSpec


def hls_context(spec: AttentionSpec) -> dict[str, Any]:
    """That of the streaming schedule, whose numbers are the same, with templates and cores of its own."""
    return hls.hls_context(spec) | {
        "templates": {
            "attention.h": "attention_window_ring.h.j2",
            "attention_cores.h": "attention_window_ring_cores.h.j2",
            "attention.cpp": "attention_window_ring.cpp.j2",
            "attention_tb.cpp": "attention_window_ring_tb.cpp.j2",
        },
        "cores": spec.cores,
        "past": spec.cores - spec.mask.lookahead,
        "window": spec.mask.window,
        "sink": spec.mask.sink,
    }
