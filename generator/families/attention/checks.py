"""What the fields of an attention design contradict: each in one line, with what is allowed."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tilewright.families.attention.cache import cache_problems
from tilewright.families.attention.cache_index import cache_index_problems
from tilewright.families.attention.fields import (
    ENGINE_FIELDS,
    MASK_NUMBERS,
    MAX_TILE_Q,
    MAX_WEIGHT_BITS,
    RINGS,
    SOFTMAX_NUMBERS,
)
from tilewright.families.attention.fused2d_fields import fused_problems
from tilewright.families.attention.window import window_problems
from tilewright.families.attention.window_ring_fields import ring_problems
from tilewright.spec import Problem

if TYPE_CHECKING:
    from tilewright.families.attention.spec import AttentionSpec

MIN_TOTAL_WIDTH = 17  # the divider's quotient has as many bits
MAX_JOB_MACS = 1 << 34  # of scores and values each: minutes for the golden model


def problems(spec: "AttentionSpec") -> Iterator[Problem]:
    """Model and engine, mask, bias, widths of the softmax, limits and workload."""
    yield from _structure_problems(spec)
    yield from _order_problems(spec)
    if spec.is_ring:
        yield from ring_problems(spec)
    if spec.is_fused:
        yield from fused_problems(spec)
    yield from _mask_problems(spec)
    yield from _bias_problems(spec)
    yield from _rotary_problems(spec)
    yield from cache_index_problems(spec)
    yield from _softmax_problems(spec)
    if spec.phi is not None:
        yield from window_problems(spec)
    yield from _limit_problems(spec)
    yield from cache_problems(spec)
    yield from _workload_problems(spec)


def _structure_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    for name in sorted(spec.engine.model_fields_set - {"schedule", *spec.engine.meaningful}):
        schedules = " or ".join(schedule for schedule, names in ENGINE_FIELDS.items() if name in names)
        yield Problem(("engine", name), (
            f"{getattr(spec.engine, name)} with schedule {spec.schedule}, which has no {name}; remove it, or write "
            f"schedule: {schedules}"))
    if spec.head_dim % spec.lanes:
        step = 2 if spec.rotary and spec.head_dim % 2 == 0 else 1
        fitting = [lanes for lanes in range(step, 33, step) if spec.head_dim % lanes == 0]
        yield Problem(("engine", "lanes"), (
            f"{spec.lanes} does not divide model.head_dim, which is {spec.head_dim}; "
            f"the nearest that does: {_nearest(fitting, spec.lanes)}"))
    if spec.heads % spec.kv_heads:
        fitting = [heads for heads in range(1, spec.heads + 1) if spec.heads % heads == 0]
        yield Problem(("model", "kv_heads"), (
            f"{spec.kv_heads} does not divide model.heads, which is {spec.heads}; "
            f"the nearest that does: {_nearest(fitting, spec.kv_heads)}"))
    elif spec.tile_q % spec.group and spec.group % spec.tile_q:
        fitting = [rows for rows in range(1, MAX_TILE_Q + 1) if rows % spec.group == 0 or spec.group % rows == 0]
        yield Problem(("engine", "tile_q"), (
            f"{spec.tile_q} is neither a multiple nor a divisor of heads / kv_heads, which is {spec.group}; "
            f"the nearest that is: {_nearest(fitting, spec.tile_q)}"))


def _order_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    if spec.is_fused or spec.order == "rows" or spec.head_dim % spec.lanes or spec.heads % spec.kv_heads:
        return
    if spec.tile_positions == 1:
        advice = f", or raise tile_q to {2 * spec.group}" if 2 * spec.group <= MAX_TILE_Q else ""
        yield Problem(("engine", "order"), (
            f"tiles with tile_q {spec.tile_q}, and heads / kv_heads {spec.group}: a tile has one position, and its beats "
            f"one order; write rows{advice}"))
    elif spec.group == spec.chunks == 1:
        yield Problem(("engine", "order"), (
            "tiles with one head to a kv head and one beat to a row is the order of rows; write rows, or lower lanes"))


def _mask_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    needed = MASK_NUMBERS[spec.mask.kind]
    for name in ("window", "sink", "prefix"):
        value = getattr(spec.mask, name)
        if name in needed and not value:
            lacks = "0 is" if name in spec.mask.model_fields_set else "there is"
            yield Problem(("mask", name), f"{lacks} no {name} for kind {spec.mask.kind}; write 1 or more")
        elif value and name not in needed:
            kinds = " or ".join(kind for kind, numbers in MASK_NUMBERS.items() if name in numbers)
            yield Problem(("mask", name), (
                f"{value} with kind {spec.mask.kind}, which has no {name}; remove it, or write kind: {kinds}"))
    lookahead = spec.mask.lookahead
    if lookahead and spec.mask.kind not in RINGS:
        yield Problem(("mask", "lookahead"), (
            f"{lookahead} with kind {spec.mask.kind}, which has no lookahead; remove it, or write kind: {' or '.join(RINGS)}"))
    elif lookahead and spec.cache:
        yield Problem(("mask", "lookahead"), (
            f"{lookahead} with a cache, to which keys behind a query come with a later job; remove it, or the cache"))


def _bias_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    if spec.bias is None:
        return
    farthest = spec.limits.keys - 1
    if spec.bias.reach > farthest:
        most = f"lower it to {farthest}" if farthest else "remove the bias"
        yield Problem(("bias", "reach"), (
            f"{spec.bias.reach} with limits.keys {spec.limits.keys}, where distances are {farthest} at most; {most}"))
    if spec.bias.per_head and spec.heads == 1:
        yield Problem(("bias", "per_head"), "true with one head, whose table is one for all; remove it")


def _rotary_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    if spec.rotary is None or spec.is_fused:
        return
    if spec.head_dim % 2:
        yield Problem(("model", "head_dim"), f"{spec.head_dim} is odd, and rotary turns pairs; write {spec.head_dim + 1}")
    elif spec.lanes % 2 and spec.head_dim % spec.lanes == 0:
        fitting = [lanes for lanes in range(2, 33, 2) if spec.head_dim % lanes == 0]
        yield Problem(("engine", "lanes"), (
            f"{spec.lanes} is odd, and rotary turns pairs; the nearest even divisor of model.head_dim: "
            f"{_nearest(fitting, spec.lanes)}"))


def _softmax_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    for name in sorted(spec.softmax.model_fields_set - {"algorithm", "fraction", *spec.softmax.numbers}):
        fitting = " or ".join(algorithm for algorithm, numbers in SOFTMAX_NUMBERS.items() if name in numbers)
        yield Problem(("softmax", name), (
            f"{getattr(spec.softmax, name)} with algorithm {spec.algorithm}, which has no {name}; remove it, or write "
            f"algorithm: {fitting}"))
    if not spec.has_table:
        if spec.total_width < MIN_TOTAL_WIDTH:
            yield Problem(("limits", "keys"), (
                f"{spec.limits.keys} with algorithm {spec.algorithm} makes a sum of {spec.total_width} bits; the divider "
                f"needs {MIN_TOTAL_WIDTH}: raise it to {(1 << MIN_TOTAL_WIDTH - spec.weight_width - 1) + 1}"))
        return
    if spec.table_bits >= spec.fraction:
        yield Problem(("softmax", "table_bits"), (
            f"{spec.table_bits} leaves nothing to interpolate of fraction {spec.fraction}; "
            f"lower it to {spec.fraction - 1}"))
    if spec.mantissa_bits + spec.guard_bits > MAX_WEIGHT_BITS:
        yield Problem(("softmax", "guard_bits"), (
            f"{spec.guard_bits} with mantissa_bits {spec.mantissa_bits} makes {spec.mantissa_bits + spec.guard_bits}; "
            f"at most {MAX_WEIGHT_BITS}: lower it to {MAX_WEIGHT_BITS - spec.mantissa_bits}"))
    elif spec.total_width < MIN_TOTAL_WIDTH:
        terms = f"{spec.cores} cores" if spec.is_ring else f"limits.keys {spec.limits.keys}"
        yield Problem(("softmax", "guard_bits"), (
            f"{spec.guard_bits} with mantissa_bits {spec.mantissa_bits} and {terms} makes a sum of"
            f" {spec.total_width} bits; the divider needs {MIN_TOTAL_WIDTH}: raise it to "
            f"{spec.guard_bits + MIN_TOTAL_WIDTH - spec.total_width}"))


def _limit_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    if spec.needs_positions and spec.limits.queries > spec.limits.keys:
        yield Problem(("limits", "queries"), (
            f"{spec.limits.queries} is above limits.keys, and with {spec.positioned_by()} a job has no more "
            f"queries than keys; lower it to {spec.limits.keys}"))


def _workload_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    written = "workload" in spec.model_fields_set
    held = 0
    for index, job in enumerate(spec.workload):
        route = ("workload", index)
        for name in ("queries", "keys"):
            size, limit = getattr(job, name), getattr(spec.limits, name)
            if size > limit:
                yield Problem((*route, name), f"{size} is above limits.{name}, which is {limit}")
        if written and spec.needs_positions and job.queries > job.keys:
            yield Problem((*route, "queries"), (
                f"{job.queries} with {job.keys} keys; with {spec.positioned_by()} a job has no more queries than keys: "
                f"lower it to {job.keys}"))
        elif written and spec.cache and job.keys - job.queries not in (0, held):
            longer = f"{held + job.queries}, or {job.queries} to begin another" if held else f"{job.queries}"
            yield Problem((*route, "keys"), (
                f"{job.keys} with {job.queries} queries; the sequence has {held} positions before: write {longer}"))
        held = job.keys
        macs = spec.heads * job.queries * (min(job.keys, spec.cores) if spec.is_ring else job.keys) * spec.head_dim
        if macs > MAX_JOB_MACS:
            text = f"{macs} products of queries and keys; at most {MAX_JOB_MACS}"
            if written:
                most = MAX_JOB_MACS // (spec.heads * job.keys * spec.head_dim)
                yield Problem(route, f"{text}: split the job, with {job.keys} keys at most {most} queries" if most
                              else f"{text}: fewer keys")
            else:
                yield Problem(("limits",), (
                    f"one job at the limits, the workload unless one is written, has {text}: write one"))


def _nearest(fitting: Iterable[int], value: int) -> int:
    """The one of ``fitting`` closest to ``value``, of two the larger."""
    return min(fitting, key=lambda one: (abs(one - value), -one))
