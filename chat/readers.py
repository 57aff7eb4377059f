"""Readers of answers: who asks, what each reader gets of a run, and when that ends.

A transport brings the request of one message, and carries the frames that answer it: a socket
(`consumers`), or a response that stays open (`pagestreams`).
"""

import asyncio
import logging
import time
from collections.abc import Collection, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

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
from .access.credentials import asker_of, bearer_of
from .access.forms import fields_of
from .access.leaving import end_when_due, tags_of
from .access.origins import header
from .access.owners import Asker, Owner
from .access.terminals import is_terminal
from .chains import earlier_than
from .database import in_database
from .entrance import SOCKET, TERMINAL_DOOR
from .frames import merge_deltas, pause_after, rendered
from .languages import language_of
from .logs import bind_run
from .models import Run
from .protocol.errors import (
    INTERNAL_ERROR,
    OTHER_ACCOUNT,
    SIGN_IN_ENDED,
    STORAGE_UNAVAILABLE,
    TOKEN_ENDED,
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
from .protocol.requests import ChatRequest, ReplyRequest
from .trace_context import TraceParent

logger = logging.getLogger(__name__)

MAX_NOTICES = 16  # that wait for a reader


class Visitor:
    """Who sends a request, as its scope tells."""

    scope: dict[str, Any]

    @cached_property
    def language(self) -> str:
        """The language of the page, which tells it; else that which the request prefers."""
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

    def check_account(self, owner: Owner) -> None:
        """Raise ProtocolError if the page was made for another account.

        A page tells whose it is. What was written there must not be asked as somebody else.
        """
        account = self.query.get("account")
        if account and account != account_tag(owner):
            raise ProtocolError(OTHER_ACCOUNT)


class Reader(Visitor):
    """The reader of one message's answer. The run goes on when the reader leaves."""

    is_html = False  # each frame brings its markup

    def __init__(self) -> None:
        super().__init__()
        self.id = uuid4().hex  # as limits count it
        self._tasks: set[asyncio.Task[None]] = set()
        self._joining: asyncio.Task[Run] | None = None
        self._cancelling: asyncio.Task[None] | None = None
        self._notices: set[asyncio.Task[None]] = set()
        self.served = asyncio.Event()
        self._request: ChatRequest | ReplyRequest | None = None
        self._run: Run | None = None
        self.tags: Collection[str] = frozenset()  # by which the reader is ended
        self._view: AnswerView | None = None
        self._admitted_by: Worker | None = None
        self._is_over = False  # a terminal or a refusal was sent, or the client disconnected
        self._next_frame_at = 0.0
        self._last_seq = 0
        self._last_event_at = self._last_frame_at = time.monotonic()
        self._frames = 0  # that were sent

    # --- The transport

    async def carry(self, payload: bytes) -> None:
        """Send a frame when there is room for it."""
        raise NotImplementedError

    async def finish(self) -> None:
        """End the connection after the terminal event."""
        raise NotImplementedError

    async def close(self, code: int) -> None:
        """End the connection after a refusal or a failure."""
        raise NotImplementedError

    # --- From the beginning to the end

    @contextmanager
    def present(self) -> Iterator[None]:
        """Count the reader while it is there. Afterwards end all that is done for it."""
        metrics.sockets_open.inc()
        try:
            yield
        finally:
            self._is_over = True
            for task in self._tasks:
                task.cancel()
            if worker := self._admitted_by:
                worker.runs.spawn(worker.admission.release_socket(self.id, self.address))
            metrics.sockets_open.dec()

    async def admit(self) -> None:
        """Let the reader in. Raise ProtocolError if there are too many."""
        worker = Worker.current()
        await worker.admission.admit_socket(self.id, self.address)
        self._admitted_by = worker

    def begin(self, request: ChatRequest | ReplyRequest) -> None:
        self._request = request
        self._last_seq = request.after
        self._joining = Worker.current().runs.start_or_join(
            self.identified,
            request,
            arrived=time.perf_counter(),
            parent=TraceParent.of(self.scope),
            entrance=TERMINAL_DOOR if is_terminal(bearer_of(self.scope)) else SOCKET,
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
        with worker.serving(self):
            try:
                self._run = await joined(joining)
                bind_run(self._run)
                await self.follow(worker, self._run, after)
            except ProtocolError as exc:
                await self.refuse(exc.error)
                return
            except DatabaseProblem as exc:
                logger.warning("cannot serve a reader: %s", exc)
                await self.refuse(STORAGE_UNAVAILABLE)
                return
        await self.finish()

    async def follow(self, worker: Worker, run: Run, after: int) -> None:
        if self.is_html:
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
        """The run that this reader follows."""
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
        """Return the frame of an event of this reader: not logged, with the run's last seq."""
        stamp(event, seq=self._last_seq, workflow_id=str(self._run.pk) if self._run else "")
        payload = encode(event)
        if self.is_html:
            with translation.override(self.language):
                payload = with_html(payload, (self._view or AnswerView("")).render(event))
        return payload

    async def send_frame(self, payload: bytes) -> None:
        self._last_frame_at = time.monotonic()
        self._frames += 1
        await self.carry(payload)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self.task_done)
        return task

    def task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) and not self._is_over:
            logger.error("a reader failed", exc_info=exc)
            # The client reconnects and rejoins. The run goes on.
            self._is_over = True
            self.spawn(self.close(INTERNAL_ERROR))

    def identified(self) -> Asker:
        """Return who asks, and note the tags by which the reader is ended. Reads the database."""
        asker = self.asker()
        self.tags = tags_of(asker, self.cookies)
        return asker

    def asker(self) -> Asker:
        """Return who asks. Raise ProtocolError if it is nobody who may. Reads the database."""
        assert self._request is not None
        asker = asker_of(self.scope, self.cookies, self._request)
        self.check_account(asker.owner)
        return asker
