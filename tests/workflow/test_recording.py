"""What a run leaves behind."""

import asyncio
import json

import pytest
from pytest_django import Settings

from chat.models import Run
from chat.workflow.agents import ASSISTANT
from routing.models import RoutingDecision
from tests.chatting import Chatting, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel

from .playing import MEMBERS, full

pytestmark = pytest.mark.django_db(transaction=True)


async def test_concurrent_answers_share_nothing(chat: Chatting, team: ScriptedModel) -> None:
    asked = [f"Compare number {n}n with the rest." for n in range(50)]
    answers = await asyncio.gather(*[chat.answer(full(text)) for text in asked])
    assert {text_of(events) for events in answers} == {"The final answer."}
    for text in asked:
        others = [other for other in asked if other != text]
        seen = [call for call in team.calls if text in json.dumps(call.body)]
        assert len(seen) == len(MEMBERS)
        assert not any(other in json.dumps(call.body) for call in seen for other in others)


async def test_run_stores_its_routing_decision_and_tool_calls(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(
        ASSISTANT.instructions,
        Script(tokens=[], calls=[("calculator", '{"expression": "1 + 1"}'), ("teleport", "{}")]),
        Script(tokens=["Two."]),
    )
    events = await chat.answer(chat_request(mode="light"))
    run_id = events[0]["workflow_id"]
    decision = await RoutingDecision.objects.aget(pk=run_id)
    assert (decision.path, decision.mode, decision.escalated, decision.outcome) == (
        "light",
        "light",
        False,
        "completed",
    )
    assert decision.tokens > 0
    assert "answer" not in decision.text_hash
    steps = (await Run.objects.aget(pk=run_id)).steps
    tools = [(step["type"], step["data"]["tool"]) for step in steps if "tool" in step["data"]]
    assert sorted(tools) == [
        ("tool.complete", "calculator"),
        ("tool.rejected", "teleport"),
        ("tool.start", "calculator"),
    ]


@pytest.mark.parametrize(
    ("mode", "reply", "name"),
    [("light", "Yes.", "weak"), ("auto", "", "strong"), ("full", "Yes.", "strong")],
)
async def test_run_stores_the_model_that_answered(
    chat: Chatting, team: ScriptedModel, settings: Settings, mode: str, reply: str, name: str
) -> None:
    settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL = "strong", "weak"
    team.as_agent(ASSISTANT.instructions, Script(tokens=[reply] if reply else []))
    events = await chat.answer(chat_request(mode=mode))
    assert team.calls[-1].body["model"] == name
    assert (await Run.objects.aget(pk=events[0]["workflow_id"])).model == name


async def test_escalated_run_is_stored_as_escalated(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=[]))
    events = await chat.answer()
    decision = await RoutingDecision.objects.aget(pk=events[0]["workflow_id"])
    assert (decision.path, decision.escalated) == ("light", True)
    assert (await Run.objects.aget(pk=decision.pk)).path == "full"
