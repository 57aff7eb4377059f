"""How the databases read the lists of programs, among the rows of everybody."""

from typing import Any

import pytest
from django.db import connection

from chat.access.owners import Asker, Owner
from chat.conversations import Conversation
from chat.doors.calls import Call, Route
from chat.doors.history import ROUTES as HISTORY
from chat.doors.history import ChatsAsked, MessagesAsked, questions_of
from chat.doors.history import page_of as chats_of
from chat.doors.runs import RunsAsked
from chat.doors.runs import page_of as runs_of
from tests.pages.test_plans import plans_of, stored_chats

pytestmark = pytest.mark.django_db
MINE, OTHERS = Owner("user", "1"), Owner("user", "2")


@pytest.fixture
def chats() -> list[Conversation]:
    stored_chats(str(OTHERS), 300, exchanges=4)
    found = stored_chats(str(MINE), 300, exchanges=4)
    stored_chats(str(OTHERS), 300, exchanges=4)
    Conversation.objects.filter(pk__in=[chat.pk for chat in found[::2]]).update(is_kept=False)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        if connection.vendor == "postgresql":
            # As many more rows do, of which most are not read from the disk.
            cursor.execute("SET LOCAL random_page_cost = 1")
    return found


def call(query: Any, **names: str) -> Call:
    async def nothing(*message: Any) -> Any:
        raise AssertionError

    route: Route = HISTORY[0]
    made = Call({"root_path": "/fleet"}, nothing, nothing, route, names, 0.0, Asker(MINE))
    made.query = query
    return made


def plan_of(read: Any, table: str) -> str:
    """Return the plan of the query that reads a page from this table."""
    plans = plans_of(read)
    return next(plan for sql, plan in plans.items() if f'FROM "{table}"' in sql and "LIMIT" in sql)


def test_page_of_chats_is_read_in_the_order_of_its_index(chats: list[Conversation]) -> None:
    first = chats_of(call(ChatsAsked()))
    assert len(first.conversations) == 100
    before = chats[100].updated_at
    for asked in (ChatsAsked(), ChatsAsked(before=before)):
        plan = plan_of(lambda asked=asked: chats_of(call(asked)), "chat_conversation")
        assert "chats_kept" in plan
        assert "B-TREE FOR ORDER BY" not in plan
        assert "Sort" not in plan


def test_page_of_runs_is_read_in_the_order_of_its_index(chats: list[Conversation]) -> None:
    for asked in (RunsAsked(), RunsAsked(status="completed")):
        plan = plan_of(lambda asked=asked: runs_of(call(asked)), "chat_run")
        assert "runs_of_owner" in plan
        assert "B-TREE FOR ORDER BY" not in plan
        assert "Sort" not in plan
    asked = RunsAsked(conversation=chats[7].pk)
    plan = plan_of(lambda: runs_of(call(asked)), "chat_run")
    assert "conversation_id" in plan


def test_questions_of_a_chat_are_read_by_its_own_index(chats: list[Conversation]) -> None:
    plans = plans_of(lambda: questions_of(call(MessagesAsked(), conversation=str(chats[7].pk))))
    tree = next(plan for sql, plan in plans.items() if '"branch_of"' in sql)
    assert "questions_of_chat" in tree
    for plan in plans.values():
        assert "SCAN" not in plan.upper().replace("INDEX SCAN", "").replace(
            "INDEX ONLY SCAN", ""
        ).replace("BITMAP HEAP SCAN", "")


def test_address_of_the_next_page_is_below_the_path_of_the_site(
    chats: list[Conversation],
) -> None:
    following = chats_of(call(ChatsAsked())).next
    assert following
    assert following.startswith("/fleet/api/v1/conversations?before=")
