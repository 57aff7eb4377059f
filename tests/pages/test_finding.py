"""The search in titles, questions and answers, and the places that it shows."""

import re
from datetime import timedelta
from html import unescape
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from chat import finding, pages
from chat.conversations import Conversation, Message
from chat.snippets import marked, snippet, words_of
from chat.telemetry import rollup
from chat.words import Words

from .conversations import HTMX, address, conversation_of, owner_of, page, run_of

pytestmark = pytest.mark.django_db


def search(client: Client, words: str, **query: str) -> str:
    return page(client, f"/chats/?{urlencode({'q': words, **query})}", **HTMX)


def titles_in(html: str) -> list[str]:
    rows = re.findall(r'class="chat-title" dir="auto">(.*?)</span>', html)
    return [unescape(re.sub("<.*?>", "", row)) for row in rows]


def places_in(html: str) -> list[tuple[str, str]]:
    """Return the label and the snippet of each place."""
    found = re.findall(r'class="quiet">(\w+ \d+)</span>\s*<span dir="auto">(.*?)</span>', html)
    return [(label, unescape(text)) for label, text in found]


def test_search_finds_titles_questions_and_answers_with_their_places(client: Client) -> None:
    run_of(conversation_of(client, "First"), "Tell me about penguins & seals")
    second = conversation_of(client, "Second")
    run_of(second, "Something else")
    run = run_of(second, "And birds?", "An *answer* about <b>Penguins</b>")
    conversation_of(client, "The penguin")
    run_of(conversation_of(client, "Fourth"))
    html = search(client, "PENGUIN")
    assert titles_in(html) == ["The penguin", "Second", "First"]
    assert places_in(html) == [
        ("Answer 2", "An *answer* about <b><mark>Penguin</mark>s</b>"),
        ("Question 1", "Tell me about <mark>penguin</mark>s & seals"),
    ]
    assert f'href="{address(second)}?at={run.question_id}#turn-{run.question_id}"' in html
    assert "<b>" not in html
    assert "No chat has “&lt;zebra”" in search(client, "<zebra")


def test_long_words_are_found_as_short_ones_are(client: Client) -> None:
    place = "https://Example.com/Straße/100%_of_it?a=1"
    run_of(conversation_of(client, "first"), f"What is at {place}, please?")
    run_of(conversation_of(client, "second"), f"What is at {place.replace('%', 'x')}, please?")
    assert titles_in(search(client, "EXAMPLE.com/STRASSE/100%_of_it?A")) == ["first"]
    assert titles_in(search(client, "what example.com/strasse/100%_of_it?a please")) == ["first"]
    assert titles_in(search(client, "example.com/strasse/100_")) == []


def test_all_words_must_be_in_one_text(client: Client) -> None:
    run_of(conversation_of(client, "kafka"), "Which queue?", "Rabbit")
    run_of(conversation_of(client, "Both"), "Rabbit, or is it Kafka?")
    assert titles_in(search(client, "kafk rabbit")) == ["Both"]


@pytest.mark.parametrize("kind", ["owner", "teammate", "stranger"])
def test_search_finds_only_what_the_owner_has(client: Client, stranger: Client, kind: str) -> None:
    run_of(conversation_of(client, "secret title"), "secret question", "secret answer")
    if kind == "teammate":
        stranger.force_login(User.objects.create_superuser("root"))
    reader = client if kind == "owner" else stranger
    owner_of(client)
    assert len(titles_in(search(reader, "secret"))) == (kind == "owner")


def test_question_that_matches_by_itself_and_by_its_answers_is_one_place(client: Client) -> None:
    chat = conversation_of(client)
    first = run_of(chat, "kafka?", "kafka, yes")
    run_of(chat, first.question, "kafka, no", rerun_of=first)
    run_of(chat, "Again", "kafka once")
    run_of(chat, Message.objects.get(text="Again"), "kafka twice")
    assert [label for label, _ in places_in(search(client, "kafka"))] == ["Answer 2", "Question 1"]
    assert "<mark>kafka</mark> twice" in search(client, "kafka")


