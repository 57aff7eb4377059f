"""Runs and conversations as programs read them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from chat.chains import steps_of
from chat.export.document import ChatHead, Question, moment, sources_of
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import AnyEvent, derive
from chat.protocol.payloads import SourceData
from chat.protocol.terms import AskData, Summary

if TYPE_CHECKING:
    from chat.sidebar import Listed

RunStatus = Literal["running", "completed", "cancelled", "failed", "paused"]


class RunRow(Struct, frozen=True, kw_only=True):
    """A run: one answer, or a part of one that has paused. Its id is the workflow_id of events.

    `continues` is the paused run with which this one goes on. `summary` has the figures that the
    terminal event carries; those of a live run are some seconds old.
    """

    id: UUID
    conversation: UUID
    message_id: UUID
    status: RunStatus
    error: ErrorInfo | None
    continues: UUID | None
    rerun_of: UUID | None
    door: str
    end_user: str
    mode: str
    model: str | None
    model_asked: str | None
    reasoning_effort: str | None
    preference: str
    fresh: bool
    started_at: str
    ended_at: str | None
    summary: Summary


class RunDetail(RunRow, frozen=True, kw_only=True):
    """A run with its texts, the sources that the answer cites, and its steps.

    `asks` is what a paused run asks. `steps` are events without the words of the answer; a live run
    has none here, but in its stream.
    """

    question: str
    text: str
    sources: list[SourceData]
    asks: list[AskData]
    steps: list[AnyEvent]


class RunPage(Struct, frozen=True, kw_only=True):
    """Runs, the newest first. `next` is the address of older ones."""

    runs: list[RunRow]
    next: str | None


class RunStarted(Struct, frozen=True, kw_only=True):
    """Where the run of a question can be followed."""

    run: UUID
    conversation: UUID
    events: str


class RunCancelled(Struct, frozen=True, kw_only=True):
    """A run whose end was requested, with its status before that."""

    run: UUID
    status: RunStatus


class Chat(ChatHead, frozen=True, kw_only=True):
    """A conversation.

    `listed`: it is in its owner's list. `answering`: a run is live. `waiting`: an answer has paused
    until its owner replies.
    """

    listed: bool
    answering: bool
    waiting: bool


class FoundPlace(Struct, frozen=True, kw_only=True):
    """A place that has a word of the search, with what stands around it."""

    place: Literal["question", "answer"]
    snippet: str


class ListedChat(Chat, frozen=True, kw_only=True):
    """A conversation in a list. Of a search, `places` has the newest of those with its words."""

    places: list[FoundPlace]


class ChatPage(Struct, frozen=True, kw_only=True):
    """Conversations, the last changed first. `next` is the address of others."""

    conversations: list[ListedChat]
    next: str | None


class QuestionPage(Struct, frozen=True, kw_only=True):
    """Questions with all their answers, in the order in which they were asked.

    `follows` tells the versions of a question: they follow the same one. `next` is the address of
    the questions before these.
    """

    questions: list[Question]
    next: str | None


def row_of(run: Run) -> RunRow:
    ending = run.recorded_ending
    return RunRow(
        id=run.pk,
        conversation=run.conversation_id,
        message_id=run.message_id,
        status=status_of(run),
        error=ending.error if ending else None,
        continues=run.continues_id,
        rerun_of=run.rerun_of_id,
        door=run.door,
        end_user=run.end_user,
        mode=run.mode,
        model=run.model or None,
        model_asked=run.model_asked or None,
        reasoning_effort=run.reasoning_effort or None,
        preference=run.preference,
        fresh=run.fresh,
        started_at=moment(run.created_at),
        ended_at=moment(run.ended_at) if run.ended_at else None,
        summary=ending.summary if ending else run.recorded_summary,
    )


def detail_of(run: Run) -> RunDetail:
    """Return a run with its texts. Reads the runs before it, if it goes on with paused ones."""
    ending = run.recorded_ending
    row = row_of(run)
    return RunDetail(
        **{name: getattr(row, name) for name in RunRow.__struct_fields__},
        question=run.question.text,
        text=run.answer.text if ending else run.text_so_far,
        sources=sources_of([*run.paused_before, run]),
        asks=[asked.data for asked in ending.asks] if ending else [],
        steps=steps_with_envelope(run),
    )


def steps_with_envelope(run: Run) -> list[AnyEvent]:
    steps: Sequence[AnyEvent] = steps_of(run)
    for step in steps:
        derive(step, workflow_id=str(run.pk))
    return list(steps)


def status_of(run: Run) -> RunStatus:
    status: RunStatus = msgspec.convert(run.status, RunStatus)
    return status


def chat_of(listed: "Listed") -> Chat:
    return Chat(
        id=listed.pk,
        title=listed.title,
        created_at=moment(listed.created_at),
        updated_at=moment(listed.updated_at),
        pinned_at=moment(listed.pinned_at) if listed.pinned_at else None,
        listed=listed.is_kept,
        answering=listed.is_running,
        waiting=listed.is_waiting,
    )
