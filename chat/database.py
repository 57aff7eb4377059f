"""The way from async code into the database: a few threads of our own, each with a connection that stays open.

Channels' own bridge shares one thread among all sockets of a process and closes the connection after every call: one slow
query would hold up everybody's next frame. These threads live as long as the process, so their connections cannot pile up.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, connection

THREADS = 4

_executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")


async def in_database[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a synchronous function that uses the ORM in a database thread; its result and its errors come back."""
    return await sync_to_async(_with_fresh_connection, thread_sensitive=False, executor=_executor)(call, *args, **kwargs)


def _with_fresh_connection[**P, R](call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return call(*args, **kwargs)
    except (DatabaseError, InterfaceError):
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
