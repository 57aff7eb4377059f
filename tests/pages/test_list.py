"""The list of chats: groups, states, filters, older chats, and what its menu does."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chat import sidebar
from chat.conversations import Conversation
from chat.protocol.terms import LOST

from .conversations import HTMX, address, conversation_of, page, run_of

pytestmark = pytest.mark.django_db


def titles_in(html: str) -> list[str]:
    """Return the titles in a list, in its order."""
    return [unescape(title) for title in re.findall(r'class="chat-title" dir="auto">(.*?)</', html)]


NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)  # in UTC+14, the next day has begun


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", ["Pinned", "Today", "Yesterday", "Previous 7 days", "February", "December 2025"]),
        (
            "Pacific/Kiritimati",
            ["Pinned", "Today", "Yesterday", "Previous 7 days", "February", "January"],
        ),
    ],
)
def test_list_is_grouped_by_day_in_the_readers_time_zone(
    client: Client, monkeypatch: pytest.MonkeyPatch, zone: str, expected: list[str]
) -> None:
    days = {"old": 61, "older than a week": 8, "of a week": 7, "a day old": 0.6, "new": 0.02}
    for title, age in days.items():
        conversation_of(client, title, updated_at=NOON - timedelta(days=age))
    conversation_of(client, "kept", updated_at=NOON - timedelta(days=400), pinned_at=NOON)
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOON)
    client.cookies[django_settings.FLEET_ZONE_COOKIE] = zone
    html = page(client, "/chats/", **HTMX)
    assert re.findall(r'class="group">(.*?)<', html) == expected
    assert titles_in(html) == ["kept", *reversed(days)]


def test_time_of_the_last_answer_is_told_in_the_readers_time_zone(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, ended_at=NOON)
    client.cookies[django_settings.FLEET_ZONE_COOKIE] = "Pacific/Auckland"
    html = page(client, "/chats/", **HTMX)
    assert html.count("Last answer: March 3, 2026, 1 a.m.") == 2  # on hover, and for screen readers
    assert 'datetime="2026-03-03T01:00:00+13:00"' in html


def test_state_of_a_chat_is_told_by_a_word(client: Client) -> None:
    run_of(conversation_of(client, "busy"), ending=None)
    run_of(conversation_of(client, "cured"), ending=LOST)
    run_of(conversation_of(client, "broken"), ending=LOST)
    run_of(Conversation.objects.get(title="cured"))
    rows = page(client, "/chats/", **HTMX).split("<li ")[1:]
    found = [re.findall(r">(answering|failed)<", row) for row in rows]
    assert found == [["failed"], [], ["answering"]]


def test_unknown_time_zone_is_ignored(client: Client) -> None:
    conversation_of(client)
    for zone in ("No/Where", "../../etc/passwd", "%00", "Pacific%2FAuckland"):
        client.cookies[django_settings.FLEET_ZONE_COOKIE] = zone
        assert "Kafka or RabbitMQ" in page(client, "/")


def test_list_can_be_restricted_to_running_answers(client: Client) -> None:
    run_of(conversation_of(client, "Busy"), ending=None)
    run_of(conversation_of(client, "Quiet"))
    html = page(client, "/chats/?running=1", **HTMX)
    assert "Busy" in html
    assert "answering" in html
    assert "Quiet" not in html
    assert "Show all</button>" in html
    assert "Show all" not in page(client, "/chats/", **HTMX)


def test_list_continues_with_older_chats(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidebar, "MAX_CHATS", 2)
    now = timezone.now()
    for number in range(8):
        # The first three are pinned, the newest first; a month begins in none of the others.
        pinned_at = now - timedelta(hours=number) if number < 3 else None
        day = now.replace(year=2020, month=5, day=25 - number)
        conversation_of(client, f"chat {number}", updated_at=day, pinned_at=pinned_at)
    seen: list[str] = []
    labels: list[str] = []
    path = "/chats/"
    for _ in range(4):
        html = page(client, path, **HTMX)
        seen += titles_in(html)
        labels += re.findall(r'class="group">(.*?)<', html)
        path = (
            "/chats/" + html.split('hx-get="/chats/')[1].split('"')[0].replace("&amp;", "&")
            if "Show older" in html
            else ""
        )
    assert seen == [f"chat {number}" for number in range(8)]
    assert labels == ["Pinned", "May 2020"]
    assert path == ""


@pytest.mark.parametrize(
    "query",
    [
        "before=nonsense",
        "before=2020-13-99T00:00:00Z",
        "before=2020-01-01",
        "opened=x",
        "q=%00",
        "before=99999999999999999999",
        "before=9999-12-31T23:59:59-14:00",
    ],
)
def test_invalid_query_is_ignored(client: Client, query: str) -> None:
    chat = conversation_of(client)
    assert client.get(f"/chats/?{query}", headers=HTMX).status_code == 200
    assert client.get(f"{address(chat)}?{query}").status_code == 200


def test_list_for_htmx_marks_the_conversation_of_the_page(
    client: Client,
) -> None:
    chat = conversation_of(client)
    html = page(
        client, "/chats/", **HTMX, **{"HX-Current-URL": f"http://testserver{address(chat)}"}
    )
    assert 'aria-current="page"' in html
    assert 'aria-current="page"' not in page(
        client, "/chats/", **HTMX, **{"HX-Current-URL": "http://testserver/"}
    )


def test_link_to_a_source_does_not_change_the_conversation_of_the_page(client: Client) -> None:
    place = f"http://testserver{address(conversation_of(client))}?a=b#run-1-source-1"
    assert 'aria-current="page"' in page(client, "/chats/", **HTMX, **{"HX-Current-URL": place})


@pytest.fixture
def oldest(client: Client, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    """Store five chats, where a list holds two; return the oldest."""
    monkeypatch.setattr(sidebar, "MAX_CHATS", 2)
    days = [timezone.now() - timedelta(days=20 + number) for number in range(5)]
    return [
        conversation_of(client, f"chat {number}", updated_at=day) for number, day in enumerate(days)
    ][-1]


def test_chat_of_the_page_has_a_row_even_if_it_is_older_than_the_others_shown(
    client: Client, oldest: Conversation
) -> None:
    html = page(client, address(oldest))
    assert html.index(">This chat<") < html.index(">chat 4<") < html.index(">chat 0<")
    assert html.count('aria-current="page"') == 1
    assert ">This chat<" not in page(client, "/")


def test_older_page_of_the_list_does_not_repeat_the_chat_of_the_page(
    client: Client, oldest: Conversation
) -> None:
    place = {"HX-Current-URL": f"http://testserver{address(oldest)}"}
    before = (timezone.now() - timedelta(days=21.5)).isoformat().replace("+", "%2B")
    html = page(client, f"/chats/?before={before}", **HTMX, **place)
    assert [name for name in "01234" if f">chat {name}<" in html] == ["2", "3"]
    assert "Show older" not in html


def test_search_and_running_answers_do_not_list_the_chat_of_the_page_as_well(
    client: Client, oldest: Conversation
) -> None:
    place = {"HX-Current-URL": f"http://testserver{address(oldest)}"}
    for query in ("q=chat+1", "running=1"):
        assert ">chat 4<" not in page(client, f"/chats/?{query}", **HTMX, **place)


def test_list_that_is_shown_anew_keeps_the_older_chats_that_were_loaded(
    client: Client, oldest: Conversation
) -> None:
    html = page(client, "/chats/?shown=4", **HTMX)
    assert [name for name in "01234" if f">chat {name}<" in html] == list("0123")
    assert "Show older" in html
    assert ">chat 2<" not in page(client, "/chats/?shown=-1", **HTMX)


def test_long_list_takes_two_queries(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        pinned_at = timezone.now() if number % 2 else None
        run_of(conversation_of(client, f"chat {number}", pinned_at=pinned_at), ending=None)
    with django_assert_num_queries(2):  # the pinned ones, and the others
        page(client, "/chats/", **HTMX)


def test_pinned_chat_stands_above_the_others_until_it_is_unpinned(client: Client) -> None:
    chat = conversation_of(client, "old", updated_at=NOON)
    conversation_of(client, "new")
    before = Conversation.objects.get(pk=chat.pk).updated_at
    assert client.post(address(chat, "pin"), {"pinned": "1"}, headers=HTMX).content == b""
    html = page(client, "/chats/", **HTMX)
    assert titles_in(html) == ["old", "new"]
    assert html.count("data-pinned") == 1
    assert client.post(address(chat, "pin"), {"pinned": "0"}).headers["Location"] == address(chat)
    assert titles_in(page(client, "/chats/", **HTMX)) == ["new", "old"]
    assert Conversation.objects.get(pk=chat.pk).updated_at == before


def test_chat_that_is_pinned_again_keeps_its_place_among_the_pinned(client: Client) -> None:
    chats = [conversation_of(client, title) for title in ("first", "second")]
    for chat in (*chats, chats[0]):
        client.post(address(chat, "pin"), {"pinned": "1"})
    assert titles_in(page(client, "/chats/", **HTMX)) == ["second", "first"]


def test_chat_deleted_from_the_list_leaves_the_page_of_another_one(client: Client) -> None:
    shown, other = conversation_of(client, "shown"), conversation_of(client, "other")
    place = {"HX-Current-URL": f"http://testserver{address(shown)}"}
    response = client.post(address(other, "delete"), headers={**HTMX, **place})
    assert "HX-Redirect" not in response.headers
    assert response.content == b""
    response = client.post(address(shown, "delete"), headers={**HTMX, **place})
    assert response.headers["HX-Redirect"] == "/"
    assert not Conversation.objects.exists()
