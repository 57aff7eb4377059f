"""Figures and names as text for a reader."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor, log10

from chat.protocol.payloads import ToolResultData
from chat.protocol.terms import Usage
from tooling import clusters
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
        return f"{self.ms // 1000} s" if self.ms >= 1000 else ""


def time_of(timestamp: str) -> datetime:
    """Return the time of an event; now for one that isn't stamped yet."""
    return datetime.fromisoformat(timestamp) if timestamp else datetime.now(UTC)


def escaped(encoded: str) -> str:
    """Return JSON with the same value, in which characters that can't be seen are escapes."""
    return "".join(
        character if visible(character) == character else json.dumps(character)[1:-1]
        for character in encoded
    )


def duration(ms: float) -> str:
    if ms < 100:
        return f"{ms:.0f} ms"
    if ms < 10_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(round(ms / 1000), 60)
    if not minutes:
        return f"{seconds} s"
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def tokens_written(usage: Usage) -> str:
    return ("≈ " if usage.estimated else "") + counted(usage.output_tokens, "token")


def money(amount: float, currency: str) -> str:
    """Return an amount with two significant digits, but at most MAX_DECIMALS decimals."""
    sign = SIGNS.get(currency, f"{currency} ")
    least = 10**-MAX_DECIMALS
    if 0 < amount < least:
        return f"< {sign}{least}"
    decimals = 2 if amount == 0 else min(MAX_DECIMALS, max(2, 1 - floor(log10(amount))))
    return f"{sign}{amount:,.{decimals}f}"


def age(seconds: float) -> str:
    """Return an age in one unit, rounded down."""
    # A clock that was set back may have made the age negative.
    if seconds < 60:
        return f"{max(0, seconds):.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    if seconds < 86_400:
        return f"{seconds // 3600:.0f} h"
    return counted(int(seconds // 86_400), "day")


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
        return shortened(data.message) or "failed"
    if data.repeated:
        return "same as before"
    notes = [counted(len(data.sources), "source")] if data.sources else []
    if data.cached:
        old = f", {age(data.age_s)} old" if data.age_s is not None else ""
        notes.append(f"from the cache{old}")
    if data.stale:
        notes.append("stale: nothing newer could be had")
    return ", ".join(notes)
