"""What the HLS templates of `family: gemm` need, ready-made from the spec."""

from typing import Any

from tilewright.families.gemm.spec import GemmSpec
from tilewright.formats import IntFormat

# Steps between writing and reading one word of a buffer: address, block memory and its output register.
MEMORY_TURNAROUND = 4

ARRAY_TEMPLATES = {
    "output_stationary": "gemm_output_stationary.h.j2",
    "weight_stationary": "gemm_operand_stationary.h.j2",
    "input_stationary": "gemm_operand_stationary.h.j2",
}


def hls_context(spec: GemmSpec) -> dict[str, Any]:
    """The context of :func:`tilewright.hls.render_hls` for ``spec``: integers, truths and identifiers only.

    ``templates`` maps each file of the kernel to its template, ``top`` is the kernel's function (the design's
    name would be a second module of that name in a project that also holds the Verilog).
    """
    limits = spec.limits
    act_operand, weight_operand = _signed_width(spec.act_operand), _signed_width(spec.weight_operand)
    product_width = act_operand + weight_operand
    acc = IntFormat(spec.acc_width, signed=True)
    biased_width = max(spec.acc_width, spec.bias_width) + 1
    context: dict[str, Any] = {
        "design": spec.design,
        "top": f"{spec.design}_hls",
        "kernel": "gemm",
        "templates": {
            "gemm.h": "gemm.h.j2",
            "gemm_job.h": "gemm_job.h.j2",
            "gemm_array.h": ARRAY_TEMPLATES[spec.dataflow],
            "gemm.cpp": "gemm.cpp.j2",
            "gemm_tb.cpp": "gemm_tb.cpp.j2",
        },
        "rows": spec.rows,
        "cols": spec.cols,
        "dataflow": spec.dataflow,
        "limit_m": limits.m,
        "limit_n": limits.n,
        "limit_k": limits.k,
        "act_lanes": spec.act_lanes,
        "weight_lanes": spec.weight_lanes,
        "act_type": _vitis_type(spec.act),
        "act_width": spec.act.width,
        "weight_type": _vitis_type(spec.weight),
        "weight_width": spec.weight.width,
        "act_operand_width": act_operand,
        "weight_operand_width": weight_operand,
        "zero_points": [
            {"name": f"{operand}_zero_point", "type": f"{operand}_t"}
            for operand in ("act", "weight") if getattr(spec.numbers, f"{operand}_zero_point")
        ],
        "act_zero_point": spec.numbers.act_zero_point,
        "weight_zero_point": spec.numbers.weight_zero_point,
        "product_width": product_width,
        "acc_width": acc.width,
        "acc_low": acc.low,
        "acc_high": acc.high,
        "acc_overflow": spec.acc_overflow,
        "sum_width": max(acc.width, product_width) + 1,
        "out_type": _vitis_type(spec.out),
        "out_width": spec.out.width,
        "out_low": spec.out.low,
        "out_high": spec.out.high,
        "has_requant": spec.has_requant,
        "vector_files": ["jobs", "act", "weight", *(["channel"] if spec.has_requant else []), "result"],
        "activation": spec.activation,
        "act_beats": spec.act_buffer_beats,
        "weight_beats": spec.weight_buffer_beats,
        "minimum_period": max(spec.rows, MEMORY_TURNAROUND),
    }
    if spec.has_requant:
        context["templates"]["requantize.h"] = "requantize.h.j2"
        context |= {
            "requant_mode": spec.rounding,
            "bias_width": spec.bias_width,
            "multiplier_bits": spec.multiplier_bits,
            "shift_width": spec.shift_width,
            "zero_point_width": spec.zero_point_width,
            "biased_width": biased_width,
            "product_bits": biased_width + spec.multiplier_bits,
        }
    return context | _loops(spec)


def _loops(spec: GemmSpec) -> dict[str, Any]:
    """The loop nest of a dataflow.

    ``tiled`` is the dimension that the columns of PEs lie along. With a stationary operand, ``streamed`` is
    the dimension that passes through them, ``moving`` and ``held`` are the operands that do and do not move,
    ``kept`` those that a buffer keeps.
    """
    limits, rows, cols = spec.limits, spec.rows, spec.cols
    minimum_period = max(rows, MEMORY_TURNAROUND)
    if spec.dataflow == "output_stationary":
        period = max(limits.k, minimum_period)
        steps = _tiles(limits.m, rows) * _tiles(limits.n, cols) * period
        loops: dict[str, Any] = {"tiled": "n"}
    else:
        weights_stay = spec.dataflow == "weight_stationary"
        tiled, streamed = ("n", "m") if weights_stay else ("m", "n")
        period = max(getattr(limits, streamed), minimum_period)
        steps = _tiles(getattr(limits, tiled), cols) * _tiles(limits.k, rows) * period + rows
        kept = ["act", "weight"] if weights_stay else ["weight"]
        loops = {
            "tiled": tiled,
            "streamed": streamed,
            "moving": "act" if weights_stay else "weight",
            "held": "weight" if weights_stay else "act",
            "kept": [{"name": name, "beats": getattr(spec, f"{name}_buffer_beats")} for name in kept],
            "accumulator_beats": getattr(limits, streamed),
            "moving_zero_point": getattr(spec.numbers, f"{'act' if weights_stay else 'weight'}_zero_point"),
            "held_zero_point": getattr(spec.numbers, f"{'weight' if weights_stay else 'act'}_zero_point"),
        }
    last_step = steps + rows + cols - 2
    return loops | {"count_width": last_step.bit_length(), "n_tiles_limit": _tiles(limits.n, cols)}


def _vitis_type(number: IntFormat) -> str:
    return "ap_int" if number.signed else "ap_uint"


def _signed_width(number: IntFormat) -> int:
    """Bits of a signed type that holds ``number``: the kernel multiplies signed numbers only."""
    return number.width + (not number.signed)


def _tiles(size: int, lanes: int) -> int:
    return -(-size // lanes)
