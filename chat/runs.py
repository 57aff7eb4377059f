"""The life of one run: started or joined, driven under limits, cancelled, and ended exactly once."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import Error as DatabaseProblem

from routing.models import Routed
from tooling.bounded import RedisDown

from .database import BatchedCalls, in_database
from .llm import ModelError
from .models import UNSTORABLE, Outcome, Run, Started
from .owners import Owner
from .protocol.errors import (
    ENDING_NOT_STORED,
    IDLE_TIMEOUT,
    INTERNAL,
    MAX_RUNTIME,
    STORAGE_UNAVAILABLE,
    ErrorInfo,
    ProtocolError,
)
from .protocol.events import Connected, ConnectedData, StreamEvent, ending_events
from .protocol.requests import ChatRequest
from .protocol.terms import CANCELLED, DELETED, Ending, failed
from .record import Exchange
from .runlog import Entry, LogStore, Rest, RunLog, Stored, compacted, renumber_ending, snapshot_of
from .telemetry import RunTelemetry, log_service_levels
from .workflow.answer import Answer, Resources
from .workflow.engine import Question

logger = logging.getLogger(__name__)

YIELD_EVERY_N_EVENTS = 16  # shown before others get a turn
CANCEL_GRACE = 0.1  # seconds that a cancelled workflow has to close its upstream before the ending is written without it
MAX_WAIT_FOR_STARTS = 0.1  # seconds that the work on an answer waits while others are being started
START_TIMEOUT = 5.0  # seconds that a request may wait for its turn in the database
JOIN_TIMEOUT = 10.0  # seconds after which a socket does not wait for its run: that turn, and as long for a lock
ROW_RETRY_INTERVAL = (
    0.5  # seconds between tries to write an ending, or a cancel, while the database is away
)
ENDING_TIMEOUT = 5.0  # seconds after which followers do not wait for it any longer
ROW_CHECK_INTERVAL = 5.0  # seconds after which a silent follower looks at the row
ROW_POLL_INTERVAL = 0.5  # seconds between looks at the row while the log is of no help


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: of a whole run, and without a sign of life."""

    runtime: float
    idle: float


