"""Go on with runs that lost their worker.

A worker claims the row, which shuts the old worker out of the database, and fences the log, which
shuts it out of Redis. Then nothing that the old one still does can reach a reader, and what readers
have seen is known. The new epoch opens with it, and the workflow goes on from the results in the
journal.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from django.db import Error as DatabaseProblem
from django.db import transaction
from django.utils import timezone

from chat.database import in_database
from chat.logs import bind_run
from chat.models import DIED, Run
from chat.protocol.events import (
    AgentComplete,
    AgentStart,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    Resumed,
    StreamEvent,
    is_cut_end,
)
from chat.protocol.payloads import ResumedData, SnapshotData
from chat.protocol.terms import Summary, Timings
from chat.starts import RELEASED
from chat.telemetry import metrics
from tooling.bounded import BREAKER, RedisDown
from tooling.decoding import UNREADABLE_JSON

from .continuing import Beginning, taken_over
from .local import Runs
from .replay import Entry, Transcript, opens_epoch
from .store import LogStore

logger = logging.getLogger(__name__)

LOG_TRIES = 2  # to read a log. Without it, all steps are told again.
MAX_DEATHS = 2  # A run whose worker dies after so many claims after a death is not claimed again.
PROBATION = 10.0  # seconds after which a run that had killed workers counts as harmless


@dataclass(frozen=True, slots=True)
class LostRun:
    """A run that may have lost its worker, as its row was found."""

    run_id: UUID
    worker: str
    epoch: int
    lease_expires_at: datetime  # if it is expired or too long
    deaths: int = 0

    @property
    def row(self) -> Mapping[str, object]:
        """The columns that a worker that is alive would have changed meanwhile."""
        found = {"pk": self.run_id, "worker": self.worker, "epoch": self.epoch}
        # A run without a worker changes only with its epoch. Its lease is the database's Now(),
        # which SQLite stores in a form that equals no parameter.
        return found if self.is_ownerless else {**found, "lease_expires_at": self.lease_expires_at}

    @property
    def is_ownerless(self) -> bool:
        """True if it is certain that no worker has the run."""
        return self.worker in (RELEASED, DIED)

    @property
    def has_died(self) -> bool:
        """True if its worker didn't hand it over."""
        return self.worker != RELEASED


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that this worker has claimed, with all that the database knows of it."""

    beginning: Beginning
    silent_ms: float

    @property
    def run(self) -> Run:
        return self.beginning.run


class Recalled:
    """What readers have seen of a run. Without a log, only the text is known."""

    def __init__(self, run: Run, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.transcript = Transcript(run.pk) if entries else None
        if self.transcript:
            for entry in entries:
                self.transcript.add(entry)
        self.text = self.transcript.text if self.transcript else run.text_so_far
        self.told: list[StreamEvent] = [
            entry.event
            for entry in entries
            if not isinstance(entry.event, ResponseDelta | ReasoningDelta)
            # The workflow doesn't tell the opening of an epoch.
            and not (isinstance(entry.event, ResponseSnapshot) and opens_epoch(entry.seq))
            and not is_cut_end(entry.event)
        ]


class Takeovers:
    """Claims runs for one worker."""

    def __init__(
        self, runs: Runs, store: LogStore, *, worker: str, ttl: timedelta, config: str
    ) -> None:
        self.is_on = True
        self._runs = runs
        self._store = store
        self._worker = worker
        self._ttl = ttl
        self._config = config

    async def claim(self, lost: LostRun) -> None:
        """Claim a lost run and go on with it, unless another worker is quicker.

        A run of which two workers have died gets its last chance while this worker has no other of
        that kind, or has had it for a while: if it kills this one, too, the others don't lose
        theirs.
        """
        is_last_chance = lost.deaths + lost.has_died >= MAX_DEATHS
        if not self.is_on or not self._runs.accepting:
            return
        if is_last_chance and any(
            run.deaths >= MAX_DEATHS and run.worked_here_s < PROBATION
            for run in self._runs.live.values()
        ):
            return
        claimed = await in_database(claim, lost, self._worker, self._ttl, self._config)
        if claimed is None:
            return
        why: metrics.TakeoverReason = "died" if lost.has_died else "handed_over"
        logger.warning("run=%s goes on here, epoch=%d why=%s", lost.run_id, claimed.run.epoch, why)
        metrics.taken_over(why)
        going_on = self._runs.spawn(self.go_on(claimed))
        if is_last_chance:
            await asyncio.wait({going_on})

    async def go_on(self, claimed: Claimed) -> None:
        """Find out what readers have seen, tell them that the run goes on, and go on with it."""
        run = claimed.run
        bind_run(run)
        recalled = await self.recall(run)
        known = claimed.beginning.memory
        memory = replace(known, told=[*known.told, *recalled.told], text=recalled.text)
        self._runs.resume(
            replace(claimed.beginning, memory=memory),
            earlier=recalled.transcript,
            opening=opening(claimed, recalled),
            before=with_first_times(run.recorded_summary, run.created_at, recalled.entries),
            arrived=time.perf_counter() - (timezone.now() - run.created_at).total_seconds(),
        )

    async def recall(self, run: Run) -> Recalled:
        """Return what readers have seen, after which they see nothing more of earlier epochs."""
        for _ in range(LOG_TRIES):
            try:
                if not await self._store.fence(run.pk, run.epoch) and await in_database(holds, run):
                    # The database was restored from a backup, or a replica that lacks the last
                    # transactions has taken over.
                    logger.warning("run=%s its log is of a later time than its row", run.pk)
                    await self._store.drop(run.pk)
                    await self._store.fence(run.pk, run.epoch)
                return Recalled(run, await self._store.read_all(run.pk))
            except (RedisDown, DatabaseProblem) as exc:
                logger.warning("run=%s cannot read its log: %s", run.pk, exc)
                await asyncio.sleep(BREAKER)
            except UNREADABLE_JSON as exc:
                logger.warning("run=%s its log is of another version: %s", run.pk, exc)
                break
        return Recalled(run, [])


@transaction.atomic  # If the database fails, nothing is claimed.
def claim(lost: LostRun, worker: str, ttl: timedelta, config: str = "") -> Claimed | None:
    """Claim the run for `worker`. Return None if it isn't as it was found any more."""
    if not Run.objects.filter(**lost.row).claim(worker, ttl, has_died=lost.has_died, config=config):
        return None
    found = Run.objects.select_related("question", "answer", "conversation")
    if (run := found.filter(pk=lost.run_id).first()) is None:
        return None  # deleted meanwhile
    # A lease that ran out was renewed this long before.
    renewed_at = lost.lease_expires_at - (timedelta() if lost.is_ownerless else ttl)
    silent_ms = max(0, (timezone.now() - renewed_at).total_seconds() * 1000)
    return Claimed(taken_over(run), silent_ms)


