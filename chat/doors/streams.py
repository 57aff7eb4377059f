"""Following a run for one HTTP request: as a stream, or until it has ended."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Literal, Protocol
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseProblem

from chat.access.leaving import end_when_due
from chat.access.owners import Asker
from chat.logs import bind_run
from chat.models import Run
from chat.protocol.errors import STORAGE_UNAVAILABLE, TOKEN_ENDED, ErrorInfo, ProtocolError
from chat.protocol.events import Error, ReasoningDelta, ResponseDelta
from chat.runs.replay import Entry
from chat.runs.worker import Worker
from chat.telemetry import metrics

from .calls import Call, ClientGone
from .errors import Refusal, refusal_of
from .sse import PING

logger = logging.getLogger(__name__)

MAX_PART = 8 * 1024  # bytes of events that are rendered at once; a longer event is one part
EVENT_STREAM = "text/event-stream"
# Proxies such as nginx would keep pieces back to send them together.
STREAM_HEADERS = {"content-type": f"{EVENT_STREAM}; charset=utf-8", "x-accel-buffering": "no"}


# Which events of a run are read. live: those in memory, with snapshots in place of old deltas;
# compact: all steps so far and one snapshot, then the rest; every: all, however late they are read;
# stored: all that are in Redis, and so none that would be lost with this process.
type Reads = Literal["live", "compact", "every", "stored"]


class Rendering(Protocol):
    """Turns the events of one run into the body of one response.

    It knows no socket and no rows: what it returns follows from what it was given.
    """

    def events(self, batch: Sequence[Entry]) -> bytes:
        """Return what these events add to the body; perhaps nothing."""

    def beat(self, silent_ms: int) -> bytes:
        """Return what shows that the connection lives; `silent_ms` since the run's last event."""
        return PING

    def notice(self, code: str, message: str) -> bytes:
        """Return what tells the reader something about the server; perhaps nothing."""
        return b""

    def refusal(self, error: ErrorInfo) -> bytes:
        """Return what ends the body if the run can't be followed to its ending."""


