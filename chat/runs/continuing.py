"""What a run begins or goes on with, from rows: its question, and the paused runs before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from chat.asks import Ask
from chat.journal import StepResult
from chat.models import Run
from chat.protocol.events import AskClosed, Connected, ResponseSnapshot, StreamEvent, event_of
from chat.protocol.payloads import AskClosedData, ConnectedData, SnapshotData
from chat.protocol.terms import Effort, Mode
from chat.workflow.memory import Kept, Memory
from chat.workflow.question import Question


@dataclass(frozen=True, slots=True)
class Beginning:
    """A new run with what it begins with. `events` are its first ones."""

    run: Run
    question: Question
    events: Sequence[StreamEvent]
    memory: Memory = field(default_factory=Memory)


def beginning_of(run: Run, *, is_first: bool) -> Beginning:
    """Return what a run that was just stored begins with. `is_first`: in a conversation."""
    question, events = question_of(run, is_first=is_first), opening_of(run)
    if run.continues is None:
        return Beginning(run, question, events)
    told = list(steps_before(run))
    memory = Memory(kept_for(run), told, text=run.text_so_far, inherited=len(told))
    return Beginning(run, question, events, memory)


def question_of(run: Run, *, is_first: bool = False) -> Question:
    """Return the question of a run with everything that was chosen for it.

    The first question of a conversation has nothing before it, which saves two queries.
    """
    return Question(
        run.question.text,
        msgspec.convert(run.mode, Mode),
        msgspec.convert(run.reasoning_effort or None, Effort | None),
        () if is_first else run.conversation.exchanges_before(run.question),
        fresh=run.fresh,
        run_id=str(first_of(run).pk),
        approved=frozenset() if is_first else Ask.objects.tools_approved_in(run.conversation_id),
    )


def first_of(run: Run) -> Run:
    """Return the run that began the answer: this one, unless it goes on with another."""
    while run.continues:
        run = run.continues
    return run


def kept_for(run: Run) -> dict[str, Kept]:
    """Return the results in a run's journal by the names of their steps, oldest first."""
    rows = StepResult.objects.filter(run=run).order_by("pk")
    return {
        name: Kept(value, inherited)
        for name, value, inherited in rows.values_list("name", "value", "inherited")
    }


def steps_before(run: Run) -> Iterator[StreamEvent]:
    """Yield the steps of the paused runs that a run goes on with, oldest first."""
    if (paused := run.continues) is None:
        return
    yield from steps_before(paused)
    # A step that another version wrote may be unknown here. Then the workflow tells it once more.
    yield from filter(None, map(event_of, paused.steps))


def opening_of(run: Run) -> list[StreamEvent]:
    """Return the events that a run begins with, before its workflow does anything."""
    events: list[StreamEvent] = [
        Connected(data=ConnectedData(run.conversation_id, run.message_id, run.continues_id))
    ]
    if run.continues is None:
        return events
    if run.text_so_far:
        events.append(ResponseSnapshot(data=SnapshotData(run.text_so_far)))
    asks = Ask.objects.filter(run=run.continues_id).order_by("created_at", "name")
    return events + [closed(ask, owner=run.owner) for ask in asks]


def closed(ask: Ask, *, owner: str) -> AskClosed:
    return AskClosed(
        data=AskClosedData(
            ask_id=ask.pk,
            decision=ask.recorded_reply.decision,
            edited=ask.state == Ask.State.EDITED,
            by="owner" if ask.replied_by == owner else "staff",
        )
    )
