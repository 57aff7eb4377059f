"""The socket of one message: start or join the run of its request, and pass on its events."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import aclosing
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID, uuid4

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.http import QueryDict
from django.http.cookie import parse_cookie
from django.utils import translation

from chat.rendering.answer import AnswerView
from chat.runs.local import joined
from chat.runs.replay import Entry
from chat.runs.worker import Worker
from chat.telemetry import metrics

from .access.addresses import address_of
from .access.browsers import account_tag
from .access.credentials import asker_of, token_of
from .access.forms import fields_of
from .access.leaving import end_when_due, tags_of
from .access.origins import header, refusal_of
from .access.owners import Asker
from .chains import earlier_than
from .database import in_database
from .frames import merge_deltas, pause_after, rendered
from .languages import language_of
from .logs import bind_run
from .models import Run
from .protocol.errors import (
    HANDSHAKE_TIMEOUT,
    INTERNAL_ERROR,
    MAX_REQUEST_CHARS,
    OTHER_ACCOUNT,
    SIGN_IN_ENDED,
    STORAGE_UNAVAILABLE,
    TOKEN_ENDED,
    TOO_LARGE,
    ErrorInfo,
    ProtocolError,
    close_code_of,
)
from .protocol.events import (
    Error,
    Heartbeat,
    Notice,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
    encode,
    stamp,
    with_html,
)
from .protocol.payloads import HeartbeatData, NoticeData
from .protocol.requests import ChatRequest, ReplyRequest, parse_command, parse_request
from .protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from .trace_context import HEADER, TraceParent

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("chat.access")

REQUEST_TIMEOUT = 15.0  # seconds until the first frame. A page sends it at once
LINGER = 10.0  # seconds between an ending and a close by the server. Clients close before
MAX_NOTICES = 16  # that wait for a reader


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """One WebSocket per message. It follows a run; the run goes on when the socket disconnects."""

    # With a channel layer of its own an idle socket would die with Redis. Commands to other
    # workers go through the Worker's listener.
    channel_layer_alias: ClassVar[None] = None

    def __init__(self) -> None:
        super().__init__()
        self.id = uuid4().hex  # as limits count it
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshake: asyncio.Task[None] | None = None
        self._joining: asyncio.Task[Run] | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._notices: set[asyncio.Task[None]] = set()
        self.served = asyncio.Event()
        self._request: ChatRequest | ReplyRequest | None = None
        self._run: Run | None = None
        self.tags: frozenset[str] = frozenset()  # by which the socket is ended
        self._view: AnswerView | None = None
        self._admitted_by: Worker | None = None
        self._is_over = False  # a terminal or a refusal was sent, or the client disconnected
        self._next_frame_at = 0.0
        self._last_seq = 0
        self._opened_at = self._last_event_at = self._last_frame_at = time.monotonic()
        self._frames = 0  # that were sent
        self._close_code: int | None = None  # None if no close arrived

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        metrics.sockets_open.inc()
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Channels skips disconnect() after an error in a handler.
            self._is_over = True
            for task in self._tasks:
                task.cancel()
            if worker := self._admitted_by:
                worker.runs.spawn(worker.admission.release_socket(self.id, self.address))
            metrics.sockets_open.dec()
            self.log_end()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message.

        Channels' own method first closes old database connections in a thread that all sockets
        share. This consumer holds no connection, so it saves the trip.
        """
        match message["type"]:
            case "websocket.connect":
                await self.connect()
            case "websocket.receive":
                await self.receive(message.get("text"), message.get("bytes"))
            case "websocket.disconnect":
                self._close_code = message.get("code")
                raise StopConsumer

    async def connect(self) -> None:
        offered = self.scope["subprotocols"]
        self._subprotocol = next(
            (name for name in offered if name in (SUBPROTOCOL_HTML, SUBPROTOCOL_JSON)), None
        )
        await self.accept(self._subprotocol)
        # Before anything else is done for the socket.
        worker = Worker.current()
        try:
            await worker.admission.admit_socket(self.id, self.address)
            self._admitted_by = worker
        except ProtocolError as exc:
            await self.refuse(exc.error)
            return
        if refusal := refusal_of(self.scope, shows_token=token_of(self.scope) is not None):
            await self.refuse(refusal)
        else:
            self._handshake = self.spawn(self.await_request())

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle a frame without waiting.

        Channels reads the next frame, perhaps a cancel, only after this returns.
        """
        if self._is_over:
            return
        is_first = self._handshake is not None
        try:
            if text_data and len(text_data) > MAX_REQUEST_CHARS:
                raise ProtocolError(TOO_LARGE)
            if self._handshake is not None:
                self._handshake.cancel()
                self._handshake = None
                self.begin(parse_request(text_data))
            else:
                parse_command(text_data)
                self.cancel()
        except ProtocolError as exc:
            if is_first:
                await self.refuse(exc.error)
            else:
                self.tell(exc.error.code, exc.error.message)

    async def await_request(self) -> None:
        await asyncio.sleep(REQUEST_TIMEOUT)
        await self.refuse(HANDSHAKE_TIMEOUT)

    def begin(self, request: ChatRequest | ReplyRequest) -> None:
        self._request = request
        self._last_seq = request.after
        self._joining = Worker.current().runs.start_or_join(
            self.identified,
            request,
            arrived=time.perf_counter(),
            parent=TraceParent.parse(header(self.scope, HEADER).encode("latin-1")),
        )
        self.spawn(self.serve(self._joining, request.after))
        self.spawn(self.beat())
        self.spawn(end_when_due(self))

    def cancel(self) -> None:
        if self._joining is not None and (self._cancelling is None or self._cancelling.done()):
            worker = Worker.current()
            # A task of the worker, because a client may cancel and disconnect.
            self._cancelling = worker.runs.spawn(worker.cancel(self._joining))

    async def serve(self, joining: "asyncio.Task[Run]", after: int) -> None:
        """Follow the run of the request to its end."""
        worker = Worker.current()
        worker.sockets.add(self)
        try:
            self._run = await joined(joining)
            bind_run(self._run)
            await self.follow(worker, self._run, after)
        except ProtocolError as exc:
            await self.refuse(exc.error)
            return
        except DatabaseProblem as exc:
            logger.warning("cannot serve a socket: %s", exc)
            await self.refuse(STORAGE_UNAVAILABLE)
            return
        finally:
            self.served.set()
            worker.sockets.discard(self)
        await asyncio.sleep(LINGER)
        # The client closes on the terminal event. A close by the server would overtake, and lose,
        # frames that are still on their way.
        await self.close()

    async def follow(self, worker: Worker, run: Run, after: int) -> None:
        if self._subprotocol == SUBPROTOCOL_HTML:
            # Around all of it, because it is the task's own context: deltas don't pay for it.
            with translation.override(self.language):
                await self.follow_shown(worker, run, after)
        else:
            async with aclosing(worker.runs.follow(run.pk, after, compact=False)) as batches:
                async for batch in batches:
                    for entry in batch:
                        await self.send_entry(entry, entry.payload)

    async def follow_shown(self, worker: Worker, run: Run, after: int) -> None:
        earlier = await in_database(earlier_than, run) if run.continues_id else None
        self._view = AnswerView(
            str(run.pk),
            earlier=earlier,
            started_at=run.created_at,
            model_asked=run.model_asked,
        )
        # Compact, so that the view knows the steps that the page has: it draws later steps as parts
        # of them.
        async with aclosing(
            worker.runs.follow(run.pk, after, compact=True, rest=self.rest)
        ) as batches:
            async for batch in batches:
                await self.show(self._view, batch, after)

    async def show(self, view: AnswerView, batch: list[Entry], after: int) -> None:
        """Send the events after the seq `after` with their html."""
        started = time.thread_time()
        for entry in merge_deltas(batch):
            html = await rendered(view, entry.event)
            if entry.seq > after or entry.is_terminal or isinstance(entry.event, ResponseSnapshot):
                await self.send_entry(entry, with_html(entry.payload, html))
        if isinstance(batch[-1].event, ResponseDelta | ReasoningDelta):
            cost = time.thread_time() - started
            self._next_frame_at = time.monotonic() + pause_after(cost)

    async def rest(self) -> None:
        """Wait until the next frame is due. Deltas that arrive meanwhile become one frame."""
        pause = self._next_frame_at - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)

    async def beat(self) -> None:
        """Send a heartbeat whenever no frame was sent for FLEET_HEARTBEAT seconds."""
        while not self._is_over:
            now = time.monotonic()
            due = self._last_frame_at + settings.FLEET_HEARTBEAT
            if now < due:
                await asyncio.sleep(due - now)
            else:
                await self.send_frame(
                    self.aside(
                        Heartbeat(data=HeartbeatData(int((now - self.last_activity_at) * 1000)))
                    )
                )

    def end(self) -> None:
        """Send a refusal and close; send nothing else."""
        is_tokens = any(tag.startswith("token:") for tag in self.tags)
        self.spawn(self.refuse(TOKEN_ENDED if is_tokens else SIGN_IN_ENDED))

    @property
    def run_id(self) -> UUID | None:
        """The run that this socket follows."""
        return self._run.pk if self._run else None

    @property
    def last_activity_at(self) -> float:
        """time.monotonic() of the run's last event, or of the last bytes of its model."""
        return max(
            self._last_event_at,
            Worker.current().runs.last_activity_at(self._run.pk) if self._run else 0,
        )

    def tell(self, code: str, message: str) -> None:
        """Send a notice. Drop it if MAX_NOTICES wait for a reader that takes nothing."""
        if len(self._notices) < MAX_NOTICES:
            task = self.spawn(self.send_notice(code, message))
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)

    async def send_notice(self, code: str, message: str) -> None:
        if not self._is_over:
            await self.send_frame(self.aside(Notice(message=message, data=NoticeData(code))))

    async def refuse(self, error: ErrorInfo) -> None:
        """Send the error as a frame, which a browser can read, and close."""
        if self._is_over:
            return
        event = Error(error=error)
        payload = self.aside(event)
        # Set before the frame is sent, which may take a while: no frame may follow it.
        self._is_over = True
        await self.send_frame(payload)
        metrics.refused(error.code)
        logger.info(event.log_line)
        await self.close(close_code_of(error))

    async def send_entry(self, entry: Entry, payload: bytes) -> None:
        if self._is_over:
            return
        self._last_seq = entry.seq
        self._last_event_at = time.monotonic()
        self._is_over = entry.is_terminal
        await self.send_frame(payload)

    def aside(self, event: StreamEvent) -> bytes:
        """Return the frame of an event of this socket: not logged, with the run's last seq."""
        stamp(event, seq=self._last_seq, workflow_id=str(self._run.pk) if self._run else "")
        payload = encode(event)
        if self._subprotocol == SUBPROTOCOL_HTML:
            with translation.override(self.language):
                payload = with_html(payload, (self._view or AnswerView("")).render(event))
        return payload

    async def send_frame(self, payload: bytes) -> None:
        self._last_frame_at = time.monotonic()
        self._frames += 1
        await self.base_send({"type": "websocket.send", "text": payload.decode()})

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self.task_done)
        return task

    def task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) and not self._is_over:
            logger.error("a socket failed", exc_info=exc)
            # The client reconnects and rejoins. The run goes on.
            self._is_over = True
            self.spawn(self.close(INTERNAL_ERROR))

    def log_end(self) -> None:
        """Log one line for the socket, when it has ended."""
        if self._run:
            bind_run(self._run)
        duration_ms = round((time.monotonic() - self._opened_at) * 1000, 1)
        access_logger.info(
            "socket code=%s %.1f ms %d frames",
            *(self._close_code or "-", duration_ms, self._frames),
            extra={
                "close_code": self._close_code,
                "duration_ms": duration_ms,
                "frames": self._frames,
            },
        )

    def identified(self) -> Asker:
        """Return who asks, and note the tags by which the socket is ended. Reads the database."""
        asker = self.asker()
        self.tags = tags_of(asker, self.cookies)
        return asker

    def asker(self) -> Asker:
        """Return who asks. Raise ProtocolError if it is nobody who may. Reads the database."""
        assert self._request is not None
        asker = asker_of(self.scope, self.cookies, self._request)
        # A page tells whose it is. What was written there must not be asked as somebody else.
        account = self.query.get("account")
        if account and account != account_tag(asker.owner):
            raise ProtocolError(OTHER_ACCOUNT)
        return asker

    @cached_property
    def language(self) -> str:
        """The language of the page, which tells it; else that which the handshake prefers."""
        return language_of(
            self.query.get("language", ""),
            cookies=self.cookies,
            accepted=header(self.scope, b"accept-language"),
        )

    @cached_property
    def cookies(self) -> dict[str, str]:
        return parse_cookie(header(self.scope, b"cookie"))

    @property
    def address(self) -> str:
        return address_of(self.scope)

    @property
    def query(self) -> QueryDict:
        return fields_of(self.scope.get("query_string", b""))
