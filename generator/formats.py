"""Number formats: integers in two's complement."""

import re
from dataclasses import dataclass

MIN_WIDTH = 2
MAX_WIDTH = 16


@dataclass(frozen=True)
class IntFormat:
    """An integer of ``width`` bits, two's complement if ``signed``.

    Any width of at least 1 is a format (an accumulator's, say); ``parse`` accepts those that
    operands and results may have.
    """

    width: int
    signed: bool

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1, not {self.width!r}")

    @property
    def low(self) -> int:
        """The most negative value."""
        return -(1 << self.width - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The most positive value."""
        return (1 << self.width - self.signed) - 1

    @property
    def name(self) -> str:
        """`int8`, `uint4`."""
        return f"{'' if self.signed else 'u'}int{self.width}"

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def parse(name: str) -> "IntFormat":
        """The format called ``name``, `int2` to `int16` or `uint2` to `uint16`; ``ValueError`` otherwise."""
        match = re.fullmatch(r"(u?)int([1-9][0-9]?)", name)
        if not match or not MIN_WIDTH <= int(match[2]) <= MAX_WIDTH:
            raise ValueError(f"{name!r} is not {FORMAT_RANGE}")
        return IntFormat(int(match[2]), signed=not match[1])


FORMAT_RANGE = f"int{MIN_WIDTH} to int{MAX_WIDTH} or uint{MIN_WIDTH} to uint{MAX_WIDTH}"
FORMAT_NAMES = tuple(
    IntFormat(width, signed).name for signed in (True, False) for width in range(MIN_WIDTH, MAX_WIDTH + 1)
)


def signed_width(low: int, high: int) -> int:
    """Bits of the narrowest signed format that holds every integer from ``low`` to ``high``."""
    return max(value.bit_length() if value >= 0 else (~value).bit_length() for value in (low, high)) + 1
