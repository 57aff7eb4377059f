"""Rating an answer."""

import json
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from chat.models import Run
from routing.models import RoutingDecision

from .conversations import (
    HTMX,
    address,
    conversation_of,
    decided_for,
    owner_of,
    page,
    run_of,
)

pytestmark = pytest.mark.django_db


def rated(client: Client, run: Run, rating: str = "up", **options: Any) -> Any:
    return client.post(reverse("rate", args=[run.pk]), {"rating": rating}, **options)


def pressed(html: str) -> list[str]:
    """Return the labels of the pressed thumbs."""
    return [
        part.split('aria-label="')[1].split('"')[0]
        for part in html.split('aria-pressed="true"')[1:]
        if 'aria-label="' in part
    ]


def test_rating_is_stored_shown_and_removed(client: Client) -> None:
    run = run_of(conversation_of(client))
    decision = decided_for(run)
    for rating, stored, shown in (
        ("up", 1, "Good answer"),
        ("down", -1, "Bad answer"),
        ("none", None, ""),
    ):
        html = rated(client, run, rating).content.decode()
        decision.refresh_from_db()
        assert decision.rating == stored
        for part in (
            html,
            page(client, address(run.conversation))
            .split('id="thread"')[1]
            .split("<template")[0]
            .split('id="composer"')[0],
        ):
            assert pressed(part) == ([shown] if shown else [])


def test_only_the_owner_can_rate(client: Client, stranger: Client) -> None:
    run = run_of(conversation_of(client))
    decision = decided_for(run)
    anonymous = Client()
    owner_of(stranger)
    unknown = stranger.post(reverse("rate", args=[uuid.uuid4()]), {"rating": "up"})
    for other in (stranger, anonymous):
        foreign = rated(other, run)
        assert foreign.status_code == unknown.status_code == 404
        assert foreign.content == unknown.content
    stranger.force_login(User.objects.create_superuser("root"))
    assert rated(stranger, run).status_code == 404
    decision.refresh_from_db()
    assert decision.rating is None
    assert rated(client, run).status_code == 200


def test_answer_without_a_routing_decision_cannot_be_rated(client: Client) -> None:
    assert rated(client, run_of(conversation_of(client))).status_code == 404


@pytest.mark.parametrize("rating", ["", "1", "UP", "sideways"])
def test_invalid_rating_changes_nothing(client: Client, rating: str) -> None:
    run = run_of(conversation_of(client))
    decided_for(run, rating=1)
    assert rated(client, run, rating).status_code == 400
    assert RoutingDecision.objects.get(pk=run.pk).rating == 1


def test_rating_needs_a_post_with_the_token_of_the_page(client: Client) -> None:
    run = run_of(conversation_of(client))
    decided_for(run)
    assert client.get(reverse("rate", args=[run.pk])).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    owner_of(client)
    strict.cookies = client.cookies
    html = page(strict, address(run.conversation))
    assert rated(strict, run).status_code == 403
    token = json.loads(html.split("hx-headers='")[1].split("'")[0])["X-CSRFToken"]
    assert rated(strict, run, headers={"X-CSRFToken": token}).status_code == 200


def test_rating_redirects_to_sign_in_if_it_is_required(client: Client, settings: Settings) -> None:
    run = run_of(conversation_of(client))
    decided_for(run)
    settings.FLEET_AUTH = "required"
    assert rated(client, run, headers=HTMX).headers["HX-Redirect"] == "/login/?next=/"
    assert RoutingDecision.objects.get(pk=run.pk).rating is None