def test_chat_shows_its_newest_places_and_counts_the_others(client: Client) -> None:
    chat = conversation_of(client)
    for number in range(5):
        run_of(chat, f"kafka {number}")
    html = search(client, "kafka")
    assert [label for label, _ in places_in(html)] == ["Question 5", "Question 4", "Question 3"]
    assert "2 more places in this chat" in html


def test_chat_that_is_deleted_while_it_is_looked_through_has_no_places() -> None:
    assert finding.places_of({uuid4(): finding.Hits({1: 1}, 0)}, ["a"]) == {}


def test_number_of_a_place_is_that_in_its_version(client: Client) -> None:
    chat = conversation_of(client)
    first = run_of(chat, "first").question
    second = run_of(chat, "second").question
    other = Message(conversation=chat, role="user", text="kafka 2", branch_of=second.pk)
    other.save()
    run_of(chat, other)
    assert first.pk < other.pk
    assert [label for label, _ in places_in(search(client, "kafka"))] == ["Question 2"]


def test_results_continue_with_older_chats(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "MAX_CHATS", 2)
    for number in range(5):
        # Pinned ones have no place of their own here.
        when = timezone.now() - timedelta(days=number)
        pinned_at = when if number == 4 else None
        conversation_of(client, f"kafka {number}", updated_at=when, pinned_at=pinned_at)
    seen: list[str] = []
    html = search(client, "kafka")
    for _ in range(2):
        seen += titles_in(html)
        path = html.split('hx-get="')[1].split('"')[0].replace("&amp;", "&")
        html = page(client, path, **HTMX)
    assert [*seen, *titles_in(html)] == [f"kafka {number}" for number in range(5)]
    assert "Show older" not in html
    assert "No chat has" not in page(client, f"{path}&before=2020-01-01T00:00:00Z", **HTMX)


