"""POST /mcp: the fleet as an MCP server over streamable HTTP. Nothing is kept between requests."""

from collections.abc import Sequence
from typing import Any

import msgspec
from django.conf import settings
from msgspec import UNSET, Struct, UnsetType

from chat.access.credentials import program_of
from chat.database import read_in_database
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.errors import ErrorInfo, ProtocolError
from chat.protocol.events import Done, Error
from chat.protocol.terms import Mode
from chat.runs.replay import Entry

from . import history, sse
from .asking import ask, cancel_when_left
from .calls import Call, Reply, Response, Route
from .contract.serving import address_of
from .errors import Refusal
from .openai.answer import Answer
from .openai.steps import line_of
from .runs import RunRequest
from .streams import Rendering, Stream

VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
SERVER = {"name": "agenticfleet", "version": settings.FLEET_VERSION}
ABOUT = {"serverInfo": SERVER, "supportedVersions": VERSIONS, "capabilities": {"tools": {}}}
COMPLETE = {"resultType": "complete", "ttlMs": 300_000, "cacheScope": "private"}


class RpcMessage(Struct, frozen=True):
    method: str
    id: int | str | UnsetType = UNSET  # A notification has none.
    params: dict[str, Any] = {}


class Ask(Struct, frozen=True, forbid_unknown_fields=True, rename={"message": "question"}):
    """Answer a question by one agent (light) or a team (full), in seconds to minutes."""

    message: str
    mode: Mode = "auto"
    conversation_id: str | None = None


_, SCHEMAS = msgspec.json.schema_components([Ask, history.ChatsAsked])
TOOLS = [
    {"name": name, "description": schema["description"], "inputSchema": schema}
    for name, schema in (("ask", SCHEMAS["Ask"]), ("search", SCHEMAS["ChatsAsked"]))
]


async def receive(call: Call) -> Response:
    request: RpcMessage = call.body
    if request.id is UNSET:
        return Reply(b"", 202)
    match request.method, request.params:
        case "tools/call", {"name": "ask" | "search" as tool}:
            return await use(call, request, tool)
        case "tools/list", _:
            result: dict[str, Any] = {**COMPLETE, "tools": TOOLS}
        case "initialize" | "server/discover", params:
            wanted = params.get("protocolVersion")
            version = wanted if wanted in VERSIONS else "2025-11-25"
            result = {**COMPLETE, **ABOUT, "protocolVersion": version}
        case "ping", _:
            result = {}
        case _:
            error = {"code": -32601, "message": "There is no such method or tool here."}
            return Reply(rpc(id=request.id, error=error))
    return Reply(rpc(id=request.id, result=result))


async def use(call: Call, request: RpcMessage, tool: str) -> Response:
    """Call a tool. Refusals are results, too: clients show models no other errors in words."""
    given = request.params.get("arguments", {})
    try:
        if tool == "search":
            call.asker = await read_in_database(program_of, call.scope, needs="read")
            call.query = msgspec.convert(given, history.ChatsAsked)
            found = (await history.listed(call)).content.conversations[:20]  # for a model
            return Reply(told(request, msgspec.json.encode(found).decode()))
        call.asker = await read_in_database(program_of, call.scope, needs="ask")
        question = msgspec.convert(msgspec.convert(given, Ask), RunRequest, from_attributes=True)
        run = await ask(call, question, Entrance("mcp"))
    except (msgspec.ValidationError, Refusal, ProtocolError) as exc:
        return Reply(told(request, str(exc), isError=True))
    rendering = Answering(request, run, address_of(call))
    return Stream(call, run, rendering, on_leave=cancel_when_left(run))


def told(request: RpcMessage, text: str, **more: Any) -> bytes:
    """Return the answer to a call of a tool."""
    content = [{"type": "text", "text": text}]
    return rpc(id=request.id, result={"resultType": "complete", "content": content, **more})


def rpc(**fields: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", **fields})


class Answering(Rendering):
    """A run as the result of a call of `ask`."""

    def __init__(self, request: RpcMessage, run: Run, site: str) -> None:
        self.request, self.run, self.site = request, run, site
        self.answer = Answer(with_steps=False)

    def events(self, batch: Sequence[Entry]) -> bytes:
        said = b""
        for entry in batch:
            list(self.answer.take(entry.event))
            match entry.event, self.request.params:
                case Done() as done, _:
                    said += sse.message(self.result(done))
                case Error(error=error), _:
                    said += self.refusal(error)
                case event, {"_meta": {"progressToken": token}} if line := line_of(event):
                    step = {"progressToken": token, "progress": entry.seq, "message": line}
                    said += sse.message(rpc(method="notifications/progress", params=step))
        return said

    def refusal(self, error: ErrorInfo) -> bytes:
        return sse.message(told(self.request, error.message, isError=True))

    def result(self, done: Done) -> bytes:
        chat, text, status = self.run.conversation_id, self.answer.text, done.data.status
        state = f"This answer is {status}. The conversation: {self.site}/c/{chat}/"
        words = "\n".join([text, *self.answer.cited_lines(), state])
        content = {"answer": text, "status": status, "conversation_id": chat, "run_id": self.run.pk}
        return told(self.request, words, structuredContent=content, isError=status == "cancelled")


ROUTE = Route(
    "POST",
    "/mcp",
    receive,
    "Call the fleet's tools, as MCP has it over streamable HTTP.",
    "any",
    body=RpcMessage,
    gives=dict,
    nothing="It was a notification.",
    nothing_status=202,
    streams="An answer's steps and result. A client that leaves ends its run 2 s later.",
    tag="MCP",
)
