"""Fill partials without Django's template engine, for what is rendered with every delta."""

import re
from functools import cache

from django.template.loader import render_to_string
from django.utils.translation import get_language


@cache
def pattern(partial: str, *holes: str) -> str:
    """Return a partial without words as a %-format with a place for each of `holes`.

    The values that fill it must be safe HTML: nothing escapes them.
    """
    return _rendered(partial, holes)


def worded_pattern(partial: str, *holes: str) -> str:
    """Return a partial with words as such a %-format, in the active language."""
    return _pattern_in(get_language(), partial, holes)


@cache
def _pattern_in(language: str | None, partial: str, holes: tuple[str, ...]) -> str:
    # The language is active. As an argument it tells the results apart.
    return _rendered(partial, holes)


def _rendered(partial: str, holes: tuple[str, ...]) -> str:
    # A template render takes longer than all the rest of a delta, so render the partial only once.
    # Noncharacters mark the holes; they can't be in the template's own text.
    html = render_to_string(partial, {hole: f"\ufdd1{hole}\ufdd2" for hole in holes})
    return re.sub("\ufdd1(\\w+)\ufdd2", r"%(\1)s", html.strip().replace("%", "%%"))
