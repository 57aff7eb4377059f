"""English sentences that pages show in their reader's language.

What the fleet tells of a run is English on the wire, in logs and in rows, so that it doesn't depend
on who asked. A page recognises these sentences when it shows them.
"""

import re
from dataclasses import dataclass
from itertools import islice

from django.conf import settings
from django.utils.formats import number_format
from django.utils.translation import get_language, gettext

PLACE = re.compile(r"%\((\w+)\)s")
BOUNDARY = re.compile(r"(?<=[.!?:\"”]) ")  # between two sentences
NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")
# Of a text that are looked at. An agent's words may be long, and nearly always aren't ours.
MAX_SENTENCES = 12
MAX_CHARS = 4000


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence with places for values."""

    english: str
    pattern: re.Pattern[str]
    head: str  # the words before the first place
    words: int  # characters outside of places

    @classmethod
    def of(cls, english: str) -> "Template":
        # The split yields words and names of places in turn.
        head, *rest = PLACE.split(english)
        names, words = rest[::2], rest[1::2]
        places = "".join(
            f"(?P<{name}>.+?){re.escape(each)}" for name, each in zip(names, words, strict=True)
        )
        pattern = re.compile(re.escape(head) + places, re.DOTALL)
        return cls(english, pattern, head, len(head) + sum(map(len, words)))


_plain: set[str] = set()
_templates: dict[str, Template] = {}


def sentence(english: str) -> str:
    """Return the text, and have `localized` recognise it.

    `manage.py makemessages` finds the texts in these calls. Places such as %(cap)s are filled with
    the operator %.
    """
    if PLACE.search(english):
        _templates[english] = Template.of(english)
    else:
        _plain.add(english)
    return english


def localized(text: str) -> str:
    """Return a text with the sentences that are known at its beginning in the active language.

    The rest stays as it is: it may be the words of a model or of a server.
    """
    if get_language() in (None, settings.LANGUAGE_CODE):
        return text
    found: list[str] = []
    rest = text
    while rest and len(found) < MAX_SENTENCES and (known := _known_beginning(rest)):
        shown, rest = known
        found.append(shown)
    return " ".join([*found, rest] if rest else found) if found else text


def _known_beginning(text: str) -> tuple[str, str] | None:
    """Return the longest known beginning in the active language, and the rest; None without one."""
    if len(text) <= MAX_CHARS and (whole := _in_active_language(text)) is not None:
        return whole, ""
    ends = islice(BOUNDARY.finditer(text, 0, MAX_CHARS), MAX_SENTENCES)
    for end in reversed(list(ends)):
        if (found := _in_active_language(text[: end.start()])) is not None:
            return found, text[end.end() :]
    return None


def _in_active_language(text: str) -> str | None:
    """Return a single sentence in the active language; None if it isn't known."""
    if text in _plain:
        return gettext(text)
    matches = [
        (template, found)
        for template in _templates.values()
        if text.startswith(template.head) and (found := template.pattern.fullmatch(text))
    ]
    if not matches:
        return None
    template, found = max(matches, key=lambda match: match[0].words)
    values = {name: _value(value) for name, value in found.groupdict().items()}
    return gettext(template.english) % values


def _value(text: str) -> str:
    if NUMBER.fullmatch(text):
        return number_format(int(text.replace(",", "")), force_grouping=True)
    return localized(text)
