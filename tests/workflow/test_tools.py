"""Tool calls of models."""

import json
import re

import pytest
from pytest_django import Settings

from chat.llm.dialects.calls import MAX_CALLS
from chat.workflow.agents import ANALYST, ASSISTANT, PLANNER
from tests.chatting import Chatting, chat_request, shape, text_of
from tests.scripted_model import Script, ScriptedModel

from .playing import calls_of, full, messages_of, of_kind, plan, wants

pytestmark = pytest.mark.django_db(transaction=True)


async def test_light_answer_makes_one_of_many_wanted_tool_calls(
    chat: Chatting, team: ScriptedModel
) -> None:
    ten = wants(*[("calculator", {"expression": f"{n} + 1"}) for n in range(10)])
    team.as_agent(ASSISTANT.instructions, ten)
    events = await chat.answer(chat_request(mode="light"))
    assert len(of_kind(events, "tool.complete")) == 1
    assert len(of_kind(events, "tool.rejected")) == 9 + 10, "in its last round it may call nothing"
    assert len(team.calls) == 2, "two supersteps"
    assert events[-1]["error"]["message"] == "The model gave an empty answer."


async def test_tool_calls_beyond_the_limit_are_dropped_with_a_message(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(
        ASSISTANT.instructions, wants(*[("teleport", {})] * 3000), Script(tokens=["Without them."])
    )
    events = await chat.answer(chat_request(mode="light"))
    assert len(of_kind(events, "tool.rejected")) == MAX_CALLS
    assert "more than 32 tools at once" in messages_of(events)
    assert text_of(events) == "Without them."


@pytest.mark.parametrize(
    ("call_id", "index"), [("", None), ("same", None), ("long" * 1000, None), (None, 0)]
)
async def test_tool_calls_get_ids_if_the_server_gives_none(
    chat: Chatting, team: ScriptedModel, call_id: str | None, index: int | None
) -> None:
    both = wants(("calculator", {"expression": "1 + 1"}), ("clock", {}))
    both.call_id, both.call_index = call_id, index
    team.as_agent(PLANNER.instructions, plan("analyst"))
    team.as_agent(ANALYST.instructions, both, Script(tokens=["done"]))
    events = await chat.answer(full())
    started = [event["data"]["call_id"] for event in of_kind(events, "tool.start")]
    assert len(set(started)) == 2
    assert sorted(started) == sorted(
        event["data"]["call_id"] for event in of_kind(events, "tool.complete")
    )
    asked, *answered = calls_of(team, ANALYST)[1].body["messages"][-3:]
    assert (
        {call["id"] for call in asked["tool_calls"]}
        == {message["tool_call_id"] for message in answered}
        == set(started)
    )


async def test_model_reads_the_result_of_its_tool_call(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(
        ASSISTANT.instructions,
        wants(("calculator", {"expression": "12 * 7"})),
        Script(tokens=["It is 84."]),
    )
    events = await chat.answer("Please work it out.")
    assert text_of(events) == "It is 84."
    asked, answered = team.calls[1].body["messages"][-2:]
    assert asked["tool_calls"][0]["function"]["name"] == "calculator"
    assert answered["role"] == "tool"
    assert answered["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert "84" in answered["content"]
    assert events[-2]["data"]["usage"]["tool_calls"] == 1


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("teleport", "{}", "unknown_tool"),
        ("", "{}", "unknown_tool"),
        ("mine.calculator", "{}", "unknown_tool"),
        ("tele port\u200b" * 20, "[" * 5000, "unknown_tool"),
        ("calculator", "{not json", "malformed"),
        ("calculator", "[1]", "malformed"),
        ("calculator", '{"expresion": "1+1"}', "invalid_arguments"),
        ("calculator", '{"expression": 7}', "invalid_arguments"),
        ("calculator", '{"expression": "' + "1" * 300_000 + '"}', None),
    ],
)
async def test_wrong_tool_call_is_dropped_flagged_and_explained_to_the_model(
    chat: Chatting, team: ScriptedModel, name: str, arguments: str, reason: str | None
) -> None:
    team.as_agent(
        ASSISTANT.instructions,
        Script(tokens=[], calls=[(name, arguments)]),
        Script(tokens=["Without it, then."]),
    )
    events = await chat.answer("Please work it out.")
    assert not of_kind(events, "tool.start")
    if reason is None:
        assert events[-1]["error"]["code"] == "model_error"
        return
    [rejected] = of_kind(events, "tool.rejected")
    assert rejected["data"]["reason"] == reason
    assert text_of(events) == "Without it, then."
    asked, answered = team.calls[1].body["messages"][-2:]
    assert answered["role"] == "tool"
    told = asked["tool_calls"][0]["function"]
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", told["name"]), "servers refuse to read it otherwise"
    assert isinstance(json.loads(told["arguments"]), dict)


async def test_obvious_tool_is_called_first_and_the_model_phrases_its_result(
    chat: Chatting, team: ScriptedModel
) -> None:
    events = await chat.answer("What is 12 * 7?")
    assert shape(events)[4:9] == [
        "phase.start",
        "agent.start",
        "tool.start",
        "tool.complete",
        "response.delta",
    ]
    [call] = team.calls
    assert call.question == "What is 12 * 7?\n\n12 * 7 = 84"


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("What is 12 * 7?", "84"),
        ("how much is 15% of 80", "12"),
        ("What time is it in Tokyo?", "UTC+09:00"),
    ],
)
async def test_tool_result_is_the_answer_of_the_built_in_model(
    chat: Chatting, team: ScriptedModel, settings: Settings, asked: str, answer: str
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    events = await chat.answer(asked)
    assert answer in text_of(events)
    assert not team.calls


async def test_built_in_model_is_offered_no_tools_and_never_escalates(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    events = await chat.answer("Who wrote it?")
    assert text_of(events) == "I don't know."
    assert "tools" not in team.calls[0].body


async def test_switched_off_tool_is_named_and_left_out(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    events = await chat.answer("What is the weather in Oslo today?")
    assert "Web search is off" in messages_of(events)
    assert "Web search is off" in team.calls[0].question
    assert text_of(events) == "I don't know.", "the team has no search either"
