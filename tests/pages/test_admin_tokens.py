"""Tokens and services in the admin: who makes, sees and revokes them, and what goes with them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone

from chat.access.tokens import Service, Token
from chat.conversations import Conversation

pytestmark = pytest.mark.django_db

TOKENS, SERVICES = "/admin/chat/token/", "/admin/chat/service/"
TOKEN = re.compile(r"fleet_[0-9a-f]{8}_[A-Za-z0-9]{51}")
DAY = timedelta(days=1)


def staff(*permissions: str) -> Client:
    user = User.objects.create_user(f"staff-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ci() -> Service:
    return Service.objects.create(slug="ci")


def fields(of: Service, **changed: Any) -> dict[str, Any]:
    return {"service": of.pk, "name": "nightly", "scopes": ["ask"], "days": "7", **changed}


def revoke(client: Client, *tokens: Token) -> Any:
    data = {"action": "revoke_selected", "_selected_action": [token.pk for token in tokens]}
    return client.post(TOKENS, data, follow=True)


def test_staff_make_a_token_of_a_service_which_is_shown_once(ci: Service) -> None:
    client = staff("add_token", "view_token")
    given = fields(
        ci,
        model_ids="small\r\n\r\nlarge\r\n",
        origins="https://Shop.example",
        limits="runs=2\r\nmoney=0.5",
    )
    response = client.post(f"{TOKENS}add/", given)
    [text] = TOKEN.findall(response.text)
    token = Token.objects.accept(text, scope="ask", address="192.0.2.7")
    assert (token.service, token.scopes, token.model_ids) == (ci, ["ask"], ["small", "large"])
    assert token.origins == ["https://shop.example"]
    assert token.limits == {"runs": 2, "money": 0.5}
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (token.pk, "Made.")
    for page in (client.get(TOKENS), client.get(f"{TOKENS}{token.pk}/change/")):
        assert "192.0.2.7" in page.text
        assert not TOKEN.search(page.text)
        assert token.digest not in page.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"service": ""},
        {"service": "99"},
        {"name": ""},
        {"scopes": ["admin"]},
        {"days": "0"},
        {"origins": "shop.example"},
        {"limits": "runs=many"},
        {"model_ids": "a\0b"},
    ],
)
def test_wrong_form_makes_nothing(ci: Service, wrong: dict[str, Any]) -> None:
    response = staff("add_token").post(f"{TOKENS}add/", fields(ci, **wrong))
    assert "errorlist" in response.text
    assert not Token.objects.exists()


def test_token_without_a_term_never_expires(ci: Service) -> None:
    staff("add_token").post(f"{TOKENS}add/", fields(ci, days=""))
    assert Token.objects.get().expires_at is None


def test_staff_make_no_tokens_of_people(ci: Service) -> None:
    ada = User.objects.create_user("ada")
    html = staff("add_token").get(f"{TOKENS}add/").text
    assert "ada" not in html
    staff("add_token").post(f"{TOKENS}add/", fields(ci, user=ada.pk))
    assert Token.objects.get().user is None


def test_staff_revoke_tokens_of_everybody_with_an_entry_in_the_log(ci: Service) -> None:
    tokens = [
        Token.objects.make(ci, "one").row,
        Token.objects.make(User.objects.create_user("ada"), "two").row,
    ]
    client = staff("view_token", "change_token")
    assert "Revoked: 2." in revoke(client, *tokens).text
    assert not Token.objects.usable().exists()
    assert LogEntry.objects.filter(change_message="Revoked.").count() == 2
    assert "Revoked: 0." in revoke(client, *tokens).text


def test_each_act_needs_its_permission(ci: Service) -> None:
    token = Token.objects.make(ci, "one").row
    viewer, stranger = staff("view_token", "view_service"), staff()
    revoke(viewer, token)
    assert Token.objects.usable().exists()
    assert viewer.get(f"{TOKENS}add/").status_code == 403
    assert viewer.post(f"{TOKENS}add/", fields(ci)).status_code == 403
    assert viewer.post(f"{TOKENS}{token.pk}/change/", {"name": "other"}).status_code == 403
    assert viewer.post(f"{SERVICES}{ci.pk}/delete/", {"post": "yes"}).status_code == 403
    assert stranger.get(TOKENS).status_code == 403
    assert stranger.get(SERVICES).status_code == 403
    assert Token.objects.get().name == "one"


def test_token_is_revoked_and_not_deleted(ci: Service) -> None:
    token = Token.objects.make(ci, "one").row
    client = staff("view_token", "delete_token", "delete_user")
    assert client.post(f"{TOKENS}{token.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [token.pk], "post": "yes"}
    client.post(TOKENS, data)
    assert Token.objects.exists()


def test_filters_find_what_needs_attention(ci: Service) -> None:
    def made(name: str, **changed: Any) -> None:
        row = Token.objects.make(ci, name).row
        Token.objects.filter(pk=row.pk).update(**changed)

    now = timezone.now()
    made("fresh-one")
    made("never-used", created_at=now - 91 * DAY, expires_at=None)
    made("long-unused", created_at=now - 200 * DAY, used_at=now - 91 * DAY, expires_at=None)
    made("expiring-one", expires_at=now + 13 * DAY)
    made("expired-one", expires_at=now - DAY)
    made("revoked-one", revoked_at=now, expires_at=now + DAY, used_at=now - 91 * DAY)
    expected = {
        "usable": {"fresh-one", "never-used", "long-unused", "expiring-one"},
        "unused": {"never-used", "long-unused"},
        "expiring": {"expiring-one"},
        "expired": {"expired-one"},
        "revoked": {"revoked-one"},
    }
    client = staff("view_token")
    for state, names in expected.items():
        html = client.get(f"{TOKENS}?state={state}").text
        assert set(re.findall(r"<bdi>(\S+-\S+)</bdi>", html)) == names
    assert "never-used" not in client.get(f"{TOKENS}?owner=user").text


def test_service_is_made_in_the_admin_and_keeps_its_name() -> None:
    client = staff("add_service", "view_service", "change_service")
    client.post(f"{SERVICES}add/", {"slug": "mailer"})
    service = Service.objects.get()
    assert client.post(f"{SERVICES}{service.pk}/change/", {"slug": "x"}).status_code == 403
    assert Service.objects.get().slug == "mailer"


@pytest.mark.parametrize("by", ["page", "list"])
def test_service_is_deleted_with_its_tokens_and_its_chats(ci: Service, by: str) -> None:
    Token.objects.make(ci, "one")
    for owner in ("service:ci", "service:cinema"):
        Conversation.objects.create(owner=owner, title="t")
    client = staff("view_service", "delete_service")
    if by == "page":
        address, data = f"{SERVICES}{ci.pk}/delete/", {}
    else:
        address, data = SERVICES, {"action": "delete_selected", "_selected_action": ci.pk}
    if by == "page":
        assert "chats: 1" in re.sub(r"\s+", " ", client.get(address).text).lower()
    client.post(address, {**data, "post": "yes"})
    assert not Service.objects.exists()
    assert not Token.objects.exists()
    assert [chat.owner for chat in Conversation.objects.all()] == ["service:cinema"]
