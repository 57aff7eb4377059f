"""The messages of a request: the question, and what the program tells with it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from chat.conversations import newest
from chat.doors.errors import bad, refusal_of
from chat.entrance import Told
from chat.protocol.errors import ErrorInfo
from chat.protocol.terms import MAX_MESSAGE
from chat.record import Earlier, Exchange

BETWEEN = "\n\n"
NOTHING = Earlier()
TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
# How Open WebUI begins what it asks the model of a chat for itself: titles, tags, follow-ups.
TASK = "### Task:"

type Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class Part(Struct, frozen=True):
    """A part of a message. Only those with text can be read."""

    type: str
    text: str | None = None


class Message(Struct, frozen=True):
    """One message. Calls of the program's own tools, and their results, are left out."""

    role: Role
    content: str | list[Part] | None = None


def told_of(
    messages: Sequence[Message], *, field: str = "messages", before: Earlier = NOTHING
) -> tuple[str, Told]:
    """Return the question, which is the last message, and what was said before it.

    `before` leads to the first message. Raise Refusal, which names the message in this field, if
    one can't be read.
    """
    instructions: list[str] = []
    turns: list[tuple[Role, list[str]]] = []
    last: Role | None = None
    for number, message in enumerate(messages):
        text = text_of(message, f"{field}[{number}]")
        if message.role in ("system", "developer"):
            instructions.append(text)
            continue
        last = message.role
        if not text.strip() or last in ("tool", "function"):
            continue
        if turns and turns[-1][0] == last:
            turns[-1][1].append(text)
        else:
            turns.append((last, [text]))
    if last != "user" or not turns or turns[-1][0] != "user":
        raise bad("The last message must be the user's, with text.", field)
    *earlier, (_, question) = turns
    asked = BETWEEN.join(question)
    if len(asked) > MAX_MESSAGE:
        error = ErrorInfo(
            "context_too_long",
            f"The last message has {len(asked):,} characters, more than {MAX_MESSAGE:,}.",
        )
        raise refusal_of(error, param=field)
    exchanges = [*before.exchanges, *exchanges_of(earlier)]
    loaded = newest(Earlier(exchanges, before.unloaded))
    words = BETWEEN.join(filter(None, instructions))
    return asked, Told(loaded.exchanges, words, unloaded=loaded.unloaded)


def exchanges_of(turns: Sequence[tuple[Role, list[str]]]) -> list[Exchange]:
    """Return the questions that have an answer. A greeting before the first one is left out."""
    return [
        Exchange(BETWEEN.join(asked), BETWEEN.join(answered))
        for (role, asked), (_, answered) in pairwise(turns)
        if role == "user"
    ]


def text_of(message: Message, place: str) -> str:
    """Return the text of a message, its parts joined. Raise Refusal for other kinds of parts."""
    content = message.content
    if isinstance(content, list):
        texts: list[str] = []
        for number, part in enumerate(content):
            if part.type in TEXT_PARTS and part.text is not None:
                texts.append(part.text)
            elif message.role != "assistant":
                words = f'Parts of the type "{part.type[:100]}" can\'t be read here. Send text.'
                raise bad(words, f"{place}.content[{number}]")
        content = BETWEEN.join(texts)
    if content and "\0" in content:
        raise bad("A message holds a NUL character.", f"{place}.content")
    return content or ""
