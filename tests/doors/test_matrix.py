"""Who may call which route: everybody, at every route of the table.

A new route is tried by itself. Names in its path that RESOURCES doesn't have get an id that nobody
knows.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal, get_args

import msgspec
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from chat.access.tokens import SCOPES, NewToken, Service, Token
from chat.conversations import Conversation
from chat.database import in_database
from chat.doors.calls import NAME, Route
from chat.doors.routes import ROUTES
from chat.models import Run
from chat.runs.worker import Worker
from tests.pages.conversations import run_of

from .calling import Doors, Response

Person = Literal[
    "owner",  # a token of the user whose run it is
    "narrow",  # the owner's, without the scope that the route needs
    "expired",  # the owner's
    "revoked",  # the owner's
    "inactive",  # of a user who may not sign in any more
    "misspelt",
    "teammate",  # another user
    "service",
    "script",  # anonymous, with a key of its own making
    "nobody",  # anonymous, known by its address
]
PEOPLE: tuple[Person, ...] = get_args(Person)
UNAUTHENTICATED: tuple[Person, ...] = ("expired", "revoked", "inactive", "misspelt")
STRANGERS: tuple[Person, ...] = ("teammate", "service", "script", "nobody")
# What the path of a route names, by its name: an id of what the owner has.
RESOURCES: dict[str, Callable[[Run], str]] = {
    "run": lambda run: str(run.pk),
    "conversation": lambda run: str(run.conversation_id),
}
# Lists and tickets, which programs without a token don't get.
NEED_A_TOKEN = frozenset(
    {
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v1/conversations"),
        ("POST", "/api/v1/tickets"),
    }
)


def names_in(route: Route) -> set[str]:
    return {found[1] for found in NAME.finditer(route.path)}


GUARDED = [route for route in ROUTES if route.scope]
OF_THE_OWNER = [route for route in GUARDED if names_in(route) & set(RESOURCES)]
BODIES: dict[str, Any] = {"message": "Whose is it?", "origin": "https://shop.example", "title": "x"}


@dataclass(frozen=True)
class People:
    """The run of an owner, and the headers with which each person asks."""

    run: Run
    headers: dict[Person, dict[str, str]]
    narrow: dict[str, dict[str, str]]  # by the scope that is missing

    def of(self, person: Person, route: Route) -> dict[str, str]:
        return self.narrow[str(route.scope)] if person == "narrow" else self.headers[person]


def people() -> People:
    owner, teammate, gone = (User.objects.create_user(name) for name in ("ada", "bob", "eve"))
    chat = Conversation.objects.create(owner=f"user:{owner.pk}", title="Secret zebras")
    run = run_of(chat, "Secret question", "Secret answer")
    make = partial(Token.objects.make, name="t")
    made: dict[Person, NewToken] = {
        "owner": make(owner),
        "expired": make(owner, term=timedelta(seconds=-1)),
        "revoked": make(owner, revoked_at=timezone.now()),
        "inactive": make(gone),
        "teammate": make(teammate),
        "service": make(Service.objects.create(slug="ci")),
    }
    gone.is_active = False
    gone.save()
    headers = {person: bearer(new.text) for person, new in made.items()}
    headers["misspelt"] = bearer(f"{made['owner'].text[:-1]}x")
    headers["script"] = {}
    headers["nobody"] = {"authorization": ""}
    narrow = {
        scope: bearer(make(owner, scopes=[each for each in SCOPES if each != scope]).text)
        for scope in SCOPES
    }
    return People(run, headers, narrow)


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def path_of(route: Route, run: Run | None = None) -> str:
    """Return an address of the route: of the owner's run, or with ids that nobody knows."""

    def value(name: str) -> str:
        return RESOURCES[name](run) if run and name in RESOURCES else str(uuid.uuid4())

    return NAME.sub(lambda found: value(found[1]), route.path)


def body_of(route: Route) -> Any:
    """Return a body with what is known of this route's fields; what it lacks is refused later."""
    if route.body is None:
        return None
    names = msgspec.structs.fields(route.body)
    return {each.encode_name: BODIES[each.name] for each in names if each.name in BODIES}


def ids(route: Route) -> str:
    return f"{route.method} {route.path}"


