"""Chats that are shared by a link: what it shows, to whom, and for how long."""

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries, Settings

from chat.access.owners import Owner
from chat.conversations import Conversation
from chat.instructions import Instructions
from chat.logs import WithoutKeys, without_key
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import AgentMessage, ToolStart, stored
from chat.protocol.payloads import ToolCallData
from chat.protocol.terms import CANCELLED, Ending
from chat.shares import Share
from chat.sharing import QUESTIONS_ON_A_PAGE

from .conversations import (
    HTMX,
    address,
    asked,
    continuing_run_of,
    conversation_of,
    decided_for,
    page,
    paused_run_of,
    run_of,
)
from .test_export import STEPS

pytestmark = pytest.mark.django_db

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def share(client: Client, chat: Conversation) -> str:
    """Share a chat, or update its link; return the link's path."""
    assert client.post(address(chat, "share"), headers=HTMX).status_code == 200
    return f"/s/{Share.objects.get(conversation=chat).token}/"


def revoke(client: Client, chat: Conversation) -> None:
    assert client.post(address(chat, "revoke_share"), headers=HTMX).status_code == 200


@pytest.fixture
def teammate(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_user("bob"))
    return client


def test_everybody_with_the_link_reads_questions_answers_and_sources(
    client: Client, stranger: Client, teammate: Client
) -> None:
    chat = conversation_of(client, "Kafka <or> RabbitMQ")
    run_of(chat, "Which\none?", "It **depends** [1].", steps=STEPS, model="small", path="light")
    path = share(client, chat)
    for reader in (client, teammate, stranger):
        html = page(reader, path)
        assert "Kafka &lt;or&gt; RabbitMQ" in html
        assert "Which\none?" in html
        assert "<strong>depends</strong>" in html
        assert 'href="https://kafka.example/a(b)"' in html
        assert "javascript:" not in html
        assert "small" in html


def test_token_has_128_random_bits_and_no_two_are_the_same(client: Client) -> None:
    tokens = set()
    for _ in range(3):
        chat = conversation_of(client)
        run_of(chat)
        tokens.add(share(client, chat))
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= len("/s//") + 128 / 6


def test_what_is_shared_is_fixed_until_the_link_is_updated(
    client: Client, stranger: Client
) -> None:
    chat = conversation_of(client, "Before")
    first = run_of(chat, "One?", "First answer.")
    path = share(client, chat)
    before = stranger.get(path).content
    run_of(chat, "Two?", "Second answer.")
    run_of(chat, first.question, "Asked again.", rerun_of=first)
    other = chat.messages.create(role="user", text="Another?", branch_of=first.question_id)
    run_of(chat, other, "Other answer.")
    Conversation.objects.filter(pk=chat.pk).update(title="After")
    assert stranger.get(path).content == before
    assert "Update link" in page(client, address(chat, "share"))
    assert share(client, chat) == path
    html = page(stranger, path)
    assert "Other answer." in html
    assert "First answer." not in html
    assert "After" in html
    assert "Update link" not in page(client, address(chat, "share"))


def test_answers_that_are_running_or_wait_are_not_shared(client: Client, stranger: Client) -> None:
    chat = conversation_of(client)
    assert "no finished answer" in client.post(address(chat, "share")).content.decode()
    assert not Share.objects.exists()
    run_of(chat, "One?", "Done.")
    paused_run_of(chat, asked(), question="Waits?", answer="So far.")
    live = run_of(chat, "Running?", "", ending=None, text_so_far="Half")
    path = share(client, chat)
    Run.objects.filter(pk=live.pk).update(status="completed")
    html = page(stranger, path)
    assert "One?" in html
    assert "Waits?" not in html
    assert "Running?" not in html
    assert "Half" not in html


def test_answer_that_went_on_after_a_pause_is_shared_with_its_sources(
    client: Client, stranger: Client
) -> None:
    chat = conversation_of(client)
    continuing_run_of(paused_run_of(chat, asked(), steps=STEPS), answer="So it is [1].")
    html = page(stranger, share(client, chat))
    assert "So it is" in html
    assert "https://kafka.example/a(b)" in html


def test_page_tells_nothing_of_the_owner_and_of_how_the_answer_was_made(
    client: Client, stranger: Client
) -> None:
    ann = User.objects.create_user("ann-of-leeds", password="x")
    client.force_login(ann)
    owner = Owner("user", str(ann.pk))
    Instructions.objects.keep(owner, "I live in Leeds.", is_on=True)
    chat = Conversation.objects.create(owner=str(owner), title="Mine")
    call = ToolCallData(tool="web_search", call_id="c", arguments={"query": "my secret"})
    steps = [
        *STEPS,
        stored(ToolStart(agent_id="a", author="A", data=call)),
        stored(AgentMessage(agent_id="a", author="A", message="between agents")),
    ]
    run = run_of(chat, steps=steps, cost=1.5, model="/home/ann-of-leeds/models/small.gguf")
    decided_for(run, rating=-1)
    error = ErrorInfo("model_error", "The model at http://10.0.0.7 broke off.")
    run_of(chat, "Broken?", "Half", ending=Ending(status="failed", error=error))
    run_of(chat, "Stopped?", "Part", ending=CANCELLED)
    html = page(stranger, share(client, chat))
    for secret in ("ann-of-leeds", "Leeds", "my secret", "between agents", "10.0.0.7", "thumb"):
        assert secret not in html, secret
    for pk in (run.pk, run.message_id, chat.pk):
        assert str(pk) not in html
    assert "small.gguf" in html
    assert "This answer broke off." in html
    assert "This answer was stopped before it was complete." in html


