"""Pages while the database is away or takes nothing: 503 with words, and never a failure."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import HttpResponse
from pytest_django import Settings
from redis import Redis

from .belongings import things_of
from .matrix import request_for
from .people import visit_of
from .table import rows

pytestmark = pytest.mark.django_db(transaction=True)

FILES = "agenticfleet.assets.VersionedFilesMiddleware"
WRITES = ("INSERT", "UPDATE", "DELETE")

type Fault = Callable[[str], bool]  # of these statements


def every_statement(sql: str) -> bool:
    return True


def every_write(sql: str) -> bool:
    return sql.startswith(WRITES)


@contextmanager
def failing(fails: Fault) -> Iterator[list[str]]:
    """Let the database fail for these statements; yield those that failed."""
    failed: list[str] = []

    def execute(call: Any, sql: str, *rest: Any) -> Any:
        if not fails(sql):
            return call(sql, *rest)
        failed.append(sql)
        raise OperationalError("the database is away")

    with connection.execute_wrapper(execute):
        yield failed


@pytest.mark.parametrize("fails", [every_statement, every_write])
@pytest.mark.parametrize("is_htmx", [False, True], ids=["page", "part"])
def test_no_address_fails_while_the_database_does(
    settings: Settings, redis: Redis, fails: Fault, is_htmx: bool
) -> None:
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if each != FILES]
    visit = visit_of("superuser")
    assert visit.owner
    things = things_of(visit.owner, visit.person, redis)
    visit.client.raise_request_exception = False
    wrong, told = [], 0
    for address, row in rows():
        for method in ("GET", "POST"):
            request = request_for(address, row, method, things.ids, is_htmx=is_htmx)
            with failing(fails):
                answer = request.send_by(visit.client)
            told += answer.status_code == 503
            if answer.status_code >= 500 and not is_told(answer, is_htmx=is_htmx):
                wrong.append(f"{method} {address}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert told >= 20


def is_told(answer: HttpResponse, *, is_htmx: bool) -> bool:
    text = answer.content.decode()
    return (
        answer.status_code == 503
        and answer["Retry-After"] == "5"
        and "no-store" in answer["Cache-Control"]
        and "database does not answer or takes nothing" in text
        and ("<html" in text) != is_htmx
    )
