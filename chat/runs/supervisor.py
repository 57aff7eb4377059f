"""Drive one run to its single ending, under limits."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import Error as DatabaseProblem

from chat.access.owners import is_operator
from chat.access.spending import DayUse
from chat.clock import Clock
from chat.database import in_database, reason_of
from chat.deadlines import Deadlines
from chat.llm.errors import ModelError
from chat.models import UNSTORABLE, Run
from chat.protocol.errors import (
    ENDING_NOT_STORED,
    IDLE_TIMEOUT,
    INTERNAL,
    MAX_RUNTIME,
    ErrorInfo,
    ProtocolError,
)
from chat.protocol.events import RoutingDecided, StreamEvent, ending_events, stored
from chat.protocol.payloads import ModelCall
from chat.protocol.terms import CANCELLED, DELETED, Ending, Summary, failed, paused
from chat.record import Outcome
from chat.spans import all_spans
from chat.telemetry import metrics
from chat.telemetry.levels import log_verdict
from chat.telemetry.recorder import Recorder
from chat.telemetry.traces import TracedRun
from chat.trace_context import RunTrace
from chat.workflow.answer import Answer, Resources
from chat.workflow.memory import Memory, Moved, Paused, Withdrawn
from chat.workflow.question import Question
from routing.models import Routed
from tooling.bounded import RedisDown

from .journal import JournalWriter, RunJournal
from .log import RunLog
from .rows import find_row, row_state
from .store import LogStore

logger = logging.getLogger(__name__)

# All in seconds.
CANCEL_GRACE = 0.1  # for a cancelled workflow to close its upstream before the ending is written
ROW_RETRY_INTERVAL = 0.5  # between tries to write an ending or a cancel
OWNER_TIMEOUT = 1.0  # for the database to say whether a run's owner may read advice
ENDING_TIMEOUT = 5.0  # for the database to take an ending; then followers stop waiting

NOTHING = Memory()


class LiveRun:
    """A run that this process answers.

    Its supervisor is never cancelled; stopping a run cancels the supervisor's child.

    Another worker may take the run over, because this one has handed it over or was taken for dead.
    Then the work stops here, and no ending is written.
    """

    def __init__(
        self,
        run: Run,
        question: Question,
        resources: Resources,
        *,
        log: RunLog,
        journals: JournalWriter,
        arrived: float,
        limits: Deadlines,
        trace: RunTrace,
        memory: Memory = NOTHING,
        before: Summary | None = None,
    ) -> None:
        """Go on with a run of which `before` are the figures, if it has any."""
        self.id: UUID = run.pk
        self.owner = run.owner
        self.asker = run.asker
        self.conversation_id = run.conversation_id
        self.worker = run.worker
        self.epoch = run.epoch
        self.continues = run.continues_id
        self.deaths = run.deaths
        self.log = log
        self.trace = trace
        self.journal = RunJournal(run, journals, on_moved=self.leave)
        self.recorder = Recorder(Clock(arrived))
        # The workflow won't tell the route again. Other figures of paused runs are their own.
        for event in memory.told[: memory.inherited]:
            if isinstance(event, RoutingDecided):
                self.recorder.observe(event)
        if before:
            told = memory.told[memory.inherited :]
            self.recorder.resume(told, before, worked_s=run.worked_s)
        self.answer = Answer(
            question,
            resources,
            self.tell,
            clock=self.recorder.clock,
            trace=trace,
            journal=self.journal,
            memory=memory,
            worked_s=run.worked_s,
        )
        self.limits = limits
        self._worked_before = run.worked_s
        self.began = time.perf_counter() if before else arrived
        self._is_working = True
        self.is_leaving = False  # the work has stopped, and another worker may go on
        self._stopping = asyncio.Event()
        self._reason: Ending | None = None

    def tell(self, event: StreamEvent) -> None:
        """Put an event into the log, where followers see it at once."""
        if not self.log.append(event):
            return
        self.recorder.observe(event)
        is_delta = "delta" in type(event).__struct_fields__
        logger.log(logging.DEBUG if is_delta else logging.INFO, event.log_line)

    @property
    def calls(self) -> list[ModelCall]:
        """The model calls so far. One that has not ended counts as cut."""
        return [call.data for call in self.answer.work.calls]

    @property
    def summary(self) -> Summary:
        """The run's figures so far."""
        return self.recorder.summary(self.calls)

    @property
    def worked_here_s(self) -> float:
        """Seconds that this worker has spent on the run."""
        return time.perf_counter() - self.began

    @property
    def worked_s(self) -> float:
        """Seconds that workers have spent on the run."""
        return self._worked_before + self.worked_here_s

    @property
    def progress(self) -> Run:
        """The columns of the run's row that a renewal stores."""
        return Run(
            pk=self.id,
            epoch=self.epoch,
            last_seq=self.log.last_seq,
            text_so_far=self.log.text,
            summary_so_far=msgspec.to_builtins(self.summary),
            worked_s=self.worked_s,
        )

    @property
    def last_activity_at(self) -> float:
        """time.monotonic() of the last event, or of a model's last bytes that were not shown."""
        return max(self.log.changed_at, self.answer.work.last_activity_at)

    def stop(self, reason: Ending) -> None:
        """Ask the run to end. The first reason counts, unless the work has ended already."""
        if self._reason is None and not self.is_leaving:
            self._reason = reason
            self.recorder.note_stop()
            self._stopping.set()

    def leave(self) -> None:
        """Stop the work, but not the run: another worker has it, or may take it.

        Nothing more is told. A step that is cut here isn't cut for readers.
        """
        if self._reason is None and self._is_working:
            self.is_leaving = True
            self.log.stop()
            self._stopping.set()

    async def supervise(self, store: LogStore) -> Ending | None:
        """Drive the run to its single ending, and return it.

        Return None if another process goes on with it or wrote its ending. A run that was deleted
        meanwhile has the ending DELETED, which no row stores.
        """
        ending = await self.outcome()
        self._is_working = False
        if ending is None:
            await self.release(store)
            return await self.deleted()
        if ending.status != "paused":
            self.journal.close()
        # A step that is slow to stop may tell nothing more: the row will store how many events
        # there were.
        self.answer.work.close()
        ending = self.recorder.ending(ending, self.calls)
        events = ending_events(ending, self.log.text)
        # A timer, not a look at the clock between two tries: each try waits behind those of all
        # other runs.
        giving_up = asyncio.get_running_loop().call_later(
            ENDING_TIMEOUT, self.log.fail, partial(ProtocolError, ENDING_NOT_STORED)
        )
        recorded = await self.record(ending, self.log.last_seq + len(events))
        giving_up.cancel()
        if recorded is None:
            return await self.deleted()
        if recorded is not ending:
            # The row lacks details: deliver what it says.
            events = list((await in_database(row_state, self.id)).ending)
        self.log.close(events)
        for event in events:
            logger.info(event.log_line)
        self.count(recorded)
        if settings.FLEET_LOG_CONTENT:
            question = self.answer.question.text
            logger.info("run=%s question=%r answer=%r", self.id, question, self.log.text)
        return recorded

    async def release(self, store: LogStore) -> None:
        """Let another worker go on with the run, if none has it yet."""
        try:
            await self.journal.flush()
        except (Moved, DatabaseProblem) as exc:
            logger.debug("run=%s steps may be done again: %s", self.id, exc)
        self.journal.close()
        with suppress(RedisDown):
            await store.write([self.log])
        try:
            await in_database(Run.objects.release, self.worker, self.progress)
        except DatabaseProblem as exc:
            logger.warning("run=%s goes on when its lease expires: %s", self.id, reason_of(exc))

    async def deleted(self) -> Ending | None:
        """Return the ending of a run that was deleted; None if its row exists."""
        if await in_database(find_row, self.id):
            return None
        ending = self.recorder.ending(DELETED, self.calls)
        self.log.close(ending_events(ending, ""))
        # No other process can count what it cost.
        self.count(ending)
        await in_database(DayUse.objects.add, self.asker, ending.usage, ending.cost)
        return ending

    def count(self, ending: Ending) -> None:
        """Report the figures of the run. The process that stores the ending does this."""
        metrics.run_ended(ending, all_spans(self.recorder.events))
        log_verdict(ending)

    def traced_run(self, ending: Ending) -> TracedRun:
        """Return what the run's trace is made of."""
        started_ns = time.time_ns() - int(self.recorder.clock.ms * 1e6)
        return TracedRun(
            trace=self.trace,
            ending=ending,
            started_ns=started_ns,
            ended_ns=started_ns + int((ending.timings.total_ms or 0) * 1e6),
            conversation_id=self.conversation_id,
            mode=self.answer.question.mode,
            epoch=self.epoch,
            continues=self.continues,
            measured=self.recorder.events,
            steps=self.log.steps,
            question=self.answer.question.text,
            answer=self.log.text,
        )

    async def outcome(self) -> Ending | None:
        """Return how the work ended: here, and only here, failures become values.

        Return None if it was stopped because the run goes on elsewhere.
        """
        child = asyncio.create_task(self.answer.write(), name=f"work {self.id}")
        watch = asyncio.create_task(self.watch_limits(), name=f"limits {self.id}")
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({child, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not child.done():
                return await self.stop_child(child)
        finally:
            watch.cancel()
            stopping.cancel()
        return await self.ending_of(child)

    async def stop_child(self, child: "asyncio.Task[None]") -> Ending | None:
        """Cancel the work and return the reason, even if the work fails while it stops."""
        child.cancel()
        await asyncio.wait({child}, timeout=CANCEL_GRACE)
        if not child.done():
            logger.warning("run=%s is slow to stop; its ending does not wait for it", self.id)
        # Called at once if the child is done.
        child.add_done_callback(log_late_failure)
        return self._reason

    async def ending_of(self, child: "asyncio.Task[None]") -> Ending | None:
        failure = None if child.cancelled() else child.exception()
        error = await self.error_for_owner(failure) if isinstance(failure, ModelError) else None
        # Only now: another worker may have got the run while the database was asked.
        if self.is_leaving:
            log_late_failure(child)
            return None
        if child.cancelled():
            logger.error("run=%s cancelled itself", self.id)
            return failed(INTERNAL)
        if error:
            return failed(error)
        match failure:
            case None:
                return self.answer.completed
            case Paused():
                return paused(self.answer.work.asks)
            case Withdrawn():
                return CANCELLED
            case exc:
                # The last stop before the reader: the log has the reason, the reader a message.
                logger.error("run=%s failed", self.id, exc_info=exc)
                return failed(INTERNAL)

    async def error_for_owner(self, failure: ModelError) -> ErrorInfo:
        """Return what the run's readers get of a failure: its advice only if they run the fleet."""
        message = str(failure)
        if failure.advice and await self.is_operators():
            message = f"{message} {failure.advice}"
        wait = msgspec.UNSET if failure.wait is None or not failure.retryable else failure.wait
        return ErrorInfo(failure.code, message, failure.retryable, wait)

    async def is_operators(self) -> bool:
        """Return True if an operator asked. Don't wait long for the database to tell."""
        try:
            async with asyncio.timeout(OWNER_TIMEOUT):
                return await in_database(is_operator, self.owner)
        except (TimeoutError, DatabaseProblem):
            return False

    async def watch_limits(self) -> None:
        """Stop the run at its deadline, or after a silence, even if no event ever arrives."""
        overdue = time.monotonic() + self.limits.runtime - self._worked_before
        while True:
            now = time.monotonic()
            idle = self.last_activity_at + self.limits.idle
            if now >= overdue:
                return self.stop(failed(MAX_RUNTIME))
            if now >= idle:
                return self.stop(failed(IDLE_TIMEOUT))
            await asyncio.sleep(min(overdue, idle) - now)

    # --- The ending in the row

    async def record(self, ending: Ending, last_seq: int) -> Ending | None:
        """Write the ending into the row, however long that takes.

        Return the ending as it was written; None if another process has the run or has ended it.
        """
        whole = Outcome(
            ending=ending,
            text=self.log.text,
            model=self.answer.model,
            last_seq=last_seq,
            steps=[stored(event) for event in self.log.steps],
            routed=self.routed(),
            worked_s=self.worked_s,
            has_journal=self.journal.has_rows,
        )
        # What can't be stored may be in what it asks.
        failure = msgspec.structs.replace(
            ending, status="failed", error=INTERNAL, asks=[], waiting=[]
        )
        bare = replace(
            whole,
            ending=failure,
            last_seq=self.log.last_seq + 1,
            model="",
            steps=(),
            routed=None,
        )
        # A database that rejects a value would reject it for ever, so store less each time.
        for outcome in (whole, bare):
            try:
                return outcome.ending if await self.write(outcome) else None
            except UNSTORABLE as exc:
                logger.error(
                    "run=%s the database rejected the ending; storing it without details: %s",
                    self.id,
                    reason_of(exc),
                )
        return failure if await self.write(replace(bare, text="")) else None

    async def write(self, outcome: Outcome) -> bool:
        """Write this ending, and try again while the database is unavailable.

        Return True if the row was still live. Raise one of UNSTORABLE if a value is rejected.
        """
        while True:
            try:
                if outcome.ending.status == "paused":
                    await self.journal.flush()
                return await in_database(
                    Run.objects.finish, self.id, outcome, worker=self.worker, epoch=self.epoch
                )
            except Moved:
                return False
            except UNSTORABLE:
                raise
            except DatabaseProblem as exc:
                logger.error(
                    "run=%s cannot store its ending, trying again: %s", self.id, reason_of(exc)
                )
                await asyncio.sleep(ROW_RETRY_INTERVAL)

    def routed(self) -> Routed | None:
        answer = self.answer
        if answer.route is None or answer.question.mode == "plain":
            return None
        return Routed(
            text=answer.question.text,
            mode=answer.question.mode,
            route=answer.route,
            escalated=answer.is_escalated,
        )


def log_late_failure(child: "asyncio.Task[None]") -> None:
    if not child.cancelled() and (exc := child.exception()):
        logger.error("a stopped run failed afterwards", exc_info=exc)
