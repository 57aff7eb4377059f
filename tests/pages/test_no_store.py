"""No cache keeps what people wrote: neither a page, nor a redirect, nor an error."""

import re
from collections.abc import Iterable, Iterator

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from .conversations import HTMX, asked, conversation_of, paused_run_of, run_of

pytestmark = pytest.mark.django_db

UNKNOWN = "00000000-0000-4000-8000-000000000000"
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")


def routes(patterns: Iterable[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    """Yield the address of each view, with its parameters."""
    for pattern in patterns:
        route = before + str(pattern.pattern).removeprefix("^").removesuffix("$")
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route


NOBODYS = {"/manifest.webmanifest"}  # The same for all, so browsers may keep it.
ROUTES = sorted(set(routes(get_resolver().url_patterns)) - NOBODYS)


def filled(route: str, pk: str) -> str:
    values = {"file_format": "csv", "app_label": "chat", "tool": "clock", "url": "nothing"}
    return PARAMETER.sub(lambda found: values.get(found[1] or found[2], pk), route)


@pytest.fixture
def people(client: Client, admin_client: Client, stranger: Client) -> list[Client]:
    """Return the owner of a chat, staff, a teammate and a stranger."""
    teammate = Client()
    teammate.force_login(User.objects.create_user("bob"))
    return [client, admin_client, teammate, stranger]


def expect_kept_by_none(response: HttpResponse, path: str) -> None:
    cached = response.headers.get("Cache-Control", "")
    assert "no-store" in cached, (path, response.status_code, cached)


@pytest.mark.parametrize("auth", ["anonymous", "required"])
def test_each_response_to_each_person(people: list[Client], settings: Settings, auth: str) -> None:
    chat = conversation_of(people[0])
    run = run_of(chat)
    paused = paused_run_of(chat, asked())
    settings.FLEET_AUTH = auth
    ids = (str(chat.pk), str(run.pk), str(paused.pk), str(paused.asks.get().pk), UNKNOWN)
    statuses = set()
    for route in ROUTES:
        if route.startswith("/admin/") and auth == "required":
            continue  # as without
        for path in {filled(route, pk) for pk in ids}:
            for person in people:
                for headers in ({},) if path.startswith("/admin/") else ({}, HTMX):
                    response = person.get(path, headers=headers)
                    statuses.add(response.status_code)
                    expect_kept_by_none(response, path)
    assert {200, 302, 404, 405} <= statuses


def test_refused_forms_and_errors(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = conversation_of(client)
    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
    strict.cookies = client.cookies
    for path in (f"/c/{chat.pk}/rename/", f"/c/{chat.pk}/delete/", "/login/", "/logout/"):
        response = strict.post(path)
        assert response.status_code == 403
        expect_kept_by_none(response, path)
    monkeypatch.setattr("chat.views.sidebar_of", lambda *_, **__: 1 / 0)
    response = strict.get(f"/c/{chat.pk}/")
    assert response.status_code == 500
    expect_kept_by_none(response, "a fault")
