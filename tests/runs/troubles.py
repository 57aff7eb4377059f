"""What may go wrong in the database of the tests: SQLite or PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
from django.db import connection

from chat.database import close_connections

PATIENCE = 0.3  # seconds until a call that waits for a lock fails
REJECTION = "not this\nDETAIL: Failing row contains (marmalade)"
# A function for triggers, which stand for what the server itself would say.
RAISE = """
CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'; END $$
"""


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def own_connection() -> psycopg.Connection:
    """Return a connection to PostgreSQL beside those of Django, which refuse the event loop."""
    place = connection.settings_dict
    return psycopg.connect(
        host=place["HOST"],
        port=place["PORT"],
        user=place["USER"],
        dbname=place["NAME"],
        autocommit=True,
    )


@contextmanager
def short_lock_timeout() -> Iterator[None]:
    """Let calls fail that wait longer than PATIENCE for a lock."""
    options = connection.settings_dict["OPTIONS"]
    if not is_postgresql():
        usual, options["timeout"] = options["timeout"], PATIENCE
        close_connections()
        try:
            yield
        finally:
            options["timeout"] = usual
            close_connections()
        return
    with own_connection() as other:
        name = connection.settings_dict["NAME"]
        other.execute(f'ALTER DATABASE "{name}" SET lock_timeout = {PATIENCE * 1000:.0f}')
        close_connections()  # a new one reads it
        try:
            yield
        finally:
            other.execute(f'ALTER DATABASE "{name}" RESET lock_timeout')
            close_connections()


@contextmanager
def locked_database() -> Iterator[None]:
    """Let nobody else write."""
    if is_postgresql():
        with own_connection() as other, other.transaction():
            other.execute(f"LOCK TABLE {', '.join(tables())} IN EXCLUSIVE MODE")
            yield
        return
    lock = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


@contextmanager
def full_disk() -> Iterator[None]:
    """Let the database have no room for further rows."""
    if is_postgresql():
        with raising("disk_full", "could not extend file", "53100"):
            yield
        return
    # SQLite finds no further page. A connection reads this limit when it is opened.
    options = connection.settings_dict["OPTIONS"]
    usual = options["init_command"]
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        # Rows that other tests deleted have left free pages.
        other.execute("VACUUM")
        [pages] = other.execute("PRAGMA page_count").fetchone()
    options["init_command"] = f"{usual} PRAGMA max_page_count = {pages};"
    close_connections()
    try:
        yield
    finally:
        options["init_command"] = usual
        close_connections()


@contextmanager
def raising(name: str, message: str, code: str) -> Iterator[None]:
    """Let PostgreSQL raise an error for all rows that are written."""
    with own_connection() as other:
        other.execute(RAISE.format(name=name, message=message, code=code))
        for table in tables():
            other.execute(
                f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table}"
                f" FOR EACH ROW EXECUTE FUNCTION {name}()"
            )
        try:
            yield
        finally:
            other.execute(f"DROP FUNCTION {name} CASCADE")


@contextmanager
def rejecting(table: str, condition: str) -> Iterator[None]:
    """Let the database reject this UPDATE, as PostgreSQL rejects a NUL: it quotes the value."""
    trigger = f"CREATE TRIGGER rejecting BEFORE UPDATE ON {table}"
    if is_postgresql():
        with own_connection() as other:
            other.execute(RAISE.format(name="reject", message=REJECTION, code="22021"))
            other.execute(f"{trigger} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION reject()")
            try:
                yield
            finally:
                other.execute("DROP FUNCTION reject CASCADE")
        return
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        other.execute(f"{trigger} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{REJECTION}'); END")
        try:
            yield
        finally:
            other.execute("DROP TRIGGER rejecting")


def tables() -> list[str]:
    return [
        name for name in connection.introspection.django_table_names() if name.startswith("chat_")
    ]
