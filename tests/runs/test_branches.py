"""Questions that are asked instead of others: how they start, and what models read before them."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chat.access.owners import Asker, Owner
from chat.conversations import Conversation, Message, first_loaded, newest
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.protocol.requests import ChatRequest
from chat.protocol.terms import Ending
from chat.record import Earlier, Exchange, Outcome
from tests.chatting import Chatting, chat_request
from tests.pages.test_plans import stored_chats
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
    exchanges = conversation.before(run.question_id).exchanges
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
            run.conversation.before(run.question_id)
        words = [query["sql"].split()[0] for query in queries]
        # The conversation; both messages, its time, the run; the questions, the exchanges.
        assert [word for word in words if word in ("SELECT", "INSERT", "UPDATE")] == [
            *("SELECT", "INSERT", "UPDATE", "INSERT", "SELECT", "SELECT")
        ]
        assert not Message.objects.exclude(branch_of=None, follows=None).exists()
        assert Conversation.objects.get().head is None


@pytest.mark.django_db
class TestLongChats:
    """More exchanges than are loaded."""

    @pytest.mark.parametrize(
        ("count", "start"), [(0, 0), (1, 0), (50, 0), (51, 25), (75, 25), (76, 50), (200, 150)]
    )
    def test_oldest_exchanges_are_left_out_in_blocks(self, count: int, start: int) -> None:
        assert first_loaded(count) == start
        exchanges = [Exchange(str(number), "a") for number in range(count)]
        assert newest(Earlier(exchanges)) == Earlier(exchanges[start:], start)

    def test_list_that_was_cut_before_goes_on_as_if_it_was_whole(self) -> None:
        known = Earlier()
        for count in range(1, 131):
            exchanges = [*known.exchanges, Exchange(str(count), "a")]
            known = newest(Earlier(exchanges, known.unloaded))
            assert (known.unloaded, len(known.exchanges)) == (
                first_loaded(count),
                count - first_loaded(count),
            )

    def test_newest_exchanges_are_loaded_and_a_summary_of_the_others(self) -> None:
        [chat] = stored_chats("terminal:", 1, exchanges=60)
        path = chat.path_before(2**40)
        Message.objects.filter(pk=path[9]).update(summary="Ten.")
        Message.objects.filter(pk=path[19]).update(summary="Twenty.")
        Message.objects.filter(pk=path[39]).update(summary="Forty.")
        before = chat.before(2**40)
        assert [each.question_id for each in before.exchanges] == path[25:]
        assert (before.unloaded, before.summary, before.summarized) == (25, "Twenty.", 20)
        assert [each.summary for each in before.exchanges if each.summary] == ["Forty."]

    def test_summary_of_another_version_is_not_read(self) -> None:
        [chat] = stored_chats("terminal:", 1, exchanges=60)
        path = chat.path_before(2**40)
        left, right = Message.objects.bulk_create(
            Message(conversation=chat, role="user", text="some words", **fields)
            for fields in ({"branch_of": path[3]}, {"follows": path[-1]})
        )
        Message.objects.filter(pk=path[1]).update(summary="Of both.")
        Message.objects.filter(pk=path[12]).update(summary="Of the old one.")
        chat.head = left.pk
        assert [each.question_id for each in chat.before(left.pk).exchanges] == path[:3]
        assert [each.summary for each in chat.before(left.pk).exchanges] == ["", "Of both.", ""]
        assert chat.before(right.pk).summary == "Of the old one."
        # All from the tenth on are behind a version of the fourth.
        Message.objects.filter(pk=path[9]).update(branch_of=path[3])
        Message.objects.filter(pk__in=path[9:]).update(summary="")
        Message.objects.filter(pk=path[7]).update(summary="Of the version before.")
        before = chat.before(right.pk)
        assert (before.unloaded, before.summary, before.summarized) == (25, "Of both.", 2)


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
