"""Questions that are asked instead of others: how they start, and what models read before them."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat.access.owners import Asker, Owner
from chat.conversations import Conversation, Message
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.protocol.requests import ChatRequest
from chat.protocol.terms import Ending
from chat.record import Outcome
from tests.chatting import Chatting, chat_request
from tests.scripted_model import ScriptedModel

OWNER, STRANGER = Owner("script"), Owner("terminal")


def ask(text: str, *, owner: Owner = OWNER, **fields: Any) -> Run:
    """Ask, and answer with the text in capitals."""
    request = ChatRequest(message=text, message_id=uuid4(), **fields)
    lease = timedelta(seconds=10)
    run = Run.objects.start(Asker(owner), request, run_id=uuid4(), worker="w", lease=lease).run
    outcome = Outcome(Ending(status="completed"), last_seq=1, text=text.upper())
    assert Run.objects.finish(run.pk, outcome, worker="w")
    return run


def read_before(run: Run) -> str:
    """Return the earlier questions that a model reads, in the order of its prompt."""
    conversation = Conversation.objects.get(pk=run.conversation_id)
    exchanges = conversation.exchanges_before(run.question)
    assert all(exchange.answer == exchange.question.upper() for exchange in exchanges)
    return " ".join(exchange.question for exchange in exchanges)


def shown(run: Run) -> str:
    """Return the questions of the run's conversation that are shown."""
    conversation = Conversation.objects.get(pk=run.conversation_id)
    found = conversation.messages.filter(pk__in=conversation.shown_path())
    return " ".join(found.values_list("text", flat=True))


@pytest.mark.django_db
class TestStarting:
    def test_new_version_replaces_its_question_and_all_after_it(self) -> None:
        first = ask("a")
        chat = first.conversation_id
        second = ask("b", conversation_id=chat)
        ask("c", conversation_id=chat)
        other = ask("b2", branch_of=second.pk)
        assert other.conversation_id == chat
        assert other.rerun_of is None
        assert shown(other) == "a b2"
        assert read_before(other) == "a"
        after = ask("d", conversation_id=chat)
        assert shown(after) == "a b2 d"
        assert read_before(after) == "a b2"
        assert read_before(ask("a2", branch_of=first.pk)) == ""

    def test_question_follows_the_version_that_is_shown(self) -> None:
        first = ask("a")
        chat = first.conversation
        ask("b", conversation_id=chat.pk)
        other = ask("a2", branch_of=first.pk)
        chat.refresh_from_db()
        chat.show(first.question_id)
        after = ask("c", conversation_id=chat.pk)
        assert read_before(after) == "a b"
        assert shown(after) == "a b c"
        # A later edit of the hidden one doesn't change what others read.
        assert read_before(ask("a3", branch_of=other.pk)) == ""
        assert read_before(after) == "a b"

    def test_hidden_question_that_is_asked_again_is_shown(self) -> None:
        first = ask("a")
        ask("b", conversation_id=first.conversation_id)
        other = ask("a2", branch_of=first.pk)
        assert shown(other) == "a2"
        again = ask("a", rerun_of=first.pk)
        assert shown(again) == "a b"
        assert again.question_id == first.question_id

    def test_foreign_and_unknown_runs_and_other_conversations_are_refused_alike(self) -> None:
        mine, other, foreign = ask("a"), ask("b"), ask("c", owner=STRANGER)
        stored = Message.objects.count()
        wrong: list[tuple[UUID, UUID | None]] = [
            (foreign.pk, None),
            (uuid4(), None),
            (mine.pk, other.conversation_id),
        ]
        for branch_of, conversation_id in wrong:
            with pytest.raises(ProtocolError) as refusal:
                ask("x", branch_of=branch_of, conversation_id=conversation_id)
            assert refusal.value.error.code == "forbidden"
        assert Message.objects.count() == stored

    def test_version_and_repetition_in_one_request_are_refused(self) -> None:
        frame = chat_request(rerun_of=str(uuid4()), branch_of=str(uuid4()))
        with pytest.raises(msgspec.ValidationError, match="send one"):
            msgspec.convert(frame, ChatRequest)

    def test_request_that_is_sent_twice_stores_one_version(self) -> None:
        first = ask("a")
        request = ChatRequest(message="a2", message_id=uuid4(), branch_of=first.pk)
        lease = timedelta(seconds=10)
        starts = [
            Run.objects.start(Asker(OWNER), request, run_id=uuid4(), worker="w", lease=lease)
            for _ in "12"
        ]
        assert [start.is_new for start in starts] == [True, False]
        assert starts[0].run == starts[1].run

    def test_linear_conversation_stores_and_asks_nothing_more(self) -> None:
        chat = ask("a").conversation_id
        request = ChatRequest(message="b", message_id=uuid4(), conversation_id=chat)
        lease = timedelta(seconds=10)
        with CaptureQueriesContext(connection) as queries:
            run = Run.objects.start(
                Asker(OWNER), request, run_id=uuid4(), worker="w", lease=lease
            ).run
            run.conversation.exchanges_before(run.question)
        words = [query["sql"].split()[0] for query in queries]
        # The conversation; both messages, its time, the run; the exchanges.
        assert [word for word in words if word in ("SELECT", "INSERT", "UPDATE")] == [
            *("SELECT", "INSERT", "UPDATE", "INSERT", "SELECT")
        ]
        assert not Message.objects.exclude(branch_of=None, follows=None).exists()
        assert Conversation.objects.get().head is None


@pytest.mark.django_db(transaction=True)
async def test_model_reads_the_path_of_the_question(chat: Chatting, model: ScriptedModel) -> None:
    first = await chat.answer(chat_request("one", mode="light"))
    ids = {"conversation_id": first[0]["data"]["conversation_id"], "mode": "light"}
    await chat.answer(chat_request("two", **ids))
    branch = chat_request("other one", branch_of=first[0]["workflow_id"], mode="light")
    events = await chat.answer(branch)
    assert events[-1]["data"]["status"] == "completed"
    assert events[0]["data"]["conversation_id"] == ids["conversation_id"]
    await chat.answer(chat_request("three", **ids))
    read = [
        [message["content"] for message in call.body["messages"] if message["role"] == "user"]
        for call in model.calls
    ]
    assert read == [["one"], ["one", "two"], ["other one"], ["other one", "three"]]
