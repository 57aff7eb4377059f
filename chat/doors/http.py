"""The ASGI application of all doors: it finds the route, and checks all that is common to them.

Django's middlewares would add half of what a run costs, and serve cookies and sessions, of which
there are none here. So host, origin, size and type of what is sent are checked here.
"""

import logging
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
from django.conf import settings
from django.db import Error as DatabaseProblem

from chat.access.credentials import may_read_from, token_of
from chat.access.forms import fields_of
from chat.access.hosts import is_allowed
from chat.access.origins import below_root, header
from chat.database import read_in_database
from chat.protocol.errors import (
    API_IS_OFF,
    FOREIGN_ORIGIN,
    INTERNAL,
    STORAGE_UNAVAILABLE,
    UNKNOWN_HOST,
    ProtocolError,
)
from chat.runs.worker import Worker
from chat.telemetry import metrics
from tooling.decoding import UNREADABLE_JSON

from .calls import JSON, Call, ClientGone, Reply, Route, body_pieces, is_json
from .errors import Refusal, bad, refusal_of, refused
from .rates import RATE_HEADERS, Rates, headers_of, rates_of

logger = logging.getLogger(__name__)

MAX_BODY = 1024 * 1024  # bytes
PLACE = re.compile(r" - at `\$\.?(.+?)`$")  # how msgspec says which field is wrong
FIELD = re.compile(r"field `(\w+)`")
COMMON = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "vary": "Origin",
}
EXPOSED = ", ".join(
    ["Fleet-Run", "Fleet-Ignored", "Retry-After", "X-Request-Id", "X-Should-Retry", *RATE_HEADERS]
)
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, PATCH, DELETE",
    "access-control-allow-headers": "*, Authorization",
    "access-control-max-age": "600",
}


class Doors:
    """Dispatches requests to the functions of a table of routes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = routes

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        arrived = time.perf_counter()
        call = Call(scope, receive, send, NOWHERE, {}, arrived, headers=dict(COMMON))
        try:
            await self.answer(call)
        except ClientGone:
            return
        except (Refusal, ProtocolError) as exc:
            await self.refuse(call, Refusal.of(exc), exc)
        except DatabaseProblem as exc:
            logger.warning("cannot answer at a door: %s", exc)
            await self.refuse(call, refusal_of(STORAGE_UNAVAILABLE), exc)
        except Exception as exc:
            logger.exception("a door failed: %s %s", scope["method"], call.route.path)
            await self.refuse(call, refusal_of(INTERNAL), exc)

    async def refuse(self, call: Call, refusal: Refusal, exc: Exception) -> None:
        """Answer with an error. If the response has begun, let the server cut the connection."""
        if call.has_begun:
            raise exc
        metrics.refused(refusal.error.code)
        await Reply(refusal.body, refusal.status, refusal.headers).respond(call)

    async def answer(self, call: Call) -> None:
        scope = call.scope
        if not is_allowed(header(scope, b"host")):
            raise ProtocolError(UNKNOWN_HOST)
        if settings.FLEET_API == "off":
            raise refused(404, "not_found", API_IS_OFF.message)
        if scope["method"] == "OPTIONS":
            # Whether the page may ask at all is decided when it does: a preflight has no token.
            allow_origin(call)
            await Reply(b"", 204, PREFLIGHT).respond(call)
            return
        check_origin(call, is_known=token_of(scope) is None)
        self.find(call)
        if call.route.scope:
            async with admitted(call):
                await self.serve(call)
        else:
            await self.serve(call)

    async def serve(self, call: Call) -> None:
        if call.route.scope:
            rates = await read_in_database(identified, call)
            if call.route.asks:
                call.headers |= await headers_of(rates, Worker.current().admission)
        check_origin(call, is_known=True)
        call.raw = await body_of(call)
        read(call)
        response = await call.route.function(call)
        call.raw, call.body = b"", None  # A stream may last for minutes, and its history be long.
        await response.respond(call)

    def find(self, call: Call) -> None:
        """Set the call's route. Raise Refusal if there is none."""
        path, method = below_root(call.scope), call.scope["method"]
        others: set[str] = set()
        for route in self.routes:
            if found := route.pattern.fullmatch(path):
                if route.method == ("GET" if method == "HEAD" else method):
                    call.route, call.names = route, found.groupdict()
                    return
                others.add(route.method)
        if others:
            allowed = ", ".join(sorted(others))
            message = f"The method {method} isn't allowed here; allowed: {allowed}."
            raise refused(405, "method_not_allowed", message, headers={"allow": allowed})
        raise refused(404, "not_found", f"There is nothing at {method} {path[:200]}.")


