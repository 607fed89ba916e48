"""What the HLS templates of `family: attention` need, ready-made from the spec."""

import math
from typing import Any

from tilewright.families.attention.cache_index import places
from tilewright.families.attention.fields import Cache
from tilewright.families.attention.spec import PHASE_BITS, WAVE_BITS, AttentionSpec
from tilewright.families.attention.window import LOG2E
from tilewright.formats import IntFormat
from tilewright.sim.golden.requantize import quantize_scale

LOG2E_BITS = 16         # behind the binary point of LOG2E
OUT_SCALE_FRACTION = 12
MEAN_FRACTION = 10      # what a sum of values keeps behind the binary point on its way to the division
RECIPROCAL_BITS = 17    # a scale of 16 bits over a divisor in [1/2, 1)
PARABOLA_OCTAVES = 30   # beyond them I-BERT's exponential of a distance is that of the last
TABLE_ENTRIES_PER_LINE = 12


def hls_context(spec: AttentionSpec) -> dict[str, Any]:
    """The context of :func:`tilewright.hls.render_hls` for ``spec``: integers, truths and identifiers only.

    ``templates`` maps each file of the kernel to its template, ``top`` is the kernel's function (the design's
    name would be a second module of that name in a project that also holds the Verilog).
    """
    return {
        "design": spec.design,
        "top": f"{spec.design}_hls",
        "kernel": "attention",
        "templates": {
            "attention.h": "attention.h.j2",
            "attention_tile.h": "attention_tile.h.j2",
            "attention_softmax.h": "attention_softmax.h.j2",
            "attention_rows.h": "attention_rows.h.j2",
            "attention.cpp": "attention.cpp.j2",
            "attention_tb.cpp": "attention_tb.cpp.j2",
        },
        "vector_files": ["jobs", "q", "k", "v", *(["bias"] if spec.bias else []),
                         *(["again"] if spec.tells_again else []), "result"],
        **_structure(spec),
        **_numbers(spec),
        **_softmax(spec),
        **_made_up(spec),
        **_rotary(spec),
        **_cache(spec),
    }


def _structure(spec: AttentionSpec) -> dict[str, Any]:
    """Heads, tile, beats, mask and bias.

    ``positional`` masks look at a row's position on the axis of the keys; ``positions`` tells whether anything does.
    """
    bias_heads, bias_entries = spec.bias_shape or (0, 0)
    return {
        "head_dim": spec.head_dim,
        "heads": spec.heads,
        "kv_heads": spec.kv_heads,
        "group": spec.group,
        "tile_q": spec.tile_q,
        "lanes": spec.lanes,
        "by_tiles": spec.order == "tiles",
        "tile_positions": spec.tile_positions,
        "chunks": spec.chunks,
        "passes": spec.passes,
        "asks": spec.phi is not None,
        "tells_again": spec.tells_again,
        "all_lanes": (1 << spec.lanes) - 1,
        "limit_queries": spec.limits.queries,
        "limit_keys": spec.limits.keys,
        "mask": spec.mask.kind,
        "positional": spec.mask.needs_positions,
        "positions": spec.needs_positions,
        "bias": spec.bias is not None,
        "bias_per_head": bias_heads > 1,
        "bias_reach": bias_entries // 2,
        "bias_entries": bias_entries,
        "bias_words": bias_heads * bias_entries,
        **spec.mask.numbers,
        "lookahead": spec.mask.lookahead,
    }


def _cache(spec: AttentionSpec) -> dict[str, Any]:
    """Slots and stored elements."""
    if not spec.cache:
        return {"cached": False}
    stores = {f"{name}_store": _store(spec, spec.cache, number) for name, number in (("k", spec.k), ("v", spec.v))}
    return {"cached": True, "slots": spec.cache.slots, "ring": spec.cache_ring, "sink": spec.mask.sink, **stores}


