"""The page without WebSockets: the frames of a socket in a response that stays open.

Some proxies let no WebSocket through. The page then sends what its first frame would be as a
request, and gets the frames as Server-Sent Events; a cancel is a request of its own. Programs have
doors of their own (`doors`), which read no cookies.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import Error as DatabaseProblem
from msgspec import Struct

from .access.browsers import owner_of_cookies
from .access.origins import refusal_of_request
from .access.owners import Asker, Owner
from .database import read_in_database
from .doors.calls import JSON, ClientGone, Receive, Send, body_pieces, gone, is_json
from .doors.sse import message
from .doors.streams import STREAM_HEADERS
from .logs import bind_run
from .models import Run
from .protocol.errors import (
    FORBIDDEN,
    HANDSHAKE_TIMEOUT,
    MAX_REQUEST_CHARS,
    NO_SESSION,
    NOT_SIGNED_IN,
    STORAGE_UNAVAILABLE,
    TOO_LARGE,
    ErrorInfo,
    ProtocolError,
)
from .protocol.events import Error, encode, stamp
from .protocol.requests import parse, parse_request
from .readers import Reader, Visitor
from .runs.worker import Worker

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT = 15.0  # seconds until the body has arrived. A page sends it at once
NOT_JSON = ErrorInfo("bad_request", f"Send the body as Content-Type: {JSON}.")
NOT_TEXT = ErrorInfo("bad_request", "A body is JSON text in UTF-8.")
NOT_POST = ErrorInfo("bad_request", "Send a POST.")
HEADERS = {
    **STREAM_HEADERS,
    # A proxy that compresses would wait for more.
    "cache-control": "no-store, no-transform",
    "x-content-type-options": "nosniff",
}


class Cancel(Struct, frozen=True, tag_field="type", tag="cancel", forbid_unknown_fields=True):
    """Ends the run of this message with `cancelled`."""

    message_id: UUID


_cancel_decoder = msgspec.json.Decoder(Cancel)


class PageVisitor(Visitor):
    """A page that asks over HTTP, known by its cookies alone."""

    def __init__(self, scope: dict[str, Any], receive: Receive) -> None:
        super().__init__()
        self.scope = scope
        self._receive = receive

    def owner(self) -> Owner:
        """Return whose page asks. Raise ProtocolError if it is nobody's. Reads the database."""
        owner = owner_of_cookies(self.cookies)
        if owner is None:
            is_anonymous = settings.FLEET_AUTH == "anonymous"
            raise ProtocolError(NO_SESSION if is_anonymous else NOT_SIGNED_IN)
        self.check_account(owner)
        return owner

    async def body(self) -> str:
        """Return what is sent. Raise ProtocolError if it is too long or late."""
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                pieces = [piece async for piece in body_pieces(self._receive)]
        except TimeoutError:
            raise ProtocolError(HANDSHAKE_TIMEOUT) from None
        # incoming.py has bounded its bytes.
        try:
            text = b"".join(pieces).decode()
        except UnicodeDecodeError:
            raise ProtocolError(NOT_TEXT) from None
        if len(text) > MAX_REQUEST_CHARS:
            raise ProtocolError(TOO_LARGE)
        return text


class PageStream(PageVisitor, Reader):
    """A response with the frames of a page's socket. A refusal is a frame, too."""

    is_html = True

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        super().__init__(scope, receive)
        self._send = send
        self._ended = asyncio.Event()

    async def respond(self) -> None:
        """Send the whole response."""
        refusal = refusal_of_page(self.scope)
        with self.present():
            await begin(self._send, 200 if refusal is None else status_of(refusal), HEADERS)
            try:
                await self.admit()
                if refusal:
                    raise ProtocolError(refusal)
                self.begin(parse_request(await self.body()))
            except ProtocolError as exc:
                await self.refuse(exc.error)
            except ClientGone:
                return
            ended, leaving = self.spawn(self.ended()), self.spawn(gone(self._receive))
            await asyncio.wait({ended, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if self._run:
            bind_run(self._run)  # for the access log
        if self._ended.is_set():
            await self._send({"type": "http.response.body", "body": b""})

    async def ended(self) -> None:
        await self._ended.wait()

    def asker(self) -> Asker:
        return Asker(self.owner(), self.address)

    async def carry(self, payload: bytes) -> None:
        body = message(payload, id=str(self._last_seq))
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def finish(self) -> None:
        self._ended.set()

    async def close(self, code: int) -> None:
        self._ended.set()


async def stream(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer a page that asks, or follows, over HTTP."""
    await PageStream(scope, receive, send).respond()


async def cancel(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Cancel the run of a message: 204. A page may send it before its question is stored: 404."""
    visitor = PageVisitor(scope, receive)
    try:
        if scope["method"] != "POST":
            raise ProtocolError(NOT_POST)
        if refusal := refusal_of_page(scope):
            raise ProtocolError(refusal)
        asked = parse(await visitor.body(), _cancel_decoder)
        run_id = await read_in_database(run_of, visitor, asked.message_id)
    except ClientGone:
        return
    except ProtocolError as exc:
        await refuse(send, exc.error)
        return
    except DatabaseProblem as exc:
        logger.warning("cannot cancel for a page: %s", exc)
        await refuse(send, STORAGE_UNAVAILABLE)
        return
    if run_id is None:
        await refuse(send, FORBIDDEN, status=404)
        return
    # A task of the worker, because the page may leave. It says by itself when the run has ended.
    worker = Worker.current()
    worker.runs.spawn(worker.cancel_run(run_id))
    await begin(send, 204, {})
    await send({"type": "http.response.body", "body": b""})


def run_of(visitor: PageVisitor, message_id: UUID) -> UUID | None:
    """Return the visitor's run of this message. Reads the database."""
    runs = Run.objects.filter(owner=str(visitor.owner()), message_id=message_id)
    return runs.values_list("pk", flat=True).first()


async def begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})


async def refuse(send: Send, error: ErrorInfo, *, status: int | None = None) -> None:
    event = Error(error=error)
    stamp(event, seq=0, workflow_id="")
    headers = {"content-type": JSON, "cache-control": "no-store", "allow": "POST"}
    await begin(send, status or status_of(error), headers)
    await send({"type": "http.response.body", "body": encode(event)})


def refusal_of_page(scope: dict[str, Any]) -> ErrorInfo | None:
    """Return why a request is not one of a page of this site; None if it is.

    Its Origin shows that, as that of a socket does. In addition, browsers send JSON to another site
    only if that allows it beforehand, which this one doesn't. So no token of a form is needed.
    """
    if refusal := refusal_of_request(scope):
        return refusal
    return None if is_json(scope) else NOT_JSON


def status_of(error: ErrorInfo) -> int:
    match error:
        case ErrorInfo(code="forbidden"):
            return 403
        case _ if error == NOT_JSON:
            return 415
        case _ if error == NOT_POST:
            return 405
        case ErrorInfo(code="storage_unavailable"):
            return 503
    return 400
