"""Start, join, follow and cancel runs."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import Error as DatabaseProblem

from chat.access.limits import Bound
from chat.access.owners import Asker
from chat.database import BatchedCalls, in_database, read_in_database, reason_of
from chat.entrance import SOCKET, Entrance
from chat.logs import bind_run
from chat.models import Run
from chat.protocol.errors import STORAGE_UNAVAILABLE, ProtocolError
from chat.protocol.events import StreamEvent
from chat.protocol.requests import ChatRequest, ReplyRequest
from chat.protocol.terms import CANCELLED, Ending, Summary
from chat.telemetry import metrics
from chat.trace_context import RunTrace, TraceParent
from chat.workflow.answer import Resources
from tooling.bounded import RedisDown

from .admission import Admission, Newcomer, newcomer_of
from .asides import Asides
from .comparing import Comparisons
from .continuing import Beginning, beginning_of
from .following import follow_stored
from .journal import JournalWriter
from .log import Rest, RunLog
from .replay import Entry, Transcript
from .store import LogStore
from .summaries import Summaries
from .supervisor import ROW_RETRY_INTERVAL, LiveRun
from .titles import Titles

if TYPE_CHECKING:
    from chat.telemetry.otlp import Traces

logger = logging.getLogger(__name__)
MAX_WAIT_FOR_STARTS = 0.2  # seconds that a new run waits while others are being started
START_TIMEOUT = 5.0  # seconds that a request may wait in the queue for the database
# Seconds that a socket waits for its run: START_TIMEOUT in the queue and 5 s for a database lock.
JOIN_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Start:
    """A run that may begin, if the rows agree: `unchecked` has the bounds that they must keep."""

    asker: Asker
    request: ChatRequest | ReplyRequest
    run_id: UUID
    unchecked: Sequence[Bound]
    arrived: float
    parent: TraceParent | None
    entrance: Entrance


class Runs:
    """The runs that this process drives. Runs of other processes can be followed and cancelled."""

    def __init__(
        self,
        *,
        worker: str,
        store: LogStore,
        resources: Resources,
        journals: JournalWriter,
        admission: Admission,
        on_change: Callable[[RunLog], None],
        config: str,
        traces: "Traces | None" = None,
    ) -> None:
        self.live: dict[UUID, LiveRun] = {}
        self.gone: set[UUID] = set()  # runs that go on elsewhere
        self.accepting = True
        self._end_at_once: Ending | None = None
        self._journals = journals
        self._admission = admission
        self._worker = worker
        self._store = store
        self._resources = resources
        self._on_change = on_change
        self._config = config  # digest of what is in force here
        self._traces = traces
        # Summaries take minutes, and no chat gets its title later.
        self._asides = [Asides(resources.models) for _ in (Titles, Summaries)]
        for_titles, for_summaries = self._asides
        self._titles, self._summaries = Titles(for_titles), Summaries(for_summaries)
        self.comparisons = Comparisons(resources)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._starts: BatchedCalls[Beginning | Run] = BatchedCalls()

    def start_or_join(
        self,
        asker: Callable[[], Asker],
        request: ChatRequest | ReplyRequest,
        *,
        arrived: float,
        parent: TraceParent | None = None,
        entrance: Entrance = SOCKET,
    ) -> "asyncio.Task[Run]":
        """Return a task for the run of this request, which starts the run if it is new.

        The task raises ProtocolError if the request is refused. `asker` reads the database;
        `arrived` is the request's time.perf_counter(), `parent` its traceparent. Shield the task:
        cancelling it because the socket disconnects would leave a row that no process drives.
        """
        return self.spawn(self._start(asker, request, arrived, parent, entrance))

    async def _start(
        self,
        asker: Callable[[], Asker],
        request: ChatRequest | ReplyRequest,
        arrived: float,
        parent: TraceParent | None,
        entrance: Entrance,
    ) -> Run:
        if isinstance(request, ChatRequest) and request.model:
            # A worker that has just started doesn't know yet which models there are.
            await self._resources.models.first_look(request.model)
        try:
            known = await read_in_database(known_run, asker, request, entrance)
            if isinstance(known, Run):
                return known
            found = await self._start_within_limits(known, request, arrived, parent, entrance)
        except DatabaseProblem as exc:
            logger.error("cannot start a run: %s", reason_of(exc))
            raise ProtocolError(STORAGE_UNAVAILABLE) from exc
        if isinstance(found, Run):
            return found
        self._launch(found, arrived, parent)
        return found.run

    async def _start_within_limits(
        self,
        newcomer: Newcomer,
        request: ChatRequest | ReplyRequest,
        arrived: float,
        parent: TraceParent | None,
        entrance: Entrance,
    ) -> Beginning | Run:
        run_id = uuid4()
        unchecked = await self._admission.admit_run(run_id, newcomer.bounds)
        start = Start(newcomer.asker, request, run_id, unchecked, arrived, parent, entrance)
        found = None
        try:
            found = await self._starts.do(partial(self._start_in_database, start))
        finally:
            if newcomer.bounds and not isinstance(found, Beginning):
                self.spawn(self._admission.give_back(run_id, newcomer.bounds))
        return found

    def _start_in_database(self, start: Start) -> Beginning | Run:
        """Return what a new run begins with, or the run that the request already has."""
        if time.perf_counter() - start.arrived > START_TIMEOUT:
            # The request waited behind others for the database. Don't make its reader wait longer.
            raise ProtocolError(STORAGE_UNAVAILABLE)
        started = Run.objects.start(
            start.asker,
            start.request,
            run_id=start.run_id,
            unchecked=start.unchecked,
            worker=self._worker if self.accepting else None,
            lease=timedelta(seconds=settings.FLEET_LEASE_TTL),
            parent=start.parent,
            entrance=start.entrance,
            config=self._config,
        )
        # The same id: this very start was stored, and the answer of the database was lost.
        if not started.is_new and started.run.pk != start.run_id:
            return started.run
        is_first = isinstance(start.request, ChatRequest) and start.request.is_first
        return beginning_of(started.run, is_first=is_first)

    def _launch(self, beginning: Beginning, arrived: float, parent: TraceParent | None) -> None:
        run = beginning.run
        # The run's tasks are started from here, so they inherit these.
        bind_run(run)
        log = RunLog(run.pk, on_change=self._on_change)
        trace = RunTrace(run.pk, run.trace_id, parent)
        live = self._live(beginning, log, arrived, trace)
        metrics.run_started(beginning.question.mode)
        for event in beginning.events:
            live.tell(event)
        self._begin(live)

    def resume(
        self,
        beginning: Beginning,
        *,
        earlier: Transcript | None,
        opening: Sequence[StreamEvent],
        before: Summary,
        arrived: float,
    ) -> None:
        """Go on with a run of another worker, which this one has claimed.

        `earlier` has the events of earlier epochs, `opening` the first ones of the new epoch, and
        `before` the figures by then. `arrived` is the time.perf_counter() of the run's start.
        """
        run = beginning.run
        log = RunLog(run.pk, on_change=self._on_change, epoch=run.epoch, earlier=earlier)
        trace = RunTrace(run.pk, run.trace_id or run.pk.hex)
        live = self._live(beginning, log, arrived, trace, before)
        for event in opening:
            live.log.append(event)
            logger.info(event.log_line)
        if run.cancel_requested_at:
            live.stop(CANCELLED)
        self._begin(live)

    def _live(
        self,
        beginning: Beginning,
        log: RunLog,
        arrived: float,
        trace: RunTrace,
        before: Summary | None = None,
    ) -> LiveRun:
        return LiveRun(
            beginning.run,
            beginning.question,
            self._resources,
            log=log,
            journals=self._journals,
            arrived=arrived,
            limits=settings.FLEET_DEADLINES,
            trace=self._traces.trace_of(trace) if self._traces else trace,
            memory=beginning.memory,
            before=before,
        )

    def _begin(self, live: LiveRun) -> None:
        self.live[live.id] = live
        self.gone.discard(live.id)
        metrics.runs_live.set(len(self.live))
        self.comparisons.note(is_idle=False)
        if self._end_at_once:
            live.stop(self._end_at_once)
        elif not self.accepting:
            live.leave()
        self.spawn(self._live_through(live))

    async def _live_through(self, live: LiveRun) -> None:
        """Drive the run to its ending, complete its log in Redis, and forget it."""
        try:
            # Send `connected` to every waiting request before the first answer takes the CPU.
            await self._starts.settle(within=MAX_WAIT_FOR_STARTS)
            ending = await live.supervise(self._store)
            if ending is None:
                self.gone.add(live.id)
                return
            if self._traces:
                self._traces.export(live.traced_run(ending))
            await self._store.write([live.log])
            await in_database(Run.objects.mark_closed, live.id)
            if self.accepting:
                self._titles.consider(live, ending)
                self._summaries.consider(live, ending)
                self.comparisons.consider(live, ending)
        except (RedisDown, DatabaseProblem) as exc:
            # The flusher still has the log, and the lease keeper closes logs from their rows.
            logger.warning("run=%s ended, but its log is completed later: %s", live.id, exc)
        finally:
            if not live.log.ending:
                # Another worker has the run, or takes it over soon. After a bug it does so when the
                # lease expires.
                live.log.move(partial(follow_stored, self._store, live.id))
            del self.live[live.id]
            metrics.runs_live.set(len(self.live))
            self.comparisons.note(is_idle=not self.live)

    async def cancel(self, run_id: UUID) -> str | None:
        """Cancel a run. Return the worker to notify, if another one drives the run."""
        live = self.live.get(run_id)
        if live and not live.is_leaving:
            live.stop(CANCELLED)
            return None
        while True:
            try:
                return await in_database(Run.objects.request_cancel, run_id)
            except DatabaseProblem as exc:
                logger.warning("run=%s cannot be cancelled yet, trying again: %s", run_id, exc)
                await asyncio.sleep(ROW_RETRY_INTERVAL)

    def spawn[T](self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` as a task that outlives the socket. Keep a reference: asyncio's is weak."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_failure)
        return task

    def end_all(self, reason: Ending) -> None:
        """Refuse new runs and end all others, including those that are still being started."""
        self.accepting = False
        for asides in self._asides:
            asides.stop()
        self.comparisons.stop()
        self._end_at_once = reason
        for live in self.live.values():
            live.stop(reason)

    def hand_over(self, *, all_runs: bool) -> None:
        """Refuse new runs, and let other workers go on with the live ones.

        Unless it is `all_runs`, keep those whose answer is being streamed.
        """
        self.accepting = False
        for asides in self._asides:
            asides.stop()
        self.comparisons.stop()
        for live in self.live.values():
            if all_runs or not live.answer.work.is_answering:
                live.leave()

    async def idle(self, *, within: float) -> None:
        """Wait until this process has no tasks left, for at most `within` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self._tasks:
                    await asyncio.wait(self._tasks)
                await self.comparisons.stopped()

    def last_activity_at(self, run_id: UUID) -> float:
        """Return the time.monotonic() when a run was last active; 0 if it isn't driven here."""
        live = self.live.get(run_id)
        return live.last_activity_at if live else 0

    def was_started_at(self, arrived: float, run_id: UUID) -> bool:
        """Return True if the request that arrived then has started this run, which is live here."""
        live = self.live.get(run_id)
        return live is not None and live.began == arrived

    def follow(
        self, run_id: UUID, after: int, *, compact: bool, rest: Rest | None = None
    ) -> AsyncGenerator[list[Entry]]:
        """Yield the events of a run behind `after`, in batches, up to its terminal event.

        Arguments as in `RunLog.follow`.
        """
        if live := self.live.get(run_id):
            return live.log.follow(after, compact=compact, rest=rest)
        return follow_stored(self._store, run_id, after, compact=compact, rest=rest)

    async def follow_every(self, run_id: UUID, after: int) -> AsyncGenerator[list[Entry]]:
        """Yield every event of a run behind `after`, in batches, up to its terminal event.

        Old ones that are no longer in memory are read in Redis. Only if they are gone there, too, a
        snapshot takes their place.
        """
        seen = after
        if live := self.live.get(run_id):
            async with aclosing(live.log.follow(after, compact=False)) as batches:
                async for batch in batches:
                    if not live.log.transcript.has_all_behind(seen):
                        break
                    yield batch
                    seen = batch[-1].seq
                    if batch[-1].is_terminal:
                        return
        async with aclosing(self.follow_stored(run_id, seen)) as batches:
            async for batch in batches:
                yield batch

    def follow_stored(self, run_id: UUID, after: int) -> AsyncGenerator[list[Entry]]:
        """Yield every event behind `after` once it is in Redis, some 50 ms late.

        If this process dies, another one has all that its reader has seen.
        """
        return follow_stored(self._store, run_id, after, compact=False)


async def joined(joining: "asyncio.Task[Run]") -> Run:
    """Return the run when it is joined. Raise ProtocolError if it is refused or takes too long."""
    done, _ = await asyncio.wait({joining}, timeout=JOIN_TIMEOUT)
    if not done:
        raise ProtocolError(STORAGE_UNAVAILABLE)
    return joining.result()


def known_run(
    asker: Callable[[], Asker], request: ChatRequest | ReplyRequest, entrance: Entrance
) -> Run | Newcomer:
    """Return the run that a request already has, or who asks for a new one."""
    who = asker()
    if entrance.digest:
        # Its message_id was made for this very request, so no run has it.
        known = Run.objects.repeated(who.owner, entrance)
    else:
        known = Run.objects.known_run(who.owner, request)
    return known or newcomer_of(who, request)


def log_failure(task: "asyncio.Task[Any]") -> None:
    # The socket reports a ProtocolError to its client.
    if task.cancelled() or isinstance(task.exception(), ProtocolError):
        return
    if exc := task.exception():
        logger.error("a background task failed", exc_info=exc)
