"""What one event loop holds beside its sockets: its runs, their resources, and background jobs."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from datetime import timedelta
from functools import partial
from typing import Any, Literal, Protocol, cast
from uuid import UUID
from weakref import WeakKeyDictionary
from zoneinfo import ZoneInfo

from django.conf import settings

from chat.database import in_database
from chat.llm.models import Models
from chat.models import Run
from chat.protocol.errors import SHUTTING_DOWN
from chat.protocol.terms import failed
from chat.telemetry.metrics import configured_models, watch_process
from chat.telemetry.rollup import keep_counting
from chat.telemetry.traces import open_traces
from chat.workflow.answer import Resources
from chat.workflow.crew import crew
from chat.workflow.opinion import Opinions
from tooling.bounded import BoundedRedis
from tooling.opening import open_services
from tooling.services import Services

from .admission import Admission
from .commands import Tagged, keep_listed, receive_commands, send_cancel
from .configuration import Configuration
from .flushing import LogFlusher
from .journal import JournalWriter
from .leases import Leases
from .local import Runs
from .naming import new_worker_name
from .pruning import Pruning
from .readers import Readers
from .refusals import RefusalSharing
from .store import LogStore
from .takeover import Takeovers

logger = logging.getLogger(__name__)

JOB_RETRY_INTERVAL = 1.0  # seconds before a failed job is restarted
ENDINGS_TIMEOUT = 5.0  # seconds to store endings before the process exits; leases end the rest
DELIVERY_TIMEOUT = 1.5  # seconds for followers to read their ending before the process exits
# Seconds that a stream can be replayed. Readers rejoin within minutes; later ones get the row.
RUN_LOG_TTL = 3600
# Seconds. News, prices and the weather change within the hour that other results are kept.
NEWS_TTL = 600.0

type Job = Callable[[], Coroutine[Any, Any, None]]


class Socket(Tagged, Protocol):
    """A reader of this event loop."""

    served: asyncio.Event  # set when it has its ending

    @property
    def run_id(self) -> UUID | None:
        """The run that it follows; None until it has joined one."""

    def tell(self, code: str, message: str) -> None:
        """Show a notice to the reader."""


_workers: "WeakKeyDictionary[asyncio.AbstractEventLoop, Worker]" = WeakKeyDictionary()


class Worker:
    """The runs of one event loop and its background jobs. Get it from `Worker.current()`."""

    def __init__(self) -> None:
        self.name = new_worker_name()
        self.sockets: set[Socket] = set()  # that wait for their run, or for its ending
        self.store = LogStore(settings.REDIS_URL, ttl=RUN_LOG_TTL)
        self.models = Models(configured_models())
        self.tools = tool_services()
        self.traces = open_traces(self.name)
        self.configuration = Configuration()
        self.redis = BoundedRedis(settings.REDIS_URL)  # of what has no client of its own
        self.admission = Admission(self.redis)
        self.readers = Readers(self.redis, self.sockets)
        self.flusher = LogFlusher(self.store, notify=self.tell_sockets)
        self.journals = JournalWriter(self.name)
        self.runs = Runs(
            worker=self.name,
            store=self.store,
            resources=Resources(self.models, self.tools, Opinions(self.models)),
            journals=self.journals,
            admission=self.admission,
            on_change=self.flusher.add,
            config=self.configuration.digest,
            traces=self.traces,
        )
        lease = timedelta(seconds=settings.FLEET_LEASE_TTL)
        self.takeovers = Takeovers(
            *(self.runs, self.store),
            worker=self.name,
            ttl=lease,
            config=self.configuration.digest,
        )
        self.leases = Leases(
            worker=self.name,
            ttl=lease,
            live=self.runs.live,
            claim=self.takeovers.claim,
            store=self.store,
            traces=self.traces,
        )
        self.pruning = Pruning(self.name, self.redis)
        refusals = [client.refusals for client in self.models.clients.values()]
        self.sharing = RefusalSharing(refusals, self.redis)
        self.tasks: list[asyncio.Task[None]] = []

    @classmethod
    def current(cls) -> "Worker":
        """Return the worker of the running event loop. Start it if there is none yet."""
        loop = asyncio.get_running_loop()
        worker = _workers.get(loop)
        if worker is None:
            worker = _workers[loop] = cls()
            worker.start()
        return worker

    def start(self) -> None:
        """Start the background jobs."""
        jobs: dict[str, Job] = {
            "log flushing": self.flusher.keep_flushing,
            "journal": self.journals.keep_writing,
            "leases": self.leases.keep,
            "pruning": self.pruning.keep,
            "comparisons": self.runs.comparisons.keep,
            "configuration": self.configuration.keep,
            "refusals": self.sharing.keep,
            "commands": partial(
                receive_commands,
                self.name,
                self.runs.live,
                self.sockets,
                self.readers.mark_if_read_here,
            ),
            "listing": partial(keep_listed, self.name),
            "measuring": watch_process,
            "figures": keep_counting,
        }
        for number, client in enumerate(self.models.clients.values(), 1):
            jobs[f"catalog {number}"] = client.catalog.keep_fresh
        if self.tools.mcp:
            jobs["MCP servers"] = self.tools.mcp.keep
        # In a context of their own: the first socket may start the worker, and what the jobs log is
        # not about that socket's request.
        self.tasks = [
            asyncio.create_task(
                self.keep_doing(name, job), name=f"{self.name} {name}", context=Context()
            )
            for name, job in jobs.items()
        ]

    async def keep_doing(self, name: str, job: Job) -> None:
        """Do a job for as long as the worker lives; restart it after an unexpected error."""
        while True:
            try:
                await job()
            except Exception:
                # Without its jobs a worker looks healthy, but never ends lost runs.
                logger.critical(
                    "%s: job %s failed and is restarted", self.name, name, exc_info=True
                )
            await asyncio.sleep(JOB_RETRY_INTERVAL)

    async def drain(self, *, grace: float) -> None:
        """Refuse new runs, hand over the running ones, and wait until readers have their endings.

        Answers that are being streamed get `grace` seconds to finish.
        """
        self.runs.hand_over(all_runs=False)
        await self.runs.idle(within=grace)
        self.runs.hand_over(all_runs=True)
        await self.runs.idle(within=ENDINGS_TIMEOUT)
        # An ending that is stored may still be on its way to a reader that is slow, or that follows
        # a run of another worker. The process closes its sockets when this returns.
        waiting = [socket for socket in self.sockets if socket.run_id not in self.runs.gone]
        delivery = all_set((socket.served for socket in waiting), within=DELIVERY_TIMEOUT)
        await asyncio.gather(delivery, *([self.traces.aclose()] if self.traces else []))

    def end_all_runs(self) -> None:
        """End all running runs now with `shutting_down`."""
        self.runs.end_all(failed(SHUTTING_DOWN))

    async def stop(self) -> None:
        """Stop the jobs and close connections; for event loops that end before their process."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.models.aclose()
        await self.tools.aclose()
        await self.store.aclose()
        await self.redis.aclose()
        _workers.pop(asyncio.get_running_loop(), None)

    async def cancel(self, joining: "asyncio.Task[Run]") -> None:
        """Cancel a run on any worker once it is joined. Raise ProtocolError if joining fails."""
        # Shielded, because the socket waits for the same task.
        await self.cancel_run((await asyncio.shield(joining)).pk)

    async def cancel_run(self, run_id: UUID) -> None:
        """Cancel a run on any worker."""
        if owner := await self.runs.cancel(run_id):
            await send_cancel(owner, run_id)

    @contextmanager
    def serving(self, socket: Socket) -> Iterator[None]:
        """Know a reader while it waits for its run or for its ending; `drain` waits for it."""
        self.sockets.add(socket)
        try:
            yield
        finally:
            socket.served.set()
            self.sockets.discard(socket)

    def tell_sockets(self, code: str, message: str) -> None:
        """Show a notice to every reader that waits for an ending."""
        for socket in self.sockets:
            if socket.run_id:
                socket.tell(code, message)


