"""The window around phi: what scores in it do to the widths of weights and of their sums."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilewright.spec import Problem

if TYPE_CHECKING:
    from tilewright.families.attention.spec import AttentionSpec

LOG2E = 94548         # round(log2(e) * 2**16)
MAX_TOTAL_WIDTH = 47  # of a sum: out_scale of 16 bits times 2**47 is what 64 signed bits hold
END = 128             # of the field, both ways
SCORE_BITS = 16


def octaves_of(rise: int, fraction: int) -> int:
    """Whole octaves, rounded up, of ``rise`` natural logarithms; below 0 a fall, rounded down."""
    return -((-rise << fraction) * LOG2E + (1 << 15) >> 16 + fraction)


def window_problems(spec: "AttentionSpec") -> Iterator[Problem]:
    """Phi beyond every score, weights that vanish at the window's lower end, sums too wide for its upper one."""
    softmax, fraction = spec.softmax, spec.fraction
    low, high = softmax.window
    if low > 0 or high < 0:
        yield Problem(("softmax", "window"), (
            f"{low} to {high} leaves out phi itself; write a low of 0 or less and a high of 0 or more"))
        return
    reach = 1 << SCORE_BITS - 1 - fraction
    if abs(softmax.phi) > reach:
        yield Problem(("softmax", "phi"), (
            f"{softmax.phi} is beyond every score; with fraction {fraction} they end at {reach}: bring it there"))
    elif softmax.phi + low >= reach:
        yield Problem(("softmax", "window", 0), (
            f"{low} with phi {softmax.phi} leaves no score in; with fraction {fraction} they end below {reach}: lower it to "
            f"{reach - softmax.phi - 1}"))
    unit_bits = spec.mantissa_bits + spec.guard_bits
    vanishing = max(end for end in range(-END, 1) if -octaves_of(end, fraction) >= unit_bits)
    if low <= vanishing:
        yield Problem(("softmax", "window", 0), (
            f"{low} gives weights below their last of {unit_bits} fraction bits; raise it to {vanishing + 1}"))
    if spec.total_width > MAX_TOTAL_WIDTH:
        below = spec.total_width - spec.rise_octaves
        fitting = max(end for end in range(END) if below + octaves_of(end, fraction) <= MAX_TOTAL_WIDTH)
        yield Problem(("softmax", "window", 1), (
            f"{high} makes a sum of weights of {spec.total_width} bits; at most {MAX_TOTAL_WIDTH}: lower it to {fitting}"))
