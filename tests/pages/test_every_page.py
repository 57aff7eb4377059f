"""What holds for every page: a HEAD answers as a GET does, and a visit stores nothing."""

import http.client
import uuid
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from chat.access.signins import Session
from chat.conversations import Conversation
from chat.models import Run
from tests.serving import Fleet

from .conversations import HTMX, conversation_of, decided_for, run_of

PROBES = ("/healthz", "/readyz", "/metrics")


def names(resolver: URLResolver) -> Iterator[str]:
    """Return the names of the pages, without the admin's for each kind of rows."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern) and pattern.name:
            yield pattern.name
        elif isinstance(pattern, URLResolver) and not pattern.namespace:
            yield from names(pattern)


NAMES = sorted(set(names(get_resolver())))


def address_of(name: str, chat: Conversation, run: Run) -> str:
    """Return the address of a page with the ids of what there is."""
    found = get_resolver().reverse_dict.getlist(name)
    [(_, parameters), *_] = found[0][0]
    known = {
        "pk": run.pk if name.startswith(("answer", "rate")) else chat.pk,
        "run_id": run.pk,
        "language": "de",
    }
    return reverse(name, kwargs={each: known.get(each, uuid.uuid4().hex) for each in parameters})


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_head_answers_as_get_does(client: Client, name: str) -> None:
    chat = conversation_of(client)
    run = run_of(chat)
    decided_for(run)
    path = address_of(name, chat, run)
    got, head = client.get(path), client.head(path)
    assert head.status_code == got.status_code
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_visit_without_a_cookie_makes_no_session(client: Client, name: str) -> None:
    chat = conversation_of(client)
    path = address_of(name, chat, run_of(chat))
    assert Client().get(path).status_code < 500
    assert Client(headers=HTMX).get(path).status_code < 500
    assert not Session.objects.exists()


@pytest.mark.parametrize("path", ["/", "/login/", *PROBES])
def test_head_brings_no_content(fleet: Fleet, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=20)
    answers = []
    for method in ("GET", "HEAD"):
        connection.request(method, path)
        answer = connection.getresponse()
        answers.append((answer.status, answer.headers["Content-Type"]))
        # What follows the head would be read as the next answer.
        answer.read()
    connection.close()
    assert answers[0] == answers[1]
