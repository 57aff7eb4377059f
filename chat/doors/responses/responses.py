"""`/v1/responses`: ask, read, follow, cancel and delete responses."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal
from uuid import uuid4

from msgspec import Meta, Struct

from chat.database import in_database, read_in_database
from chat.doors.asking import ask, cancel_when_left
from chat.doors.calls import Call, Reply, Response, Route
from chat.doors.errors import bad
from chat.doors.openai.completions import HOLD
from chat.doors.openai.models import TAG, Chosen, chosen_by
from chat.doors.openai.requests import end_user_of
from chat.doors.streams import Stream, Whole, refusal_of_run
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.events import Error
from chat.protocol.requests import MAX_SEQ, ChatRequest
from chat.runs.worker import Worker

from .objects import DeletedResponse, InputItems, ResponseObject
from .requests import ResponseRequest, check, ignored_in, told_by
from .stored import (
    Named,
    deleted,
    goes_on_alone,
    items_of,
    named_in,
    rendering_of,
    response_of,
    run_of,
    whole_of,
)

CANCEL_TIMEOUT = 5.0  # seconds that a cancel waits for the ending


class ResponseAsked(Struct, frozen=True):
    """How a response is read: as one object, or as events behind a sequence_number."""

    stream: bool = False
    starting_after: Annotated[int, Meta(ge=0, le=MAX_SEQ)] | None = None


class ItemsAsked(Struct, frozen=True):
    order: Literal["asc", "desc"] = "desc"


async def create(call: Call) -> Response:
    wanted: ResponseRequest = call.body
    check(wanted)
    chosen = await chosen_by(wanted.model, call.who)
    if ignored := ignored_in(wanted):
        call.headers["fleet-ignored"] = ", ".join(ignored)
    named = await read_in_database(named_in, call.who.owner, wanted)
    request, entrance = question_of(wanted, chosen, named)
    run = await ask(call, request, entrance)
    name_run(call, run)
    if wanted.stream:
        if wanted.background:
            return stored_stream(call, run)
        rendering, on_leave = rendering_of(run), leaving(run)
        return Stream(call, run, rendering, reads="every", hold=HOLD, on_leave=on_leave)
    if wanted.background:
        return Reply(response_of(run))
    reading = Whole(call, run, reads="every", on_leave=leaving(run))
    await reading.follow()
    if isinstance(last := reading.events[-1].event, Error):
        raise refusal_of_run(last)
    return Reply(whole_of(run, reading.events))


def question_of(
    wanted: ResponseRequest, chosen: Chosen, named: Named
) -> tuple[ChatRequest, Entrance]:
    """Return what is asked, and what comes with it. Raise Refusal if it can't be."""
    message, told = told_by(wanted, before=named.before, texts=named.texts)
    try:
        request = ChatRequest(
            message=message,
            message_id=uuid4(),
            conversation_id=named.conversation_id,
            mode=chosen.mode,
            model=chosen.model,
            fresh=wanted.fleet.fresh,
            preference=wanted.fleet.preference,
            reasoning_effort=wanted.effort,
        )
    except ValueError as exc:
        raise bad(f"Invalid request: {exc}.", "input") from exc
    entrance = Entrance(
        "responses",
        told=told,
        end_user=end_user_of(wanted.safety_identifier, wanted.user),
        is_kept=bool(wanted.store),
    )
    return request, entrance


async def retrieve(call: Call) -> Response:
    asked: ResponseAsked = call.query
    run = await read_in_database(run_of, call)
    name_run(call, run)
    if asked.stream:
        return stored_stream(call, run, after=asked.starting_after)
    if run.ended_at is None:
        return Reply(response_of(run))
    return Reply(await ended(call, run))


def stored_stream(call: Call, run: Run, *, after: int | None = None) -> Stream:
    """Return a stream whose reader may come back, on any worker, behind what it has seen."""
    rendering = rendering_of(run, after=after)
    return Stream(call, run, rendering, reads="stored", on_leave=leaving(run))


def leaving(run: Run) -> Callable[[], None] | None:
    """Return what must be called when a reader leaves before the end."""
    return None if goes_on_alone(run) else cancel_when_left(run)


async def cancel(call: Call) -> Reply:
    """Cancel a run, and return its response as it has ended, or as it is if that takes long."""
    run = await read_in_database(run_of, call)
    name_run(call, run)
    if run.ended_at is None:
        worker = Worker.current()
        # A task of the worker, because the client may leave before it is done.
        worker.runs.spawn(worker.cancel_run(run.pk))
    try:
        async with asyncio.timeout(CANCEL_TIMEOUT):
            return Reply(await ended(call, run))
    except TimeoutError:
        return Reply(response_of(run))


async def ended(call: Call, run: Run) -> ResponseObject:
    """Return the response of a run once that has ended."""
    reading = Whole(call, run, reads="every")
    await reading.follow()
    return whole_of(run, reading.events)


async def delete(call: Call) -> Reply:
    return Reply(await in_database(deleted, call))


async def input_items(call: Call) -> Reply:
    asked: ItemsAsked = call.query
    items = await read_in_database(items_of, call)
    if asked.order == "desc":
        items.reverse()
    return Reply(InputItems(data=items, first_id=items[0].id, last_id=items[-1].id))


def name_run(call: Call, run: Run) -> None:
    """Name the run in a header of the answer."""
    call.headers["fleet-run"] = str(run.pk)


EVENTS = (
    "The events of the response, each with an `event:` line that repeats its type. The last one is"
    " response.completed, response.failed, response.incomplete or error."
)
ROUTES = (
    Route(
        "POST",
        "/v1/responses",
        create,
        "Ask, as OpenAI's Responses do.",
        "ask",
        body=ResponseRequest,
        gives=ResponseObject,
        streams=EVENTS,
        tag=TAG,
    ),
    Route(
        "GET",
        "/v1/responses/{id}",
        retrieve,
        "Show a response, or follow it behind a sequence_number.",
        "ask",
        query=ResponseAsked,
        gives=ResponseObject,
        streams=EVENTS,
        tag=TAG,
    ),
    Route(
        "POST",
        "/v1/responses/{id}/cancel",
        cancel,
        "Cancel a response on any worker; one that is over stays as it is.",
        "ask",
        gives=ResponseObject,
        tag=TAG,
    ),
    Route(
        "DELETE",
        "/v1/responses/{id}",
        delete,
        "Delete a response with its conversation, if that has no other.",
        "write",
        gives=DeletedResponse,
        tag=TAG,
    ),
    Route(
        "GET",
        "/v1/responses/{id}/input_items",
        input_items,
        "List the messages that a response answers.",
        "ask",
        query=ItemsAsked,
        gives=InputItems,
        tag=TAG,
    ),
)
