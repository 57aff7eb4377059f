"""Pages whose rows only the product writes."""

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.http import HttpRequest
from django.utils.html import format_html


class ReadOnly(admin.ModelAdmin):
    """Rows that only the product writes. Operators read them, and delete them if permitted."""

    empty_value_display = "–"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def relative_time(moment: datetime) -> str:
    """Return “3 minutes ago” with the exact time as its title."""
    exact = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    # “4 days, 17 hours ago” is too long for a column, and not exact either.
    largest, has_more, _ = naturaltime(moment).partition(",")
    return format_html(
        '<time datetime="{}" title="{}">{}{}</time>',
        moment.isoformat(),
        exact,
        largest,
        " ago" if has_more else "",
    )


def owner_kind(owner: str) -> str:
    """Return the kind of an owner, with the whole owner as its title."""
    return format_html('<span title="{}">{}</span>', owner, owner.partition(":")[0])


def path_taken(path: str, *, is_escalated: bool) -> str:
    return "light → full" if is_escalated else path or "–"


def two_lines(first: str, second: str) -> str:
    """Return a cell with a smaller second line, which is empty if `second` is."""
    return format_html('{} <span class="second">{}</span>', first, second)
