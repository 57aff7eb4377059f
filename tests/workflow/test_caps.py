"""What a run may spend."""

from dataclasses import replace

import pytest
from pytest_django import Settings

from chat.prices import ModelPrice, Prices
from chat.workflow.agents import ANALYST, ASSISTANT, EDITOR, PLANNER, RESEARCHER
from tests.chatting import Chatting, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel

from .playing import calls_of, full, messages_of, of_kind, phases, plan, wants

pytestmark = pytest.mark.django_db(transaction=True)


async def test_superstep_cap_leaves_one_for_the_answer(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, supersteps=3)
    events = await chat.answer(full())
    assert phases(events) == ["routing", "analysis", "research", "final"]
    assert "3 rounds of model calls" in messages_of(events)
    assert text_of(events) == "The final answer."


async def test_agents_side_by_side_share_a_superstep(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, supersteps=5)
    events = await chat.answer(full())
    assert len(team.calls) == 6
    assert "limit" not in messages_of(events)


async def test_token_cap_ends_the_preparation(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, tokens=3)
    events = await chat.answer(full())
    assert "3 written tokens" in messages_of(events)
    assert phases(events) == ["routing", "analysis", "research", "final"]
    assert text_of(events) == "The final answer."


async def test_token_cap_ends_the_rounds_of_a_specialist(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, tokens=10)
    team.as_agent(PLANNER.instructions, plan("analyst"))
    counting = wants(("calculator", {"expression": "1 + 1"}))
    counting.tokens = ["so "] * 10
    team.as_agent(ANALYST.instructions, counting)
    events = await chat.answer(full())
    assert "10 written tokens is reached. Analyst stops here." in messages_of(events)
    assert len(calls_of(team, ANALYST)) == 1
    assert text_of(events) == "The final answer."


async def test_time_cap_cuts_a_phase_and_keeps_its_words(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    # In this time a busy machine gets as far as research.
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, seconds=1.5)
    team.as_agent(RESEARCHER.instructions, Script(tokens=["half of ", "it"], hang_after=1))
    events = await chat.answer(full())
    assert "The limit of 1.5 seconds is reached in mid-step." in messages_of(events)
    cut = {
        event["data"]["phase"]: event["data"]["cut"] for event in of_kind(events, "phase.complete")
    }
    assert (cut["research"], cut["final"]) == (True, False)
    assert "half of" in calls_of(team, EDITOR)[0].question
    assert text_of(events) == "The final answer."
    assert len(of_kind(events, "agent.start")) == len(of_kind(events, "agent.complete"))
    assert all(call.ended.wait(10) for call in team.calls)


async def test_fan_out_cap_makes_further_agents_wait(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, fan_out=2)
    team.as_agent(
        PLANNER.instructions,
        plan("researcher", "researcher", "researcher", "researcher", "researcher", "researcher"),
    )
    team.as_agent(RESEARCHER.instructions, Script(tokens=["found"], pace=0.02))
    events = await chat.answer(full())
    at_work = most = 0
    for event in events:
        if event.get("agent_id", "").startswith("researcher"):
            at_work += {"agent.start": 1, "agent.complete": -1}.get(event["type"], 0)
            most = max(most, at_work)
    assert most == 2
    assert (
        len(
            {event["agent_id"] for event in of_kind(events, "agent.start")}
            & {"researcher", "researcher-2", "researcher-3"}
        )
        == 3
    )
    assert len(calls_of(team, RESEARCHER)) == 4, "a plan has at most four subtasks"
    assert "6 subtasks" in messages_of(events)


async def test_tool_call_cap_holds_for_the_whole_team(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, tool_calls=2)
    team.as_agent(PLANNER.instructions, plan("analyst"))
    ten = wants(*[("calculator", {"expression": f"{n} + 1"}) for n in range(10)])
    team.as_agent(ANALYST.instructions, ten, Script(tokens=["done"]))
    events = await chat.answer(full())
    assert len(of_kind(events, "tool.complete")) == 2
    assert {event["data"]["reason"] for event in of_kind(events, "tool.rejected")} == {
        "cap_reached"
    }
    assert len(of_kind(events, "tool.rejected")) == 8
    assert text_of(events) == "The final answer."


async def test_specialist_without_tool_calls_has_one_round(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("analyst"))
    team.as_agent(
        ANALYST.instructions,
        wants(("calculator", {"expression": "1 + 1"})),
        Script(tokens=["It is 2."]),
    )
    events = await chat.answer(full())
    assert len(calls_of(team, ANALYST)) == 2, "one that wants a tool, one that reads its result"
    assert [
        event["message"]
        for event in of_kind(events, "agent.output")
        if event["agent_id"] == "analyst"
    ] == ["It is 2."]


async def test_looping_specialist_ends_after_its_rounds(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("analyst"))
    team.as_agent(ANALYST.instructions, wants(("calculator", {"expression": "1 + 1"})))
    events = await chat.answer(full())
    assert len(calls_of(team, ANALYST)) == 3
    *_, last = calls_of(team, ANALYST)
    assert last.body["tools"], "servers refuse calls of tools that aren't declared"
    assert last.body["tool_choice"] == "none", "in its last round it has to answer"
    assert sum(not event["data"]["repeated"] for event in of_kind(events, "tool.complete")) == 1
    assert text_of(events) == "The final answer."


async def test_tool_call_of_the_last_round_is_not_made(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(PLANNER.instructions, plan("analyst"))
    sums = [wants(("calculator", {"expression": f"{n} + 1"})) for n in range(3)]
    team.as_agent(ANALYST.instructions, *sums)
    events = await chat.answer(full())
    assert len(calls_of(team, ANALYST)) == 3
    assert len(of_kind(events, "tool.complete")) == 2
    assert [event["data"]["reason"] for event in of_kind(events, "tool.rejected")] == [
        "cap_reached"
    ]


async def test_light_answer_that_wants_a_tool_in_its_last_round_escalates(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tool_calls=5)
    team.as_agent(
        ASSISTANT.instructions,
        *[wants(("calculator", {"expression": f"{n} + 1"})) for n in range(5)],
    )
    events = await chat.answer()
    assert len(calls_of(team, ASSISTANT)) == 2
    assert "more tools" in of_kind(events, "routing.decided")[1]["data"]["reasons"][0]
    assert text_of(events) == "The final answer."


async def test_money_cap_ends_the_preparation_and_the_answer_is_written(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_PRICES = Prices(
        {"scripted": ModelPrice(input=0, output=1_000_000)}, currency="EUR"
    )
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, money=2)
    team.as_agent(PLANNER.instructions, plan("analyst"))
    counting = wants(("calculator", {"expression": "1 + 1"}))
    counting.tokens = ["so "] * 10
    team.as_agent(ANALYST.instructions, counting)
    events = await chat.answer(full())
    said = messages_of(events)
    assert "The limit of 2 EUR is reached. Analyst stops here." in said
    assert "The limit of 2 EUR is reached before writing. The answer is written from" in said
    assert phases(events) == ["routing", "analysis", "research", "final"]
    assert text_of(events) == "The final answer."


async def test_light_answer_is_written_whatever_it_costs(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_PRICES = Prices({"scripted": ModelPrice(input=1_000_000, output=1_000_000)})
    settings.FLEET_FULL_CAPS = replace(settings.FLEET_FULL_CAPS, money=1)
    sums = wants(("calculator", {"expression": "1 + 1"}))
    team.as_agent(ASSISTANT.instructions, sums, Script(tokens=["It is 2."]))
    assert text_of(await chat.answer(chat_request(mode="light"))) == "It is 2."
