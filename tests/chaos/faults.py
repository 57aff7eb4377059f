"""The faults of a storm, as context managers that begin a fault and heal it at the end."""

import asyncio
import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from agenticfleet.embedded import Child, free_port, wait_until_answering
from tests.proxy import Proxy
from tests.serving import Fleet

from .journal import Journal
from .rows import Database, open_database

STORM, CALM = 20.0, 10.0  # seconds of each, in turn
ADMIN_TIMEOUT = 1.0
CHECK_INTERVAL = 0.2  # seconds

type Strike = Callable[[Random], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault, its weight in the draw, and the range of its seconds."""

    kind: str
    weight: float
    lasts: tuple[float, float]
    strike: Strike


@dataclass(frozen=True, slots=True)
class Domain:
    """Faults that happen one at a time, and the range of seconds between two."""

    name: str
    faults: Sequence[Fault]
    pauses: tuple[float, float]
    can_strike: Callable[[], bool] = lambda: True


class Weather:
    """Storm and calm in turn, until the task is cancelled."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._stormy = asyncio.Event()

    async def change(self) -> None:
        while True:
            self._stormy.set()
            await asyncio.sleep(STORM)
            self._stormy.clear()
            await asyncio.sleep(CALM)

    async def storm(self, domain: Domain, rng: Random) -> None:
        """Play the domain's faults one by one; if cancelled, heal the current one."""
        weights = [fault.weight for fault in domain.faults]
        while True:
            await asyncio.sleep(rng.uniform(*domain.pauses))
            [fault] = rng.choices(domain.faults, weights)
            lasts = rng.uniform(*fault.lasts)
            await self._stormy.wait()
            while not domain.can_strike():
                await asyncio.sleep(CHECK_INTERVAL)
            with self._journal.noting(domain.name, fault.kind):
                async with fault.strike(rng):
                    await asyncio.sleep(lasts)


# --- Redis ----------------------------------------------------------------------------------------


class TornStream:
    """A stream that ends in the middle of its next piece while the proxy tears."""

    def __init__(self, reader: asyncio.StreamReader, proxy: "TearingProxy") -> None:
        self._reader = reader
        self._proxy = proxy
        self._is_torn = False

    async def read(self, size: int) -> bytes:
        data = b"" if self._is_torn else await self._reader.read(size)
        if self._proxy.tears and len(data) > 1:
            self._is_torn = True
            return data[: len(data) // 2]
        return data


class TearingProxy(Proxy):
    """A proxy that, while `tears` is set, forwards half of a piece and drops the connection."""

    tears = False

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await super()._pass_on(TornStream(reader, self), writer)  # type: ignore[arg-type]


class RedisFaults:
    """The faults of the Valkey behind the proxy."""

    def __init__(self, valkey: Child) -> None:
        port = urlsplit(valkey.url).port
        assert port
        self._valkey = valkey
        self.valkey_url = valkey.url
        self.proxy = TearingProxy(port)
        self.url = valkey.url.replace(f":{port}", f":{self.proxy.port}")

    def domain(self) -> Domain:
        faults = [
            Fault("cut", 2, (0, 0), self.cut),
            Fault("refused", 2, (0.5, 4), self.refused),
            Fault("silent", 2, (0.5, 4), self.silent),
            Fault("slow", 2, (1, 3), self.slow),
            Fault("torn", 2, (0.2, 1), self.torn),
            Fault("flushed", 2, (0, 0), self.flushed),
            Fault("restarted", 1, (0, 1.5), self.restarted),
            Fault("read-only", 1, (0.5, 2.5), self.read_only),
        ]
        return Domain("redis", faults, (0.2, 2.0))

    @asynccontextmanager
    async def cut(self, _: Random) -> AsyncIterator[None]:
        self.proxy.cut()
        yield

    @asynccontextmanager
    async def refused(self, _: Random) -> AsyncIterator[None]:
        self.proxy.set("refuse")
        try:
            yield
        finally:
            self.proxy.set("open")

    @asynccontextmanager
    async def silent(self, _: Random) -> AsyncIterator[None]:
        self.proxy.set("hang")
        try:
            yield
        finally:
            self.proxy.set("open")

    @asynccontextmanager
    async def slow(self, rng: Random) -> AsyncIterator[None]:
        self.proxy.set("open", delay=rng.uniform(0.1, 0.6))
        try:
            yield
        finally:
            self.proxy.set("open")

    @asynccontextmanager
    async def torn(self, _: Random) -> AsyncIterator[None]:
        self.proxy.tears = True
        try:
            yield
        finally:
            self.proxy.tears = False

    @asynccontextmanager
    async def flushed(self, _: Random) -> AsyncIterator[None]:
        await asyncio.to_thread(self.admin, "FLUSHALL")
        yield

    @asynccontextmanager
    async def restarted(self, _: Random) -> AsyncIterator[None]:
        self._valkey.send(signal.SIGKILL)
        await asyncio.to_thread(self._valkey.wait_or_kill, 5)
        try:
            yield
        finally:
            self._valkey.start()
            await asyncio.to_thread(wait_until_answering, [self._valkey])

    @asynccontextmanager
    async def read_only(self, _: Random) -> AsyncIterator[None]:
        await asyncio.to_thread(self.admin, "REPLICAOF", "127.0.0.1", free_port())
        try:
            yield
        finally:
            await asyncio.to_thread(self.admin, "REPLICAOF", "NO", "ONE")

    def admin(self, *command: str | int) -> object:
        """Run a command on the Valkey directly, without the proxy."""
        with contextlib.closing(self.client()) as client:
            run: Callable[..., object] = client.execute_command
            return run(*command)

    def eternal_keys(self) -> list[str]:
        """Return the keys of the fleet that have no time to live.

        Ignore the channel layer's keys: if a worker dies in the middle of a command, one of them
        may be left without a time to live.
        """
        with contextlib.closing(self.client()) as client:
            return [key.decode() for key in client.scan_iter("fleet:*") if client.ttl(key) == -1]

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(
            self._valkey.url,
            socket_timeout=ADMIN_TIMEOUT,
            socket_connect_timeout=ADMIN_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )


# --- Workers --------------------------------------------------------------------------------------


class WorkerFaults:
    """The faults of one of the fleet's workers."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # Seconds of CPU that a start takes; on a busy machine they say more than a clock.
        self._start_time = 0.9 * max(map(cpu_time, self.living()))

    def domain(self, *, max_freeze: float) -> Domain:
        faults = [
            Fault("killed", 6, (0, 0), self.killed),
            Fault("terminated", 6, (0, 0), self.terminated),
            Fault("freeze", 2, (min(4, max_freeze), max_freeze), self.frozen),
            Fault("hiccup", 1, (0.3, 2), self.frozen),
        ]
        return Domain("worker", faults, (1, 5), can_strike=lambda: bool(self.started()))

    @asynccontextmanager
    async def killed(self, rng: Random) -> AsyncIterator[None]:
        self._signal(self.pick(rng), signal.SIGKILL)
        yield

    @asynccontextmanager
    async def terminated(self, rng: Random) -> AsyncIterator[None]:
        self._signal(self.pick(rng), signal.SIGTERM)
        yield

    @asynccontextmanager
    async def frozen(self, rng: Random) -> AsyncIterator[None]:
        worker = self.pick(rng)
        self._signal(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(worker, signal.SIGCONT)

    def living(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return sorted(self._fleet.children("fleet-worker"), key=lambda process: process.pid)
        return []

    def started(self) -> list[psutil.Process]:
        """Return the workers that have done the work of a start: others have no runs to lose."""
        with contextlib.suppress(psutil.Error):
            return [worker for worker in self.living() if cpu_time(worker) >= self._start_time]
        return []

    def thaw(self) -> None:
        """Let all frozen workers continue."""
        for worker in self.living():
            self._signal(worker, signal.SIGCONT)

    def pick(self, rng: Random) -> psutil.Process | None:
        number, workers = rng.randrange(100), self.started()
        return workers[number % len(workers)] if workers else None

    @staticmethod
    def _signal(worker: psutil.Process | None, number: signal.Signals) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            if worker:
                worker.send_signal(number)


def cpu_time(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# --- The database ---------------------------------------------------------------------------------


class SqliteFaults:
    """A second writer, which locks the SQLite file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def domain(self) -> Domain:
        return Domain("database", [Fault("locked", 1, (0.1, 3), self.locked)], (0.5, 5))

    @asynccontextmanager
    async def locked(self, _: Random) -> AsyncIterator[None]:
        lock = await asyncio.to_thread(self._lock)
        try:
            yield
        finally:
            lock.close()

    def _lock(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=5, isolation_level=None, check_same_thread=False
        )
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
        return connection


class PostgresqlFaults:
    """A second client of the PostgreSQL server, which locks tables and ends connections."""

    def __init__(self, url: str) -> None:
        self._url = url

    def domain(self) -> Domain:
        faults = [
            Fault("locked", 2, (0.1, 3), self.locked),
            Fault("disconnected", 2, (0, 0), self.disconnected),
            Fault("refused", 1, (0.2, 2), self.refused),
        ]
        return Domain("database", faults, (0.5, 5))

    @asynccontextmanager
    async def locked(self, rng: Random) -> AsyncIterator[None]:
        """Lock a table even for readers."""
        lock = await asyncio.to_thread(open_database, self._url)
        table = rng.choice(["chat_run", "chat_stepresult", "chat_message"])
        try:
            await asyncio.to_thread(lock.execute, "BEGIN")
            await asyncio.to_thread(lock.execute, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
        finally:
            await asyncio.to_thread(lock.close)

    @asynccontextmanager
    async def disconnected(self, _: Random) -> AsyncIterator[None]:
        """End all connections of the fleet, some of them in a transaction."""
        await asyncio.to_thread(self.end_connections)
        yield

    @asynccontextmanager
    async def refused(self, _: Random) -> AsyncIterator[None]:
        """End connections as soon as they are made."""
        ending = asyncio.create_task(self.keep_ending_connections())
        try:
            yield
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)

    async def keep_ending_connections(self) -> None:
        while True:
            await asyncio.to_thread(self.end_connections)
            await asyncio.sleep(0.05)

    def end_connections(self) -> None:
        with contextlib.closing(open_database(self._url)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )


def database_faults(database: Database) -> Domain:
    if isinstance(database, Path):
        return SqliteFaults(database).domain()
    return PostgresqlFaults(database).domain()
