"""The full path: the team's phases, and what each member reads and costs."""

import asyncio
import json
import time
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from pytest_django import Settings

from chat.runs.worker import Worker
from chat.workflow.agents import ANALYST, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from tests.chatting import Chatting, kinds, shape, text_of
from tests.scripted_model import Script, ScriptedModel
from tests.timing import CANCEL_TIME, quickest

from .playing import MEMBERS, calls_of, full, messages_of, of_kind, phases, plan, review

pytestmark = pytest.mark.django_db(transaction=True)


async def test_team_tells_its_steps_in_the_agreed_order(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("researcher"))
    events = await chat.answer(full())
    turn = [
        "agent.start",
        "reasoning.delta",
        "reasoning.completed",
        "agent.output",
        "agent.complete",
    ]
    assert shape(events) == [
        "connected",
        *["phase.start", "routing.decided", "phase.complete"],
        *["phase.start", "agent.start", "agent.complete", "agent.message", "phase.complete"],
        *["phase.start", "orchestrator.message", *turn, "phase.complete"],
        *["phase.start", *turn, "phase.complete"],
        *[
            "phase.start",
            "agent.start",
            "agent.complete",
            "agent.message",
            "orchestrator.message",
            "phase.complete",
        ],
        *["phase.start", "agent.start", "response.delta", "agent.complete", "phase.complete"],
        *["response.completed", "done"],
    ]
    assert phases(events) == ["routing", "analysis", "research", "writing", "review", "final"]
    assert text_of(events) == "The final answer."
    assert [event["delta"] for event in of_kind(events, "response.delta")] == [
        "The ",
        "final ",
        "answer.",
    ]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_phase_complete_carries_its_duration(chat: Chatting, team: ScriptedModel) -> None:
    events = await chat.answer(full())
    took = {
        event["data"]["phase"]: event["data"]["duration_ms"]
        for event in of_kind(events, "phase.complete")
    }
    assert list(took) == phases(events)
    assert all(took[name] > 0 for name in phases(events) if name != "routing")
    assert events[-1]["data"]["timings"]["phases"] == took


async def test_members_read_the_results_before_them(chat: Chatting, team: ScriptedModel) -> None:
    await chat.answer(full("Compare A with B."))
    for agent in MEMBERS:
        assert "Compare A with B." in calls_of(team, agent)[0].question
    assert "part 0" in calls_of(team, RESEARCHER)[0].question
    assert "found it" in calls_of(team, WRITER)[0].question
    assert "counted it" in calls_of(team, WRITER)[0].question
    assert "a draft" in calls_of(team, REVIEWER)[0].question
    assert "a draft" in calls_of(team, EDITOR)[0].question