@pytest.mark.parametrize("auth", ["anonymous", "required"])
def test_page_is_the_same_for_all_and_neither_reads_nor_sets_a_cookie(
    client: Client, admin_client: Client, stranger: Client, settings: Settings, auth: str
) -> None:
    chat = conversation_of(client)
    run_of(chat)
    path = share(client, chat)
    settings.FLEET_AUTH = auth
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de"
    contents = set()
    for reader in (client, admin_client, stranger):
        with CaptureQueriesContext(connection) as queries:
            response = reader.get(path)
        assert len(queries) == 2  # the link, the answers: neither a session nor a user
        contents.add(response.content)
        assert not response.cookies
        assert "Cookie" not in response.headers.get("Vary", "")
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "noindex" in response.headers["X-Robots-Tag"]
    assert len(contents) == 1
    assert b'name="robots" content="noindex' in contents.pop()


def test_dead_links_of_all_kinds_get_the_same_page(client: Client, stranger: Client) -> None:
    chats = [conversation_of(client) for _ in range(2)]
    for chat in chats:
        run_of(chat)
    revoked, deleted = (share(client, chat) for chat in chats)
    revoke(client, chats[0])
    client.post(address(chats[1], "delete"))
    found = [stranger.get(path) for path in (revoked, deleted, "/s/unknown/", "/s/%00/")]
    assert {response.status_code for response in found} == {404}
    assert len({response.content for response in found}) == 1
    assert "Nothing is shared here" in found[0].content.decode()
    assert not any(response.cookies for response in found)
    # A new link to the same chat has a new address.
    assert share(client, chats[0]) != revoked
    assert stranger.get(revoked).status_code == 404


def test_only_the_owner_makes_lists_and_revokes_links(
    client: Client, stranger: Client, teammate: Client
) -> None:
    chat = conversation_of(client, "of the owner")
    run_of(chat)
    path = share(client, chat)
    for other in (stranger, teammate):
        for name in ("share", "revoke_share"):
            refused = other.post(address(chat, name), headers=HTMX)
            unknown = other.post(address(chat, name).replace(str(chat.pk), UNKNOWN), headers=HTMX)
            assert refused.status_code == unknown.status_code == 404
            assert refused.content == unknown.content
        assert other.get(address(chat, "share")).status_code == 404
        assert "of the owner" not in page(other, "/shares/")
        assert path not in page(other, "/shares/")
    assert stranger.get(path).status_code == 200
    listed = page(client, "/shares/")
    assert "of the owner" in listed
    assert f"http://testserver{path}" in listed
    after = client.post(address(chat, "revoke_share"), {"list": "1"}, headers=HTMX)
    assert "No chat is shared" in after.content.decode()
    assert stranger.get(path).status_code == 404


def test_link_of_a_browser_is_the_accounts_after_sign_in(client: Client, stranger: Client) -> None:
    User.objects.create_user("ann", password="a good password")
    chat = conversation_of(client, "asked before")
    run_of(chat)
    path = share(client, chat)
    client.post("/login/", {"username": "ann", "password": "a good password"})
    assert "asked before" in page(client, "/shares/")
    assert stranger.get(path).status_code == 200
    revoke(client, chat)
    assert stranger.get(path).status_code == 404


def test_long_chat_is_shown_in_pages(
    client: Client, stranger: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chat = conversation_of(client)
    for number in range(QUESTIONS_ON_A_PAGE + 1):
        run_of(chat, f"Question number {number + 1}?")
    path = share(client, chat)
    with django_assert_num_queries(2):
        first = page(stranger, path)
    assert first.count('class="turn"') == QUESTIONS_ON_A_PAGE
    assert 'href="?page=2"' in first
    second = page(stranger, f"{path}?page=2")
    assert "Question number 31?" in second
    assert 'aria-label="Question 31"' in second
    assert page(stranger, f"{path}?page=x") == first


def test_log_has_no_key_of_a_shared_chat(
    client: Client, stranger: Client, caplog: pytest.LogCaptureFixture
) -> None:
    chat = conversation_of(client)
    run_of(chat)
    path = share(client, chat)
    strict = Client(enforce_csrf_checks=True)
    caplog.set_level("WARNING", "django.request")  # which is silent about these by default
    for refused in (stranger.post(path), strict.post(path), stranger.get(f"{path}x/")):
        assert refused.status_code in (403, 404, 405)
    assert caplog.records  # of the form without its key; the others have a line of the access log
    key = path.split("/")[2]
    assert "keys" in django_settings.LOGGING["handlers"]["stderr"]["filters"]
    for record in caplog.records:
        WithoutKeys().filter(record)
        assert "/s/-/" in record.getMessage()
        assert key not in f"{record.getMessage()} {record.__dict__}"
    assert without_key(path) == "/s/-/"
    assert without_key("/c/abc/s/d/") == "/c/abc/s/d/"