async def called(doors: Doors, route: Route, path: str, headers: dict[str, str]) -> Response:
    """Call the route. Read no more of a stream than its head."""
    async with doors.stream(route.method, path, body_of(route), headers=headers) as exchange:
        await exchange.message()
        while exchange.response.status >= 400 and not exchange.response.is_complete:
            await exchange.message()
        return exchange.response


@pytest.mark.parametrize("route", GUARDED, ids=ids)
async def test_token_that_does_not_count_opens_no_route(doors: Doors, route: Route) -> None:
    everybody = await in_database(people)
    for person in UNAUTHENTICATED:
        response = await called(
            doors, route, path_of(route, everybody.run), everybody.of(person, route)
        )
        assert response.status == 401, person
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.error["code"] == "invalid_api_key"
    await unchanged(everybody)


@pytest.mark.parametrize("route", [each for each in GUARDED if each.scope != "any"], ids=ids)
async def test_token_without_the_scope_is_refused(doors: Doors, route: Route) -> None:
    everybody = await in_database(people)
    headers = everybody.of("narrow", route)
    response = await called(doors, route, path_of(route, everybody.run), headers)
    assert (response.status, response.error["code"]) == (403, "insufficient_scope")
    await unchanged(everybody)


@pytest.mark.parametrize("route", GUARDED, ids=ids)
async def test_owner_is_let_in_at_every_route(doors: Doors, route: Route) -> None:
    everybody = await in_database(people)
    path = path_of(route, everybody.run)
    response = await called(doors, route, path, everybody.of("owner", route))
    assert response.status not in (401, 403)
    assert response.status < 500
    if route in OF_THE_OWNER:
        assert response.status < 400, response.text
    await settled()


@pytest.mark.parametrize("route", OF_THE_OWNER, ids=ids)
async def test_strangers_get_the_answer_to_an_unknown_id(doors: Doors, route: Route) -> None:
    everybody = await in_database(people)
    for person in STRANGERS:
        headers = everybody.of(person, route)
        foreign = await called(doors, route, path_of(route, everybody.run), headers)
        unknown = await called(doors, route, path_of(route), headers)
        assert foreign.status == unknown.status == 404, person
        assert foreign.json == unknown.json
        assert foreign.headers.keys() == unknown.headers.keys()
    await unchanged(everybody)


@pytest.mark.parametrize("route", [each for each in GUARDED if each not in OF_THE_OWNER], ids=ids)
async def test_nothing_of_the_owner_is_shown_to_others(doors: Doors, route: Route) -> None:
    everybody = await in_database(people)
    for person in STRANGERS:
        async with doors.stream(
            route.method, path_of(route), body_of(route), headers=everybody.of(person, route)
        ) as exchange:
            response = await exchange.rest()
        assert response.status < 500
        for secret in ("Secret", str(everybody.run.pk), str(everybody.run.conversation_id)):
            assert secret not in response.text
        is_anonymous = person in ("script", "nobody")
        if is_anonymous and (route.method, route.path) in NEED_A_TOKEN:
            assert (response.status, response.error["code"]) == (403, "token_needed")
    await unchanged(everybody)


@pytest.mark.parametrize("api", ["tokens", "off"])
@pytest.mark.parametrize("route", GUARDED, ids=ids)
async def test_closed_fleet_lets_no_program_in_without_a_token(
    doors: Doors, settings: Any, route: Route, api: str
) -> None:
    settings.FLEET_API = api
    for headers in ({}, {"authorization": ""}):
        response = await called(doors, route, path_of(route), headers)
        assert response.status == (401 if api == "tokens" else 404)


def test_names_of_paths_are_known() -> None:
    """A resource of an owner must be in RESOURCES, or strangers aren't tried with its id."""
    ours = [route for route in ROUTES if route.path.startswith("/api/v1/")]
    assert {name for route in ours for name in names_in(route)} <= set(RESOURCES)


async def unchanged(everybody: People) -> None:
    """Check that what the owner has is as it was."""
    run = await Run.objects.select_related("conversation", "answer").aget(pk=everybody.run.pk)
    assert (run.conversation.title, run.answer.text) == ("Secret zebras", "Secret answer")
    assert run.ending == everybody.run.ending
    assert run.cancel_requested_at is None
    await settled()


async def settled() -> None:
    """Wait until no question that was asked here is being answered."""
    await Worker.current().runs.idle(within=30)
