"""What a browser has asked before somebody signs in there belongs to the account afterwards."""

import uuid
from contextlib import suppress
from functools import partial
from http.cookies import SimpleCookie
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from chat.access.browsers import claim
from chat.access.owners import Owner
from chat.asks import Ask
from chat.conversations import Conversation
from chat.database import in_database
from chat.instructions import Instructions
from chat.models import Run
from tests.chatting import Chatting, chat_request, cookie_header
from tests.scripted_model import ScriptedModel
from tests.telemetry.test_rollup import in_threads

from .conversations import address, asked, conversation_of, owner_of, page, paused_run_of, run_of

pytestmark = pytest.mark.django_db

CREDENTIALS = {"username": "ann", "password": "a good password"}
ORIGIN = "http://testserver"


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_superuser(**CREDENTIALS)


def account(user: User) -> Owner:
    return Owner("user", str(user.pk))


@pytest.mark.parametrize("door", ["/login/", "/login/?next=/admin/"])
def test_chats_of_the_browser_move_into_the_account(client: Client, ann: User, door: str) -> None:
    chat = conversation_of(client, "asked before")
    run = run_of(chat)
    updated_at = chat.updated_at
    client.post(door, CREDENTIALS)
    chat.refresh_from_db()
    run.refresh_from_db()
    assert chat.owner == run.owner == str(account(ann))
    assert chat.updated_at == updated_at
    html = page(client, "/")
    assert "asked before" in html
    assert "1 chat of this browser is now in your account." in html
    assert "now in your account" not in page(client, "/")


def test_chats_of_several_are_counted(client: Client, ann: User) -> None:
    for title in ("one", "two", "three"):
        conversation_of(client, title)
    client.post("/login/", CREDENTIALS)
    assert "3 chats of this browser are now in your account." in page(client, "/")


def test_nothing_is_said_if_nothing_moved(client: Client, ann: User) -> None:
    client.get("/")
    client.post("/login/", CREDENTIALS)
    assert "in your account" not in page(client, "/")


def test_next_person_sees_nothing_of_the_account_after_sign_out(client: Client, ann: User) -> None:
    chat = conversation_of(client, "asked before")
    before = owner_of(client)
    client.post("/login/", CREDENTIALS)
    client.post("/logout/")
    assert owner_of(client) == before
    assert client.get(address(chat)).status_code == 404
    assert "asked before" not in page(client, "/")
    conversation_of(client, "asked after")
    client.post("/login/", CREDENTIALS)
    html = page(client, "/")
    assert "asked before" in html
    assert "asked after" in html


def test_chats_of_others_stay_theirs(client: Client, stranger: Client, ann: User) -> None:
    teammate = User.objects.create_user("bob")
    theirs = Conversation.objects.create(owner=str(account(teammate)), title="of a teammate")
    foreign = conversation_of(stranger, "of another browser")
    conversation_of(client, "mine")
    client.post("/login/", CREDENTIALS)
    assert Conversation.objects.get(pk=theirs.pk).owner == str(account(teammate))
    assert client.get(address(foreign)).status_code == client.get(address(theirs)).status_code
    assert stranger.get(address(foreign)).status_code == 200


def test_replies_of_the_browser_are_those_of_the_account(client: Client, ann: User) -> None:
    run = paused_run_of(conversation_of(client), asked())
    Ask.objects.filter(run=run).update(state=Ask.State.APPROVED, replied_by=run.owner)
    client.post("/login/", CREDENTIALS)
    assert Ask.objects.get(run=run).replied_by == str(account(ann))


def test_reply_of_staff_stays_theirs(client: Client, ann: User) -> None:
    run = paused_run_of(conversation_of(client), asked())
    Ask.objects.filter(run=run).update(state=Ask.State.APPROVED, replied_by="user:0")
    client.post("/login/", CREDENTIALS)
    assert Ask.objects.get(run=run).replied_by == "user:0"


def test_message_id_that_both_have_used_is_claimed_too(client: Client, ann: User) -> None:
    message_id = uuid.uuid4()
    of_user = run_of(
        Conversation.objects.create(owner=str(account(ann)), title="of the account"),
    )
    of_browser = run_of(conversation_of(client))
    Run.objects.update(message_id=message_id)
    client.post("/login/", CREDENTIALS)
    of_user.refresh_from_db()
    of_browser.refresh_from_db()
    assert of_user.message_id == message_id != of_browser.message_id
    assert of_browser.owner == of_user.owner


def test_question_that_came_with_the_old_cookies_is_claimed_by_the_next_page(
    client: Client, ann: User
) -> None:
    before = owner_of(client)
    client.post("/login/", CREDENTIALS)
    late = Conversation.objects.create(owner=before, title="asked during sign-in")
    run_of(late)
    assert "asked during sign-in" in page(client, "/")
    client.post("/logout/")
    assert "asked during sign-in" not in page(client, "/")