@asynccontextmanager
async def admitted(call: Call) -> AsyncIterator[None]:
    """Let a request be served within the limits of sockets, for which it counts while it lasts.

    Raise ProtocolError if it must not be served.
    """
    worker, request_id = Worker.current(), uuid4().hex
    await worker.admission.admit_socket(request_id, call.address)
    try:
        yield
    finally:
        worker.runs.spawn(worker.admission.release_socket(request_id, call.address))


def identified(call: Call) -> Rates:
    """Find out who asks, and what the limits leave. Raise ProtocolError. Reads the database."""
    call.identify()
    return rates_of(call.who) if call.route.asks else Rates()


def check_origin(call: Call, *, is_known: bool) -> None:
    """Let pages of other sites read what they may. Raise ProtocolError for all others.

    `is_known`: the call's asker is known, or shows no token, which may allow more pages.
    """
    if may_read_from(call.scope, call.asker):
        allow_origin(call)
    elif is_known:
        raise ProtocolError(FOREIGN_ORIGIN)


def allow_origin(call: Call) -> None:
    if origin := header(call.scope, b"origin"):
        call.headers["access-control-allow-origin"] = origin
        call.headers["access-control-expose-headers"] = EXPOSED


async def body_of(call: Call) -> bytes:
    """Return the request's body. Raise Refusal if it is too long or of another type."""
    pieces: list[bytes] = []
    size = 0
    async for piece in body_pieces(call.receive):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            raise refused(413, "too_large", f"A body has at most {MAX_BODY:,} bytes.")
    if call.route.body and not is_json(call.scope):
        raise refused(415, "unsupported_media_type", f"Send the body as Content-Type: {JSON}.")
    return b"".join(pieces)


def read(call: Call) -> None:
    """Read body and query as what the route takes. Raise Refusal if they don't fit."""
    route = call.route
    if route.query:
        fields = fields_of(call.scope.get("query_string", b""))
        try:
            call.query = msgspec.convert(fields.dict(), route.query, strict=False)
        except msgspec.ValidationError as exc:
            raise unfit(exc) from exc
    if route.body:
        try:
            call.body = msgspec.json.decode(call.raw, type=body_type(call))
        except UNREADABLE_JSON as exc:
            raise unfit(exc) from exc


def body_type(call: Call) -> type:
    """Return the struct of which the body is, of those that the route takes."""
    body, other = call.route.body, call.route.other_body
    assert body
    if other is None:
        return body
    config = other.__struct_config__  # type: ignore[attr-defined]
    fields = msgspec.json.decode(call.raw)
    is_other = isinstance(fields, dict) and fields.get(config.tag_field) == config.tag
    return other if is_other else body


def unfit(exc: Exception) -> Refusal:
    """Return the refusal of JSON that doesn't fit, with the field that is wrong."""
    message = str(exc)
    place = PLACE.search(message)
    missing = FIELD.search(message)
    names = [place[1]] if place else []
    if missing and ("missing" in message or "unknown" in message):
        names.append(missing[1])
    return bad(f"Invalid request: {message}.", ".".join(names) or None)


async def _nowhere(call: Call) -> Reply:
    raise AssertionError


NOWHERE = Route("", "", _nowhere, "A request before its route is known.", None)