def tool_services() -> Services:
    """Return what the tools of one event loop share, configured from the settings."""
    return open_services(
        redis_url=settings.REDIS_URL,
        # settings.py has checked the value.
        search=cast("Literal['on', 'off', 'keyless', 'searxng']", settings.FLEET_SEARCH),
        tavily_key=settings.TAVILY_API_KEY,
        tavily_url=settings.TAVILY_BASE_URL,
        searxng_url=settings.SEARXNG_URL,
        read_pages=settings.FLEET_READ_PAGES,
        proxies=settings.PROXIES,
        ttl={
            "news": min(NEWS_TTL, settings.FLEET_CACHE_TTL),
            "general": settings.FLEET_CACHE_TTL,
        },
        mcp=settings.FLEET_FILE.servers,
        limits=settings.FLEET_FILE.file.tools,
        secrets=settings.FLEET_FILE.secrets.values(),
        wanted={name for agent in crew().agents for name in agent.tools} | settings.FLEET_APPROVE,
        in_database=in_database,
        zone=ZoneInfo(settings.FLEET_TIME_ZONE),
    )


async def all_set(events: Iterable[asyncio.Event], *, within: float) -> None:
    """Wait until all of these are set, for at most `within` seconds."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    if waits:
        _, late = await asyncio.wait(waits, timeout=within)
        for wait in late:
            wait.cancel()
