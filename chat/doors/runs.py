"""Runs over HTTP: asking, following with Server-Sent Events, and the rows of runs."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid4

import msgspec
from msgspec import Meta, Struct

from chat.database import read_in_database
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.errors import ErrorInfo, ProtocolError
from chat.protocol.events import Error, Notice, ResponseSnapshot, StreamEvent, encode, stamp
from chat.protocol.payloads import NoticeData
from chat.protocol.requests import MAX_SEQ, ChatRequest, ReplyRequest
from chat.runs.local import joined
from chat.runs.replay import Entry
from chat.runs.rows import is_past_ending
from chat.runs.worker import Worker
from chat.trace_context import TraceParent

from .addresses import address, id_in, moment_in, unfit, unknown
from .calls import Call, Reply, Response, Route
from .errors import ErrorObject, Refusal
from .records import (
    RunCancelled,
    RunDetail,
    RunPage,
    RunStarted,
    RunStatus,
    detail_of,
    row_of,
    status_of,
)
from .sse import PING, message, retry
from .streams import EVENT_STREAM, Stream, Whole

MAX_RUNS = 100  # of one page
RECONNECT_MS = 1000  # until a reader that lost its connection comes back
CANCEL_TIMEOUT = 5.0  # seconds until a cancel is confirmed that is still being stored
LAST_EVENT_ID = "last-event-id"
TAG = "runs"
UNLISTED = (
    "Programs without a token have no lists. Make a token at /account/tokens/ or with manage.py"
    " token create, and send it in the header Authorization: Bearer fleet_…"
)


class RunRequest(ChatRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question, as the first frame of a socket has it.

    Send a `message_id` to be able to send the same request again: it then joins the run that the
    first one started. Without one, each request asks anew. `after` is for rejoining.
    """

    message_id: UUID = msgspec.field(default_factory=uuid4)


class EventsAsked(Struct, frozen=True):
    """From where a run is followed.

    `after` is the last seq that the reader has; the header Last-Event-ID counts before it.
    `wait=done` answers once the run has ended, with one JSON object.
    """

    after: Annotated[int, Meta(ge=0, le=MAX_SEQ)] = 0
    wait: Literal["", "done"] = ""


class RunsAsked(Struct, frozen=True):
    """Which runs are listed. `before` is the `started_at` of the last run of a page."""

    conversation: UUID | None = None
    status: RunStatus | None = None
    before: Annotated[datetime, Meta(tz=True)] | None = None


class Events:
    """The events of a run as Server-Sent Events: each as on the socket, its seq as the id."""

    def __init__(self, run_id: UUID, after: int) -> None:
        self._run_id = run_id
        self._seq = after
        self._opening = retry(RECONNECT_MS)

    def events(self, batch: Sequence[Entry]) -> bytes:
        pieces = [self._begun()]
        for entry in batch:
            pieces.append(message(entry.payload, id=str(self._id_of(entry, batch))))
        self._seq = batch[-1].seq
        return b"".join(pieces)

    def beat(self, silent_ms: int) -> bytes:
        return self._begun() + PING

    def notice(self, code: str, message: str) -> bytes:
        return self._aside(Notice(message=message, data=NoticeData(code)))

    def refusal(self, error: ErrorInfo) -> bytes:
        return self._aside(Error(error=error))

    def _id_of(self, entry: Entry, batch: Sequence[Entry]) -> int:
        # The ending of a run that lost its worker has no place of its own: each follower gets it
        # behind what it has. This cursor is behind all of them.
        return MAX_SEQ if entry.is_terminal and is_placeless(batch) else entry.seq

    def _aside(self, event: StreamEvent) -> bytes:
        """Return an event of this response, not of the run: no cursor points at it."""
        stamp(event, seq=self._seq, workflow_id=str(self._run_id))
        return self._begun() + message(encode(event))

    def _begun(self) -> bytes:
        opening, self._opening = self._opening, b""
        return opening


def is_placeless(batch: Sequence[Entry]) -> bool:
    """Return True if a run's ending may be one that was written for its lost worker.

    It begins with a snapshot. Others may also come behind one, to which that does no harm.
    """
    return any(isinstance(entry.event, ResponseSnapshot) for entry in batch[-3:-1])


async def ask(call: Call) -> Response:
    """The run goes on whatever its readers do. A known message_id joins the run that it started."""
    request: ChatRequest | ReplyRequest = call.body
    run = await joined(
        Worker.current().runs.start_or_join(
            lambda: call.who,
            request,
            arrived=call.arrived,
            parent=TraceParent.of(call.scope),
            entrance=Entrance("events"),
        )
    )
    if EVENT_STREAM in call.header("accept"):
        return following(call, run, request.after)
    place = address(call, f"/api/v1/runs/{run.pk}")
    started = RunStarted(run=run.pk, conversation=run.conversation_id, events=f"{place}/events")
    return Reply(started, status=201, headers={**named(run), "location": place})


