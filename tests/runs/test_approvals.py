"""Tool calls that a person must approve, from the question to the answer, over several workers."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import pytest
from django.contrib.auth.models import Permission, User
from msgspec import Meta
from pytest_django import Settings

from chat.access.owners import Asker
from chat.database import in_database
from chat.journal import StepResult
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.protocol.requests import ReplyRequest
from chat.protocol.terms import Reply
from chat.runs.worker import Worker
from chat.workflow.agents import ANALYST, ASSISTANT, PLANNER, RESEARCHER
from routing.models import RoutingDecision
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.owners import SCRIPT
from tests.scripted_model import Script, ScriptedModel
from tests.workflow.playing import full, plan, wants
from tooling.known import TOOLS
from tooling.registry import CallKey, tool

from .pausing import Pause, paused
from .workers import another_worker, mark_died

pytestmark = pytest.mark.django_db(transaction=True)


class Booked(list[str]):
    """The cities that were booked, and the keys of the calls."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []
        self.hangs = asyncio.Event()


@pytest.fixture
def booked() -> Iterator[Booked]:
    """Add the tool `book`, which the owner must approve, and return what it has booked."""
    made = Booked()

    @tool(timeout=60, approver="owner", acts=True)
    async def book(city: Annotated[str, Meta(max_length=10)], key: CallKey) -> str:
        """Book a journey."""
        made.append(city)
        made.keys.append(key)
        if city == "Nowhere" and len(made) == 1:
            made.hangs.set()
            await asyncio.Event().wait()
        return f"{city} is booked."

    before = [agent.tools for agent in (ASSISTANT, RESEARCHER, ANALYST)]
    TOOLS["book"] = book  # type: ignore[index]
    for agent in (ASSISTANT, RESEARCHER, ANALYST):
        object.__setattr__(agent, "tools", agent.tools | {"book"})
    yield made
    del TOOLS["book"]  # type: ignore[attr-defined]
    for agent, names in zip((ASSISTANT, RESEARCHER, ANALYST), before, strict=True):
        object.__setattr__(agent, "tools", names)


def books(city: str = "Rome", *, tokens: list[str] | None = None) -> Script:
    return Script(tokens=tokens or [], calls=[("book", json.dumps({"city": city}))])


@pytest.fixture
def light(model: ScriptedModel, booked: Booked) -> Booked:
    """Let a light answer book a journey, then say so."""
    model.as_agent(
        ASSISTANT.instructions, books(tokens=["One ", "moment. "]), Script(tokens=["Done."])
    )
    return booked


def request(**fields: Any) -> dict[str, Any]:
    return chat_request("Book it.", mode="light", **fields)


async def test_approved_call_is_made_and_nothing_is_done_twice(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request(reasoning_effort="maximal"))
    assert light == []
    assert "tool.start" not in kinds(pause.events)
    [asked] = [e["data"] for e in pause.events if e["type"] == "ask.opened"]
    assert (asked["kind"], asked["tool"], asked["arguments"]) == (
        "approval",
        "book",
        {"city": "Rome"},
    )
    assert "city" in asked["schema"]["properties"]
    assert asked["schema"]["propertyOrder"] == ["city"]
    assert text_of(pause.events) == "One moment. "
    assert await StepResult.objects.acount() > 0

    events = await chat.answer(pause.frame())
    assert light == ["Rome"]
    assert kinds(events)[:3] == ["connected", "response.snapshot", "ask.closed"]
    assert [kind for kind in kinds(events) if kind.startswith(("tool", "phase", "agent"))] == [
        "tool.start",
        "tool.complete",
        "agent.complete",
        "phase.complete",
    ]
    assert text_of(events) == "One moment. \n\nDone."
    assert len(model.calls) == 2
    assert model.calls[1].question == "Rome is booked."
    efforts = {call.body.get("reasoning_effort") for call in model.calls}
    assert len(efforts) == 1
    assert await StepResult.objects.acount() == 0

    runs = [run async for run in Run.objects.order_by("created_at")]
    assert [(run.status, run.path, run.model_calls, run.tool_calls) for run in runs] == [
        ("paused", "light", 1, 0),
        ("completed", "light", 1, 1),
    ]
    assert [decision.pk async for decision in RoutingDecision.objects.all()] == [runs[1].pk]


