"""Files in pieces, which are made one by one while they are sent."""

from collections.abc import AsyncIterator, Iterator

from django.utils import translation

from chat.conversations import Conversation
from chat.database import for_slow_reader

from . import document, markdown
from .rows import Questions


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
