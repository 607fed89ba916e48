"""Numbers as the report writes them."""


def count(value: float) -> str:
    """A whole number, thousands apart by thin spaces."""
    return f"{value:,.0f}".replace(",", "\u202f")


def share(value: float, *, digits: int = 1) -> str:
    """A share of 1 in percent; what is less than 1 never reads 100."""
    shown = 100 * value
    if value < 1:
        shown = min(shown, 100 - 10**-digits)
    return f"{shown:.{digits}f} %"


def seconds(value: float) -> str:
    """A duration."""
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.1f} min"
