"""Requests of programs, routes and whole responses, as the functions of the doors see them."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import msgspec

from chat.access.addresses import address_of
from chat.access.credentials import program_of
from chat.access.leaving import tags_of
from chat.access.origins import header
from chat.access.owners import Asker
from chat.access.tokens import Scope

NAME = re.compile(r"\{(\w+)(:path|:uuid)?\}")
JSON = "application/json"

type Receive = Callable[[], Awaitable[dict[str, Any]]]
type Send = Callable[[dict[str, Any]], Awaitable[None]]


class ClientGone(Exception):
    """The client has left before its response began."""


async def body_pieces(receive: Receive) -> AsyncIterator[bytes]:
    """Yield a request's body as it arrives. Raise ClientGone if the client leaves meanwhile."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def gone(receive: Receive) -> None:
    """Wait until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def is_json(scope: dict[str, Any]) -> bool:
    """Return True if a request says that its body is JSON."""
    return header(scope, b"content-type").partition(";")[0].strip().lower() == JSON


@dataclass(slots=True)
class Call:
    """One request at a door.

    `asker`, `body` and `query` are set before its function is called: the body and the query as the
    structs that its route takes.
    """

    scope: dict[str, Any]
    receive: Receive
    send: Send
    route: "Route"
    names: Mapping[str, str]  # the parts of the path that vary
    arrived: float  # its time.perf_counter()
    asker: Asker | None = None
    tags: frozenset[str] = frozenset()  # by which what is read with it is ended
    raw: bytes = b""
    body: Any = None
    query: Any = None
    has_begun: bool = False  # the response
    # Of the response, in addition to its own: those of limits and of other sites.
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def who(self) -> Asker:
        """Who asks; only for routes with a scope."""
        assert self.asker
        return self.asker

    @property
    def address(self) -> str:
        return address_of(self.scope)

    @property
    def is_head(self) -> bool:
        """True if only the head of the response is asked for."""
        return bool(self.scope["method"] == "HEAD")

    def header(self, name: str) -> str:
        return header(self.scope, name.encode())

    def identify(self) -> None:
        """Find out who asks. Raise ProtocolError if it is nobody who may. Reads the database."""
        assert self.route.scope
        needs = None if self.route.scope == "any" else self.route.scope
        self.asker = program_of(self.scope, needs=needs)
        self.tags = tags_of(self.asker, {})

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of the response."""
        self.has_begun = True
        fields = {**headers, **self.headers}
        raw = [
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in fields.items()
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, piece: bytes, *, is_last: bool = False) -> None:
        """Send a piece of the response's body, once its reader has room."""
        if self.is_head:
            piece = b""  # It would be taken for the next response.
        await self.send({"type": "http.response.body", "body": piece, "more_body": not is_last})

    async def gone(self) -> None:
        """Wait until the client has disconnected."""
        await gone(self.receive)


class Response(Protocol):
    async def respond(self, call: Call) -> None:
        """Send the response. Raise ProtocolError or Refusal if it is an error instead."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response: a struct or a value as JSON, or bytes of another kind."""

    content: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = JSON

    async def respond(self, call: Call) -> None:
        content = self.content
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        headers = {"content-type": self.media_type, "content-length": str(len(body))}
        if self.status == 204:
            body, headers = b"", {}
        await call.begin(self.status, {**headers, **self.headers})
        await call.write(body, is_last=True)


type Function = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One row of the table from which requests are dispatched and the contract is written.

    In `path`, {name} is one part, {name:uuid} should be a UUID, and {name:path} may have slashes.
    """

    method: str
    path: str
    function: Function
    summary: str  # a sentence
    scope: Scope | Literal["any"] | None  # of the token; None: nobody has to say who asks
    body: type | None = None  # the struct of the JSON that is sent
    other_body: type | None = None  # another struct that may be sent, known by its tag
    query: type | None = None  # the struct of the fields behind the ?
    gives: Any = None  # the type of the JSON that is answered
    also: str = ""  # another media type that may be answered
    status: int = 200
    nothing: str = ""  # when there is nothing to answer but a status, in words; empty: never
    nothing_status: int = 204
    streams: str = ""  # what a text/event-stream has, in words; empty: there is none
    tag: str = ""  # the part of the contract

    @property
    def asks(self) -> bool:
        """True if its requests may start runs."""
        return self.scope == "ask" and self.method == "POST" and self.body is not None

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        parts: list[str] = []
        at = 0
        for found in NAME.finditer(self.path):
            parts.append(re.escape(self.path[at : found.start()]))
            parts.append(f"(?P<{found[1]}>{'.+' if found[2] == ':path' else '[^/]+'})")
            at = found.end()
        return re.compile("".join([*parts, re.escape(self.path[at:])]))