def test_search_takes_four_queries(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(3):
        chat = conversation_of(client)
        for number in range(3):
            run_of(chat, f"kafka {number}")
    with django_assert_num_queries(4):
        search(client, "kafka")


def test_words_of_a_run_are_found_once_it_has_ended(client: Client) -> None:
    chat = conversation_of(client, "t")
    run = run_of(chat, "Which one?", "", ending=None)
    rollup.count_all()
    assert not titles_in(search(client, "which"))
    Message.objects.filter(pk=run.answer_id).update(text="kafka")
    type(run).objects.filter(pk=run.pk).update(status="completed", ended_at=timezone.now())
    rollup.count_all()
    for words in ("which", "kafka"):
        assert titles_in(search(client, words)) == ["t"]
    Conversation.objects.get().delete()
    assert not Words.objects.exists()


def test_words_that_an_earlier_version_left_out_are_stored_in_batches(client: Client) -> None:
    for number in range(3):
        run_of(conversation_of(client), f"kafka {number}")
    Words.objects.all().delete()
    stored = []
    while count := Words.objects.store_older(4):
        stored.append(count)
    assert stored == [4, 2]
    assert len(titles_in(search(client, "kafka"))) == 3


@pytest.fixture
def long(client: Client, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    """Store a chat of 20 questions, of which a page shows four."""
    monkeypatch.setattr(pages, "MAX_QUESTIONS", 4)
    monkeypatch.setattr(pages, "BEFORE_PLACE", 1)
    chat = conversation_of(client)
    for number in range(1, 21):
        run_of(chat, f"question {number}")
    return chat


def shown(html: str) -> list[int]:
    return [int(number) for number in re.findall(r'data-text="&quot;question (\d+)&quot;"', html)]


def button(html: str, words: str) -> str:
    """Return the address that a button with these words loads."""
    [found] = re.findall(rf'hx-get="([^"]*)"[^>]*>{words}<', html)
    return str(found)


def place_of(chat: Conversation, text: str) -> int:
    return chat.messages.get(text=text).pk


def test_page_opens_around_a_place_and_continues_both_ways(
    client: Client, long: Conversation
) -> None:
    html = page(client, f"{address(long)}?at={place_of(long, 'question 9')}")
    assert shown(html) == [8, 9, 10, 11]
    assert 'class="later" data-turn="20"' in html
    assert shown(page(client, button(html, "Show earlier questions"), **HTMX)) == [4, 5, 6, 7]
    later = page(client, button(html, "Show later questions"), **HTMX)
    assert shown(later) == [12, 13, 14, 15]
    assert shown(page(client, button(later, "Show later questions"), **HTMX)) == [16, 17, 18, 19]


@pytest.mark.parametrize(
    ("place", "expected"), [("question 1", [1, 2, 3, 4]), ("question 20", [17, 18, 19, 20])]
)
def test_page_around_a_place_at_an_end_is_full(
    client: Client, long: Conversation, place: str, expected: list[int]
) -> None:
    html = page(client, f"{address(long)}?at={place_of(long, place)}")
    assert shown(html) == expected
    assert ("Show later" in html) == (expected[0] == 1)


def test_page_ignores_a_place_that_the_chat_does_not_have(
    client: Client, stranger: Client, long: Conversation
) -> None:
    other = run_of(conversation_of(stranger), "question 99").question_id
    for place in (str(other), "0", "x", "9" * 30):
        assert shown(page(client, f"{address(long)}?at={place}")) == [17, 18, 19, 20]
    assert not shown(page(client, f"{address(long)}?after={other}", **HTMX))
    at = place_of(long, "question 9")
    assert stranger.get(f"{address(long)}?at={at}").status_code == 404


def test_place_in_another_version_shows_that_version(client: Client) -> None:
    chat = conversation_of(client)
    first = run_of(chat, "question 1").question
    other = Message(conversation=chat, role="user", text="question 2", branch_of=first.pk)
    other.save()
    run_of(chat, other)
    assert shown(page(client, f"{address(chat)}?at={other.pk}")) == [2]
    assert shown(page(client, f"{address(chat)}?at={first.pk}")) == [1]
    chat.refresh_from_db()
    assert chat.shown_path() == [first.pk]


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
    run_of(conversation_of(client, "By its answer"), "Well?", written)
    conversation_of(client, "Another one, 100 x of axb")
    html = search(client, searched)
    assert titles_in(html) == ["By its answer", "By its question", written]
    assert html.count("<mark>") >= 3


@pytest.mark.parametrize("searched", ["か", "ab", "\u0301"])
def test_search_finds_no_other_letters(client: Client, searched: str) -> None:
    conversation_of(client, "がば a\u0301 b")
    # An accent alone is no word.
    assert bool(titles_in(search(client, searched))) == (searched == "\u0301")


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Die Straße", "strasse", "Die [Straße]"),
        ("ein großer Maßstab", "mass gross", "ein [groß]er [Maß]stab"),
        ("Cafe\u0301s", "café", "[Cafe\u0301]s"),
        ("aaa", "aa", "[aaa]"),
        ("日本語の文", "本語", "日[本語]の文"),
        ("nothing", "zebra", "nothing"),
    ],
)
def test_found_letters_are_marked_as_they_are_written(text: str, words: str, expected: str) -> None:
    parts = marked(text, words_of(words))
    assert "".join(f"[{part}]" if is_found else part for part, is_found in parts) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("## Title\n\n**kafka** is | a `log`", "Title kafka is a log"),
        ("C# and a_b, kafka", "C# and a_b, kafka"),
        ("x " * 500 + "kafka" + " y" * 500, "…x x x x x x x x x x x x x x kafka y"),
        ("語" * 500 + "kafka", "語" * 30 + "kafka"),
        ("kafka" + "👨\u200d👩\u200d👧" * 60, "kafka👨\u200d👩\u200d👧👨"),
    ],
)
def test_snippet_is_the_text_around_the_word_on_one_line(text: str, expected: str) -> None:
    found = "".join(part for part, _ in snippet(text, ["kafka"]))
    assert expected in found
    assert len(found) <= 142