async def test_edited_call_is_made_as_edited_and_the_model_reads_it_as_its_own(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    events = await chat.answer(pause.frame("edit", arguments={"city": "Bonn"}))
    assert light == ["Bonn"]
    messages = json.dumps(model.calls[1].body["messages"])
    assert "Bonn" in messages
    assert "Rome" not in messages
    assert text_of(events) == "One moment. \n\nDone."


async def test_refused_call_is_not_made_and_the_model_reads_why(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    events = await chat.answer(pause.frame("refuse", text="Too hot."))
    assert light == []
    assert "Too hot." in json.dumps(model.calls[1].body["messages"])
    assert "tool.start" not in kinds(events)
    assert text_of(events) == "One moment. \n\nDone."


async def test_withdrawn_call_is_not_made_and_no_model_is_asked(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    events = await chat.answer(pause.frame("withdraw"))
    assert kinds(events)[-2:] == ["cancelled", "done"]
    assert text_of(events) == "One moment. "
    assert (len(model.calls), light) == (1, [])
    assert await StepResult.objects.acount() == 0


async def test_approval_is_remembered_for_the_rest_of_the_conversation(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    await chat.answer(pause.frame(remember=True))
    model.as_agent(ASSISTANT.instructions, books("Oslo"), Script(tokens=["Done."]))
    events = await chat.answer(request(conversation_id=pause.conversation_id))
    assert events[-1]["data"]["status"] == "completed"
    assert light == ["Rome", "Oslo"]


async def test_approval_of_a_conversation_does_not_outlive_the_definition(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    await chat.answer(pause.frame(remember=True))
    before = TOOLS["book"]
    TOOLS["book"] = replace(before, description="Book, and tell everybody.")  # type: ignore[index]
    model.as_agent(ASSISTANT.instructions, books("Oslo"), Script(tokens=["Done."]))
    again = await paused(chat, request(conversation_id=pause.conversation_id))
    assert len(again.ask_ids) == 1
    assert light == ["Rome"]


async def test_agents_side_by_side_finish_before_the_run_pauses_once(
    chat: Chatting, model: ScriptedModel, booked: Booked
) -> None:
    model.as_agent(PLANNER.instructions, plan("researcher", "analyst"))
    model.as_agent(RESEARCHER.instructions, books("Rome"), Script(tokens=["Rome it is."]))
    model.as_agent(ANALYST.instructions, books("Oslo"), Script(tokens=["Oslo it is."]))
    pause = await paused(chat, full())
    assert len(pause.ask_ids) == 2
    before = len(model.calls)
    events = await chat.answer(pause.frame())
    assert events[-1]["data"]["status"] == "completed"
    assert sorted(booked) == ["Oslo", "Rome"]
    # Both specialists, the writer, the reviewer and the editor, and a revision.
    assert before == 3
    assert len(set(booked.keys)) == 2


async def test_second_approval_of_one_answer_pauses_again(
    chat: Chatting, model: ScriptedModel, booked: Booked
) -> None:
    model.as_agent(PLANNER.instructions, plan("researcher"))
    model.as_agent(RESEARCHER.instructions, books("Rome"), books("Oslo"), Script(tokens=["Both."]))
    first = await paused(chat, full())
    second = await paused(chat, first.frame())
    assert booked == ["Rome"]
    events = await chat.answer(second.frame())
    assert booked == ["Rome", "Oslo"]
    assert events[-1]["data"]["status"] == "completed"
    statuses = [run.status async for run in Run.objects.order_by("created_at")]
    assert statuses == ["paused", "paused", "completed"]
    assert await StepResult.objects.acount() == 0


async def test_agent_asks_the_person_a_question(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_QUESTIONS = True
    model.as_agent(PLANNER.instructions, plan("researcher"))
    model.as_agent(
        RESEARCHER.instructions,
        wants(("ask_person", {"question": "By train?", "options": ["yes", "no"]})),
        Script(tokens=["By train."]),
    )
    pause = await paused(chat, full())
    [asked] = [e["data"] for e in pause.events if e["type"] == "ask.opened"]
    assert (asked["kind"], asked["message"], asked["options"]) == (
        "question",
        "By train?",
        ["yes", "no"],
    )
    await chat.answer(pause.frame("answer", text="yes, please"))
    read = [json.dumps(call.body["messages"]) for call in model.calls]
    assert any("yes, please" in messages for messages in read)


# --- Other workers, other code


async def test_run_goes_on_at_a_worker_that_was_started_later(
    chat: Chatting, worker: Worker, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    async with another_worker() as other:
        frame = pause.frame()
        reply = ReplyRequest(
            message_id=uuid.UUID(frame["message_id"]),
            continues=uuid.UUID(pause.run_id),
            replies=[Reply(ask_id=uuid.UUID(pause.ask_ids[0]), decision="approve")],
        )
        run = await other.runs.start_or_join(
            lambda: Asker(SCRIPT), reply, arrived=time.perf_counter()
        )
        # A reader of the first worker follows it from there.
        events = await chat.answer(frame)
    assert events[-1]["data"]["status"] == "completed"
    assert (await Run.objects.aget(pk=run.pk)).worker == other.name
    assert light == ["Rome"]
    assert len(model.calls) == 2


async def test_reply_whose_worker_dies_at_once_is_not_lost(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    frame = pause.frame()
    reply = ReplyRequest(
        message_id=uuid.UUID(frame["message_id"]),
        continues=uuid.UUID(pause.run_id),
        replies=[Reply(ask_id=uuid.UUID(pause.ask_ids[0]), decision="approve")],
    )
    started = await in_database(
        Run.objects.start,
        Asker(SCRIPT),
        reply,
        run_id=uuid.uuid4(),
        worker="worker.dead",
        lease=timedelta(seconds=60),
    )
    await mark_died(started.run.pk)
    events = await chat.answer(frame)
    assert text_of(events) == "One moment. \n\nDone."
    assert events[-1]["data"]["status"] == "completed"
    assert light == ["Rome"]
    assert len(model.calls) == 2
    assert await StepResult.objects.acount() == 0


async def test_token_lets_no_run_go_on_whose_model_it_may_not_use(
    chat: Chatting, light: Booked
) -> None:
    pause = await paused(chat, request())
    reply = ReplyRequest(
        message_id=uuid.uuid4(),
        continues=uuid.UUID(pause.run_id),
        replies=[Reply(ask_id=uuid.UUID(pause.ask_ids[0]), decision="approve")],
    )
    lease = timedelta(seconds=60)
    narrow = Asker(SCRIPT, models=("small",))
    with pytest.raises(ProtocolError, match="It may use: small"):
        await in_database(
            Run.objects.start, narrow, reply, run_id=uuid.uuid4(), worker="w", lease=lease
        )
    assert await Run.objects.acount() == 1
    assert light == []


async def test_run_that_staff_let_go_on_is_taken_by_a_worker(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    TOOLS["book"] = tool(timeout=2, approver="perm:chat.export_run")(TOOLS["book"].function)  # type: ignore[index]
    pause = await paused(chat, request())

    def decide() -> Run | None:
        user = User.objects.create_user("staff")
        user.user_permissions.add(Permission.objects.get(codename="export_run"))
        reply = Reply(ask_id=uuid.UUID(pause.ask_ids[0]), decision="approve")
        return Run.objects.reply_as_staff(
            User.objects.get(pk=user.pk), uuid.UUID(pause.run_id), [reply]
        )

    run = await in_database(decide)
    assert run
    events = await chat.answer({"message": "Book it.", "message_id": pause.run_id, "after": 1})
    assert [e["data"]["by"] for e in events if e["type"] == "ask.closed"] == ["staff"]
    assert text_of(events) == "One moment. \n\nDone."
    assert light == ["Rome"]
    assert len(model.calls) == 2


@pytest.mark.parametrize("decision", ["approve", "refuse"])
async def test_act_in_which_the_worker_died_is_not_repeated_unasked(
    chat: Chatting, worker: Worker, model: ScriptedModel, booked: Booked, decision: str
) -> None:
    model.as_agent(ASSISTANT.instructions, books("Nowhere"), Script(tokens=["Done."]))
    pause = await paused(chat, request())
    socket = await chat.ask(pause.frame())
    await asyncio.wait_for(booked.hangs.wait(), 20)
    run_id = uuid.UUID(
        socket.events[0]["workflow_id"] if socket.events else (await socket.event())["workflow_id"]
    )
    live = worker.runs.live[run_id]
    live.leave()
    events = await socket.rest()
    assert events[-1]["data"]["status"] == "paused"
    unsure = Pause(events)
    [asked] = [e["data"] for e in events if e["type"] == "ask.opened"]
    assert asked["kind"] == "unsure"
    assert booked == ["Nowhere"]
    ending = await chat.answer(unsure.frame(decision))
    assert ending[-1]["data"]["status"] == "completed"
    assert len(booked) == (2 if decision == "approve" else 1)
    assert len(set(booked.keys)) == 1


async def test_kept_result_that_does_not_decode_is_made_again(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    model.as_agent(
        ASSISTANT.instructions,
        books(tokens=["One ", "moment. "]),
        books(tokens=["One ", "moment. "]),
        Script(tokens=["Done."]),
    )
    pause = await paused(chat, request())
    rows = StepResult.objects.filter(name="answer/assistant/1")
    assert await rows.aupdate(value='{"text": 7') == 1
    events = await chat.answer(pause.frame())
    assert text_of(events) == "One moment. \n\nDone."
    assert light == ["Rome"]
    assert len(model.calls) == 3


async def test_call_of_a_tool_that_changed_meanwhile_is_asked_for_again(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())

    @tool(timeout=2, approver="owner")
    async def book(city: str) -> str:
        """Book a journey, and a hotel."""
        light.append(city)
        return "Booked."

    TOOLS["book"] = book  # type: ignore[index]
    again = await paused(chat, pause.frame())
    assert light == []
    assert again.ask_ids != pause.ask_ids
    events = await chat.answer(again.frame())
    assert light == ["Rome"]
    assert events[-1]["data"]["status"] == "completed"
    assert len(model.calls) == 2


async def test_call_of_a_tool_that_is_gone_is_rejected(
    chat: Chatting, model: ScriptedModel, light: Booked
) -> None:
    pause = await paused(chat, request())
    book = TOOLS["book"]
    del TOOLS["book"]  # type: ignore[attr-defined]
    events = await chat.answer(pause.frame())
    TOOLS["book"] = book  # type: ignore[index]
    assert "tool.rejected" in kinds(events)
    assert events[-1]["data"]["status"] == "completed"
    assert light == []
