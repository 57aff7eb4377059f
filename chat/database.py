"""The way from async code into the database: threads of our own, each with a connection that stays open.

Channels' own bridge shares one thread among all sockets of a process and closes the connection after every call: one slow
query would hold up everybody's next frame. These threads live as long as the process, so their connections cannot pile up.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

from django.db import Error, connection

# SQLite has one writer at a time, and who waits for it sleeps: in one thread calls queue instead.
THREADS = 1 if connection.vendor == "sqlite" else 4

_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


async def in_database[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a synchronous function that uses the ORM in a database thread; its result and its errors come back."""
    return await asyncio.get_running_loop().run_in_executor(_executor, partial(_with_fresh_connection, call, *args, **kwargs))


def _with_fresh_connection[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return call(*args, **kwargs)
    except Error:
        # The server may have gone away; the next call connects anew.
        connection.close()
        raise


def close_connections() -> None:
    """Close the connections of all database threads: for tests, which drop the database."""
    everyone_here = Barrier(THREADS)

    def close() -> None:
        everyone_here.wait()
        connection.close()

    for closed in [_executor.submit(close) for _ in range(THREADS)]:
        closed.result()
