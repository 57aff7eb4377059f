"""The way from async code into the database: threads of our own, each with a connection that stays open.

Channels' own bridge shares one thread among all sockets of a process and closes the connection after every call: one slow
query would hold up everybody's next frame. These threads live as long as the process, so their connections cannot pile up.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

from django.db import Error, connection, transaction

# SQLite has one writer at a time, and who waits for it sleeps: in one thread calls queue instead.
THREADS = 1 if connection.vendor == "sqlite" else 4

AT_ONCE = 8  # calls in one transaction: with more, the first would wait long for the last

_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


async def in_database[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a synchronous function that uses the ORM in a database thread; its result and its errors come back."""
    return await asyncio.get_running_loop().run_in_executor(
        _executor, partial(with_fresh_connection, call, *args, **kwargs)
    )


def with_fresh_connection[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return call(*args, **kwargs)
    except Error:
        # The server may have gone away; the next call connects anew.
        connection.close()
        raise


class BatchedCalls[R]:
    """Calls that may share a transaction. Those that come while others are at work are next, several at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], R], asyncio.Future[R]]] = []
        self._work: asyncio.Task[None] | None = None

    async def do(self, call: Callable[[], R]) -> R:
        """The result of the call, once it is stored. What it raises concerns it alone, but for errors of the database."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, done))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._do_all())
        return await done

    async def settle(self, *, within: float) -> None:
        """Wait until no call waits, for this many seconds at the most."""
        if self._work:
            await asyncio.wait({self._work}, timeout=within)

    async def _do_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
            try:
                outcomes = await in_database(in_one_transaction, [call for call, _ in batch])
            except Error as exc:
                outcomes = [exc] * len(batch)
            for (_, done), outcome in zip(batch, outcomes, strict=True):
                if done.cancelled():
                    continue
                if isinstance(outcome, Exception):
                    done.set_exception(outcome)
                else:
                    done.set_result(outcome)


def in_one_transaction[R](calls: Sequence[Callable[[], R]]) -> list[R | Exception]:
    with transaction.atomic():
        return [_outcome(call) for call in calls]


def _outcome[R](call: Callable[[], R]) -> R | Exception:
    try:
        return call()
    except Error:
        # The transaction is lost, with what the others did in it.
        raise
    except Exception as exc:  # noqa: BLE001 - raised where the call was made
        return exc


def close_connections() -> None:
    """Close the connections of all database threads: for tests, which drop the database."""
    everyone_here = Barrier(THREADS)

    def close() -> None:
        everyone_here.wait()
        connection.close()

    for closed in [_executor.submit(close) for _ in range(THREADS)]:
        closed.result()
