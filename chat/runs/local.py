"""The runs of this process: start, join, follow, cancel."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseProblem

from chat.database import BatchedCalls, in_database
from chat.models import Run, Started
from chat.owners import Owner
from chat.protocol.errors import (
    STORAGE_UNAVAILABLE,
    ProtocolError,
)
from chat.protocol.events import Connected, ConnectedData
from chat.protocol.requests import ChatRequest
from chat.protocol.terms import CANCELLED, Ending
from chat.record import Exchange
from chat.workflow.answer import Answer, Resources
from chat.workflow.question import Question
from tooling.bounded import RedisDown

from .following import follow_stored
from .log import Rest, RunLog
from .replay import Entry
from .store import LogStore
from .supervisor import ROW_RETRY_INTERVAL, Limits, LiveRun
from .telemetry import RunTelemetry

logger = logging.getLogger(__name__)
MAX_WAIT_FOR_STARTS = 0.1  # seconds that the work on an answer waits while others are being started
START_TIMEOUT = 5.0  # seconds that a request may wait for its turn in the database
JOIN_TIMEOUT = 10.0  # seconds after which a socket does not wait for its run: that turn, and as long for a lock


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
        return follow_stored(self._store, run_id, after, compact=compact, rest=rest)
