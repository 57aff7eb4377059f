"""Access to conversations: only for their owner, not for strangers or admins."""

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from chat.conversations import Conversation

from .conversations import (
    HTMX,
    address,
    conversation_of,
    owner_of,
    page,
    run_of,
)

pytestmark = pytest.mark.django_db


OF_A_CONVERSATION = [
    ("get", "conversation"),
    ("get", "turns"),
    ("get", "totals"),
    ("post", "pin"),
    ("post", "rename"),
    ("post", "delete"),
]


@pytest.mark.parametrize(("method", "name"), OF_A_CONVERSATION)
@pytest.mark.parametrize("signed_in", [False, True])
def test_foreign_and_unknown_conversations_get_the_same_404(
    client: Client, stranger: Client, method: str, name: str, signed_in: bool
) -> None:
    chat = conversation_of(client)
    run_of(chat, "a secret question")
    if signed_in:
        stranger.force_login(User.objects.create_superuser("root"))
    foreign = getattr(stranger, method)(address(chat, name), {"title": "mine", "pinned": "1"})
    unknown = getattr(stranger, method)(
        reverse(name, args=[uuid.uuid4()]), {"title": "mine", "pinned": "1"}
    )
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.content == unknown.content
    chat.refresh_from_db()
    assert (chat.title, chat.pinned_at) == ("Kafka or RabbitMQ", None)


def test_owner_gets_the_page_of_a_conversation(client: Client) -> None:
    chat = conversation_of(client)
    assert client.get(address(chat)).status_code == 200


def test_list_has_only_the_owners_conversations(client: Client, stranger: Client) -> None:
    conversation_of(client, "mine")
    conversation_of(stranger, "theirs")
    for html in (
        page(client, "/"),
        page(client, "/chats/", **HTMX),
        page(client, "/chats/?q=e", **HTMX),
    ):
        assert "theirs" not in html
    assert "mine" in page(client, "/chats/", **HTMX)


def test_list_that_opens_a_foreign_conversation_shows_nothing_of_it(
    client: Client, stranger: Client
) -> None:
    chat = conversation_of(client, "a secret title")
    assert "secret" not in page(stranger, f"/chats/?opened={chat.pk}", **HTMX)
    assert "a secret title</h1>" in page(client, f"/chats/?opened={chat.pk}", **HTMX)


def test_text_of_an_answer_is_only_for_its_owner(client: Client, stranger: Client) -> None:
    run = run_of(conversation_of(client))
    response = client.get(reverse("answer_text", args=[run.pk]))
    assert response.content == b"It **depends**."
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    owner_of(stranger)
    assert stranger.get(reverse("answer_text", args=[run.pk])).status_code == 404


def test_user_who_signs_in_sees_the_chats_of_the_account(client: Client) -> None:
    person = User.objects.create_user("ann", password="a good password")
    Conversation.objects.create(owner=f"user:{person.pk}", title="of the account")
    response = client.post(
        "/login/", {"username": "ann", "password": "a good password"}, follow=True
    )
    html = response.content.decode()
    assert "of the account" in html
    assert "Sign out" in html
    html = client.post("/logout/", follow=True).content.decode()
    assert "of the account" not in html


def test_wrong_password_is_reported(client: Client) -> None:
    html = client.post("/login/", {"username": "ann", "password": "x"}).content.decode()
    assert "do not match" in html


def test_pages_redirect_to_sign_in_if_it_is_required(client: Client, settings: Settings) -> None:
    chat = conversation_of(client)
    settings.FLEET_AUTH = "required"
    for path in ("/", address(chat), "/chats/"):
        response = client.get(path)
        assert response.status_code == 302
        assert response.headers["Location"] == f"/login/?next={path}"
    assert client.post(address(chat, "delete")).headers["Location"] == "/login/?next=/"
    assert client.get("/chats/", headers=HTMX).headers["HX-Redirect"] == "/login/?next=/"
    assert Conversation.objects.filter(pk=chat.pk).exists()
