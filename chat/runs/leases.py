"""Renew the leases of this worker's runs, find runs that lost their worker, and close logs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import Error as DatabaseProblem
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.functions import Now

from chat.database import in_database
from chat.deadlines import MAX_UNCLAIMED
from chat.models import Run
from chat.protocol.terms import CANCELLED
from chat.telemetry import metrics
from chat.telemetry.traces import TracedRun
from chat.trace_context import RunTrace
from tooling.bounded import RedisDown

from .rows import row_ending_events
from .store import LogStore
from .supervisor import LiveRun
from .takeover import MAX_DEATHS, LostRun

if TYPE_CHECKING:
    from chat.telemetry.otlp import Traces

logger = logging.getLogger(__name__)

ROUNDS_PER_LEASE = 8  # times that a lease is renewed, and lost runs are looked for, while it lasts
CHECKS_BEFORE_CLAIM = 3  # that find the same lease; one renewal between them may fail or be late
MAX_LEASE_FACTOR = 3  # times the own lease; a longer one was written before a clock was set back
MAX_REPAIRS = 50  # logs that are closed in one round


class Leases:
    """The leases of one worker's runs, and its checks of the leases of all others."""

    def __init__(
        self,
        *,
        worker: str,
        ttl: timedelta,
        live: Mapping[UUID, LiveRun],
        claim: Callable[[LostRun], Awaitable[None]],
        store: LogStore,
        traces: "Traces | None" = None,
    ) -> None:
        self.worker = worker
        self.ttl = ttl
        self.live = live
        self.claim = claim
        self.store = store
        self.traces = traces
        # In how many checks in a row each suspect was found. The clock alone can't tell a lost
        # worker: when it jumps, all leases look expired, or far too long. But a live worker
        # rewrites its leases between the checks, so only the same lease found again is evidence.
        self.checks: dict[LostRun, int] = {}

    async def keep(self) -> None:
        """Renew leases and look for lost runs for as long as the worker lives."""
        while True:
            await self.do_round()
            await asyncio.sleep(self.ttl.total_seconds() / ROUNDS_PER_LEASE)

    async def do_round(self) -> None:
        """Renew leases, claim lost runs and close logs. Log if the database or Redis fails."""
        try:
            await self.renew()
            await self.look_for_lost_runs()
            await self.close_logs()
        except DatabaseProblem as exc:
            # A worker that can't renew its own leases can't tell whether others are late.
            self.checks.clear()
            logger.warning("%s could not renew its leases: %s", self.worker, exc)
        except RedisDown as exc:
            logger.debug("logs of ended runs stay open until Redis answers: %s", exc)

    async def renew(self) -> None:
        """Renew the leases of live runs and store their progress.

        Stop runs that another worker has cancelled or taken over.
        """
        running = {pk: run for pk, run in self.live.items() if not run.log.ending}
        if not running:
            return
        progress = [run.progress for run in running.values()]
        held = await in_database(Run.objects.renew, self.worker, progress, self.ttl)
        for pk, run in running.items():
            if pk not in held:
                # Another worker has taken the run over or has ended it, or it was deleted.
                run.leave()
            elif held[pk]:
                run.stop(CANCELLED)

    async def look_for_lost_runs(self) -> None:
        """Claim the runs whose lease was the same suspect one in enough checks, or end them."""
        suspects = await in_database(self.find_suspects)
        self.checks = {suspect: self.checks.get(suspect, 0) + 1 for suspect in suspects}
        for suspect, checks in self.checks.items():
            if suspect.run_id in self.live:
                # This worker was taken for dead, and has not stopped the work yet.
                continue
            if checks < CHECKS_BEFORE_CLAIM and not suspect.is_ownerless:
                continue
            if suspects[suspect]:
                await self.end(suspect)
            else:
                await self.claim(suspect)

    async def end(self, lost: LostRun) -> None:
        """End a lost run, unless its lease has changed meanwhile."""
        row = await in_database(reap, lost)
        if row is None:
            return
        logger.warning("run=%s ended: its worker %s is lost", row.pk, row.worker)
        if self.traces:
            self.traces.export(lost_run(row, self.traces))
        if ending := row.recorded_ending:
            metrics.run_ended(ending, spans=())
        # Without Redis, close_logs() closes the log later. Look after the next lost run now.
        with suppress(RedisDown):
            await self.close_log(row)

    def find_suspects(self) -> dict[LostRun, bool]:
        """Return the live runs, of any worker, whose lease has expired or is too long.

        Each has True if no worker should go on with it: it was cancelled, too many workers died of
        it, or no worker claimed it in time.
        """
        too_long = Run.objects.live().filter(
            lease_expires_at__gt=Now() + MAX_LEASE_FACTOR * self.ttl
        )
        given_up = Q(cancel_requested_at__isnull=False) | Q(
            lease_expires_at__lt=Now() - MAX_UNCLAIMED
        )
        rows = (
            (Run.objects.expired() | too_long)
            .annotate(given_up=ExpressionWrapper(given_up, output_field=BooleanField()))
            .order_by("lease_expires_at")
            .values_list("pk", "worker", "epoch", "lease_expires_at", "deaths", "given_up")
        )
        found = [(LostRun(*columns), is_given_up) for *columns, is_given_up in rows]
        return {
            lost: is_given_up or (lost.has_died and lost.deaths >= MAX_DEATHS)
            for lost, is_given_up in found
        }

    async def close_logs(self) -> None:
        """Add the ending to the logs of ended runs that still lack it. May raise RedisDown."""
        unclosed = Run.objects.unclosed().select_related("answer")[:MAX_REPAIRS]
        for row in await in_database(list, unclosed):
            await self.close_log(row)

    async def close_log(self, row: Run) -> None:
        await self.store.write_ending(row.pk, row_ending_events(row))
        await in_database(Run.objects.mark_closed, row.pk)


def lost_run(row: Run, traces: "Traces") -> TracedRun:
    """Return what the trace of a lost run is made of: hardly more than its times and its ending."""
    assert row.recorded_ending
    assert row.ended_at
    return TracedRun(
        # The span that the request named is not known any more: the run has no parent.
        trace=traces.trace_of(RunTrace(row.pk, row.trace_id or row.pk.hex)),
        ending=row.recorded_ending,
        started_ns=int(row.created_at.timestamp() * 1e9),
        ended_ns=int(row.ended_at.timestamp() * 1e9),
        conversation_id=row.conversation_id,
        mode=row.mode,
        epoch=row.epoch,
        continues=row.continues_id,
    )


def reap(lost: LostRun) -> Run | None:
    """End a lost run and return its row. Return None if it isn't as it was found any more."""
    lease = Run.objects.live().filter(**lost.row)
    # A lease that is too long hasn't expired, and only expired ones are reaped: shorten it first.
    if not lease.update(lease_expires_at=Now() - timedelta(seconds=1)):
        return None
    return Run.objects.reap(lost.run_id)
