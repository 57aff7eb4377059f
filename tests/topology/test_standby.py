"""DATABASE_URL with two servers, of which one is a standby until it is promoted."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import ConnectionHandler
from pytest_django import DjangoDbBlocker

from agenticfleet.environment import Environment
from tests.postgresql import MissingProgram, PostgreSQL, found, postgresql

pytestmark = pytest.mark.processes


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[PostgreSQL, PostgreSQL]]:
    """Yield a server and its standby. Both may be stopped."""
    try:
        found("pg_basebackup")
    except MissingProgram as exc:
        pytest.skip(str(exc))
    with postgresql(tmp_path) as primary:
        standby = primary.standby()
        yield primary, standby
        standby.stop()


def port_reached(url: str) -> int:
    """Return the port of the server to which this DATABASE_URL leads."""
    database = Environment({"DATABASE_URL": url}).database("DATABASE_URL", "")
    connection = ConnectionHandler({"default": database})["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT inet_server_port()")
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def test_fleet_finds_the_server_that_takes_writes(
    pair: tuple[PostgreSQL, PostgreSQL], django_db_blocker: DjangoDbBlocker
) -> None:
    primary, standby = pair
    url = (
        "postgresql://fleet@127.0.0.1,127.0.0.1/postgres"
        f"?port={standby.port},{primary.port}&target_session_attrs=read-write"
    )
    with django_db_blocker.unblock():
        assert port_reached(url) == primary.port
        primary.stop("immediate")
        standby.promote()
        assert port_reached(url) == standby.port