class Follower:
    """Reads the events of one run for one call, until the run ends or the client leaves."""

    def __init__(
        self,
        call: Call,
        run: Run,
        *,
        after: int = 0,
        reads: Reads = "live",
        on_leave: Callable[[], None] | None = None,
    ) -> None:
        """`on_leave` is called if the client leaves before the run has ended."""
        self.call = call
        self.run = run
        self.after = after
        self.reads = reads
        self.on_leave = on_leave
        self.tags: Collection[str] = call.tags
        self.served = asyncio.Event()
        self.is_over = False  # the ending was read
        self.last_event_at = time.monotonic()
        self._following: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusal: ErrorInfo | None = None

    @property
    def run_id(self) -> UUID | None:
        return self.run.pk

    @property
    def silent_ms(self) -> int:
        """Milliseconds since the run's last event, or since the last bytes of its model."""
        active = Worker.current().runs.last_activity_at(self.run.pk)
        return int((time.monotonic() - max(self.last_event_at, active)) * 1000)

    def identified(self) -> Asker:
        """Return who asks, and set the tags. Raise ProtocolError. Reads the database."""
        self.call.identify()
        self.tags = self.call.tags
        return self.call.who

    def tell(self, code: str, message: str) -> None:
        """Show a notice to the reader, if the door has a place for it."""

    def end(self) -> None:
        """Let the reader get nothing more: its token counts no longer."""
        self.stop(TOKEN_ENDED)

    def stop(self, error: ErrorInfo) -> None:
        """End with this refusal."""
        self._refusal = error
        if self._following:
            self._following.cancel()

    async def take(self, batch: Sequence[Entry]) -> None:
        """Do something with the run's next events."""
        raise NotImplementedError

    async def follow(self) -> None:
        """Follow the run to its end.

        Raise ClientGone if the client leaves, and ProtocolError if the run can't be followed.
        """
        worker = Worker.current()
        bind_run(self.run)
        try:
            with worker.serving(self):
                self._following = self.spawn(self._read(worker))
                leaving = self.spawn(self.call.gone())
                if self.call.asker and self.call.asker.token_id:  # only a token may end
                    self.spawn(end_when_due(self))
                await asyncio.wait({self._following, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if not self._following.done():
                    raise ClientGone
                self._result()
        except DatabaseProblem as exc:
            logger.warning("cannot serve a program: %s", exc)
            raise ProtocolError(STORAGE_UNAVAILABLE) from exc
        finally:
            for task in self._tasks:
                task.cancel()
            if not self.is_over and self.on_leave:
                self.on_leave()

    def _result(self) -> None:
        assert self._following
        if self._refusal:
            raise ProtocolError(self._refusal)
        self._following.result()

    async def _read(self, worker: Worker) -> None:
        runs, run_id = worker.runs, self.run.pk
        match self.reads:
            case "stored":
                events = runs.follow_stored(run_id, self.after)
            case "every":
                events = runs.follow_every(run_id, self.after)
            case "live" | "compact":
                events = runs.follow(run_id, self.after, compact=self.reads == "compact")
        async with aclosing(events) as batches:
            async for batch in batches:
                self.last_event_at = time.monotonic()
                self.is_over = batch[-1].is_terminal
                await self.take(batch)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Stream(Follower):
    """A response that goes on as its run does.

    `hold`: seconds for which the head may wait for the first words, so that a run that fails at
    once is answered with the status of its error.
    """

    def __init__(
        self,
        call: Call,
        run: Run,
        rendering: Rendering,
        *,
        after: int = 0,
        reads: Reads = "live",
        hold: float = 0,
        headers: Mapping[str, str] | None = None,
        on_leave: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(call, run, after=after, reads=reads, on_leave=on_leave)
        self.rendering = rendering
        self.hold = hold
        self.headers = {**STREAM_HEADERS, **(headers or {})}
        self._held: list[bytes] | None = []  # what waits for the head; None once that is sent
        self._last_piece_at = time.monotonic()

    async def respond(self, call: Call) -> None:
        if call.is_head:
            await self.begin()
            await call.write(b"", is_last=True)
            return
        if not self.hold:
            await self.begin()
        self.spawn(self.beat())
        try:
            with metrics.streams_open.labels(call.route.path).track_inprogress():
                await self.follow()
        except ProtocolError as exc:
            if not call.has_begun:
                raise
            await call.write(self.rendering.refusal(exc.error))
        await call.write(b"", is_last=True)

    async def take(self, batch: Sequence[Entry]) -> None:
        if self._held is not None and isinstance(ending := batch[-1].event, Error):
            raise refusal_of_run(ending)
        for part in parts_of(batch):
            piece = self.rendering.events(part)
            is_worth_the_head = part[-1].is_terminal or any(has_words(entry) for entry in part)
            if self._held is not None and not is_worth_the_head:
                self._held.append(piece)
                continue
            await self.begin()
            await self.write(piece)

    def tell(self, code: str, message: str) -> None:
        if self._held is None:
            self.spawn(self.send_notice(code, message))

    async def send_notice(self, code: str, message: str) -> None:
        # Rendered only now: it carries the seq of what was sent before it. Nothing follows the
        # ending.
        if not self.is_over:
            await self.write(self.rendering.notice(code, message))

    async def begin(self) -> None:
        """Send the head and what has waited for it."""
        if self._held is None:
            return
        held, self._held = self._held, None
        await self.call.begin(200, self.headers)
        # Even if nothing was held: the head leaves with the first piece.
        await self.call.write(b"".join(held))

    async def write(self, piece: bytes) -> None:
        if piece:
            self._last_piece_at = time.monotonic()
            await self.call.write(piece)

    async def beat(self) -> None:
        """Send the head when it is due, and then a beat after each FLEET_HEARTBEAT of silence."""
        if self._held is not None:
            await asyncio.sleep(self.hold)
            await self.begin()
        while True:
            now = time.monotonic()
            due = self._last_piece_at + settings.FLEET_HEARTBEAT
            if now < due:
                await asyncio.sleep(due - now)
            else:
                await self.write(self.rendering.beat(self.silent_ms))


class Whole(Follower):
    """Reads a run to its end before anything is answered. `events` has all of them then."""

    def __init__(
        self,
        call: Call,
        run: Run,
        *,
        reads: Reads = "compact",
        on_leave: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(call, run, reads=reads, on_leave=on_leave)
        self.events: list[Entry] = []

    async def take(self, batch: Sequence[Entry]) -> None:
        self.events.extend(batch)


def parts_of(batch: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield these events as parts of which each reader may keep one while it has no room."""
    start = size = 0
    for number, entry in enumerate(batch):
        size += len(entry.payload)
        if size > MAX_PART and number > start:
            yield batch[start:number]
            start, size = number, len(entry.payload)
    yield batch[start:]


def refusal_of_run(ending: Error) -> Refusal:
    """Return a run's failure as a whole response. SDKs ask again only if no word was written."""
    return refusal_of(ending.error, may_retry=not ending.data.usage.output_tokens)


def has_words(entry: Entry) -> bool:
    return isinstance(entry.event, ResponseDelta | ReasoningDelta)
