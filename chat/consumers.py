"""The socket of one message: take the request, start or join its run, pass its events on, and see the end."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from contextlib import aclosing
from itertools import groupby
from typing import Any, ClassVar
from uuid import UUID

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.http.cookie import parse_cookie
from django.http.request import split_domain_port, validate_host
from django.utils.http import is_same_domain

from chat.rendering.answer import AnswerView
from chat.runs.local import JOIN_TIMEOUT
from chat.runs.replay import Entry, entry_of
from chat.runs.worker import Worker

from .models import Run
from .owners import Owner, owner_of_cookie
from .protocol.errors import (
    CLOSE_OF,
    FOREIGN_ORIGIN,
    HANDSHAKE_TIMEOUT,
    INTERNAL_ERROR,
    MAX_REQUEST_CHARS,
    NO_SESSION,
    NOT_SIGNED_IN,
    STORAGE_UNAVAILABLE,
    TOO_LARGE,
    TRY_AGAIN_LATER,
    UNAUTHENTICATED,
    ErrorInfo,
    ProtocolError,
)
from .protocol.events import (
    Error,
    Heartbeat,
    HeartbeatData,
    Notice,
    NoticeData,
    ReasoningDelta,
    ResponseCompleted,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
    encode,
    stamp,
    with_html,
)
from .protocol.requests import ChatRequest, parse_command, parse_request
from .protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON

logger = logging.getLogger(__name__)
FRAME_TIME = 0.016  # seconds: html is sent no more often than a screen shows it
RENDER_SHARE = 10  # the next rendering comes no sooner than this many times what the last one cost
LONG_TEXT = 4000  # characters; rendering them takes some 5 to 20 ms
MAX_PAUSE = 0.1  # seconds between two renderings at the most
MAX_NOTICES = 16  # that wait for a reader


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One WebSocket per message. It follows a run and does not own it: the run goes on when the socket is gone."""

    # With a channel layer of its own an idle socket would die with Redis; commands go through the Worker.
    channel_layer_alias: ClassVar[None] = None

    def __init__(self) -> None:
        super().__init__()
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshake: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[Run] | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Task[None]] = set()
        self.served = asyncio.Event()
        self._run: Run | None = None
        self._view: AnswerView | None = None
        self._over = False  # a terminal or a refusal was sent, or the client has gone
        self._rested_at = 0.0
        self._last_seq = 0
        self._last_event_at = self._last_frame_at = time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Channels skips disconnect() after an error in a handler.
            self._over = True
            for task in self._tasks:
                task.cancel()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a frame without Channels' trip to the shared thread: this socket holds no database connection to close."""
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                await self.receive(message.get("text"), message.get("bytes"))
            case "websocket.disconnect":
                raise StopConsumer

    async def connect(self) -> None:
        offered = self.scope["subprotocols"]
        self._subprotocol = next(
            (name for name in offered if name in (SUBPROTOCOL_HTML, SUBPROTOCOL_JSON)), None
        )
        await self.accept(self._subprotocol)
        if origin_is_ours(self._header(b"origin"), self._header(b"host")):
            self._handshake = self._spawn(self._await_request())
        else:
            await self._refuse(FOREIGN_ORIGIN)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Take a frame and return at once: Channels reads the next one, which may be a cancel, only then."""
        if self._over:
            return
        is_first = self._handshake is not None
        try:
            if text_data and len(text_data) > MAX_REQUEST_CHARS:
                raise ProtocolError(TOO_LARGE)
            if self._handshake is not None:
                self._handshake.cancel()
                self._handshake = None
                self._begin(parse_request(text_data))
            else:
                parse_command(text_data)
                self._cancel()
        except ProtocolError as exc:
            if is_first:
                await self._refuse(exc.error)
            else:
                self.tell(exc.error.code, exc.error.message)

    async def _await_request(self) -> None:
        await asyncio.sleep(settings.FLEET_HANDSHAKE_TIMEOUT)
        await self._refuse(HANDSHAKE_TIMEOUT)

    def _begin(self, request: ChatRequest) -> None:
        self._last_seq = request.after
        self._joining = Worker.current().runs.start_or_join(
            self._owner, request, arrived=time.perf_counter()
        )
        self._spawn(self._serve(self._joining, request))
        self._spawn(self._beat())

    def _cancel(self) -> None:
        if self._joining is not None and (self._cancelling is None or self._cancelling.done()):
            worker = Worker.current()
            # Kept by the worker: a client may cancel and go.
            self._cancelling = worker.runs.spawn(worker.cancel(self._joining))

    async def _serve(self, joining: "asyncio.Task[Run]", request: ChatRequest) -> None:
        """Follow the request's run to its end."""
        worker = Worker.current()
        try:
            self._run = await joined(joining)
            worker.sockets.add(self)
            await self._follow(worker, self._run, request.after)
        except ProtocolError as exc:
            await self._refuse(exc.error)
            return
        except DatabaseProblem as exc:
            logger.warning("a socket cannot be served: %s", exc)
            await self._refuse(STORAGE_UNAVAILABLE)
            return
        finally:
            self.served.set()
            worker.sockets.discard(self)
        await asyncio.sleep(settings.FLEET_LINGER)
        # The client closes on the terminal event; what a server's own close overtakes is lost.
        await self.close()

    async def _follow(self, worker: Worker, run: Run, after: int) -> None:
        if self._subprotocol == SUBPROTOCOL_HTML:
            self._view = AnswerView(str(run.pk))
            # Folded, so that the view knows the steps that the page has seen: later ones are drawn as parts of them.
            async with aclosing(
                worker.runs.follow(run.pk, after, compact=True, rest=self._rest)
            ) as batches:
                async for batch in batches:
                    await self._show(self._view, batch, after)
        else:
            async with aclosing(worker.runs.follow(run.pk, after, compact=False)) as batches:
                async for batch in batches:
                    for entry in batch:
                        await self._send_entry(entry, entry.payload)

    async def _show(self, view: AnswerView, batch: list[Entry], after: int) -> None:
        """Send the events behind `after` with their html."""
        started = time.thread_time()
        for entry in merge_deltas(batch):
            html = await rendered(view, entry.event)
            if entry.seq > after or entry.is_terminal or isinstance(entry.event, ResponseSnapshot):
                await self._send_entry(entry, with_html(entry.payload, html))
        if isinstance(batch[-1].event, ResponseDelta | ReasoningDelta):
            cost = time.thread_time() - started
            self._rested_at = time.monotonic() + min(
                max(FRAME_TIME, RENDER_SHARE * cost), MAX_PAUSE
            )

    async def _rest(self) -> None:
        """After a piece of an answer let pass what the reader's screen, or our processor, asks for."""
        pause = self._rested_at - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _beat(self) -> None:
        """A frame at least every few seconds, with how long the run has been silent."""
        while not self._over:
            now = time.monotonic()
            due = self._last_frame_at + settings.FLEET_HEARTBEAT
            if now < due:
                await asyncio.sleep(due - now)
            else:
                await self._send_frame(
                    self._aside(Heartbeat(data=HeartbeatData(int((now - self._heard_at) * 1000))))
                )

    @property
    def _heard_at(self) -> float:
        """When this socket's run was last heard: by an event, or by a model that is at work."""
        return max(
            self._last_event_at,
            Worker.current().runs.last_activity_at(self._run.pk) if self._run else 0,
        )

    def tell(self, code: str, message: str) -> None:
        """Show a notice to the reader; none while MAX_NOTICES wait for one that takes nothing."""
        if len(self._telling) < MAX_NOTICES:
            task = self._spawn(self._notice(code, message))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _notice(self, code: str, message: str) -> None:
        if not self._over:
            await self._send_frame(self._aside(Notice(message=message, data=NoticeData(code))))

    async def _refuse(self, error: ErrorInfo) -> None:
        """Say no in a frame that a browser can read, then close."""
        if self._over:
            return
        event = Error(error=error)
        payload = self._aside(event)
        # Before it is sent, which may take a while: nothing comes behind it.
        self._over = True
        await self._send_frame(payload)
        logger.info(event.log_line)
        await self.close(
            UNAUTHENTICATED
            if error in (NOT_SIGNED_IN, NO_SESSION)
            else CLOSE_OF.get(error.code, TRY_AGAIN_LATER)
        )

    async def _send_entry(self, entry: Entry, payload: bytes) -> None:
        if self._over:
            return
        self._last_seq = entry.seq
        self._last_event_at = time.monotonic()
        self._over = entry.is_terminal
        await self._send_frame(payload)

    def _aside(self, event: StreamEvent) -> bytes:
        """The frame of an event that belongs to this socket and not to the run: it carries the last seq and is not logged."""
        stamp(event, seq=self._last_seq, workflow_id=str(self._run.pk) if self._run else "")
        payload = encode(event)
        if self._subprotocol == SUBPROTOCOL_HTML:
            payload = with_html(payload, (self._view or AnswerView("")).render(event))
        return payload

    async def _send_frame(self, payload: bytes) -> None:
        self._last_frame_at = time.monotonic()
        await self.base_send({"type": "websocket.send", "text": payload.decode()})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) and not self._over:
            logger.error("a socket failed", exc_info=exc)
            # The client reconnects and rejoins; its run is not touched.
            self._over = True
            self._spawn(self.close(INTERNAL_ERROR))

    def _owner(self) -> Owner:
        """Who asks. Reads the database; ProtocolError(forbidden) where the session that it takes is missing."""
        cookies = parse_cookie(self._header(b"cookie").decode("latin-1"))
        owner = owner_of_cookie(
            cookies.get(settings.SESSION_COOKIE_NAME), is_browser=bool(self._header(b"origin"))
        )
        if owner is None:
            raise ProtocolError(NOT_SIGNED_IN if settings.FLEET_AUTH == "required" else NO_SESSION)
        return owner

    def _header(self, name: bytes) -> bytes:
        return next((value for key, value in self.scope["headers"] if key == name), b"")


