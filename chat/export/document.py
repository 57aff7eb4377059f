"""A chat as JSON for programs. README.md beside this describes the shape."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from chat.chains import earlier_of, results_with_sources
from chat.conversations import Conversation
from chat.models import Run
from chat.protocol.payloads import SourceData
from chat.protocol.terms import Timings, Usage

from .rows import Asked

SCHEMA = "agenticfleet.chat"
# A change that breaks programs gets a new number. New fields don't.
VERSION = 1


class ChatHead(Struct, frozen=True, kw_only=True):
    """A chat without its questions."""

    id: UUID
    title: str
    created_at: str
    updated_at: str
    pinned_at: str | None


class Answer(Struct, frozen=True, kw_only=True):
    """An answer, perhaps of several runs: `continues` has those that paused, `workflow_id` is last.

    A live answer has the text and the figures of some seconds ago.
    """

    workflow_id: UUID
    message_id: UUID
    continues: list[UUID]
    rerun_of: UUID | None
    status: str
    error: dict[str, Any] | None
    mode: str
    path: str | None
    escalated: bool
    model: str | None
    model_asked: str | None
    reasoning_effort: str | None
    preference: str
    fresh: bool
    started_at: str
    ended_at: str | None
    text: str
    sources: list[SourceData]
    timings: Timings
    usage: Usage
    cost: float | None


class Question(Struct, frozen=True, kw_only=True):
    """A question with its answers, oldest first.

    `number` counts the questions in the order in which they were asked. `follows` is the number of
    the one before: versions of a question follow the same one, and `shown` are those on the page.
    """

    number: int
    follows: int | None
    shown: bool
    asked_at: str
    text: str
    summary: str
    answers: list[Answer]


class Document(Struct, frozen=True, kw_only=True):
    """A chat with all questions and answers."""

    schema: str = SCHEMA
    version: int = VERSION
    exported_at: str
    chat: ChatHead
    questions: list[Question]


def opening(chat: Conversation) -> bytes:
    """Return the beginning of the document, up to the list of questions."""
    head = ChatHead(
        id=chat.pk,
        title=chat.title,
        created_at=moment(chat.created_at),
        updated_at=moment(chat.updated_at),
        pinned_at=moment(chat.pinned_at) if chat.pinned_at else None,
    )
    document = Document(exported_at=moment(datetime.now(UTC)), chat=head, questions=[])
    return msgspec.json.encode(document).removesuffix(b"]}")


def piece(asked: Sequence[Asked], *, is_first: bool) -> bytes:
    """Return these questions as elements of the list, behind those before them."""
    elements = b",\n".join(msgspec.json.encode(question_of(each)) for each in asked)
    return elements if is_first or not elements else b",\n" + elements


def closing() -> bytes:
    return b"]}\n"


def question_of(asked: Asked) -> Question:
    return Question(
        number=asked.number,
        follows=asked.follows,
        shown=asked.is_shown,
        asked_at=moment(asked.message.created_at),
        text=asked.message.text,
        summary=asked.message.summary or "",
        answers=[answer_of(chain) for chain in asked.answers],
    )


def answer_of(chain: Sequence[Run]) -> Answer:
    """Return an answer from its runs: all but the last have paused."""
    *paused, run = chain
    ending = run.recorded_ending
    if ending and (earlier := earlier_of(paused, {})):
        ending = earlier.with_their_figures(ending)
    figures = ending or run.recorded_summary
    return Answer(
        workflow_id=run.pk,
        message_id=run.message_id,
        continues=[each.pk for each in paused],
        rerun_of=chain[0].rerun_of_id,
        status=run.status,
        error=msgspec.to_builtins(ending.error) if ending and ending.error else None,
        mode=run.mode,
        path=figures.path,
        escalated=figures.escalated,
        model=run.model or None,
        model_asked=run.model_asked or None,
        reasoning_effort=run.reasoning_effort or None,
        preference=run.preference,
        fresh=run.fresh,
        started_at=moment(chain[0].created_at),
        ended_at=moment(run.ended_at) if run.ended_at else None,
        text=run.answer.text if ending else run.text_so_far,
        sources=sources_of(chain),
        timings=figures.timings,
        usage=figures.usage,
        cost=figures.cost,
    )


def sources_of(chain: Sequence[Run]) -> list[SourceData]:
    """Return the sources that an answer may cite, each number once."""
    found: dict[int, SourceData] = {}
    for event in results_with_sources(chain):
        for source in event.data.sources:
            found.setdefault(source.number, source)
    return [found[number] for number in sorted(found)]


def moment(at: datetime) -> str:
    """Return a time as ISO 8601 in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