async def events(call: Call) -> Response:
    """With `wait=done`, the whole run is answered once it has ended, which may take minutes."""
    asked: EventsAsked = call.query
    run = await read_in_database(run_of, call)
    if asked.wait:
        return await ended(call, run)
    return following(call, run, cursor_of(call, asked))


def following(call: Call, run: Run, after: int) -> Response:
    """Return the events of a run behind a cursor; 204 if there are none left.

    Browsers connect again behind the end of a stream. Only 204 stops them.
    """
    if is_past_ending(run, after):
        return Reply(status=204, headers=named(run))
    return Stream(call, run, Events(run.pk, after), after=after, headers=named(run))


async def ended(call: Call, run: Run) -> Reply:
    """Return the run once it has ended."""
    if run.ended_at is None:
        reading = Whole(call, run)
        await reading.follow()
        run = await read_in_database(run_of, call)
        last = reading.events[-1].event
        if run.ended_at is None and isinstance(last, Error):
            raise ProtocolError(last.error)  # The database couldn't store the ending.
    return Reply(await read_in_database(detail_of, run), headers=named(run))


async def detail(call: Call) -> Reply:
    return Reply(await read_in_database(lambda: detail_of(run_of(call))))


async def listed(call: Call) -> Reply:
    return Reply(await read_in_database(page_of, call))


async def cancel(call: Call) -> Reply:
    """The stream of the run ends with `cancelled` and `done`, on whatever worker it is."""
    run = await read_in_database(run_of, call)
    worker = Worker.current()
    # A task of the worker, because a client may disconnect before it is done.
    cancelling = worker.runs.spawn(worker.cancel_run(run.pk))
    await asyncio.wait({cancelling}, timeout=CANCEL_TIMEOUT)
    return Reply(RunCancelled(run=run.pk, status=status_of(run)), status=202)


def run_of(call: Call) -> Run:
    """Return the run that the path names. Raise Refusal if it isn't the asker's."""
    found = Run.objects.filter(owner=str(call.who.owner), pk=id_in(call, "run"))
    run = found.select_related("question", "answer").first()
    if run is None:
        raise unknown("run")
    return run


def page_of(call: Call) -> RunPage:
    check_has_lists(call)
    asked: RunsAsked = call.query
    found = Run.objects.filter(owner=str(call.who.owner)).order_by("-created_at")
    if asked.conversation:
        found = found.filter(conversation=asked.conversation)
    if asked.status:
        found = found.filter(status=asked.status)
    if before := moment_in(asked.before):
        found = found.filter(created_at__lt=before)
    page = list(found.defer("steps", "text_so_far", "told", "instructions")[: MAX_RUNS + 1])
    rows = [row_of(run) for run in page[:MAX_RUNS]]
    following = None
    if len(page) > MAX_RUNS:
        following = address(
            call,
            "/api/v1/runs",
            conversation=str(asked.conversation or ""),
            status=asked.status,
            before=rows[-1].started_at,
        )
    return RunPage(runs=rows, next=following)


def check_has_lists(call: Call) -> None:
    """Raise Refusal for a program without a token, which shares its owner with others."""
    if call.who.owner.kind == "script":
        raise Refusal(403, ErrorObject(UNLISTED, "permission_error", "token_needed"))


def cursor_of(call: Call, asked: EventsAsked) -> int:
    """Return the last seq that the reader has. Raise Refusal if its header is no number."""
    text = call.header(LAST_EVENT_ID)
    if not text:
        return asked.after
    # int() also reads other digits than these.
    if text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= MAX_SEQ:
        return int(text)
    raise unfit("Last-Event-ID", f"it is between 0 and {MAX_SEQ:,}")


def named(run: Run) -> dict[str, str]:
    return {"fleet-run": str(run.pk)}


ROUTES = (
    Route(
        "POST",
        "/api/v1/runs",
        ask,
        "Ask a question, or reply to a run that has paused.",
        "ask",
        body=RunRequest,
        other_body=ReplyRequest,
        gives=RunStarted,
        status=201,
        streams="With Accept: text/event-stream, the events of the run follow at once.",
        tag=TAG,
    ),
    Route(
        "GET",
        "/api/v1/runs",
        listed,
        "List runs, the newest first.",
        "read",
        query=RunsAsked,
        gives=RunPage,
        tag=TAG,
    ),
    Route(
        "GET",
        "/api/v1/runs/{run:uuid}",
        detail,
        "Show a run with its texts, sources and steps.",
        "read",
        gives=RunDetail,
        tag=TAG,
    ),
    Route(
        "GET",
        "/api/v1/runs/{run:uuid}/events",
        events,
        "Follow a run to its end.",
        "ask",
        query=EventsAsked,
        gives=RunDetail,
        nothing="The reader has seen the ending.",
        streams="The run's events; `id` is the seq, and `data` the event as on the socket.",
        tag=TAG,
    ),
    Route(
        "POST",
        "/api/v1/runs/{run:uuid}/cancel",
        cancel,
        "Cancel a run on any worker; one that is over stays as it is.",
        "ask",
        gives=RunCancelled,
        status=202,
        tag=TAG,
    ),
)