def holds(run: Run) -> bool:
    """Return True if no other worker has claimed the run since `run` was read."""
    return Run.objects.live().filter(pk=run.pk, worker=run.worker, epoch=run.epoch).exists()


def opening(claimed: Claimed, recalled: Recalled) -> list[StreamEvent]:
    """Return the first events of the new epoch."""
    resumed = Resumed(
        data=ResumedData(
            epoch=claimed.run.epoch,
            from_seq=recalled.entries[-1].seq if recalled.entries else 0,
            silent_ms=round(claimed.silent_ms),
            redone=unfinished_agents(recalled.told),
        )
    )
    snapshot = ResponseSnapshot(data=SnapshotData(recalled.text))
    if recalled.entries:
        return [snapshot, resumed]
    # The log is lost, and with it the first events of the run.
    connected, *lost = [e for e in claimed.beginning.events if not isinstance(e, ResponseSnapshot)]
    # Behind `resumed`, which says that readers may have these steps.
    return [snapshot, connected, resumed, *lost]


def unfinished_agents(told: Sequence[StreamEvent]) -> list[str]:
    """Return the agents whose turn has begun and not ended."""
    found: dict[str, None] = {}
    for event in told:
        if isinstance(event, AgentStart):
            found[event.agent_id] = None
        elif isinstance(event, AgentComplete):
            found.pop(event.agent_id, None)
    return list(found)


def with_first_times(before: Summary, created_at: datetime, entries: Sequence[Entry]) -> Summary:
    """Return the figures with the times of the first event and the first text in the log.

    The row lacks them if its worker died before it renewed its leases.
    """
    text = next((entry for entry in entries if isinstance(entry.event, ResponseDelta)), None)
    first = {"first_event_ms": entries[0] if entries else None, "first_token_ms": text}
    timings = msgspec.structs.asdict(before.timings)
    for name, entry in first.items():
        if timings[name] is None and entry is not None:
            at = datetime.fromisoformat(entry.event.timestamp)
            timings[name] = max(0, (at - created_at).total_seconds() * 1000)
    return msgspec.structs.replace(before, timings=Timings(**timings))
