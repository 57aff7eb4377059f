"""Runs that wait for a person, and the runs that go on with them after a reply."""

import asyncio
import gc
import json
import uuid
from datetime import timedelta

import pytest
from django.db import DatabaseError, DataError
from django.utils import timezone

from chat.asks import Ask, AskQuerySet
from chat.conversations import Conversation
from chat.database import in_database
from chat.journal import StepResult
from chat.models import Run
from chat.runs.supervisor import LiveRun
from chat.runs.worker import Worker
from chat.telemetry.periods import Period
from chat.telemetry.rollup import count_all
from routing.models import RoutingDecision
from tests.chatting import Chatting, chat_request, kinds, shape, text_of
from tests.scripted_model import ScriptedModel

from .pausing import Pause, Plan, paused, reply_frame
from .rows import until_closed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("plan")]


STEPS = ("connected", "routing.decided")


async def test_paused_run_ends_with_its_asks_and_frees_the_conversation(chat: Chatting) -> None:
    pause = await paused(chat)
    assert kinds(pause.events)[-2:] == ["ask.opened", "done"]
    assert pause.events[-1]["data"]["waiting"] == pause.ask_ids
    [ask] = [ask async for ask in pause.asks()]
    assert (ask.state, ask.tool, ask.arguments, ask.name) == (
        "open",
        "book",
        {"city": "Rome"},
        "answer/assistant/1/tool-0",
    )
    run = await Run.objects.select_related("answer").aget(pk=pause.run_id)
    assert (run.status, run.answer.text) == ("paused", "So far. ")
    assert not await RoutingDecision.objects.aexists()
    other = await chat.answer(chat_request("plain", conversation_id=pause.conversation_id))
    assert other[-1]["data"]["status"] == "completed"
    assert await pause.states() == ["open"]


