"""Changes of the database's tables: by one process of all hosts at a time, without haste."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .errors import EmbeddedError

TURN = 0x66_6C_65_65_74  # "fleet": the number of PostgreSQL's advisory lock
# Seconds
TURN_TIMEOUT = 600.0  # a migration of a large database takes minutes
CHECK_INTERVAL = 0.2
# Requests queue behind a migration that waits for a lock on their table, so it gives up first.
LOCK_TIMEOUT = 5.0
# Time limits of a server's connections, which are for the requests of a worker.
UNLIMITED = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": f"{LOCK_TIMEOUT:g}s",
}
SET = "SELECT set_config(%s, %s, false)"


@contextmanager
def changing_tables(
    say: Callable[[str], None],
    *,
    pause: Callable[[float], None] = time.sleep,
    alias: str = DEFAULT_DB_ALIAS,
) -> Iterator[None]:
    """Be the only process of all hosts that changes the tables, until the end of the block.

    Raise EmbeddedError if another one takes longer than TURN_TIMEOUT. `say` tells of the wait.
    """
    connection = connections[alias]
    if connection.vendor == "sqlite":
        with locked_folder(connection) as try_lock:
            wait_for_turn(try_lock, say, pause)
            yield
    else:
        with locked_database(connection) as try_lock:
            wait_for_turn(try_lock, say, pause)
            with without_limits(connection):
                yield


def wait_for_turn(
    try_lock: Callable[[], bool], say: Callable[[str], None], pause: Callable[[float], None]
) -> None:
    deadline, has_told = time.monotonic() + TURN_TIMEOUT, False
    while not try_lock():
        if time.monotonic() >= deadline:
            raise EmbeddedError(
                f"DATABASE_URL: another process has been changing the tables for {TURN_TIMEOUT:g}"
                f" s. In PostgreSQL, pg_locks shows the one with the advisory lock {TURN}."
            )
        if not has_told:
            say(
                "Waiting for another fleet, or a `manage.py migrate`, that changes the tables of"
                f" the database (at most {TURN_TIMEOUT:g} s)."
            )
        has_told = True
        pause(CHECK_INTERVAL)


@contextmanager
def locked_database(connection: BaseDatabaseWrapper) -> Iterator[Callable[[], bool]]:
    """Yield what tries to lock a database of PostgreSQL until the end of the block.

    A transaction of a connection of its own holds the lock. The session of `connection` may belong
    to a pooler, which would keep the lock.
    """
    own = connection.copy()

    def try_lock() -> bool:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [TURN])
            return bool(cursor.fetchone()[0])

    try:
        own.set_autocommit(False)
        with own.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield try_lock
    finally:
        own.close()


@contextmanager
def locked_folder(connection: BaseDatabaseWrapper) -> Iterator[Callable[[], bool]]:
    """Yield what tries to lock the folder of SQLite's file until the end of the block.

    SQLite's own locks last as long as a transaction, and each migration has one of its own.
    """
    folder = Path(connection.settings_dict["NAME"]).parent
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        # SQLite tells what is wrong with it, and with a database that is no file.
        yield lambda: True
        return

    def try_lock() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield try_lock
    finally:
        os.close(descriptor)


@contextmanager
def without_limits(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Let statements of this connection take their time, until the end of the block."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(UNLIMITED)]
        )
        # In processes that serve, these are not those to which RESET would lead.
        before = dict(cursor.fetchall())
        for each in UNLIMITED.items():
            cursor.execute(SET, each)
    try:
        yield
    finally:
        # A connection that was lost takes them along: a new one has the limits.
        if connection.connection and not connection.connection.closed:
            with connection.cursor() as cursor:
                for each in before.items():
                    cursor.execute(SET, each)
