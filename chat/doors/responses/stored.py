"""Runs as responses. All but the values of one run read the database."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import msgspec

from chat.access.owners import Owner
from chat.deleting import delete_chat
from chat.doors.calls import Call
from chat.doors.errors import Refusal, refused
from chat.entrance import Told
from chat.models import Run, RunQuerySet
from chat.record import Earlier, Exchange
from chat.runs.continuing import earlier_than
from chat.runs.replay import Entry

from .objects import (
    DeletedResponse,
    InputText,
    OutputText,
    ReasoningConfig,
    ResponseObject,
    SentMessage,
    WebSearchTool,
)
from .rendering import Rendering
from .requests import Echo, ResponseRequest, references_in

RESPONSE_ID = re.compile(r"resp_([0-9a-f]{32})")
ITEM_ID = re.compile(r"(msg|rs|ws)_([0-9a-f]{32})_\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Named:
    """What a request names: the response that it goes on with, and answers, by their ids."""

    conversation_id: UUID | None
    before: Earlier
    texts: Mapping[str, str]


def run_of(call: Call) -> Run:
    """Return the run that the path names. Raise Refusal if it isn't the asker's."""
    return run_named(call.who.owner, call.names["id"], param="response_id")


def run_named(owner: Owner, response_id: str, *, param: str) -> Run:
    found = RESPONSE_ID.fullmatch(response_id)
    run = runs_of(owner).filter(pk=UUID(found[1])).first() if found else None
    if run is None:
        raise unknown("response", response_id, param)
    return run


def runs_of(owner: Owner) -> RunQuerySet:
    found = Run.objects.filter(owner=str(owner))
    return found.select_related("conversation", "question", "answer")


def unknown(what: str, given: str, param: str) -> Refusal:
    """Return the answer to foreign and unknown ids, from which nobody learns which ids exist."""
    message = f'The {what} "{given[:100]}" does not exist, or it is not yours.'
    return refused(404, "not_found", message, param=param)


def named_in(owner: Owner, wanted: ResponseRequest) -> Named:
    """Return what a request names. Raise Refusal if that is unknown."""
    conversation_id, before = None, Earlier()
    if response_id := wanted.previous_response_id:
        run = run_named(owner, response_id, param="previous_response_id")
        conversation_id, before = run.conversation_id, earlier_with(run)
    return Named(conversation_id, before, texts_of(owner, wanted))


def earlier_with(run: Run) -> Earlier:
    """Return what leads to a run, and its own exchange if it has an answer."""
    own = [Exchange(run.question.text, run.answer.text)] if run.answer.text else []
    earlier = earlier_than(run)
    return replace(earlier, exchanges=[*earlier.exchanges, *own])


def texts_of(owner: Owner, wanted: ResponseRequest) -> dict[str, str]:
    """Return the answers that the input refers to; no text for items that are no answers."""
    places = dict(references_in(wanted))
    found = {item_id: ITEM_ID.fullmatch(item_id) for item_id in places}
    ids = {UUID(match[2]) for match in found.values() if match}
    answers = dict(
        Run.objects.filter(owner=str(owner), pk__in=ids).values_list("pk", "answer__text")
    )
    texts: dict[str, str] = {}
    for item_id, match in found.items():
        if match is None or (run_id := UUID(match[2])) not in answers:
            raise unknown("item", item_id, places[item_id])
        if match[1] == "msg":
            texts[item_id] = answers[run_id]
    return texts


def deleted(call: Call) -> DeletedResponse:
    """Delete a response with its conversation. Raise Refusal if that has others."""
    run = run_of(call)
    if run.conversation.runs.exclude(pk=run.pk).exists():
        chat = run.conversation_id
        message = f"Its conversation has other responses: DELETE /api/v1/conversations/{chat}."
        raise refused(409, "conflict", message, headers={"x-should-retry": "false"})
    delete_chat(run.conversation)
    return DeletedResponse(id=id_of(run))


def items_of(call: Call) -> list[SentMessage]:
    """Return the messages that a response answers, oldest first."""
    run = run_of(call)
    items: list[SentMessage] = []
    for exchange in [*earlier_than(run).exchanges, Exchange(run.question.text, "")]:
        asked, answered = InputText(exchange.question), OutputText(text=exchange.answer)
        items.append(SentMessage(id=item_id(run, len(items)), role="user", content=[asked]))
        if exchange.answer:
            answer = SentMessage(id=item_id(run, len(items)), role="assistant", content=[answered])
            items.append(answer)
    return items


def item_id(run: Run, number: int) -> str:
    return f"in_{run.pk.hex}_{number}"


# --- Values of a run that was read


def id_of(run: Run) -> str:
    return f"resp_{run.pk.hex}"


def echo_of(run: Run) -> Echo:
    """Return what is repeated of the request. Runs of other doors can be read as responses, too."""
    told = Told.of(run.told)
    return msgspec.convert(told.echo, Echo) if told else Echo()


def goes_on_alone(run: Run) -> bool:
    """Return True if the run goes on when nobody reads it, as those of other doors do."""
    # One that was run again through another door has kept what it was told.
    return run.door != "responses" or echo_of(run).goes_on_alone


def response_of(run: Run) -> ResponseObject:
    """Return the response of a run as it begins."""
    echo = echo_of(run)
    return ResponseObject(
        id=id_of(run),
        created_at=int(run.created_at.timestamp()),
        model=echo.model,
        instructions=echo.instructions,
        previous_response_id=echo.previous_response_id,
        background=echo.background,
        store=echo.store,
        metadata=echo.metadata,
        user=echo.user,
        reasoning=ReasoningConfig(effort=echo.effort),
        tools=[WebSearchTool()] if echo.shows_searches else [],
    )


def rendering_of(run: Run, *, after: int | None = None) -> Rendering:
    echo = echo_of(run)
    return Rendering(
        response_of(run),
        tag=run.pk.hex,
        shows_searches=echo.shows_searches,
        shows_steps=echo.shows_steps,
        after=after,
        recorded=run.recorded_steps,
    )


def whole_of(run: Run, entries: list[Entry]) -> ResponseObject:
    """Return the response of a run that has ended, from its events."""
    rendering = rendering_of(run)
    rendering.events(entries)
    return rendering.response