class LiveRun:
    """A run that this process answers. Its supervisor is never cancelled; stopping a run ends the supervisor's child."""

    def __init__(
        self, run: Run, *, log: RunLog, answer: Answer, telemetry: RunTelemetry, limits: Limits
    ) -> None:
        self.id: UUID = run.pk
        self.worker = run.worker
        self.log = log
        self._telemetry = telemetry
        self._limits = limits
        self._stopping = asyncio.Event()
        self._reason: Ending | None = None
        self._answer = answer

    @property
    def last_activity_at(self) -> float:
        """time.monotonic() of the last sign of life: an event, or bytes of a model that are not shown."""
        return max(self.log.changed_at, self._answer.last_activity_at)

    def stop(self, reason: Ending) -> None:
        """Ask the run to end; the first reason counts, and a natural end that is already there beats it."""
        if self._reason is None:
            self._reason = reason
            self._stopping.set()

    async def supervise(self) -> None:
        """Drive the run to its single ending."""
        ending = await self._outcome()
        self._telemetry.close_phases()
        ending = msgspec.structs.replace(
            ending,
            timings=self._telemetry.timings(),
            usage=self._telemetry.usage,
            path=self._telemetry.path,
        )
        events = ending_events(ending, self.log.text)
        # A timer, and no look between two tries to write: each waits behind those of all other runs.
        giving_up = asyncio.get_running_loop().call_later(
            ENDING_TIMEOUT, self.log.fail, partial(ProtocolError, ENDING_NOT_STORED)
        )
        if not await self._record(ending, self.log.last_seq + len(events)):
            # Deliver what the row says.
            events = await self._recorded_events()
        giving_up.cancel()
        self.log.close(events)
        for event in events:
            logger.info(event.log_line)
        log_service_levels(self.id, ending.status, ending.timings)
        if settings.FLEET_LOG_CONTENT:
            logger.info(
                "run=%s question=%r answer=%r", self.id, self._answer.question.text, self.log.text
            )

    async def _outcome(self) -> Ending:
        """How the work ended: every failure becomes a value here, once."""
        child = asyncio.create_task(self._drive(), name=f"work {self.id}")
        watch = asyncio.create_task(self._watch_limits(), name=f"limits {self.id}")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({child, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not child.done():
                child.cancel()
                await asyncio.wait({child}, timeout=CANCEL_GRACE)
        finally:
            watch.cancel()
            stopping.cancel()
        if not child.done():
            logger.warning("run=%s is slow to stop; its ending does not wait for it", self.id)
            child.add_done_callback(report_late_failure)
            return self._reason or failed(INTERNAL)
        return self._ending_of(child)

    def _ending_of(self, child: "asyncio.Task[None]") -> Ending:
        if child.cancelled():
            return self._reason or failed(INTERNAL)
        match child.exception():
            case None:
                return Ending(status="completed")
            case ModelError() as exc:
                return failed(ErrorInfo(exc.code, str(exc), exc.retryable))
            case exc:
                # The last stop before the reader: the log says why, the reader sees that.
                logger.error("run=%s failed", self.id, exc_info=exc)
                return failed(INTERNAL)

    async def _drive(self) -> None:
        shown = 0
        async with aclosing(self._answer.events()) as events:
            async for event in events:
                self.show(event)
                shown += 1
                if not shown % YIELD_EVERY_N_EVENTS:
                    # A model that sends much at once must not keep followers and other runs waiting.
                    await asyncio.sleep(0)

    def show(self, event: StreamEvent) -> None:
        """Put an event into the log, where followers see it at once."""
        self._telemetry.observe(event)
        self.log.append(event)
        logger.log(
            logging.DEBUG if "delta" in type(event).__struct_fields__ else logging.INFO,
            event.log_line,
        )

    async def _watch_limits(self) -> None:
        """Stop the run at its deadline, or when nothing was heard for too long, whether or not events arrive."""
        overdue = time.monotonic() + self._limits.runtime
        while True:
            now = time.monotonic()
            idle = self.last_activity_at + self._limits.idle
            if now >= overdue:
                return self.stop(failed(MAX_RUNTIME))
            if now >= idle:
                return self.stop(failed(IDLE_TIMEOUT))
            await asyncio.sleep(min(overdue, idle) - now)

    async def _record(self, ending: Ending, last_seq: int) -> bool:
        """Write the ending into the row, for as long as it takes; False if another one stands there then."""
        whole = Outcome(
            ending=ending,
            text=self.log.text,
            model=self._answer.model,
            last_seq=last_seq,
            steps=[msgspec.to_builtins(event) for event in self.log.steps],
            phases=self._telemetry.phases,
            tool_uses=self._telemetry.tool_uses,
            routed=self._routed(),
        )
        failure = msgspec.structs.replace(ending, status="failed", error=INTERNAL)
        bare = Outcome(ending=failure, text=self.log.text, last_seq=self.log.last_seq + 1)
        for outcome in (whole, bare):
            try:
                return await self._write(outcome) and outcome is whole
            except UNSTORABLE as exc:
                logger.error(
                    "run=%s the database does not take all of its ending: %s", self.id, exc
                )
        await self._write(replace(bare, text=""))
        return False

    async def _write(self, outcome: Outcome) -> bool:
        """Write this ending, trying again while the database is away; whether the row was still live. May raise UNSTORABLE."""
        while True:
            try:
                return await in_database(Run.objects.finish, self.id, outcome, worker=self.worker)
            except UNSTORABLE:
                raise
            except DatabaseProblem as exc:
                logger.error("run=%s cannot store its ending, trying again: %s", self.id, exc)
                await asyncio.sleep(ROW_RETRY_INTERVAL)

    def _routed(self) -> Routed | None:
        route = self._answer.route
        if route is None:
            return None
        question = self._answer.question
        return Routed(
            text=question.text, mode=question.mode, route=route, escalated=self._answer.is_escalated
        )

    async def _recorded_events(self) -> list[StreamEvent]:
        """The ending that somebody else wrote, or is about to write."""
        while True:
            row = await in_database(find_row, self.id)
            if events := row_ending_events(row) if row else ending_events(DELETED, ""):
                return events
            await asyncio.sleep(ROW_POLL_INTERVAL)


def find_row(run_id: UUID) -> Run | None:
    return Run.objects.select_related("answer").filter(pk=run_id).first()


def row_ending_events(row: Run) -> list[StreamEvent]:
    """The ending that a row records, with the seqs that its run gave it; nothing while the run is live."""
    ending = row.recorded_ending
    if ending is None:
        return []
    events = ending_events(ending, row.answer.text)
    if not ending.lost:
        for seq, event in enumerate(events, row.last_seq - len(events) + 1):
            event.seq = seq
    return events


def report_late_failure(child: "asyncio.Task[None]") -> None:
    if not child.cancelled() and (exc := child.exception()):
        logger.error("a stopped run failed afterwards", exc_info=exc)


class Runs:
    """The runs of this process, and the door to everybody's."""

    def __init__(
        self,
        *,
        worker: str,
        store: LogStore,
        resources: Resources,
        on_change: Callable[[RunLog], None],
    ) -> None:
        self.live: dict[UUID, LiveRun] = {}
        self.accepting = True
        self._end_at_once: Ending | None = None
        self._worker = worker
        self._store = store
        self._resources = resources
        self._on_change = on_change
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starts: BatchedCalls[Started] = BatchedCalls()

    def start_or_join(
        self, owner: Callable[[], Owner], request: ChatRequest, *, arrived: float
    ) -> "asyncio.Task[Run]":
        """The run of this request, started if it is new. ProtocolError says why there is none.

        `owner` reads the database; `arrived` is time.perf_counter() of the request. Shield the task: a socket that goes
        away in between must not leave a row that nobody drives.
        """
        return self.spawn(self._start(owner, request, arrived))

    async def _start(self, owner: Callable[[], Owner], request: ChatRequest, arrived: float) -> Run:
        try:
            started = await self._starts.do(
                partial(self._start_in_database, owner, request, arrived)
            )
        except DatabaseProblem as exc:
            logger.error("cannot start a run: %s", exc)
            raise ProtocolError(STORAGE_UNAVAILABLE) from exc
        if started.is_new:
            self._launch(started.run, request, started.turns, arrived)
        return started.run

    def _start_in_database(
        self, owner: Callable[[], Owner], request: ChatRequest, arrived: float
    ) -> Started:
        if time.perf_counter() - arrived > START_TIMEOUT:
            # It waited behind others who waited for the database; its reader has waited long enough.
            raise ProtocolError(STORAGE_UNAVAILABLE)
        return Run.objects.start(
            owner(),
            request,
            worker=self._worker if self.accepting else None,
            lease=timedelta(seconds=settings.FLEET_LEASE_TTL),
            max_live=settings.FLEET_MAX_RUNS_PER_OWNER,
        )

    def _launch(
        self, run: Run, request: ChatRequest, turns: Sequence[Exchange], arrived: float
    ) -> None:
        question = Question(
            request.message, request.mode, request.reasoning_effort, turns, fresh=request.fresh
        )
        live = LiveRun(
            run,
            log=RunLog(run.pk, on_change=self._on_change),
            answer=Answer(question, self._resources),
            telemetry=RunTelemetry(started=arrived),
            limits=Limits(runtime=settings.FLEET_MAX_RUNTIME, idle=settings.FLEET_IDLE_TIMEOUT),
        )
        self.live[run.pk] = live
        live.show(Connected(data=ConnectedData(run.conversation_id, run.message_id)))
        if self._end_at_once:
            live.stop(self._end_at_once)
        self.spawn(self._live_through(live))

    async def _live_through(self, live: LiveRun) -> None:
        try:
            # Of many who ask at once everybody sees that his question was taken before anybody's is worked on.
            await self._starts.settle(within=MAX_WAIT_FOR_STARTS)
            await live.supervise()
            await self._store.write([live.log])
            await in_database(Run.objects.mark_closed, live.id)
        except (RedisDown, DatabaseProblem) as exc:
            logger.warning("run=%s ended, its log is closed later: %s", live.id, exc)
        finally:
            if not live.log.ending:
                # A fault of ours. The lease runs out and a reaper ends the run; until then its readers come back and ask.
                live.log.fail(partial(RuntimeError, f"run {live.id} was abandoned"))
            del self.live[live.id]

    async def cancel(self, run_id: UUID) -> str | None:
        """Cancel a run wherever it is answered; the worker to poke, if that is another one."""
        if live := self.live.get(run_id):
            live.stop(CANCELLED)
            return None
        while True:
            try:
                return await in_database(Run.objects.request_cancel, run_id)
            except DatabaseProblem as exc:
                logger.warning("run=%s cannot be cancelled yet, trying again: %s", run_id, exc)
                await asyncio.sleep(ROW_RETRY_INTERVAL)

    def spawn[T](self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Do this whatever becomes of the socket that asked for it. asyncio itself holds tasks weakly."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def end_all(self, reason: Ending) -> None:
        """Take no new runs, and end all others: those that are being started as soon as they are."""
        self.accepting = False
        self._end_at_once = reason
        for live in self.live.values():
            live.stop(reason)

    async def idle(self, *, within: float) -> None:
        """Until nothing is being started, answered, ended or cancelled here; for this many seconds at the most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._tasks:
                    await asyncio.wait(self._tasks)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if (
            not task.cancelled()
            and (exc := task.exception())
            and not isinstance(exc, ProtocolError)
        ):
            logger.error("a task of the runs failed", exc_info=exc)

    def last_activity_at(self, run_id: UUID) -> float:
        """time.monotonic() of the last sign of life of a run that is answered here; 0 of any other."""
        live = self.live.get(run_id)
        return live.last_activity_at if live else 0

    def follow(
        self, run_id: UUID, after: int, *, compact: bool, rest: Rest | None = None
    ) -> AsyncGenerator[list[Entry]]:
        """The events of a run behind `after`, in batches, to its ending.

        `compact`: begin with all steps and one snapshot that covers `after`, instead of deltas. `rest` is waited for before a
        further batch is put together.
        """
        if live := self.live.get(run_id):
            return live.log.follow(after, compact=compact, rest=rest)
        return self._follow_stored(run_id, after, compact=compact, rest=rest)

    async def _follow_stored(
        self, run_id: UUID, after: int, *, compact: bool, rest: Rest | None
    ) -> AsyncGenerator[list[Entry]]:
        """The same for a run that another process answers, or answered: from its log, or from its row where the log has a gap."""
        cursor = 0 if compact else after
        held: list[
            Entry
        ] = []  # of a compact beginning, while it does not yet cover what is stored and what the follower has seen
        wait = 0.0
        while True:
            stored = await self._read(run_id, cursor, wait=wait)
            wait = ROW_CHECK_INTERVAL
            if stored and stored.connects(cursor):
                held += stored.entries
                cursor = stored.last_seq(cursor)
                if compact and (cursor < after or stored.has_more) and not stored.ending:
                    continue
                batch = compacted(held, seen=after, run_id=run_id) if compact else held
                if stored.ending:
                    batch = [
                        *batch,
                        *renumber_ending(stored.ending, cursor=max(after, cursor), run_id=run_id),
                    ]
            else:
                batch = await self._from_row(run_id, cursor, seen=after, compact=compact)
                if not batch and (stored is None or stored.entries):
                    await asyncio.sleep(ROW_POLL_INTERVAL)
            if batch:
                yield batch
                if batch[-1].is_terminal:
                    return
                cursor, held, compact = batch[-1].seq, [], False
                if rest:
                    await rest()

    async def _read(self, run_id: UUID, cursor: int, *, wait: float) -> Stored | None:
        try:
            return await self._store.read(run_id, cursor, wait=wait)
        except RedisDown:
            return None

    async def _from_row(
        self, run_id: UUID, cursor: int, *, seen: int, compact: bool
    ) -> list[Entry]:
        """What the row knows, and a follower at `cursor` that has seen events up to `seen` does not."""
        row = await in_database(find_row, run_id)
        if row is None:
            return renumber_ending(
                ending_events(DELETED, ""), cursor=max(seen, cursor), run_id=run_id
            )
        ending = row_ending_events(row)
        if not ending:
            known = row.last_seq >= max(seen, 1) if compact else row.last_seq > cursor
            return [snapshot_of(row.text_so_far, seq=row.last_seq, run_id=run_id)] if known else []
        if ending[0].seq == 0:
            # Written for a lost run: it begins with its own snapshot, and counts on from whatever was seen.
            return renumber_ending(ending, cursor=max(seen, cursor, row.last_seq), run_id=run_id)
        before_ending = max(seen, row.last_seq - len(ending))
        if compact or cursor < before_ending:
            snapshot = snapshot_of(row.answer.text, seq=before_ending, run_id=run_id)
            return [snapshot, *renumber_ending(ending, cursor=before_ending, run_id=run_id)]
        return renumber_ending(ending, cursor=cursor, run_id=run_id)