def _store(spec: AttentionSpec, cache: Cache, number: IntFormat) -> dict[str, Any]:
    """How elements of a row are stored."""
    most = number.width - cache.bits
    if most <= 0:
        return {"compressed": False}
    group_chunks = cache.group // spec.lanes
    return {
        "compressed": True, "bits": cache.bits, "high": (1 << cache.bits - 1) - 1, "most": most,
        "exponent_width": most.bit_length(), "group_chunks": group_chunks, "groups": spec.chunks // group_chunks}


def _numbers(spec: AttentionSpec) -> dict[str, Any]:
    """Widths of operands, sums and results."""
    formats = {"q": spec.q, "k": spec.k, "v": spec.v, "out": spec.out}
    return {
        **{f"{name}_width": number.width for name, number in formats.items()},
        "out_low": spec.out.low,
        "out_high": spec.out.high,
        "score_width": spec.score_width,
        "multiplier_bits": spec.score_multiplier_width,
        "shift_width": spec.score_shift_width,
        "sum_width": spec.accumulator_width,
        "mean_fraction": MEAN_FRACTION,
        "mean_width": spec.v.width + MEAN_FRACTION,
        "mean_low": spec.v.low << MEAN_FRACTION,
        "mean_high": (spec.v.high + 1 << MEAN_FRACTION) - 1,
        "reciprocal_bits": RECIPROCAL_BITS,
        "out_scale_bits": spec.out_scale_width,
        "out_scale_fraction": OUT_SCALE_FRACTION,
        "unit_scale": 1 << OUT_SCALE_FRACTION,
        "result_fraction": MEAN_FRACTION + OUT_SCALE_FRACTION,
    }


def _rotary(spec: AttentionSpec) -> dict[str, Any]:
    """Steps of the phases and a quarter of the sine; angles are what is left of a phase of PHASE_BITS."""
    if not spec.rotary:
        return {"rotary": False, "places": 0}
    steps, wave = spec.rotary_tables()
    return {
        "rotary": True,
        "places": places(spec),
        "rotary_pairs": len(steps),
        "rotary_step_lines": _lines(steps),
        "rotary_quarter": len(wave) - 1,
        "rotary_wave_lines": _lines(wave),
        "wave_bits": WAVE_BITS,
        "phase_bits": PHASE_BITS,
        "angle_bits": spec.rotary.table_bits,
        **{f"{name}_{bound}": getattr(number, bound) for name, number in (("q", spec.q), ("k", spec.k))
           for bound in ("low", "high")},
    }


def _lines(table: tuple[int, ...]) -> list[list[int]]:
    return [list(table[start:start + TABLE_ENTRIES_PER_LINE]) for start in range(0, len(table), TABLE_ENTRIES_PER_LINE)]


def _softmax(spec: AttentionSpec) -> dict[str, Any]:
    """The exponential's table and widths; ``rising`` mantissas are at least 1, the others at most 1."""
    logarithm = IntFormat(spec.scaled_width, signed=True)
    table = spec.table
    return {
        "rising": spec.octave == "below",
        **_weights(spec),
        "fraction": spec.fraction,
        "logarithm_width": logarithm.width,
        "logarithm_low": logarithm.low,
        "logarithm_high": logarithm.high,
        "log2e": LOG2E,
        "log2e_bits": LOG2E_BITS,
        "log2e_half": 1 << LOG2E_BITS - 1,
        "mantissa_bits": spec.mantissa_bits,
        "mantissa_width": spec.mantissa_bits + 1,
        "guard_bits": spec.guard_bits,
        "level_width": spec.level_width,
        "weight_width": spec.weight_width,
        "weight_one": 1 << spec.weight_width - 1,
        "total_width": spec.total_width,
        "intervals": len(table) - 1,
        "table_bits": spec.table_bits,
        "table_width": spec.mantissa_bits + 2,
        "table_lines": _lines(table),
    }


def _made_up(spec: AttentionSpec) -> dict[str, Any]:
    """The testbench's own jobs, which have no tile that comes once more: scores of 0, or, where these are ``steady``, of phi.

    Queries are then all 1, keys all ``steady_key``, entries of a bias 0.
    """
    if not spec.tells_again:
        return {"steady": False, "made_up_multiplier": 1, "made_up_shift": 0}
    low, high = ((spec.phi or 0) + end << spec.fraction for end in spec.window)
    largest_bias = 3 * math.prod(spec.bias_shape) + 1 if spec.bias_shape else 0
    if low <= 0 and largest_bias <= high:
        return {"steady": False, "made_up_multiplier": 0, "made_up_shift": 0}
    scale = (abs(spec.phi or 0) << spec.fraction) / spec.head_dim
    multiplier, shift = quantize_scale(scale) if scale else (0, 0)
    return {"steady": True, "steady_key": 1 if low + high > 0 else -1, "made_up_multiplier": multiplier, "made_up_shift": shift}


def _weights(spec: AttentionSpec) -> dict[str, Any]:
    """How weights come about: the ``form`` names a template. With ``clamps`` a mean may leave the bounds of its values."""
    if spec.octave != "none":
        return {"form": "octaves", "clamps": False, "parabola": False, "weight_most": 2}
    if spec.phi is not None:
        low, high = (spec.phi + end << spec.fraction for end in spec.window)
        factor_width = spec.mantissa_bits + spec.guard_bits + 1
        return {"form": "unified", "clamps": True, "parabola": False, "weight_most": 1 << spec.rise_octaves,
                "phi": spec.phi << spec.fraction, "window_low": low, "window_high": high,
                "rise_octaves": spec.rise_octaves, "factor_width": factor_width, "factor_one": 1 << factor_width - 1}
    if spec.passes == 1:
        return {"form": "online", "clamps": True, "parabola": False, "weight_most": 1}
    found = {"form": "maximum_first", "clamps": False, "parabola": spec.parabola is not None, "weight_most": 1}
    if spec.parabola is None:
        return found
    ln2, linear, constant = spec.parabola
    width = constant.bit_length()
    return found | {
        "weight_most": constant >> width - spec.weight_width, "parabola_ln2": ln2, "parabola_linear": linear,
        "parabola_constant": constant, "parabola_width": width, "parabola_limit": PARABOLA_OCTAVES * ln2,
        "parabola_limit_width": max((PARABOLA_OCTAVES * ln2).bit_length(), spec.scaled_width)}
