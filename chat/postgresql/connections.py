"""Connections that are given up if the server does not answer, and kept for the next caller."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any
from weakref import finalize

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import ConnectionTimeout, ReadOnlySqlTransaction, _WaitTimeout
from psycopg.pq import TransactionStatus

from . import is_closed_by_server

CHECK_INTERVAL = 0.1  # seconds between looks for Ctrl-C while a call waits
MAX_OPEN = 16  # connections of a process. A server has 100 by default, for all workers
MAX_KEPT = 8  # of them without use
MAX_WAIT = 3.0  # seconds for one of them to become free
MAX_IDLE = 60.0  # seconds that one is kept without use
PROBE_INTERVAL = 1.0  # seconds after the server was silent until it is asked again


class NoAnswer(psycopg.OperationalError):
    """Raised if the server is silent: frozen, or beyond a network that swallows packets."""


class Connection(psycopg.Connection[Any]):
    """A connection of which each call ends within `patience` seconds, or the connection does."""

    patience: float | None = None
    pool: "Pool | None" = None
    # Frees the place in the pool, also if the thread that has the connection ends without a word.
    frees_place: "finalize[[None], Connection] | None" = None
    is_read_only = False  # the server took no writes; the next one at its address may

    def wait[T](
        self, gen: PQGen[T], interval: float = CHECK_INTERVAL, timeout: float | None = None
    ) -> T:
        """Drive a call to its end: all that is sent and received passes here.

        Raise NoAnswer if that takes too long. The connection is closed then, because an answer
        that comes later would be taken for that of the next call.
        """
        if timeout is not None or self.patience is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.patience)
        except _WaitTimeout as exc:
            self.pgconn.finish()
            if self.pool:
                self.pool.note_silence()
            raise NoAnswer(f"no answer within {self.patience:g} s") from exc
        except ReadOnlySqlTransaction:
            self.is_read_only = True
            raise

    @property
    def is_idle(self) -> bool:
        """True if it can be used for the next call, as far as that is known."""
        return (
            not self.closed
            and not self.is_read_only
            and self.pgconn.transaction_status == TransactionStatus.IDLE
            and not is_closed_by_server(self.fileno())
        )


class Pool:
    """The connections of this process to one database.

    Unlike psycopg's own pool it connects in the thread of its caller, who thereby learns at once
    that a server refuses. Each thread of a request has a connection only while it needs one.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: list[tuple[Connection, float]] = []
        self._lock = Lock()
        # Not a semaphore, whose lock a finalizer may find held by the very thread that it runs in.
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(MAX_OPEN):
            self._places.put(None)
        self._silent_since: float | None = None
        self._probing = Lock()

    def open(self) -> None:
        """Do nothing: Django opens a pool before it takes a connection."""

    def getconn(self) -> Connection:
        """Return an idle connection, or a new one. Raise OperationalError if there is none."""
        try:
            self._places.get(timeout=MAX_WAIT)
        except Empty:
            raise psycopg.OperationalError(f"all {MAX_OPEN} connections are in use") from None
        try:
            connection = self._kept() or self._new()
        except BaseException:
            self._places.put(None)
            raise
        connection.pool = self
        connection.frees_place = finalize(connection, self._places.put, None)
        connection.frees_place.atexit = False
        return connection

    def putconn(self, connection: Connection) -> None:
        """Keep a connection for the next caller, if it can be used."""
        if connection.frees_place:
            connection.frees_place()
        now = time.monotonic()
        with self._lock:
            expired = [each for each, since in self._idle if now - since > MAX_IDLE]
            self._idle = [kept for kept in self._idle if kept[0] not in expired]
            has_room = len(self._idle) < MAX_KEPT and self._silent_since is None
            if has_room and connection.is_idle:
                self._idle.append((connection, now))
            else:
                expired.append(connection)
        for each in expired:
            each.close()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def note_silence(self) -> None:
        """Let one caller at a time find out whether the server answers; the others fail at once.

        Each would wait for it as long as the first one, and all that queue behind them longer. The
        caller that has just waited must not do so again, as Django does after a failed COMMIT.
        """
        self._silent_since = time.monotonic()
        self.close()

    def _kept(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection, _ = self._idle.pop()
            if connection.is_idle:
                return connection
            connection.close()

    def _new(self) -> Connection:
        since = self._silent_since
        if since is None:
            return self._connected()
        is_early = time.monotonic() - since < PROBE_INTERVAL
        if is_early or not self._probing.acquire(blocking=False):
            raise NoAnswer("the server does not answer")
        try:
            return self._connected()
        finally:
            self._probing.release()

    def _connected(self) -> Connection:
        try:
            connection = self._connect()
        except (ConnectionTimeout, NoAnswer):
            self.note_silence()
            raise
        except psycopg.OperationalError:
            # It refuses, which takes no time.
            self._silent_since = None
            raise
        self._silent_since = None
        return connection