async def test_run_fails_if_what_it_asks_cannot_be_stored(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(*args: object) -> None:
        raise DataError("no such character")

    monkeypatch.setattr(AskQuerySet, "store", reject)
    end = (await chat.answer("May I?"))[-1]
    assert end["error"]["code"] == "internal"
    assert "waiting" not in end["data"]
    run = await Run.objects.aget()
    assert (run.status, run.ending and run.ending.get("asks")) == ("failed", None)
    assert not await StepResult.objects.aexists()


async def test_reply_starts_a_run_that_goes_on_with_the_text_so_far(chat: Chatting) -> None:
    pause = await paused(chat)
    events = await chat.answer(pause.frame())
    assert shape(events)[:3] == ["connected", "response.snapshot", "ask.closed"]
    assert events[0]["data"]["continues"] == pause.run_id
    assert events[2]["data"] == {
        "ask_id": pause.ask_ids[0],
        "decision": "approve",
        "edited": False,
        "by": "owner",
    }
    assert text_of(events) == "So far. approve"
    assert events[-1]["data"]["status"] == "completed"
    run = await Run.objects.select_related("answer").aget(pk=events[0]["workflow_id"])
    assert (str(run.continues_id), run.answer.text) == (pause.run_id, "So far. approve")
    # The answer can be rated: the run that ends the chain has the decision.
    assert [decision.pk async for decision in RoutingDecision.objects.all()] == [run.pk]


async def test_what_was_chosen_for_the_question_holds_when_it_goes_on(
    chat: Chatting, plan: Plan
) -> None:
    first = await chat.answer("plain first")
    pause = await paused(
        chat,
        chat_request(
            "May I?",
            conversation_id=first[0]["data"]["conversation_id"],
            mode="full",
            fresh=True,
            reasoning_effort="maximal",
        ),
    )
    await chat.answer(pause.frame())
    before, after = plan.questions[-2:]
    assert after == before
    assert (after.mode, after.fresh, after.effort) == ("full", True, "maximal")
    assert [exchange.answer for exchange in after.earlier] == ["Plain."]


async def test_journal_and_steps_go_to_the_run_that_goes_on(chat: Chatting, plan: Plan) -> None:
    plan.words = ""
    pause = await paused(chat)
    await StepResult.objects.acreate(run_id=pause.run_id, name="routing/route", value="{}")
    events = await chat.answer(pause.frame())
    assert shape(events)[:2] == ["connected", "ask.closed"]
    memory = plan.memories[-1]
    assert memory.kept["routing/route"].inherited
    assert not memory.kept["answer/assistant/1/tool-0/reply"].inherited
    told = [event.seq for event in memory.told]
    assert told == [event["seq"] for event in pause.events if event["type"] in STEPS]
    assert memory.inherited == len(told)
    assert not await StepResult.objects.filter(run=pause.run_id).aexists()


async def test_run_may_pause_again(chat: Chatting, plan: Plan) -> None:
    pause = await paused(chat)
    plan.asks = [{}, {}]
    second = await paused(chat, pause.frame())
    third = await chat.answer(reply_frame(second.run_id, second.replies("refuse")))
    assert third[0]["data"]["continues"] == second.run_id
    assert text_of(third) == "So far. refuse refuse"
    # The steps of both paused runs, without what the last one tells itself.
    assert [event.seq for event in plan.memories[-1].told].count(1) == 2


# --- Time


async def expire(pause: Pause) -> None:
    await pause.asks().aupdate(expires_at=timezone.now() - timedelta(seconds=1))


async def test_reply_after_the_time_is_refused_before_and_after_the_job(
    chat: Chatting, worker: Worker
) -> None:
    pause = await paused(chat)
    await StepResult.objects.acreate(run_id=pause.run_id, name="routing/route", value="{}")
    await expire(pause)
    for state in ("open", "expired"):
        socket = await chat.ask(pause.frame())
        assert (await socket.event())["error"]["code"] == "expired"
        assert await socket.close_code() == 4410
        assert await pause.states() == [state if state == "open" else "expired"]
        await worker.pruning.expire_asks()
    assert not await StepResult.objects.aexists()
    assert await Run.objects.acount() == 1
    other = await chat.answer(chat_request("plain", conversation_id=pause.conversation_id))
    assert other[-1]["type"] == "done"


async def test_expiry_leaves_decided_and_waiting_asks_alone(chat: Chatting, worker: Worker) -> None:
    decided, waiting = await paused(chat), await paused(chat)
    await StepResult.objects.acreate(run_id=waiting.run_id, name="routing/route", value="{}")
    await chat.answer(decided.frame())
    await expire(decided)
    await worker.pruning.expire_asks()
    assert await decided.states() == ["approved"]
    assert await waiting.states() == ["open"]
    assert await StepResult.objects.filter(run=waiting.run_id).acount() == 1


async def test_expiry_is_repeated_until_nothing_is_due(
    chat: Chatting, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.asks.EXPIRED_AT_ONCE", 2)
    pauses = [await paused(chat) for _ in range(5)]
    for pause in pauses:
        await expire(pause)
    await worker.pruning.expire_asks()
    assert {state for pause in pauses for state in await pause.states()} == {"expired"}


async def test_expiry_survives_a_failing_database(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: AskQuerySet) -> int:
        raise DatabaseError("gone")

    monkeypatch.setattr(AskQuerySet, "expire", fail)
    await worker.pruning.expire_asks()
    assert "could not expire asks" in caplog.text


# --- What is remembered, kept and counted


async def test_approval_is_remembered_for_the_conversation(chat: Chatting, plan: Plan) -> None:
    pause = await paused(chat)
    await chat.answer(pause.frame(remember=True))
    refused = await paused(chat)
    await chat.answer(refused.frame("refuse"))
    for conversation, approved in (
        (pause.conversation_id, {"definition of book"}),
        (refused.conversation_id, set()),
    ):
        await chat.answer(chat_request("plain", conversation_id=conversation))
        assert plan.questions[-1].approved == approved


async def test_first_question_does_not_look_for_remembered_approvals(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[uuid.UUID] = []

    def note(self: AskQuerySet, conversation_id: uuid.UUID) -> frozenset[str]:
        looked.append(conversation_id)
        return frozenset()

    monkeypatch.setattr(AskQuerySet, "approved_in", note)
    first = await chat.answer("plain")
    assert looked == []
    conversation_id = first[0]["data"]["conversation_id"]
    await chat.answer(chat_request("plain", conversation_id=conversation_id))
    assert looked == [uuid.UUID(conversation_id)]


async def test_conversation_with_an_open_ask_can_be_deleted(chat: Chatting) -> None:
    pause = await paused(chat)
    await StepResult.objects.acreate(run_id=pause.run_id, name="routing/route", value="{}")
    await Conversation.objects.filter(pk=pause.conversation_id).adelete()
    assert not await Ask.objects.aexists()
    assert not await StepResult.objects.aexists()
    frame = reply_frame(pause.run_id, pause.replies())
    assert (await chat.answer(frame))[0]["error"]["code"] == "forbidden"


async def test_paused_runs_hold_nothing_in_memory(chat: Chatting, worker: Worker) -> None:
    requests = [chat_request("May I?") for _ in range(30)]
    for request in requests:
        await paused(chat, request)
        await until_closed(request)
    await chat.close()
    assert worker.runs.live == {}
    # Those of other tests may be held by their tracebacks, and the last one's task may be ending.
    ids = {run.pk async for run in Run.objects.all()}
    async with asyncio.timeout(10):
        while live_runs_in_memory() & ids:
            await asyncio.sleep(0.02)


def live_runs_in_memory() -> set[uuid.UUID]:
    gc.collect()
    return {held.id for held in gc.get_objects() if isinstance(held, LiveRun)}


async def test_run_and_the_one_that_goes_on_count_once_each(
    chat: Chatting, model: ScriptedModel
) -> None:
    pause = await paused(chat)
    await chat.answer(pause.frame())
    assert await in_database(count_all) == 2
    day = await Period.objects.aget(span=Period.Span.DAY)
    [light] = json.loads(day.figures)["paths"].values()
    assert light["endings"] == {"paused": 1, "completed": 1}
