"""Each person at each address, under each FLEET_AUTH: the answers of table.py, and no more."""

import logging
from collections.abc import Iterator

import pytest
from django.http import HttpRequest, HttpResponse
from pytest_django import Settings
from redis import Redis

from .addresses import all_addresses
from .belongings import things_of
from .matrix import Matrix, request_for
from .people import OWNERS, PEOPLE, Person, visit_of
from .table import TABLE, names_of, pattern_of, rows

pytestmark = pytest.mark.django_db

FILES = "agenticfleet.assets.VersionedFilesMiddleware"
FORGED = 418  # no other refusal has this status
AUTHS = ("anonymous", "required", "signup")
# Kinds of words that owners see, and those that nobody else sees.
ONLY_FOR_OWNERS = {"beginning", "instructions", "link", "sign-in", "summary"}
OF_CHATS = {"answer", "arguments", "question", "shared", "title", "wanted"}
OF_ACCOUNTS = {"mail", "name", "sign-in", "token"}


@pytest.fixture(autouse=True)
def _quiet_refusals() -> Iterator[None]:
    """Log no line for each of thousands of refusals."""
    loggers = [logging.getLogger(f"django.{name}") for name in ("request", "security.csrf")]
    for logger in loggers:
        logger.disabled = True
    yield
    for logger in loggers:
        logger.disabled = False


def test_every_address_has_a_row_that_says_who_may_open_it() -> None:
    missing = [str(each) for each in all_addresses() if pattern_of(each) is None]
    assert not missing, f"Say in tests/access/table.py who may open {', '.join(missing)}."


def test_every_row_has_an_address() -> None:
    used = {pattern_of(address) for address in all_addresses()}
    assert not TABLE.keys() - used, "These rows of tests/access/table.py are of no address."


def test_every_parameter_names_something_of_the_owner(redis: Redis) -> None:
    owner = visit_of("owner").owner
    assert owner
    ids = things_of(owner, "owner", redis).ids
    for address, row in rows():
        for name, thing in names_of(address, row).items():
            assert thing, f"Say in the row of {address} what <{name}> names."
            assert thing in ids, f"Store a {thing} in tests/access/belongings.py, for {address}."


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("person", PEOPLE)
def test_answers_are_those_of_the_table(
    person: Person, auth: str, settings: Settings, redis: Redis
) -> None:
    visit = visit_of(person)
    own = things_of(visit.owner, person, redis) if visit.owner else None
    another = visit_of("other" if person == "owner" else "owner")
    assert another.owner
    theirs = things_of(another.owner, another.person, redis)
    # Files have no addresses. Without them, a request needs no event loop of its own, and a fifth
    # of the time.
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if each != FILES]
    settings.FLEET_AUTH = auth
    if person == "bearer":
        visit.client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {theirs.token}"
    things, others = (own, [theirs]) if own and person in OWNERS else (theirs, [])
    matrix = Matrix(
        visit,
        auth,
        things=things,
        others=others,
        own=own.ids if own else {},
        redis=redis,
    )
    if faults := list(matrix.faults()):
        pytest.fail("\n".join(faults), pytrace=False)
    # Words that nobody could see would prove nothing.
    if person == "superuser":
        assert matrix.seen == things.words.keys() - ONLY_FOR_OWNERS
    elif person == "owner":
        assert matrix.seen >= OF_CHATS | OF_ACCOUNTS | ONLY_FOR_OWNERS
    elif person == "visitor" and auth == "anonymous":
        assert matrix.seen >= OF_CHATS | ONLY_FOR_OWNERS - OF_ACCOUNTS


def test_forms_of_other_sites_are_refused_everywhere(settings: Settings, redis: Redis) -> None:
    settings.CSRF_FAILURE_VIEW = "tests.access.test_matrix.forged"
    visit = visit_of("superuser")
    assert visit.owner
    things = things_of(visit.owner, visit.person, redis)
    visit.client.handler.enforce_csrf_checks = True
    taken = []
    for address, row in rows():
        request = request_for(address, row, "POST", things.ids, is_htmx=False)
        if request.send_by(visit.client).status_code != FORGED:
            taken.append(str(address))
    assert not taken, f"These take a form without the page's token: {', '.join(taken)}"


def forged(request: HttpRequest, reason: str) -> HttpResponse:
    return HttpResponse(status=FORGED)