async def joined(joining: "asyncio.Task[Run]") -> Run:
    """The run, once it is joined; ProtocolError where it takes too long, or says why it is not joined."""
    done, _ = await asyncio.wait({joining}, timeout=JOIN_TIMEOUT)
    if not done:
        raise ProtocolError(STORAGE_UNAVAILABLE)
    return joining.result()


async def rendered(view: AnswerView, event: StreamEvent) -> str:
    """The event's html. A long text is rendered beside the loop, so that it holds up nobody else."""
    match event:
        case ResponseDelta(delta=text) | ResponseCompleted(message=text) if len(text) > LONG_TEXT:
            return await asyncio.to_thread(view.render, event)
        case ResponseSnapshot() if len(event.data.text) > LONG_TEXT:
            return await asyncio.to_thread(view.render, event)
    return view.render(event)


def merge_deltas(entries: list[Entry]) -> Iterator[Entry]:
    """The same entries with runs of neighbouring answer deltas as one."""
    for is_answer, group in groupby(
        entries, key=lambda entry: isinstance(entry.event, ResponseDelta)
    ):
        deltas = list(group)
        if not is_answer or len(deltas) == 1:
            yield from deltas
        else:
            text = "".join(
                entry.event.delta for entry in deltas if isinstance(entry.event, ResponseDelta)
            )
            last = deltas[-1]
            yield entry_of(
                ResponseDelta(delta=text), seq=last.seq, run_id=UUID(last.event.workflow_id)
            )


def origin_is_ours(origin: bytes, host: bytes) -> bool:
    """Whether a page of this server opened the socket; programs, which send no Origin, may."""
    if not origin:
        return True
    # Not urlsplit(), which raises where an origin is none.
    scheme, _, place = origin.decode("latin-1").partition("://")
    for trusted in settings.CSRF_TRUSTED_ORIGINS:
        trusted_scheme, _, pattern = trusted.partition("://")
        # As Django does for the pages, where *.chat.example stands for all subdomains.
        if scheme == trusted_scheme and is_same_domain(place, pattern.removeprefix("*")):
            return True
    name, _ = split_domain_port(host.decode("latin-1"))
    allowed = settings.ALLOWED_HOSTS or ["localhost", "127.0.0.1", "[::1]"]
    return place == host.decode("latin-1") and validate_host(name, allowed)
