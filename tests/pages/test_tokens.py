"""The page of a person's tokens: what it makes, shows once, lists and revokes."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from chat.access.tokens import SCOPES, Service, Token
from chat.accounts.tokens import MAX_TOKENS

pytestmark = pytest.mark.django_db

PAGE = "/account/tokens/"
FIELDS = {"name": "laptop", "scopes": ["ask", "read"], "term": "30"}
TOKEN = re.compile(r"fleet_[0-9a-f]{8}_[A-Za-z0-9]{51}")


@pytest.fixture
def ada(client: Client) -> User:
    user = User.objects.create_user("ada")
    client.force_login(user)
    return user


def test_page_makes_a_token_and_shows_it_once(client: Client, ada: User) -> None:
    response = client.post(PAGE, FIELDS)
    assert response.status_code == 201
    assert "no-store" in response.headers["Cache-Control"]
    [text] = TOKEN.findall(response.text)
    token = Token.objects.accept(text, scope="read", address="")
    assert (token.user, token.name, token.scopes) == (ada, "laptop", ["ask", "read"])
    assert token.expires_at
    assert round((token.expires_at - timezone.now()) / timedelta(days=1)) == 30
    html = client.get(PAGE).text
    assert token.beginning in html
    assert not TOKEN.search(html)
    assert token.digest not in html


def test_making_and_revoking_are_in_the_log_of_the_admin(client: Client, ada: User) -> None:
    client.post(PAGE, FIELDS)
    token = Token.objects.get()
    client.post(PAGE, {"revoke": token.pk})
    token.refresh_from_db()
    assert token.revoked_at
    entries = LogEntry.objects.order_by("pk")
    assert [(entry.user, entry.object_id) for entry in entries] == [(ada, token.pk)] * 2
    assert not any(token.digest in entry.object_repr + entry.change_message for entry in entries)
    assert token.beginning not in client.get(PAGE).text


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\0b"},
        {"scopes": []},
        {"scopes": ["admin"]},
        {"term": "1000000"},
        {"term": ""},
    ],
)
def test_wrong_form_makes_nothing_and_stays(
    client: Client, ada: User, wrong: dict[str, object]
) -> None:
    response = client.post(PAGE, {**FIELDS, **wrong})
    assert response.status_code == 422
    assert 'role="alert"' in response.text
    assert not Token.objects.exists()


def test_person_has_at_most_so_many_tokens(client: Client, ada: User) -> None:
    made = [Token.objects.make(ada, str(number)).row for number in range(MAX_TOKENS)]
    assert client.post(PAGE, FIELDS).status_code == 422
    client.post(PAGE, {"revoke": made[0].pk})
    assert client.post(PAGE, FIELDS).status_code == 201


def test_person_sees_and_revokes_their_own_tokens_alone(client: Client, ada: User) -> None:
    others = [
        Token.objects.make(User.objects.create_user("bob"), "secret name").row,
        Token.objects.make(Service.objects.create(slug="ci"), "secret name").row,
    ]
    assert "secret name" not in client.get(PAGE).text
    for token_id in (*(token.pk for token in others), "0123abcd", "a\0b", ""):
        assert client.post(PAGE, {"revoke": token_id}).status_code == 302
    assert Token.objects.usable().count() == len(others)


@pytest.mark.parametrize("auth", ["anonymous", "required"])
def test_page_asks_everybody_else_to_sign_in(client: Client, settings: object, auth: str) -> None:
    settings.FLEET_AUTH = auth  # type: ignore[attr-defined]
    for response in (client.get(PAGE), client.post(PAGE, FIELDS)):
        assert response.status_code == 302
        assert response.headers["Location"] == f"/login/?next={PAGE}"
    assert not Token.objects.exists()


def test_page_says_when_a_token_was_used_and_that_it_has_expired(client: Client, ada: User) -> None:
    new = Token.objects.make(ada, "<b>old</b>", scopes=SCOPES)
    Token.objects.accept(new.text, scope="ask", address="192.0.2.7")
    Token.objects.update(expires_at=timezone.now())
    html = client.get(PAGE).text
    assert "&lt;b&gt;old" in html
    for words in ("Expired", "Last used on", "192.0.2.7"):
        assert words in html
