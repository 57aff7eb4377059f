"""Drive one run to its single ending, under limits."""

import asyncio
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import Error as DatabaseProblem

from chat.database import in_database
from chat.llm.errors import ModelError
from chat.models import UNSTORABLE, Outcome, Run
from chat.protocol.errors import (
    ENDING_NOT_STORED,
    IDLE_TIMEOUT,
    INTERNAL,
    MAX_RUNTIME,
    ErrorInfo,
    ProtocolError,
)
from chat.protocol.events import StreamEvent, ending_events
from chat.protocol.terms import DELETED, Ending, failed
from chat.workflow.answer import Answer
from routing.models import Routed

from .log import RunLog
from .rows import find_row, row_ending_events
from .telemetry import RunTelemetry, log_service_levels

logger = logging.getLogger(__name__)

YIELD_EVERY_N_EVENTS = 16  # shown before others get a turn
CANCEL_GRACE = 0.1  # seconds that a cancelled workflow has to close its upstream before the ending is written without it
ROW_RETRY_INTERVAL = (
    0.5  # seconds between tries to write an ending, or a cancel, while the database is away
)
ENDING_TIMEOUT = 5.0  # seconds after which followers do not wait for it any longer
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


def report_late_failure(child: "asyncio.Task[None]") -> None:
    if not child.cancelled() and (exc := child.exception()):
        logger.error("a stopped run failed afterwards", exc_info=exc)
