"""How the databases find the rows of a chat and of a search, among those of everybody."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import batched
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from chat.conversations import Conversation, Message
from chat.models import Run
from chat.words import Words

from .conversations import HTMX, address, owner_of, page

pytestmark = pytest.mark.django_db

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgresql": "EXPLAIN"}


def stored_chats(owner: str, count: int, *, exchanges: int) -> list[Conversation]:
    """Store chats with their words, each exchange with a question, an answer and a run."""
    chats = Conversation.objects.bulk_create(
        Conversation(owner=owner, title="t") for _ in range(count)
    )
    messages = Message.objects.bulk_create(
        Message(conversation=chat, role=role, text="some words")
        for chat in chats
        for role in ("user", "assistant") * exchanges
    )
    Words.objects.bulk_create(
        Words(message=row, conversation_id=row.conversation_id, text=row.text) for row in messages
    )
    now = timezone.now()
    Run.objects.bulk_create(
        Run(
            conversation_id=question.conversation_id,
            question=question,
            answer=answer,
            owner=owner,
            message_id=uuid.uuid4(),
            mode="auto",
            worker="w",
            status="completed",
            ending={"status": "completed"},
            ended_at=now,
            lease_expires_at=now + timedelta(seconds=10),
        )
        for question, answer in batched(messages, 2, strict=True)
    )
    return chats


@pytest.fixture
def chat(client: Client) -> Conversation:
    """Store a chat of the client that is older than many others; return it."""
    [oldest] = stored_chats(owner_of(client), 1, exchanges=40)
    stored_chats(owner_of(client), 50, exchanges=2)
    stored_chats("browser:other", 100, exchanges=10)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "postgresql":
            # As many more rows do, of which most are not read from the disk.
            cursor.execute("SET LOCAL random_page_cost = 1")
    return oldest


def plans_of(read: Callable[[], Any]) -> dict[str, str]:
    """Return the plan of each SELECT by its text."""
    asked: list[tuple[str, Any]] = []

    def note(execute: Callable[..., Any], sql: str, params: Any, *rest: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, *rest)

    with connection.execute_wrapper(note):
        read()
    plans = {}
    with connection.cursor() as cursor:
        for sql, params in asked:
            if sql.startswith("SELECT"):
                cursor.execute(f"{EXPLAIN[connection.vendor]} {sql}", params)
                plans[sql] = "\n".join(str(row[-1]) for row in cursor.fetchall())
    return plans


def test_old_long_chat_is_read_by_indexes_of_its_own(client: Client, chat: Conversation) -> None:
    plans = plans_of(lambda: page(client, address(chat)))
    newest = next(plan for sql, plan in plans.items() if sql.startswith("SELECT MAX("))
    assert "runs_of_chat" in newest
    tree = next(plan for sql, plan in plans.items() if '"branch_of"' in sql)
    assert "questions_of_chat" in tree
    seen = chat.messages.latest("pk").pk - 1
    plans = plans_of(lambda: page(client, f"{address(chat)}turns/?after={seen}", **HTMX))
    news = next(plan for sql, plan in plans.items() if '"chat_run"."answer_id" >' in sql)
    assert "runs_of_chat" in news
    question = Message.objects.latest("pk")
    path, exchanges = plans_of(lambda: chat.before(question.pk)).values()
    assert "questions_of_chat" in path
    # By the ids of its questions; not all runs of everybody.
    assert "SCAN" not in exchanges.upper().replace("INDEX SCAN", "")


def test_search_reads_the_words_of_the_owners_chats_only(
    client: Client, chat: Conversation
) -> None:
    for words in ("nowhere", "some", "words some", "x" * 50):
        plans = plans_of(partial(page, client, f"/chats/?q={words}", **HTMX))
        chats = next(plan for sql, plan in plans.items() if 'FROM "chat_words"' in sql)
        assert "chat_words_conversation_id" in chats
        assert "hashed SubPlan" not in chats
