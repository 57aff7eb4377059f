"""Format the numbers of the cache inspector."""

from django import template

register = template.Library()

_STEPS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@register.filter
def duration(seconds: float) -> str:
    """Format seconds: 3700 → 1 h 1 min."""
    whole = int(seconds)
    for at, (size, unit) in enumerate(_STEPS):
        if whole >= size:
            count, rest = divmod(whole, size)
            smaller = _STEPS[at + 1] if at + 1 < len(_STEPS) and count < 10 else None
            part = rest // smaller[0] if smaller else 0
            return f"{count} {unit} {part} {smaller[1]}" if smaller and part else f"{count} {unit}"
    return "0 s"


@register.filter
def size(count: int) -> str:
    """Format bytes: 1536 → 1.5 KiB."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount >= 1024:
            amount, unit = amount / 1024, larger
    return f"{amount:,.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"


@register.filter
def grouped(number: float) -> str:
    """Format a number: 12345 → 12,345."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"


@register.filter
def percent(share: float | None) -> str:
    """Format a share: 0.5 → 50 %."""
    return "–" if share is None else f"{100 * share:.0f} %"
