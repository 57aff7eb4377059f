"""Figures and names as text for a reader."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor, log10

from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext

from chat.protocol.payloads import ToolResultData
from chat.protocol.terms import Usage
from tooling import clusters
from tooling.sentences import localized
from tooling.untrusted import visible

from .markdown.characters import without_controls

MAX_DETAIL_CHARS = 300  # characters of a tool call that the timeline shows
MAX_NAME_CHARS = 60  # characters of a tool's name, which a model may have invented
MAX_DECIMALS = 4  # of an amount of money
SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}


@dataclass(frozen=True, slots=True)
class Elapsed:
    """How long something has run already. The page's script counts on from here.

    It is relative, so the clocks of the server and the browser need not agree.
    """

    ms: int

    @classmethod
    def since(cls, moment: datetime | None) -> "Elapsed":
        passed = (datetime.now(UTC) - moment).total_seconds() if moment else 0
        # Workers on two machines share no clock, so the moment may be ahead of this one.
        return cls(max(0, int(passed * 1000)))

    @property
    def words(self) -> str:
        return seconds_words(self.ms // 1000) if self.ms >= 1000 else ""


def time_of(timestamp: str) -> datetime:
    """Return the time of an event; now for one that isn't stamped yet."""
    return datetime.fromisoformat(timestamp) if timestamp else datetime.now(UTC)


def escaped(encoded: str) -> str:
    """Return JSON with the same value, in which characters that can't be seen are escapes."""
    return "".join(
        character if visible(character) == character else json.dumps(character)[1:-1]
        for character in encoded
    )


def number(value: float, decimals: int = 0) -> str:
    """Return a number with the separators of the active language."""
    # Rounded, because number_format() cuts decimals off.
    return number_format(round(value, decimals), decimals, force_grouping=True)


def seconds_words(seconds: float, decimals: int = 0) -> str:
    return gettext("%(seconds)s s") % {"seconds": number(seconds, decimals)}


def minutes_words(minutes: float) -> str:
    return gettext("%(minutes)s min") % {"minutes": number(minutes)}


def duration(ms: float) -> str:
    if ms < 100:
        return gettext("%(milliseconds)s ms") % {"milliseconds": number(ms)}
    if ms < 10_000:
        return seconds_words(ms / 1000, 1)
    minutes, seconds = divmod(round(ms / 1000), 60)
    if not minutes:
        return seconds_words(seconds)
    if not seconds:
        return minutes_words(minutes)
    return gettext("%(minutes)s min %(seconds)s s") % {
        "minutes": number(minutes),
        "seconds": number(seconds),
    }


def counted(count: int, noun: str) -> str:
    """Return a number of things in English, for the pages of operators."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def tokens_written(usage: Usage) -> str:
    count = usage.output_tokens
    words = ngettext("%(count)s token", "%(count)s tokens", count) % {"count": number(count)}
    return about(words) if usage.estimated else words


def cached_share(usage: Usage) -> str:
    """Return how much of the input the model server had cached, rounded down, but not to 0 %."""
    # Rows of earlier versions may have more of it than input.
    share = 100 * usage.cached_tokens // max(1, usage.input_tokens)
    return f"{min(max(1, share), 100)} %"


def cached_words(usage: Usage) -> str:
    return gettext("%(percent)s of input cached") % {"percent": cached_share(usage)}


def about(words: str) -> str:
    """Mark a figure as estimated."""
    return f"≈ {words}"


def money(amount: float, currency: str) -> str:
    """Return an amount with two significant digits, but at most MAX_DECIMALS decimals."""
    sign = SIGNS.get(currency, f"{currency} ")
    least = 10**-MAX_DECIMALS
    if 0 < amount < least:
        return f"< {sign}{number(least, MAX_DECIMALS)}"
    decimals = 2 if amount == 0 else min(MAX_DECIMALS, max(2, 1 - floor(log10(amount))))
    return f"{sign}{number(amount, decimals)}"


def age(seconds: float) -> str:
    """Return an age in one unit, rounded down."""
    # A clock that was set back may have made the age negative.
    if seconds < 60:
        return seconds_words(max(0, seconds))
    if seconds < 3600:
        return minutes_words(seconds // 60)
    if seconds < 86_400:
        return gettext("%(hours)s h") % {"hours": number(seconds // 3600)}
    days = int(seconds // 86_400)
    return ngettext("%(count)s day", "%(count)s days", days) % {"count": number(days)}


def listed(parts: Iterable[str]) -> str:
    """Return the parts with the comma of the active language between them."""
    return gettext(", ").join(parts)


def capitalized(text: str) -> str:
    # Not str.capitalize(), which would make "API" into "Api".
    return text[:1].upper() + text[1:]


def shortened(text: str, max_chars: int = MAX_DETAIL_CHARS) -> str:
    """Return the visible text on one line, cut after at most `max_chars` characters."""
    return clusters.shortened(without_controls(text), max_chars)


def title_of(name: str) -> str:
    """Return the name of an agent, a phase or a tool as a title."""
    return capitalized(shortened(name.replace("_", " "), MAX_NAME_CHARS))


def result_words(data: ToolResultData) -> str:
    """Return a note on the result of a tool call; empty if there is nothing to add."""
    if not data.ok:
        return shortened(localized(data.message)) or gettext("failed")
    if data.repeated:
        return gettext("same as before")
    notes = []
    if count := len(data.sources):
        notes.append(
            ngettext("%(count)s source", "%(count)s sources", count) % {"count": number(count)}
        )
    if data.cached and data.age_s is not None:
        notes.append(gettext("from the cache, %(period)s old") % {"period": age(data.age_s)})
    elif data.cached:
        notes.append(gettext("from the cache"))
    if data.stale:
        notes.append(gettext("stale: nothing newer could be had"))
    return listed(notes)