def values_of(cookies: SimpleCookie) -> dict[str, str]:
    return {name: cookie.value for name, cookie in cookies.items()}


def test_session_that_another_site_puts_into_a_browser_takes_nothing(
    client: Client, stranger: Client, ann: User
) -> None:
    stranger.get("/")
    stranger.post("/login/", CREDENTIALS)  # its own account
    chat = conversation_of(client, "private")
    run_of(chat)
    before = values_of(client.cookies)
    name = settings.SESSION_COOKIE_NAME
    client.cookies[name] = stranger.cookies[name].value
    assert "private" not in page(client, "/")
    del client.cookies[name]
    assert values_of(client.cookies) == before  # Their times go on.
    assert client.get(address(chat)).status_code == 200
    # A browser without an id doesn't get that of the session, which the stranger has, too.
    empty = Client()
    empty.cookies[name] = stranger.cookies[name].value
    empty.get("/")
    del empty.cookies[name]
    assert owner_of(empty) != owner_of(stranger)


def test_cookie_of_the_browser_shows_nothing_once_its_chats_are_claimed(
    client: Client, stranger: Client, ann: User
) -> None:
    chat = conversation_of(client, "private")
    run = run_of(chat)
    name = settings.FLEET_BROWSER_COOKIE
    stranger.cookies[name] = client.cookies[name].value
    assert "private" in page(stranger, "/")
    client.post("/login/", CREDENTIALS)
    assert "private" not in page(stranger, "/")
    assert stranger.get(address(chat)).status_code == 404
    assert stranger.get(f"/answers/{run.pk}/text/").status_code == 404
    # Nor can it claim them for another account.
    User.objects.create_user("eve", password="a good password")
    stranger.post("/login/", {**CREDENTIALS, "username": "eve"})
    chat.refresh_from_db()
    assert chat.owner == str(account(ann))


def test_chats_from_before_signing_in_became_required_are_claimed(
    client: Client, ann: User, settings: Settings
) -> None:
    chat = conversation_of(client, "asked before")
    run_of(chat)
    settings.FLEET_AUTH = "required"
    assert client.get(address(chat)).status_code == 302
    client.post("/login/", CREDENTIALS)
    assert "1 chat of this browser is now in your account." in page(client, address(chat))


@pytest.mark.django_db(transaction=True)
async def test_answer_that_is_written_during_sign_in_goes_on_and_can_be_rejoined(
    chat: Chatting, model: ScriptedModel, client: Client, ann: User
) -> None:
    await in_database(owner_of, client)
    before = {"cookie": cookie_header(client), "origin": ORIGIN}
    model.on("hold", hold_after=1)
    request = chat_request("hold")
    socket = await chat.ask(request, headers=before)
    connected = await socket.until("connected")
    await in_database(client.post, "/login/", CREDENTIALS)
    after = {"cookie": cookie_header(client), "origin": ORIGIN}
    rejoined = await chat.ask(request, headers=after)
    assert (await rejoined.until("connected"))["workflow_id"] == connected["workflow_id"]
    model.release()
    assert (await socket.rest())[-1]["type"] == "done"
    assert (await rejoined.rest())[-1]["type"] == "done"
    run = await Run.objects.select_related("answer").aget()
    assert run.status == "completed"
    assert run.answer.text
    assert run.owner == str(account(ann))


@pytest.mark.django_db(transaction=True)
async def test_follow_up_with_the_cookies_before_sign_in_is_refused_and_can_be_asked_again(
    chat: Chatting, client: Client, ann: User
) -> None:
    await in_database(owner_of, client)
    before = {"cookie": cookie_header(client), "origin": ORIGIN}
    events = await chat.answer(headers=before)
    browser = (await Run.objects.aget()).owner.removeprefix("browser:")
    assert await in_database(claim, browser, account(ann)) == 1
    request = chat_request(conversation_id=events[0]["data"]["conversation_id"])
    refusal = await (await chat.ask(request, headers=before)).event()
    assert refusal["error"]["code"] == "forbidden"
    await in_database(client.post, "/login/", CREDENTIALS)
    after = {"cookie": cookie_header(client), "origin": ORIGIN}
    assert (await chat.answer(request, headers=after))[-1]["type"] == "done"


@pytest.mark.django_db(transaction=True)
def test_pages_that_are_loaded_at_once_claim_what_was_said_once(
    ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, save, both_save = Owner("browser", "0123"), Instructions.save, Barrier(2)
    Instructions.objects.prefer(browser, "quality")

    def save_together(self: Instructions, *args: Any, **fields: Any) -> None:
        with suppress(BrokenBarrierError):
            both_save.wait(0.5)
        save(self, *args, **fields)

    monkeypatch.setattr(Instructions, "save", save_together)
    in_threads(partial(Instructions.objects.claim, browser, account(ann)), 2)
    assert [each.owner for each in Instructions.objects.all()] == [str(account(ann))]
    assert Instructions.objects.of(account(ann)).preference == "quality"
