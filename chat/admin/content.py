"""The words of people, models and the web, for operators who may or may not read them."""

from typing import Any

from django.db.models import IntegerField, QuerySet, TextField, Value
from django.db.models.functions import Left, Length
from django.http import HttpRequest
from django.utils.html import format_html

from tooling.clusters import shortened

MAX_FIRST_CHARS = 100
NO_WORDS = Value("", TextField())
NO_LENGTH = Value(None, IntegerField(null=True))


def may_read_content(request: HttpRequest) -> bool:
    return request.user.has_perm("chat.read_content")


def words(request: HttpRequest, text: str) -> str:
    """Return `text`, or only its length if the operator may not read content."""
    return text if may_read_content(request) else length(len(text))


def length(characters: int) -> str:
    return f"{characters:,} character{'' if characters == 1 else 's'}"


def with_first_words(
    request: HttpRequest, rows: QuerySet[Any], field: str, *, chars: int = MAX_FIRST_CHARS
) -> QuerySet[Any]:
    """Annotate rows for `first_words`. Words that may not be read don't leave the database."""
    if may_read_content(request):
        # One more than is shown, so that a longer text gets an ellipsis.
        shown = {"words_start": Left(field, chars + 1), "words_length": NO_LENGTH}
    else:
        shown = {"words_start": NO_WORDS, "words_length": Length(field)}
    annotated: QuerySet[Any] = rows.annotate(**shown)
    return annotated


def first_words(start: str, characters: int | None) -> str:
    """Return the first words of an annotated row, or the length of its text."""
    if characters is not None:
        return length(characters)
    shown = shortened(start, MAX_FIRST_CHARS)
    # An element of its own keeps right-to-left text from turning the rest of the row.
    return format_html("<bdi>{}</bdi>", visible(shown)) if shown else "–"


def visible(text: str) -> str:
    """Return the text without NUL, which HTML can't hold."""
    return text.replace("\0", "\ufffd")
