"""What a run begins or goes on with, from rows: its question, and the paused runs before it."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from chat.asks import Ask
from chat.entrance import Told
from chat.journal import StepResult
from chat.llm.offers import may_be_known
from chat.models import Run
from chat.protocol.events import AskClosed, Connected, ResponseSnapshot, StreamEvent
from chat.protocol.payloads import AskClosedData, ConnectedData, SnapshotData
from chat.protocol.terms import Effort, Mode, Preference
from chat.record import Earlier
from chat.workflow.memory import Kept, Memory
from chat.workflow.question import Question


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run begins with, or goes on with. `events` are its first ones."""

    run: Run
    question: Question
    events: Sequence[StreamEvent]
    memory: Memory


def beginning_of(run: Run, *, is_first: bool) -> Beginning:
    """Return what a run that was just stored begins with. `is_first`: in a conversation."""
    memory = memory_of(run) if run.continues else Memory()
    return Beginning(run, question_of(run, is_first=is_first), opening_of(run), memory)


def taken_over(run: Run) -> Beginning:
    """Return what a worker that takes a run over knows from the database."""
    return Beginning(run, question_of(run), opening_of(run), memory_of(run))


def memory_of(run: Run) -> Memory:
    """Return what is kept of a run, and what the paused runs that it goes on with have told."""
    # A step that another version wrote may be unknown here. Then the workflow tells it once more.
    told = [step for paused in run.paused_before for step in paused.recorded_steps]
    return Memory(kept_for(run), told, text=run.text_so_far, inherited=len(told))


def question_of(run: Run, *, is_first: bool = False) -> Question:
    """Return the question of a run with everything that was chosen for it.

    The first question of a conversation has nothing before it, which saves two queries.
    """
    has_nothing_before = is_first and run.told is None
    earlier = Earlier() if has_nothing_before else earlier_than(run)
    has_model = not run.model_asked or may_be_known(run.model_asked)
    return Question(
        run.question.text,
        msgspec.convert(run.mode, Mode),
        msgspec.convert(run.reasoning_effort or None, Effort | None),
        earlier.exchanges,
        earlier.unloaded,
        earlier.summary,
        earlier.summarized,
        preference=msgspec.convert(run.preference, Preference),
        fresh=run.fresh,
        run_id=str([*run.paused_before, run][0].pk),
        model=run.model_asked if has_model else "",
        lost_model="" if has_model else run.model_asked,
        instructions=run.instructions,
        is_repeated=run.rerun_of_id is not None,
        approved=frozenset() if is_first else Ask.objects.approved_in(run.conversation_id),
    )


def earlier_than(run: Run) -> Earlier:
    """Return what leads to a run's question: what its program has told, or else what is stored."""
    if told := Told.of(run.told):
        return Earlier(told.exchanges, told.unloaded)
    return run.conversation.before(run.question_id)


def kept_for(run: Run) -> dict[str, Kept]:
    """Return the results in a run's journal by the names of their steps, oldest first."""
    rows = StepResult.objects.filter(run=run).order_by("pk")
    return {
        name: Kept(value, inherited)
        for name, value, inherited in rows.values_list("name", "value", "inherited")
    }


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
