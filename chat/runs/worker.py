"""What one event loop runs beside its sockets: it brings logs to Redis, renews leases, ends lost runs, and takes commands."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, cast
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db.models.functions import Now
from redis.exceptions import RedisError

from chat.database import in_database
from chat.llm.client import Deadlines, ModelClient
from chat.models import Run
from chat.protocol.errors import SHUTTING_DOWN
from chat.protocol.terms import CANCELLED, Ending, failed
from chat.workflow.answer import Resources
from chat.workflow.opinion import Opinions
from tooling.bounded import CALL_TIMEOUT, RedisDown
from tooling.services import Services
from tooling.toolbox import open_services

from .local import Runs
from .log import RunLog
from .rows import row_ending_events
from .store import LogStore

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 0.05  # seconds
LEASE_SHARE = (
    0.125  # of a lease's time to live: how often it is renewed, and lost runs are looked for
)
CHECKS_BEFORE_REAPING = 3  # in which a lease is expired and the same before its run is given up: one renewal may fail or be late
MAX_LEASE_FACTOR = (
    3  # times our own lease: who wrote a longer one had a clock that has gone back since
)
LISTEN_RETRY = 1.0  # seconds
JOB_RETRY = 1.0  # seconds
ENDINGS_TIMEOUT = 5.0  # seconds that endings have to be stored before the process goes without; the lease ends those runs
DELIVERY_TIMEOUT = 1.5  # seconds that followers have to read an ending before the process goes
MAX_KEPT = 50  # logs of ended runs while Redis is away: long ones hold megabytes
MAX_REPAIRS = 50  # runs whose logs are closed in one round

REDIS_GONE = (
    "redis_gone",
    "Redis does not answer. This answer goes on; joining it from elsewhere takes longer.",
)
REDIS_BACK = ("redis_back", "Redis answers again.")


class Socket(Protocol):
    """A reader of this event loop."""

    served: asyncio.Event  # set when it has its ending

    def tell(self, code: str, message: str) -> None:
        """Show a notice to the reader."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A run whose lease does not hold, and that lease: a worker that lives soon writes another, whatever the clocks say."""

    run_id: uuid.UUID
    lease_expires_at: datetime


_workers: "WeakKeyDictionary[asyncio.AbstractEventLoop, Worker]" = WeakKeyDictionary()


