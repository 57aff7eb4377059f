"""Fill partials without Django's template engine, for what is rendered with every delta."""

import re
from functools import cache

from django.template.loader import render_to_string
from django.utils.translation import get_language


def pattern(partial: str, *holes: str) -> str:
    """Return the partial as a %-format with a place for each of `holes`.

    The values that fill it must be safe HTML: nothing escapes them.
    """
    return _pattern(get_language(), partial, holes)


@cache
def _pattern(language: str | None, partial: str, holes: tuple[str, ...]) -> str:
    """Return the partial with its words in `language`, the active one."""
    # A template render takes longer than all the rest of a delta, so render the partial only once.
    # Noncharacters mark the holes; they can't be in the template's own text.
    html = render_to_string(partial, {hole: f"\ufdd1{hole}\ufdd2" for hole in holes})
    return re.sub("\ufdd1(\\w+)\ufdd2", r"%(\1)s", html.strip().replace("%", "%%"))
