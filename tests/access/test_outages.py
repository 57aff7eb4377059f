"""Pages while the database is away or takes nothing: 503 with words, and never a failure."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import (
    DataError,
    Error,
    InternalError,
    OperationalError,
    ProgrammingError,
    connection,
)
from django.http import HttpResponse
from pytest_django import Settings
from redis import Redis

from chat.access.sessions import RENEWED_KEY
from tests.runs.troubles import locked_database, short_lock_timeout

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
def failing(fails: Fault, fault: Exception | None = None) -> Iterator[list[str]]:
    """Let the database fail for these statements; yield those that failed."""
    failed: list[str] = []

    def execute(call: Any, sql: str, *rest: Any) -> Any:
        if not fails(sql):
            return call(sql, *rest)
        failed.append(sql)
        raise fault or OperationalError("the database is away")

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
            with failing(fails) as failed:
                answer = request.send_by(visit.client)
            told += answer.status_code == 503
            # Each further one might wait for the database as long as the first.
            if answer.status_code == 503 and len(failed) > 1:
                wrong.append(f"{method} {address} asked again: {failed}")
            if answer.status_code >= 500 and not is_told(answer, is_htmx=is_htmx):
                wrong.append(f"{method} {address}: {answer.status_code}")
    assert not wrong, "\n".join(wrong)
    assert told >= 20


def test_form_that_a_lock_kept_out_is_stored_when_it_is_sent_again() -> None:
    visit = visit_of("owner")
    visit.client.raise_request_exception = False
    form = {"text": "Be brief."}
    connection.close()
    with short_lock_timeout():
        with locked_database():
            answer = visit.client.post("/instructions/", form)
        assert is_told(answer, is_htmx=False)
        assert visit.client.post("/instructions/", form).status_code == 200
    connection.close()


@pytest.mark.parametrize("fault", [None, (InternalError, "25006")], ids=["away", "read-only"])
def test_session_that_cannot_be_stored_is_not_taken_for_one_that_was_deleted(
    fault: tuple[type[Error], str] | None,
) -> None:
    visit = visit_of("owner")
    visit.client.raise_request_exception = False
    session = visit.client.session
    session[RENEWED_KEY] = 0  # It is due.
    session.save()
    with failing(every_write, fault and fault_of(*fault)):
        assert is_told(visit.client.get("/account/"), is_htmx=False)


def test_wrong_sql_and_rejected_values_stay_failures() -> None:
    visit = visit_of("owner")
    visit.client.raise_request_exception = False
    for fault in (ProgrammingError("no such column"), DataError("too long"), wrong_sql()):
        with failing(every_statement, fault):
            assert visit.client.get("/account/").status_code == 500


@pytest.mark.parametrize(
    ("fault", "state", "status"),
    [
        (OperationalError, "57014", 503),  # a time limit
        (InternalError, "25006", 503),  # a standby
        (InternalError, "25P03", 503),  # this process was frozen
        (InternalError, "25P02", 500),
        (OperationalError, "54000", 500),  # a row that is too long for an index
    ],
)
def test_codes_of_postgresql_tell_outages_from_failures(
    fault: type[Error], state: str, status: int
) -> None:
    visit = visit_of("owner")
    visit.client.raise_request_exception = False
    with failing(every_statement, fault_of(fault, state)):
        assert visit.client.get("/account/").status_code == status


def fault_of(fault: type[Error], state: str) -> Error:
    """Return what Django raises for an error of PostgreSQL with this code."""
    raised, cause = fault("no"), Exception()
    raised.__cause__, cause.sqlstate = cause, state  # type: ignore[attr-defined]
    return raised


def wrong_sql() -> Error:
    """Return what the database says of SQL that is wrong: SQLite has no error of its own for it."""
    with pytest.raises(Error) as raised, connection.cursor() as cursor:
        cursor.execute("SELECT nothing")
    return raised.value


def is_told(answer: HttpResponse, *, is_htmx: bool) -> bool:
    text = answer.content.decode()
    return (
        answer.status_code == 503
        and answer["Retry-After"] == "5"
        and "no-store" in answer["Cache-Control"]
        and "database does not answer or takes nothing" in text
        and ("<html" in text) != is_htmx
    )