class Worker:
    """The background work of one event loop; `Worker.current()` makes and starts it."""

    def __init__(self) -> None:
        self.name = f"worker.{uuid.uuid4().hex[:12]}"  # in rows, and as a channel
        self._store = LogStore(settings.REDIS_URL, ttl=settings.FLEET_RUN_LOG_TTL)
        self._models = ModelClient(
            base_url=settings.OPENAI_BASE_URL,
            api_key=settings.OPENAI_API_KEY,
            deadlines=Deadlines(settings.FLEET_FIRST_CHUNK_TIMEOUT, settings.FLEET_CHUNK_TIMEOUT),
            thinking_tokens=settings.FLEET_THINKING_TOKENS,
        )
        self._tools = tool_services()
        resources = Resources(self._models, self._tools, Opinions(self._models))
        self.runs = Runs(
            worker=self.name, store=self._store, resources=resources, on_change=self._log_changed
        )
        self.sockets: set[Socket] = set()  # that wait for an ending
        self._has_redis = True
        self._lease = timedelta(seconds=settings.FLEET_LEASE_TTL)
        self._changed_logs: set[RunLog] = set()
        self._log_change = asyncio.Event()
        self._suspects: Counter[Suspect] = Counter()  # in how many looks each was seen
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def current(cls) -> "Worker":
        """The worker of the running event loop, started if it is not."""
        loop = asyncio.get_running_loop()
        worker = _workers.get(loop)
        if worker is None:
            worker = _workers[loop] = cls()
            jobs = (worker._flush_logs, worker._keep_leases, worker._take_commands)
            worker._tasks = [
                loop.create_task(worker._keep_doing(job), name=f"{worker.name} {job.__name__}")
                for job in jobs
            ]
        return worker

    async def drain(self, *, grace: float) -> None:
        """Take no new runs, let the running ones finish for `grace` seconds, end the rest in words, and deliver all endings."""
        self.runs.accepting = False
        await self.runs.idle(within=grace)
        self.end_all_runs()
        await self.runs.idle(within=ENDINGS_TIMEOUT)
        await all_set((socket.served for socket in self.sockets), within=DELIVERY_TIMEOUT)

    def end_all_runs(self) -> None:
        """End all running runs now."""
        self.runs.end_all(failed(SHUTTING_DOWN))

    async def stop(self) -> None:
        """End the background work and close what it holds; for loops that end before their process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._models.aclose()
        await self._tools.aclose()
        await self._store.aclose()
        _workers.pop(asyncio.get_running_loop(), None)

    async def cancel(self, joining: "asyncio.Task[Run]") -> None:
        """Cancel a run, as soon as it is joined, wherever it is answered. ProtocolError says why it was not joined."""
        run_id = (await asyncio.shield(joining)).pk
        owner = await self.runs.cancel(run_id)
        if owner is None:
            return
        layer = get_channel_layer()
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await layer.send(owner, {"type": "cancel", "run_id": str(run_id)})
        except (RedisError, OSError, TimeoutError, ChannelFull) as exc:
            # The row says it too: that worker finds it when it next renews its leases.
            logger.warning("run=%s cancel was not poked: %s", run_id, exc)

    async def _keep_doing(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A job that fails over something nobody foresaw begins again: without it, lost runs would never be ended."""
        while True:
            try:
                await job()
            except Exception:
                logger.critical(
                    "%s %s failed and begins again", self.name, job.__name__, exc_info=True
                )
            await asyncio.sleep(JOB_RETRY)

    def _log_changed(self, log: RunLog) -> None:
        self._changed_logs.add(log)
        self._log_change.set()

    async def _flush_logs(self) -> None:
        while True:
            await self._log_change.wait()
            self._log_change.clear()
            logs, self._changed_logs = self._changed_logs, set()
            try:
                await self._store.write(logs)
            except RedisDown as exc:
                self._note_redis(is_there=False, why=str(exc))
                ended = [log for log in logs if log.ending]
                # What is dropped here is in the row, and its log is closed from there.
                self._changed_logs |= logs.difference(ended[MAX_KEPT:])
                self._log_change.set()
            else:
                self._note_redis(is_there=True)
            await asyncio.sleep(FLUSH_INTERVAL)

    def _note_redis(self, *, is_there: bool, why: str = "") -> None:
        """Tell the log and the readers when Redis goes and when it comes back."""
        if is_there == self._has_redis:
            return
        self._has_redis = is_there
        code, message = REDIS_BACK if is_there else REDIS_GONE
        logger.warning("%s %s", code, why)
        for socket in self.sockets:
            socket.tell(code, message)

    async def _keep_leases(self) -> None:
        period = self._lease.total_seconds() * LEASE_SHARE
        while True:
            try:
                await self._renew_leases()
                await self._end_lost_runs()
                await self._close_logs()
            except DatabaseProblem as exc:
                # Without a renewal of its own a worker judges nobody.
                self._suspects.clear()
                logger.warning("leases were not renewed: %s", exc)
            except RedisDown as exc:
                logger.debug("logs are closed later: %s", exc)
            await asyncio.sleep(period)

    async def _renew_leases(self) -> None:
        live = dict(self.runs.live)
        if not live:
            return
        progress = [
            Run(pk=pk, last_seq=run.log.last_seq, text_so_far=run.log.text)
            for pk, run in live.items()
            if not run.log.ending
        ]
        held = await in_database(Run.objects.renew, self.name, progress, self._lease)
        for run in progress:
            if run.pk not in held:
                # Somebody else ended it: stop the work, and deliver what the row says.
                live[run.pk].stop(Ending(status="failed"))
            elif held[run.pk]:
                live[run.pk].stop(CANCELLED)

    async def _end_lost_runs(self) -> None:
        suspects = await in_database(self._find_suspects)
        self._suspects = Counter({suspect: self._suspects[suspect] + 1 for suspect in suspects})
        for suspect, looks in self._suspects.items():
            if looks >= CHECKS_BEFORE_REAPING and (row := await in_database(give_up, suspect)):
                logger.warning("run=%s ended: its worker %s is gone", row.pk, row.worker)
                # Without Redis the log is closed later; the next lost run is ended now.
                with suppress(RedisDown):
                    await self._close_log(row)

    def _find_suspects(self) -> list[Suspect]:
        too_long = Run.objects.live().filter(
            lease_expires_at__gt=Now() + MAX_LEASE_FACTOR * self._lease
        )
        leases = (Run.objects.expired() | too_long).values_list("pk", "lease_expires_at")
        return [Suspect(run_id, lease) for run_id, lease in leases]

    async def _close_logs(self) -> None:
        for row in await in_database(
            lambda: list(Run.objects.unclosed().select_related("answer")[:MAX_REPAIRS])
        ):
            await self._close_log(row)

    async def _close_log(self, row: Run) -> None:
        await self._store.write_ending(row.pk, row_ending_events(row))
        await in_database(Run.objects.mark_closed, row.pk)

    async def _take_commands(self) -> None:
        layer = get_channel_layer()
        while True:
            try:
                message = await layer.receive(self.name)
            except (RedisError, OSError) as exc:
                logger.debug("no commands without Redis: %s", exc)
                await asyncio.sleep(LISTEN_RETRY)
                continue
            if live := self.runs.live.get(uuid.UUID(message["run_id"])):
                live.stop(CANCELLED)


def tool_services() -> Services:
    """What the tools of this event loop share, as the settings say."""
    return open_services(
        redis_url=settings.REDIS_URL,
        search=cast(
            "Literal['on', 'off', 'keyless']", settings.FLEET_SEARCH
        ),  # settings.py takes nothing else
        tavily_key=settings.TAVILY_API_KEY,
        tavily_url=settings.TAVILY_BASE_URL,
        ttl={"news": settings.FLEET_CACHE_TTL_NEWS, "general": settings.FLEET_CACHE_TTL_GENERAL},
        zone=ZoneInfo(settings.FLEET_TIME_ZONE),
    )


def give_up(suspect: Suspect) -> Run | None:
    """End the run, unless its lease was renewed meanwhile."""
    lease = Run.objects.live().filter(pk=suspect.run_id, lease_expires_at=suspect.lease_expires_at)
    # One that is too long has to be expired, too, before anybody ends its run.
    if not lease.update(lease_expires_at=Now() - timedelta(seconds=1)):
        return None
    return Run.objects.reap(suspect.run_id)


async def all_set(events: Iterable[asyncio.Event], *, within: float) -> None:
    """Wait until these are set, for this many seconds at the most."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    if waits:
        _, late = await asyncio.wait(waits, timeout=within)
        for wait in late:
            wait.cancel()