async def test_specialists_of_a_parallel_plan_work_at_the_same_time(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(RESEARCHER.instructions, Script(tokens=["found"], hold_after=0))
    team.as_agent(ANALYST.instructions, Script(tokens=["counted"], hold_after=0))
    socket = await chat.ask(full())
    while {event["agent_id"] for event in of_kind(socket.events, "agent.start")} < {
        "researcher",
        "analyst",
    }:
        await socket.event()
    team.release()
    assert text_of(await socket.rest()) == "The final answer."


async def test_specialist_of_a_sequence_reads_earlier_notes(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("researcher", "analyst", mode="sequential"))
    await chat.answer(full())
    assert "found it" in calls_of(team, ANALYST)[0].question
    assert "counted it" not in calls_of(team, RESEARCHER)[0].question


@pytest.mark.parametrize(
    "reply",
    [
        Script(tokens=["I would rather chat."]),
        Script(tokens=['{"subtasks": []}']),
        Script(tokens=['{"subtasks": [{"agent": "researcher"}]}']),
        Script(tokens=['{"subtasks": [{"agent": "researcher", "task": ""}]}']),
        Script(tokens=["[" * 5000]),
        Script(tokens=[]),
    ],
)
async def test_unusable_plan_is_replaced_with_a_message(
    chat: Chatting, team: ScriptedModel, reply: Script
) -> None:
    team.as_agent(PLANNER.instructions, reply)
    events = await chat.answer(full("Compare 3 things."))
    assert "default plan" in messages_of(events)
    assert len(of_kind(events, "agent.start")) == len(of_kind(events, "agent.complete"))
    assert calls_of(team, RESEARCHER)
    assert calls_of(team, ANALYST), "there are numbers"
    assert text_of(events) == "The final answer."


@pytest.mark.parametrize(
    ("name", "taker"),
    [
        ("Researcher", "researcher"),
        ("analist", "analyst"),
        ("plumber", "researcher"),
        ("writer", "researcher"),
        ("", "researcher"),
    ],
)
async def test_subtask_of_an_unknown_agent_goes_to_the_nearest_or_the_first(
    chat: Chatting, team: ScriptedModel, name: str, taker: str
) -> None:
    team.as_agent(PLANNER.instructions, plan(name, "analyst"))
    events = await chat.answer(full())
    assert f"Others take over: {name} → {taker}." in messages_of(events)
    started = [event["agent_id"] for event in of_kind(events, "agent.start")]
    assert started[1:3] == [taker, "analyst-2" if taker == "analyst" else "analyst"]
    assert text_of(events) == "The final answer."


async def test_plan_in_a_code_fence_is_read(chat: Chatting, team: ScriptedModel) -> None:
    [inner] = plan("researcher").tokens
    team.as_agent(PLANNER.instructions, Script(tokens=["Sure!\n```json\n", inner, "\n```"]))
    assert "default plan" not in messages_of(await chat.answer(full()))


async def test_tools_that_a_plan_invents_are_dropped_with_a_message(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("analyst", tools=["calculator", "teleport"]))
    events = await chat.answer(full())
    assert "teleport" in messages_of(events)
    [first, *_] = calls_of(team, ANALYST)
    assert [tool["function"]["name"] for tool in first.body["tools"]] == ["calculator", "clock"]
    assert first.question.endswith("Tools for it:\ncalculator")


async def test_agent_keeps_its_tools_if_its_plan_names_only_foreign_ones(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("researcher", tools=["calculator"]))
    events = await chat.answer(full())
    assert "dropped: calculator" in messages_of(events)
    [call] = calls_of(team, RESEARCHER)
    assert [tool["function"]["name"] for tool in call.body["tools"]] == ["clock"]


async def test_weak_draft_is_revised_once(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(REVIEWER.instructions, review(3, "the year is missing"))
    team.as_agent(
        WRITER.instructions, Script(tokens=["first draft"]), Script(tokens=["second draft"])
    )
    events = await chat.answer(full())
    assert phases(events) == [
        "routing",
        "analysis",
        "research",
        "writing",
        "review",
        "revision",
        "final",
    ]
    first, second = calls_of(team, WRITER)
    assert "the year is missing" not in first.question
    assert "the year is missing" in second.question
    assert "first draft" in second.question
    assert "second draft" in calls_of(team, EDITOR)[0].question
    assert len(calls_of(team, REVIEWER)) == 1


async def test_failed_revision_keeps_the_whole_draft(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(WRITER.instructions, Script(tokens=["a whole draft"]), Script(cut_after=1))
    team.as_agent(REVIEWER.instructions, review(3, "a date"))
    events = await chat.answer(full())
    assert "revision" in phases(events)
    assert "Writer could not finish" in messages_of(events)
    assert "Draft:\na whole draft" in calls_of(team, EDITOR)[0].question


async def test_team_names_the_agents_and_steps_it_leaves_out(
    chat: Chatting, team: ScriptedModel
) -> None:
    everybody = messages_of(await chat.answer(full()))
    assert everybody == "The draft is good enough, so there is no revision."
    team.as_agent(PLANNER.instructions, plan("analyst"))
    team.as_agent(REVIEWER.instructions, review(3, "the year is missing"))
    events = await chat.answer(full())
    assert messages_of(events) == "Not needed: Researcher."
    assert of_kind(events, "routing.decided")[0]["data"]["skipped"] == []


async def test_unreadable_review_leaves_the_draft_unchanged(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(REVIEWER.instructions, Script(tokens=["Looks fine to me, 12 of 10."]))
    events = await chat.answer(full())
    assert "could not be read" in messages_of(events)
    assert text_of(events) == "The final answer."


@pytest.mark.parametrize("agent", [RESEARCHER, WRITER, REVIEWER])
@pytest.mark.parametrize(
    "fault", [{"status": 400}, {"cut_after": 1}, {"tokens": []}, {"garbage_after": 1}]
)
async def test_failing_member_does_not_cost_the_answer(
    chat: Chatting, team: ScriptedModel, agent: Any, fault: dict
) -> None:
    team.as_agent(agent.instructions, Script(**fault))
    events = await chat.answer(full())
    assert f"{agent.name} could not finish" in messages_of(events)
    assert text_of(events) == "The final answer."
    assert len(of_kind(events, "agent.start")) == len(of_kind(events, "agent.complete"))


async def test_hanging_specialist_is_detected_while_others_work(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    await Worker.current().stop()  # the next one reads the setting
    # The others of the team are quick enough for this on a busy machine, too.
    settings.FLEET_DEADLINES = replace(settings.FLEET_DEADLINES, chunk=1)
    team.as_agent(RESEARCHER.instructions, Script(hang_after=1))
    events = await chat.answer(full())
    assert "Researcher could not finish" in messages_of(events)
    assert "The ans" not in text_of(events)
    assert text_of(events) == "The final answer."


def in_pieces(script: Script, pace: float) -> Script:
    text = script.tokens[0]
    return Script(tokens=[text[at : at + 4] for at in range(0, len(text), 4)], pace=pace)


@pytest.mark.parametrize("agent", [PLANNER, ANALYST, WRITER])
async def test_model_that_writes_hidden_output_counts_as_active(
    chat: Chatting, team: ScriptedModel, settings: Settings, agent: Any
) -> None:
    settings.FLEET_DEADLINES = replace(settings.FLEET_DEADLINES, idle=0.8)
    settings.FLEET_HEARTBEAT = 0.1
    arguments = json.dumps({"expression": "1 + 1" + " " * 90})
    slow = {
        PLANNER: in_pieces(plan("analyst"), 0.05),
        ANALYST: Script(tokens=[], calls=[("calculator", arguments)], call_pace=0.05),
        WRITER: Script(tokens=["a draft"], waits=20, pace=0.05),
    }

    async def longest_silence() -> float:
        team.as_agent(agent.instructions, slow[agent], Script(tokens=["done"]))
        events = await chat.answer(full())
        silent = [event["data"]["silent_ms"] for event in of_kind(events, "heartbeat")]
        return max(silent) if events[-1]["type"] == "done" and len(silent) > 3 else inf

    assert await quickest(longest_silence, enough=600, tries=8) < 600


@pytest.mark.parametrize("agent", [PLANNER, EDITOR])
async def test_failing_planner_or_editor_fails_the_run(
    chat: Chatting, team: ScriptedModel, agent: Any
) -> None:
    team.as_agent(agent.instructions, Script(status=400))
    events = await chat.answer(full())
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["code"] == "model_error"


@pytest.mark.parametrize("agent", MEMBERS)
async def test_cancel_in_any_phase_is_quick_and_closes_every_call(
    chat: Chatting, team: ScriptedModel, agent: Any
) -> None:
    held = [agent, ANALYST] if agent is RESEARCHER else [agent]
    for one in held:
        team.as_agent(one.instructions, Script(tokens=["a", "b"], hang_after=1))

    async def time_to_cancel() -> float:
        socket = await chat.ask(full())
        async with asyncio.timeout(10):
            while not all(
                any(not call.ended.is_set() for call in calls_of(team, one)) for one in held
            ):
                await asyncio.sleep(0.005)
        asked = time.monotonic()
        await socket.send({"type": "cancel"})
        assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]
        told = time.monotonic()
        for call in team.calls:
            assert await asyncio.to_thread(call.ended.wait, 5)
        return max(told, *(call.ended_at or told for call in team.calls)) - asked

    assert await quickest(time_to_cancel, enough=CANCEL_TIME) < CANCEL_TIME


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("parallel", "side by side"), ("sequential", "follow one another")],
)
async def test_reason_of_a_plan_with_several_subtasks_is_told(
    chat: Chatting, team: ScriptedModel, mode: str, reason: str
) -> None:
    team.as_agent(PLANNER.instructions, plan("researcher", "analyst", mode=mode))
    [thought] = of_kind(await chat.answer(full()), "orchestrator.thought")
    assert reason in thought["message"]


async def test_reason_of_a_revision_is_told(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(PLANNER.instructions, plan("researcher"))
    team.as_agent(REVIEWER.instructions, review(5, "more"))
    [thought] = of_kind(await chat.answer(full()), "orchestrator.thought")
    assert "below 7" in thought["message"]
