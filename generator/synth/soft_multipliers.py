"""A multiplier budget for parts with few of them: the smallest products get DSP blocks, the others LUTs.

Yosys knows no budget: with ``-dsp`` every product of some size takes DSP blocks, there or not. Cells of
type ``$__soft_mul`` pass through that mapping and become plain logic afterwards, so a script gives that type to
the cells marked here.
"""

import re

_MULTIPLIER = re.compile(r"(?ms)^  cell \$mul (\S+)\n(.*?)^  end$")
_PARAMETER = re.compile(r"parameter (?:signed )?\\([ABY]_WIDTH) (\d+)")

MARK = "soft_multiplier"
BLOCK_BITS = 16          # of an operand of SB_MAC16
SMALLEST_RESULT = 11     # narrower products are left to LUTs by Yosys itself


def soften_multipliers(flat_rtlil: str, budget: int) -> str:
    """Mark ``$mul`` cells until the DSP blocks of the others are within ``budget``, wide products first."""
    costs = [(_blocks(match[2]), match.start()) for match in _MULTIPLIER.finditer(flat_rtlil)]
    soft: set[int] = set()
    used = 0
    for cost, position in sorted(costs):
        if used + cost <= budget:
            used += cost
        else:
            soft.add(position)

    def soften(match: re.Match[str]) -> str:
        return f"  attribute \\{MARK} 1\n{match[0]}" if match.start() in soft else match[0]

    return _MULTIPLIER.sub(soften, flat_rtlil)


def _blocks(body: str) -> int:
    """DSP blocks that one product takes."""
    widths = {name: int(width) for name, width in _PARAMETER.findall(body)}
    if widths["Y_WIDTH"] < SMALLEST_RESULT:
        return 0
    return -(-widths["A_WIDTH"] // BLOCK_BITS) * -(-widths["B_WIDTH"] // BLOCK_BITS)
