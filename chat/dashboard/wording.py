"""Numbers as operators read them."""

from django.conf import settings

NONE = "–"


def grouped(number: float) -> str:
    """Return 12345 as 12,345, and a part of a unit with one digit."""
    return f"{number:,.0f}" if number == int(number) else f"{number:,.1f}"


def compact(number: float) -> str:
    """Return 1234567 as 1.2 M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.3g} {unit}"
    return grouped(round(number, 1))


def duration(ms: float | None) -> str:
    """Return 1234 milliseconds as 1.23 s."""
    if ms is None:
        return NONE
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.2g} ms"
    return f"{ms / 1000:.3g} s" if ms < 120_000 else f"{ms / 60_000:.3g} min"


def milliseconds(ms: float | None) -> str:
    """Return milliseconds with three digits: a histogram knows no more."""
    if ms is None:
        return NONE
    return f"{float(f'{ms:.3g}'):,.0f}" if ms >= 10 else f"{ms:.2g}"


def percent(part: float, whole: float) -> str:
    if not whole:
        return NONE
    share = 100 * part / whole
    # A few of many must not look like none, or like all.
    if 0 < share < 0.1 or 99.9 < share < 100:
        return "< 0.1 %" if share < 1 else "> 99.9 %"
    return f"{share:.0f} %" if share >= 10 or share == int(share) else f"{share:.1f} %"


def ratio(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole else None


def money(cost: float, unpriced: int, counted: int) -> str:
    """Return a cost in the currency of the price list; a minimum if some prices are unknown."""
    if unpriced >= counted:
        return NONE
    currency = settings.FLEET_PRICES.currency if settings.FLEET_PRICES else ""
    amount = f"{cost:,.2f}" if cost >= 1 or not cost else f"{cost:.2g}"
    return f"{'≥ ' if unpriced else ''}{amount} {currency}".strip()
