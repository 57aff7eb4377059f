"""Files in pieces, which are made one by one while they are sent."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from django.utils import translation
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _

from chat.conversations import Conversation
from chat.database import for_slow_reader
from chat.rendering.markdown.characters import without_controls

from . import document, markdown
from .rows import Questions

# In file names of some system these are separators or wildcards, or not allowed.
NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\s]+')


@dataclass(frozen=True, slots=True)
class Form:
    """A form that a chat can have as a file."""

    ending: str
    media_type: str
    pieces_of: Callable[[Conversation], Iterator[bytes]]

    def headers(self, chat: Conversation) -> dict[str, str]:
        """Return the headers with which browsers store the file under the chat's title."""
        disposition = content_disposition_header(True, file_name(chat, self.ending))
        return {
            "Content-Type": self.media_type,
            "Content-Disposition": str(disposition),
            "X-Content-Type-Options": "nosniff",
        }


def file_name(chat: Conversation, ending: str) -> str:
    """Return a name that every system takes: the title, without what would be part of a path."""
    words = NOT_IN_NAMES.sub(" ", without_controls(chat.title)).strip(" .")
    return f"{words or _('chat')}.{ending}"


def markdown_of(chat: Conversation) -> Iterator[bytes]:
    yield markdown.opening(chat).encode()
    questions = Questions(chat)
    for pks in questions.pieces(questions.shown):
        yield markdown.piece(questions.read(pks)).encode()


def document_of(chat: Conversation) -> Iterator[bytes]:
    yield document.opening(chat)
    questions = Questions(chat)
    for number, pks in enumerate(questions.pieces(questions.all)):
        yield document.piece(questions.read(pks), is_first=number == 0)
    yield document.closing()


async def while_sent(pieces: Iterator[bytes], language: str | None) -> AsyncIterator[bytes]:
    """Make each piece when it is asked for, in a thread and in the language of the request."""

    def piece() -> bytes | None:
        with translation.override(language):
            return next(pieces, None)

    while (made := await for_slow_reader(piece)) is not None:
        yield made


MARKDOWN = Form("md", "text/markdown; charset=utf-8", markdown_of)
JSON = Form("json", "application/json", document_of)
