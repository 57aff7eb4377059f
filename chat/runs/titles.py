"""Titles of chats, made by the light model once the first question has been answered.

A title is never waited for: it is made after the run's ending, in one call with few tokens. If that
fails, the chat keeps the first words of its question.
"""

import re
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from django.conf import settings

from chat.access.owners import Asker
from chat.conversations import TITLE_LENGTH, Conversation, ConversationQuerySet
from chat.database import in_database
from chat.llm.messages import BYTES_PER_TOKEN, ChatMessage
from chat.protocol.terms import Ending
from tooling.clusters import shortened
from tooling.untrusted import visible

from .asides import Asides, can_ask
from .supervisor import LiveRun

TIMEOUT = 10.0  # seconds; a page looks for a new title no longer either
MAX_TOKENS = 30
MAX_THINKING = 300  # tokens; a model that can't be told to think less is cut, and makes no title
QUESTION_BYTES = 500 * BYTES_PER_TOKEN
ANSWER_BYTES = 150 * BYTES_PER_TOKEN
INSTRUCTIONS = (
    "Write a title of two to six words for this chat, in the language of the question. Reply with"
    " the title alone, without quotes. Do not answer the question."
)
# What models put around a title.
LABEL = re.compile(r"^(?:title|titel|titre|título|标题)\s*[:\uff1a]\s*", re.IGNORECASE)
MARKS = "\"'`*_#“”„‟«»‹›「」『』‘’ \t"
STOPS = ".。．!！"


def are_on() -> bool:
    """Return True if chats get titles from a model."""
    return settings.FLEET_TITLES and can_ask()


class Titles:
    """Makes the titles of the chats whose runs end here. One per event loop."""

    def __init__(self, asides: Asides) -> None:
        self._asides = asides

    def consider(self, run: LiveRun, ending: Ending) -> None:
        """Begin to make a title if this run has answered the first question of a person's chat."""
        is_first = ending.status == "completed" and not run.answer.question.earlier
        is_listed = run.owner.startswith(("user:", "browser:"))
        if not (is_first and is_listed and are_on()):
            return
        messages = messages_for(run.answer.question.text, run.log.text)
        self._asides.begin(
            f"conversation={run.conversation_id} keeps its title",
            partial(self._entitle, run.conversation_id, run.asker, messages),
        )

    async def _entitle(self, chat: UUID, asker: Asker, messages: Sequence[ChatMessage]) -> None:
        if not await in_database(untitled(chat).exists):
            return
        reply = await self._asides.ask(
            messages, asker, max_tokens=MAX_TOKENS, max_thinking=MAX_THINKING, within=TIMEOUT
        )
        if title := cleaned(reply):
            await in_database(store, chat, title)


def messages_for(question: str, answer: str) -> list[ChatMessage]:
    """Return what the model reads: the beginnings of the question and of its answer."""
    asked, answered = start_of_text(question, QUESTION_BYTES), start_of_text(answer, ANSWER_BYTES)
    chat = f"Question:\n{asked}\n\nAnswer:\n{answered}\n\nTitle:"
    return [ChatMessage("system", INSTRUCTIONS), ChatMessage("user", chat)]


def start_of_text(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def cleaned(reply: str) -> str:
    """Return the title in a model's reply; empty if there is none."""
    lines = (line.strip(MARKS) for line in visible(reply).splitlines())
    line = LABEL.sub("", next(filter(None, lines), "")).strip(MARKS).rstrip(STOPS + MARKS)
    return shortened(line, TITLE_LENGTH) if any(map(str.isalnum, line)) else ""


# --- The database


def untitled(chat: UUID) -> ConversationQuerySet:
    # No list shows the others.
    kept = Conversation.objects.filter(is_kept=True)
    return kept.filter(pk=chat, titled_by=Conversation.TitledBy.QUESTION)


def store(chat: UUID, title: str) -> None:
    """Store a title, unless a person has given one meanwhile."""
    # Not save(), which would move the chat up in the list.
    untitled(chat).update(title=title, titled_by=Conversation.TitledBy.MODEL)
