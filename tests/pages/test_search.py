"""The search for questions by their words, and its index."""

from uuid import uuid4

import pytest
from django.core.checks.registry import registry
from django.db import connection

from chat import checks, search
from chat.checks import questions_can_be_indexed
from chat.conversations import Conversation, Message
from chat.search import index_questions, question_ids, words_of
from chat.telemetry import rollup
from tests.telemetry.ended import stored

pytestmark = pytest.mark.django_db


@pytest.fixture
def chat() -> Conversation:
    return Conversation.objects.create(owner="browser:b", title="t")


def asked(chat: Conversation, text: str) -> int:
    pk = chat.messages.create(role=Message.Role.USER, text=text).pk
    index_questions([pk])
    return pk


def found(text: str) -> list[int]:
    return sorted(Message.objects.filter(pk__in=question_ids(text)).values_list("pk", flat=True))


def times_indexed(word: str) -> int:
    """Return the number of rows with this word after a check of the whole index."""
    if connection.vendor == "postgresql":
        return len(found(word))
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO chat_question_words(chat_question_words) VALUES ('integrity-check')"
        )
        cursor.execute(
            "CREATE VIRTUAL TABLE temp.words_indexed"
            " USING fts5vocab('main', 'chat_question_words', 'row')"
        )
        cursor.execute("SELECT coalesce(sum(cnt), 0) FROM words_indexed WHERE term = %s", [word])
        [times] = cursor.fetchone()
        cursor.execute("DROP TABLE temp.words_indexed")
    return int(times)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("kafka", True),
        ("KAFKA rabbit", True),
        ("RabbitMQ? compare", True),
        ("compare kaf", True),
        ("kaf compare", False),
        ("afka", False),
        ("kafka zebra", False),
        ("don't", True),
        ("état", True),
        ("state-of-the-art", True),
        ("日本", True),
    ],
)
def test_questions_are_found_by_all_their_words(
    chat: Conversation, text: str, is_found: bool
) -> None:
    pk = asked(chat, "Compare Kafka, RabbitMQ; don't be state-of-the-art: ÉTAT 日本")
    asked(chat, "Something else")
    assert found(text) == ([pk] if is_found else [])


@pytest.mark.parametrize(
    "text",
    ["", " ", "\0", '"', '""', "'", "*", "-", "^", "a*b*", "NEAR(a b)", "kafka AND", "OR",
     "NOT kafka", "text:kafka", "(kafka", "{a b}:c", "+", "\\", "kafka\\'", ":*", "a & b",
     "!kafka", "<->", "%", "_", "kafka\0zebra", "x" * 10_000, "x " * 5_000,
     "\u202e", "\ud7ff", "“kafka”x", "😀"],
)  # fmt: skip
def test_no_text_breaks_the_search(chat: Conversation, text: str) -> None:
    asked(chat, "Something else")
    assert found(text) == []


def test_index_follows_changes_and_deletions(chat: Conversation) -> None:
    pk = asked(chat, "old words")
    Message.objects.filter(pk=pk).update(text="new words")
    assert (found("old"), found("new")) == ([], [pk])
    chat.delete()
    assert found("words") == []
    assert times_indexed("words") == 0


def test_changes_and_deletions_before_a_run_is_counted_leave_the_index_right() -> None:
    kept, deleted = stored(), stored()
    Message.objects.filter(pk=kept.question_id).update(text="new words")
    deleted.conversation.delete()
    rollup.count_all()
    assert found("words") == [kept.question_id]
    assert times_indexed("words") == 1


def test_question_is_indexed_once_however_often_it_is_answered() -> None:
    run = stored()
    Message.objects.filter(pk=run.question_id).update(text="kafka")
    rollup.count_all()
    answer = run.conversation.messages.create(role=Message.Role.ASSISTANT)
    run.pk, run.message_id, run.answer, run.counted = uuid4(), uuid4(), answer, False
    run.save(force_insert=True)
    assert rollup.count_all() == 1
    assert found("kafka") == [run.question_id]
    assert times_indexed("kafka") == 1


def test_answers_are_not_found(chat: Conversation) -> None:
    answer = chat.messages.create(role=Message.Role.ASSISTANT)
    Message.objects.filter(pk=answer.pk).update(text="kafka")
    assert found("kafka") == []


def test_newest_of_many_questions_are_found(
    chat: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_FOUND", 2)
    ids = [asked(chat, "kafka") for _ in range(3)]
    assert found("kafka") == ids[1:]


def test_search_works_without_an_index(chat: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "is_indexed", lambda: False)
    pk = asked(chat, "Compare Kafka with RabbitMQ")
    assert found("kafka compare") == [pk]
    assert found("kafka zebra") == []


def test_check_warns_of_a_sqlite_without_fts5(monkeypatch: pytest.MonkeyPatch) -> None:
    assert questions_can_be_indexed in registry.get_checks()
    assert questions_can_be_indexed() == []
    monkeypatch.setattr(checks, "has_fts5", lambda: False)
    expected = ["chat.W001"] if connection.vendor == "sqlite" else []
    assert [warning.id for warning in questions_can_be_indexed()] == expected


def test_words_have_a_letter_or_a_digit() -> None:
    assert words_of(' a "b" -- \0 c3 ') == ["a", '"b"', "c3"]
