"""Connections to PostgreSQL: kept while they work, and given up if the server is silent."""

import gc
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker

from agenticfleet.environment import Environment
from chat.postgresql import base
from chat.postgresql.base import DatabaseWrapper
from chat.postgresql.connections import Pool
from tests.postgresql import SUPERUSER, PostgreSQL

PATIENCE = 0.6  # seconds: of the statement_timeout below, and GRACE
AT_ONCE = 0.3  # seconds, for a busy machine
OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def connection_to(server: PostgreSQL) -> DatabaseWrapper:
    environment = Environment({"DATABASE_URL": f"{server.url()}?connect_timeout=2"})
    handler = ConnectionHandler({"default": environment.database("DATABASE_URL", "")})
    connection = handler["default"]
    assert isinstance(connection, DatabaseWrapper)
    return connection


@pytest.fixture
def connection(
    postgresql_server: PostgreSQL,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[DatabaseWrapper]:
    monkeypatch.setitem(base.LIMITS, "statement_timeout", 100)
    monkeypatch.setattr(DatabaseWrapper, "pools", {})
    connection = connection_to(postgresql_server)
    with django_db_blocker.unblock():
        yield connection
        postgresql_server.thaw()
        connection.close()
        connection.close_pool()


def ask(connection: DatabaseWrapper, sql: str = "SELECT 1") -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def seconds_to_fail(call: Callable[[], Any]) -> float:
    started = time.monotonic()
    with pytest.raises(OperationalError):
        call()
    return time.monotonic() - started


def test_call_to_a_frozen_server_ends_in_time(
    connection: DatabaseWrapper, postgresql_server: PostgreSQL
) -> None:
    ask(connection)
    postgresql_server.freeze()
    assert PATIENCE - 0.1 < seconds_to_fail(lambda: ask(connection)) < PATIENCE + AT_ONCE


def test_commit_at_a_frozen_server_ends_in_time(
    connection: DatabaseWrapper, postgresql_server: PostgreSQL
) -> None:
    def commit() -> None:
        connection.set_autocommit(False)
        ask(connection)
        postgresql_server.freeze()
        connection.commit()

    assert seconds_to_fail(commit) < PATIENCE + AT_ONCE


def test_callers_behind_a_silent_server_fail_at_once_until_it_answers(
    connection: DatabaseWrapper, postgresql_server: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(connection)
    postgresql_server.freeze()
    seconds_to_fail(lambda: ask(connection))
    connection.close()
    assert seconds_to_fail(lambda: ask(connection)) < AT_ONCE
    postgresql_server.thaw()
    monkeypatch.setattr("chat.postgresql.connections.PROBE_INTERVAL", 0)
    assert ask(connection) == 1


def test_connection_that_was_cut_while_it_was_idle_is_replaced(
    connection: DatabaseWrapper, postgresql_server: PostgreSQL
) -> None:
    before = ask(connection, "SELECT pg_backend_pid()")
    connection.close()
    assert ask(connection, "SELECT pg_backend_pid()") == before  # It was kept.
    connection.close()
    postgresql_server.sql(OTHERS)
    time.sleep(0.1)  # until its process has said why
    assert ask(connection, "SELECT pg_backend_pid()") != before


def test_connection_within_a_transaction_is_not_kept(connection: DatabaseWrapper) -> None:
    before = ask(connection, "SELECT pg_backend_pid()")
    connection.set_autocommit(False)
    ask(connection)
    connection.close()
    assert ask(connection, "SELECT pg_backend_pid()") != before


def test_read_only_server_is_left_for_the_next_one(connection: DatabaseWrapper) -> None:
    before = ask(connection, "SELECT pg_backend_pid()")
    ask(connection, "SELECT set_config('default_transaction_read_only', 'on', false)")
    with pytest.raises(Exception, match="read-only"):
        ask(connection, "CREATE TABLE none (id int)")
    connection.close()
    assert ask(connection, "SELECT pg_backend_pid()") != before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_places_are_freed_by_threads_that_end_without_a_word(
    postgresql_server: PostgreSQL, connection: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.postgresql.connections.MAX_WAIT", 0.1)
    monkeypatch.setattr("chat.postgresql.connections.MAX_OPEN", 1)
    ask(connection)

    def failure() -> float:
        return seconds_to_fail(lambda: ask(connection_to(postgresql_server)))

    assert failure() < AT_ONCE
    connection.close()
    for _ in range(3):
        thread = threading.Thread(target=lambda: ask(connection_to(postgresql_server)))
        thread.start()
        thread.join()
        gc.collect()


class Unused:
    closed, is_idle = False, True

    def close(self) -> None: ...


def take_and_free(moment: int) -> None:
    """Take a place, and have another one freed at a line of the code that takes it."""
    pool = Pool(Unused)  # type: ignore[arg-type]
    forgotten, lines = [pool.getconn()], itertools.count()

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line" and next(lines) == moment:
            forgotten.clear()
        return trace

    sys.settrace(trace)  # of this thread
    pool.getconn()


@pytest.mark.parametrize("moment", range(20))
def test_place_may_be_freed_while_another_one_is_taken(moment: int) -> None:
    # Python collects garbage in any thread, between any two lines.
    thread = threading.Thread(target=take_and_free, args=[moment], daemon=True)
    thread.start()
    thread.join(3)
    assert not thread.is_alive()


def test_limits_of_the_role_count_before_those_of_the_fleet(
    connection: DatabaseWrapper, postgresql_server: PostgreSQL
) -> None:
    postgresql_server.sql(f"ALTER ROLE {SUPERUSER} SET statement_timeout = '7s'")
    try:
        assert ask(connection, "SHOW statement_timeout") == "7s"
        assert connection.connection.patience == 7 + base.GRACE
        assert ask(connection, "SHOW lock_timeout") == "4s"
    finally:
        postgresql_server.sql(f"ALTER ROLE {SUPERUSER} RESET statement_timeout")


def test_commands_may_take_their_time(
    connection: DatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "IS_SERVING", threading.Event())
    assert ask(connection, "SELECT pg_sleep(0.3)") == ""
    assert ask(connection, "SHOW statement_timeout") == "0"
