"""The list of chats: groups, search, filters and older chats."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chat import sidebar
from chat.conversations import Conversation

from .conversations import HTMX, address, conversation_of, page, run_of

pytestmark = pytest.mark.django_db


def test_list_is_grouped_by_day_in_the_readers_time_zone(client: Client) -> None:
    now = timezone.now()
    conversation_of(client, "new", updated_at=now)
    conversation_of(client, "a day old", updated_at=now - timedelta(days=1))
    conversation_of(client, "old", updated_at=now - timedelta(days=9))
    html = page(client, "/chats/", **HTMX)
    order = [
        html.index(words)
        for words in (">Today<", ">new<", ">Yesterday<", ">a day old<", ">Earlier<", ">old<")
    ]
    assert order == sorted(order)


def test_unknown_time_zone_is_ignored(client: Client) -> None:
    conversation_of(client)
    for zone in ("No/Where", "../../etc/passwd", "%00", "Pacific%2FAuckland"):
        client.cookies[django_settings.FLEET_ZONE_COOKIE] = zone
        assert "Kafka or RabbitMQ" in page(client, "/")


def test_search_finds_titles_and_questions(client: Client) -> None:
    run_of(conversation_of(client, "First"), "Tell me about penguins")
    run_of(conversation_of(client, "Second"), "Something else", "an answer about penguins")
    html = page(client, "/chats/?q=PENGUIN", **HTMX)
    assert "First" in html
    assert "Second" not in html
    assert "Second" in page(client, "/chats/?q=second", **HTMX)
    assert "No chat has “zebra”" in page(client, "/chats/?q=zebra", **HTMX)


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
    for number in range(5):
        conversation_of(
            client, f"chat {number}", updated_at=timezone.now() - timedelta(days=20 + number)
        )
    seen: list[str] = []
    path = "/chats/"
    for _ in range(3):
        html = page(client, path, **HTMX)
        seen += [number for number in "01234" if f">chat {number}<" in html]
        assert (">Earlier<" in html) == (path == "/chats/")
        path = (
            "/chats/" + html.split('hx-get="/chats/')[1].split('"')[0].replace("&amp;", "&")
            if "Show older" in html
            else ""
        )
    assert seen == list("01234")
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


def test_long_list_takes_one_query(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        run_of(conversation_of(client, f"chat {number}"), ending=None)
    with django_assert_num_queries(1):  # the list
        page(client, "/chats/", **HTMX)


@pytest.mark.parametrize(
    ("written", "searched"),
    [
        ("Cafe\u0301 in Paris", "café"),
        ("Café in Paris", "CAFE\u0301"),
        ("Café in Paris", "cafe"),
        ("ÉTAT de siège", "état de siege"),
        ("Über Straßen", "STRASSE"),
        ("GROSSE STRASSE", "große"),
        ("STRAẞE", "straße"),
        ("İstanbul", "istanbul"),
        ("istanbul", "İSTANBUL"),
        ("ISPARTA", "ısparta"),
        ("Ο ΔΡΟΜΟΣ", "δρόμος"),
        ("ο δρόμος μου", "ΔΡΟΜΟΣ"),
        ("ПРИВЕТ, мир", "привет"),
        ("ｆｕｌｌ width", "full"),
        ("ﬁnal oﬃce", "FINAL OFFICE"),
        ("한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165"),
        ("می\u200cخواهم", "میخواهم"),
        ("über\u00admorgen", "übermorgen"),
        ("100 % of a_b", "% of a_"),
        (r"a\b", r"A\B"),
    ],
)
def test_search_finds_letters_in_any_form(client: Client, written: str, searched: str) -> None:
    conversation_of(client, written)
    run_of(conversation_of(client, "By its question"), written)
    conversation_of(client, "Another one, 100 x of axb")
    html = page(client, f"/chats/?{urlencode({'q': searched})}", **HTMX)
    assert html.count("<li>") == 2
    assert "Another" not in html


@pytest.mark.parametrize("searched", ["か", "ab", "\u0301"])
def test_search_finds_no_other_letters(client: Client, searched: str) -> None:
    conversation_of(client, "がば a\u0301 b")
    html = page(client, f"/chats/?{urlencode({'q': searched})}", **HTMX)
    assert ("<li>" in html) == (searched == "\u0301")  # an accent alone is no word
