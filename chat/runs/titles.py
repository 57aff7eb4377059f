"""Titles of chats, made by the light model once the first question has been answered.

A title is never waited for: it is made after the run's ending, in one call with few tokens. If that
fails, the chat keeps the first words of its question.
"""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import transaction

from chat.access.owners import Asker
from chat.access.spending import DayUse
from chat.clock import Clock, Stopwatch
from chat.conversations import TITLE_LENGTH, Conversation, ConversationQuerySet
from chat.database import in_database, reason_of
from chat.llm.errors import ModelError
from chat.llm.messages import BYTES_PER_TOKEN, ChatMessage
from chat.llm.models import Models
from chat.llm.servers import is_stand_in
from chat.protocol.payloads import ModelCall
from chat.protocol.terms import Ending
from chat.telemetry import metrics
from chat.telemetry.figures import Figures, ModelFigures
from chat.telemetry.periods import LENGTHS, Period, start_of
from chat.workflow.calls import CallRecord, text_of
from tooling.clusters import shortened
from tooling.untrusted import visible

from .supervisor import LiveRun

logger = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds; a page looks for a new title no longer either
AT_ONCE = 4  # titles that a worker makes; chats that end meanwhile keep their own
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
    return settings.FLEET_TITLES and not is_stand_in(settings.FLEET_LIGHT_MODEL)


class Titles:
    """Makes the titles of the chats whose runs end here. One per event loop."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, run: LiveRun, ending: Ending) -> None:
        """Begin to make a title if this run has answered the first question of a person's chat."""
        is_first = ending.status == "completed" and not run.answer.question.earlier
        is_listed = run.owner.startswith(("user:", "browser:"))
        if not (is_first and is_listed and are_on()) or len(self._tasks) >= AT_ONCE:
            return
        messages = messages_for(run.answer.question.text, run.log.text)
        task = asyncio.create_task(self._entitle(run.conversation_id, run.asker, messages))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Make no more titles: the process ends soon."""
        for task in self._tasks:
            task.cancel()

    async def _entitle(self, chat: UUID, asker: Asker, messages: Sequence[ChatMessage]) -> None:
        watch = Stopwatch(Clock(time.perf_counter()))
        call = CallRecord(1, settings.FLEET_LIGHT_MODEL, messages, watch)
        try:
            if not await in_database(untitled(chat).exists):
                return
            try:
                with call.timed():
                    async with asyncio.timeout(TIMEOUT):
                        title = cleaned(await self._ask(call, messages))
            finally:
                metrics.count_call(call.data)
                await in_database(count, call.data, asker)
            if title:
                await in_database(store, chat, title)
        except (TimeoutError, ModelError) as exc:
            logger.info("conversation=%s keeps its title: %s", chat, exc or "the model is slow")
        except DatabaseProblem as exc:
            logger.warning("conversation=%s keeps its title: %s", chat, reason_of(exc))

    async def _ask(self, call: CallRecord, messages: Sequence[ChatMessage]) -> str:
        pieces = self._models.stream(
            messages,
            model=call.model,
            max_tokens=MAX_TOKENS,
            max_thinking=MAX_THINKING,
            is_aside=True,
            may_retry=False,
        )
        return await text_of(pieces, call)


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


def count(call: ModelCall, asker: Asker) -> None:
    """Add a call to the figures of its model, as the calls of runs are, and to the asker's day."""
    prices = settings.FLEET_PRICES
    cost = (prices.cost_of([call], []) if prices else None) or 0
    figures = Figures(models={call.model: ModelFigures.of_call(call, prices)}, cost=cost)
    now = datetime.now(UTC)
    with transaction.atomic():
        Period.objects.add({(span, start_of(span, now)): figures for span in LENGTHS})
        DayUse.objects.add(asker, call.usage, cost)
