"""Run database work from async code in threads that each keep a connection open.

Channels' `database_sync_to_async` uses one thread for all sockets of a process and closes the
connection after every call, so one slow query delays the next frame of every socket. The threads
here live as long as the process, so their connections can't pile up.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

from asgiref.sync import sync_to_async
from django.db import (
    Error,
    InterfaceError,
    InternalError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)

from .postgresql import is_closed_by_server

# SQLite allows one writer and makes others sleep and retry. With one thread, calls queue instead.
THREADS = 1 if connection.vendor == "sqlite" else 4

# PostgreSQL's codes: a standby, or a server that is being replaced; transactions of a process that
# was frozen; and a class of what is too long or too complex at any time.
READ_ONLY = "25006"
TIMED_OUT = ("25P03", "25P04")
BEYOND_LIMITS = "54"

AT_ONCE = 8  # Calls in one transaction. With more, the first would wait too long for the last.

_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


async def in_database[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `call`, which uses the ORM, in a database thread. Return or raise what it does."""
    return await asyncio.get_running_loop().run_in_executor(
        _executor, partial(with_fresh_connection, call, *args, **kwargs)
    )


async def read_in_database[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do the same with a call that only reads, once more if its connection was cut meanwhile."""
    return await in_database(again_if_cut, partial(call, *args, **kwargs))


async def for_slow_reader[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a call of a response that is sent in pieces, in the thread of its request.

    No connection is kept until the next piece: a reader takes as long for this one as it likes, and
    a process has only so many.
    """

    def run() -> R:
        try:
            return call(*args, **kwargs)
        finally:
            if not connection.in_atomic_block:
                close_old_connections()

    return await sync_to_async(run)()


def again_if_cut[R](call: Callable[[], R]) -> R:
    used = connection.connection
    try:
        return call()
    except Error:
        if not is_cut(used):
            raise
    connection.close()
    return call()


def is_cut(used: Any) -> bool:
    """Return True if the server has ended this connection of psycopg. A new one may do.

    If the server is silent or away, a new one fails at once.
    """
    return connection.vendor == "postgresql" and used is not None and bool(used.closed)


def with_fresh_connection[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `call`. If the database fails, close the connection.

    One that the server has closed meanwhile is replaced before anything is sent.
    """
    if connection.vendor == "postgresql" and connection.connection:
        raw = connection.connection
        if raw.closed or is_closed_by_server(raw.fileno()):
            connection.close()
    try:
        return call(*args, **kwargs)
    except Error:
        # The server may have restarted. The next call opens a new connection.
        connection.close()
        raise


def is_unavailable(fault: BaseException | None) -> bool:
    """Return True if the database may take the same later: it is away, locked, full or read-only.

    What it says of wrong SQL, or of values that it rejects, is an error of this program.
    """
    if isinstance(fault, InterfaceError):
        return True
    cause = fault.__cause__ if fault else None
    if isinstance(fault, InternalError):
        return sqlstate_of(cause) in (READ_ONLY, *TIMED_OUT)
    if not isinstance(fault, OperationalError):
        return False
    if (sqlstate_of(cause) or "").startswith(BEYOND_LIMITS):
        return False
    # SQLite calls wrong SQL an OperationalError, too.
    return not isinstance(cause, sqlite3.Error) or cause.sqlite_errorcode != sqlite3.SQLITE_ERROR


def sqlstate_of(fault: BaseException | None) -> str | None:
    """Return the code with which PostgreSQL says why."""
    state = getattr(fault, "sqlstate", None)  # only psycopg's errors have one
    return state if isinstance(state, str) else None


def reason_of(fault: Error) -> str:
    """Return what an error of the database says, without the lines that may quote values."""
    return str(fault).partition("\n")[0] or type(fault).__name__


class BatchedCalls[R]:
    """Calls that may share a transaction.

    Calls that arrive while a batch is being stored form the next batches.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], R], asyncio.Future[R]]] = []
        self._work: asyncio.Task[None] | None = None

    async def do(self, call: Callable[[], R]) -> R:
        """Return the result of `call` once it is stored.

        What a call raises is raised here and doesn't affect the rest of its batch. If the database
        fails, the batch is rolled back. Its calls are then done one by one, unless that would fail
        for the same reason. They must bear that: a COMMIT may have been done but not confirmed.
        """
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, done))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._do_all())
        return await done

    async def settle(self, *, within: float) -> None:
        """Wait until no calls are left, for at most `within` seconds."""
        if self._work:
            await asyncio.wait({self._work}, timeout=within)

    async def _do_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            try:
                outcomes = await in_database(outcomes_of, [call for call, _ in batch])
            except Error as exc:
                outcomes = [exc] * len(batch)
            for (_, done), outcome in zip(batch, outcomes, strict=True):
                if done.cancelled():
                    continue
                if isinstance(outcome, Exception):
                    done.set_exception(outcome)
                else:
                    done.set_result(outcome)


def outcomes_of[R](calls: Sequence[Callable[[], R]]) -> list[R | Exception]:
    """Return what each call returns or raises: all in one transaction, if possible."""
    used = connection.connection
    try:
        return in_one_transaction(calls)
    except Error as fault:
        if is_unavailable(fault) and not is_cut(used):
            raise
    outcomes: list[R | Exception] = []
    for call in calls:
        try:
            outcomes += with_fresh_connection(in_one_transaction, [call])
        except Error as fault:
            if is_unavailable(fault):
                # The others would wait for the same.
                return outcomes + [fault] * (len(calls) - len(outcomes))
            outcomes.append(fault)
    return outcomes


def in_one_transaction[R](calls: Sequence[Callable[[], R]]) -> list[R | Exception]:
    """Return the result or the exception of each call."""
    with transaction.atomic():
        return [_outcome(call) for call in calls]


def _outcome[R](call: Callable[[], R]) -> R | Exception:
    try:
        return call()
    except Error:
        # The transaction can't be used any more, so the other calls in it fail, too.
        raise
    except Exception as exc:  # noqa: BLE001 - raised where the call was made
        return exc


def close_connections() -> None:
    """Close all connections. Tests need this before they drop the database."""
    everyone_here = Barrier(THREADS)

    def close() -> None:
        everyone_here.wait()
        connection.close()

    for closed in [_executor.submit(close) for _ in range(THREADS)]:
        closed.result()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]
