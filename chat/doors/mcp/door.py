"""POST /mcp: the fleet's tools for MCP clients, without anything kept between requests."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import msgspec
from msgspec import UNSET, UnsetType

from chat.database import read_in_database
from chat.doors.asking import ask, cancel_when_left, message_id_of
from chat.doors.calls import JSON, Call, Reply, Response, Route
from chat.doors.contract.serving import address_of
from chat.doors.errors import Refusal, refused
from chat.doors.history import ChatsAsked, page_of
from chat.doors.http import identify
from chat.doors.runs import check_has_lists
from chat.doors.streams import EVENT_STREAM, Stream, Whole
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.protocol.requests import ChatRequest, ReplyRequest
from chat.runs.worker import Worker

from .asks import reply_in
from .messages import (
    BAD_PARAMS,
    INITIALIZED,
    NO_METHOD,
    SERVER,
    STATELESS,
    Id,
    Request,
    RpcAnswer,
    RpcMessage,
    Wrong,
)
from .rendering import Asked, failed, told
from .tools import TOOLS, Ask, Conversation, Found, Search

ABOUT: dict[str, Any] = {
    "capabilities": {"tools": {}},
    "instructions": "A fleet of agents: `ask` answers questions, `search` finds earlier answers.",
}
CACHED = {"ttlMs": 300_000, "cacheScope": "private"}
SESSION = "mcp-session-id"
MAX_FOUND = 20  # conversations
TAKES: dict[str, type[Ask | Search]] = {"ask": Ask, "search": Search}


async def receive(call: Call) -> Response:
    """A client that leaves ends its run 2 s later."""
    accepted = call.header("accept")
    if accepted and not any(kind in accepted for kind in (JSON, "application/*", "*/*")):
        raise refused(406, "not_acceptable", f"Send Accept: {JSON}, {EVENT_STREAM}.")
    request = Request.of(call)
    if request.message.id is UNSET:
        if request.message.method == "notifications/cancelled" and not request.is_stateless:
            await cancel(call, request.params.request_id)
        return Reply(b"", 202)
    is_use = request.message.method == "tools/call"
    result = await use(request) if is_use else about(request)
    return Reply(request.answer(result)) if isinstance(result, dict) else result


def about(request: Request) -> dict[str, Any]:
    """Return what a client asks of the server itself. Raise Wrong if it is anything else."""
    match request.message.method, request.is_stateless:
        case "tools/list", _:
            return {"tools": TOOLS, **CACHED}
        case "server/discover", True:
            return {"supportedVersions": [*INITIALIZED, STATELESS], **ABOUT, **CACHED}
        case "ping", False:
            return {}
        case "initialize", False:
            # By it a cancellation finds its request, whose id others have, too.
            request.call.headers[SESSION] = uuid4().hex
            wanted = request.params.protocol_version
            version = wanted if wanted in INITIALIZED else INITIALIZED[-1]
            return {"protocolVersion": version, "serverInfo": SERVER, **ABOUT}
        case method, is_stateless:
            unknown = f"There is no method {method[:80]} here."
            raise Wrong(NO_METHOD, unknown, status=404 if is_stateless else 200)


async def use(request: Request) -> dict[str, Any] | Response:
    """Call a tool. What its caller can mend is a result, as MCP has it."""
    params = request.params
    if not (takes := TAKES.get(params.name)):
        unknown = f"There is no tool {params.name[:80]} here."
        raise Wrong(BAD_PARAMS, unknown, status=400 if request.is_stateless else 200)
    given = {name: value for name, value in (params.arguments or {}).items() if value is not None}
    try:
        asked = msgspec.convert(given, takes)
    except msgspec.ValidationError as exc:
        return failed(f"These arguments don't fit: {exc}.")
    try:
        if isinstance(asked, Ask):
            return await answer(request, asked)
        return await search(request.call, asked)
    except (Refusal, ProtocolError) as exc:
        refusal = Refusal.of(exc)
        if refusal.status not in (400, 404, 409):
            raise
        return failed(refusal.error.message)


async def answer(request: Request, asked: Ask) -> dict[str, Any] | Response:
    call = request.call
    await allow(call, ASK)
    question: ChatRequest | ReplyRequest = asked.request
    if request.params.request_state:
        question = await read_in_database(reply_in, request)
    key = "" if request.is_stateless else key_of(call, request.message.id)
    run = await ask(call, question, Entrance("mcp"), key=key)
    call.headers["fleet-run"] = str(run.pk)
    rendering = Asked(request, run, page=page_at(call, run.conversation_id))
    on_leave = cancel_when_left(run)
    if EVENT_STREAM in call.header("accept"):
        return Stream(call, run, rendering, on_leave=on_leave)
    reading = Whole(call, run, on_leave=on_leave)
    await reading.follow()
    rendering.events(reading.events)
    return rendering.result(reading.events[-1].event)


async def search(call: Call, asked: Search) -> dict[str, Any]:
    await allow(call, SEARCH)
    check_has_lists(call)
    call.query = ChatsAsked(asked.query)
    page = await read_in_database(page_of, call)
    found = [
        Conversation(chat.id, chat.title, chat.updated_at, page_at(call, chat.id), chat.places)
        for chat in page.conversations[:MAX_FOUND]
    ]
    lines = []
    for chat in found:
        lines.append(f"{chat.title} ({chat.conversation_id}) {chat.url}")
        lines += [f"- {place.place}: {place.snippet}" for place in chat.places]
    return told("\n".join(lines) or "Nothing was found.", Found(found))


async def cancel(call: Call, id_: Id | None) -> None:
    """End the run of a request of this session, on any worker."""
    await allow(call, ASK)
    if id_ is not None and (key := key_of(call, id_)):
        owner, worker = call.who.owner, Worker.current()
        runs = Run.objects.filter(owner=str(owner), message_id=message_id_of(owner, key))
        if run := await read_in_database(runs.first):
            worker.runs.spawn(worker.cancel_run(run.pk))


async def allow(call: Call, route: Route) -> None:
    """Raise ProtocolError if the asker may not do what this route is for."""
    call.route = route
    await identify(call)


def key_of(call: Call, id_: Id | UnsetType) -> str:
    """Return what a request of a session is the same by; empty without one."""
    session = call.header(SESSION)
    return f"mcp\n{session}\n{id_!r}" if session else ""


def page_at(call: Call, conversation: UUID) -> str:
    return f"{address_of(call)}/c/{conversation}/"


ROUTE = Route(
    "POST",
    "/mcp",
    receive,
    "Call the fleet's tools, as MCP has it over streamable HTTP.",
    "any",
    body=RpcMessage,
    gives=RpcAnswer,
    failure=RpcAnswer,
    nothing="It was a notification.",
    nothing_status=202,
    streams="With Accept: text/event-stream, the steps of an answer as notifications, and then its"
    " result.",
    tag="MCP",
)
# What the tools need of a token.
ASK, SEARCH = replace(ROUTE, scope="ask"), replace(ROUTE, scope="read")
ROUTES = (ROUTE,)
