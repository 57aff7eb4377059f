"""How questions are answered: the light path, the team, what they may spend, and when one takes over from the other."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import pytest_asyncio
from pytest_django import Settings

from chat.llm.chunks import MAX_CALLS
from chat.llm.messages import ChatMessage
from chat.llm.messages import ToolCall as WantedCall
from chat.measures import ToolCall
from chat.models import Run
from chat.protocol.terms import SUBPROTOCOL_HTML
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT, EDITOR, PLANNER, REVIEWER, SPECIALISTS, WRITER
from chat.workflow.opinion import DEFINITION
from chat.workflow.prompt import LEFT_OUT, within
from routing.models import RoutingDecision
from tests.chatting import Chatting, Event, chat_request, kinds, shape, text_of
from tests.scripted_model import Script, ScriptedModel
from tests.timing import CANCEL_TIME, quickest
from tooling.untrusted import without_nul

pytestmark = pytest.mark.django_db(transaction=True)

RESEARCHER, ANALYST = SPECIALISTS
MEMBERS = (PLANNER, RESEARCHER, ANALYST, WRITER, REVIEWER, EDITOR)


def plan(*agents: str, mode: str = "parallel", tools: list[str] | None = None) -> Script:
    subtasks = [
        {"agent": agent, "task": f"part {number}", "tools": tools or []}
        for number, agent in enumerate(agents)
    ]
    return Script(tokens=[json.dumps({"subtasks": subtasks, "mode": mode})])


def verdict(score: int, *missing: str) -> Script:
    return Script(tokens=[json.dumps({"score": score, "missing": list(missing)})])


def wants(*calls: tuple[str, dict[str, Any]]) -> Script:
    return Script(tokens=[], calls=[(name, json.dumps(arguments)) for name, arguments in calls])


@pytest.fixture
def team(model: ScriptedModel) -> ScriptedModel:
    """A model that plays every member of the team well."""
    model.as_agent(PLANNER.instructions, plan("researcher", "analyst"))
    model.as_agent(RESEARCHER.instructions, Script(tokens=["found ", "it"]))
    model.as_agent(ANALYST.instructions, Script(tokens=["counted ", "it"]))
    model.as_agent(WRITER.instructions, Script(tokens=["a ", "draft"]))
    model.as_agent(REVIEWER.instructions, verdict(9))
    model.as_agent(EDITOR.instructions, Script(tokens=["The ", "final ", "answer."]))
    return model


def full(message: str = "Compare them.", **fields: Any) -> dict[str, Any]:
    return chat_request(message, mode="full", **fields)


def phases(events: list[Event]) -> list[str]:
    return [event["data"]["phase"] for event in events if event["type"] == "phase.start"]


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


def words(events: list[Event]) -> str:
    return " ".join(event["message"] for event in of_kind(events, "orchestrator.message"))


def calls_of(model: ScriptedModel, agent: Any) -> list[Any]:
    return [call for call in model.calls if call.instructions == agent.instructions]


# --- The full path ----------------------------------------------------------------------------------------------------


async def test_the_team_answers_in_the_agreed_order(chat: Chatting, team: ScriptedModel) -> None:
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


async def test_each_phase_says_how_long_it_took(chat: Chatting, team: ScriptedModel) -> None:
    events = await chat.answer(full())
    took = {
        event["data"]["phase"]: event["data"]["duration_ms"]
        for event in of_kind(events, "phase.complete")
    }
    assert list(took) == phases(events)
    assert all(took[name] > 0 for name in phases(events) if name != "routing")
    assert events[-1]["data"]["timings"]["phases"] == took


async def test_the_members_read_what_came_before_them(chat: Chatting, team: ScriptedModel) -> None:
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


async def test_a_sequence_hands_on_what_was_found(chat: Chatting, team: ScriptedModel) -> None:
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
        Script(tokens=['{"subtasks": [{"agent": "plumber", "task": "leak"}]}']),
        Script(tokens=['{"subtasks": [{"agent": "researcher", "task": ""}]}']),
        Script(tokens=["[" * 5000]),
        Script(tokens=[]),
    ],
)
async def test_a_broken_plan_is_replaced_and_flagged(
    chat: Chatting, team: ScriptedModel, reply: Script
) -> None:
    team.as_agent(PLANNER.instructions, reply)
    events = await chat.answer(full("Compare 3 things."))
    assert "default plan" in words(events)
    assert len(of_kind(events, "agent.start")) == len(of_kind(events, "agent.complete"))
    assert calls_of(team, RESEARCHER)
    assert calls_of(team, ANALYST), "there are numbers"
    assert text_of(events) == "The final answer."


async def test_a_plan_in_a_code_fence_is_a_plan(chat: Chatting, team: ScriptedModel) -> None:
    [inner] = plan("researcher").tokens
    team.as_agent(PLANNER.instructions, Script(tokens=["Sure!\n```json\n", inner, "\n```"]))
    assert "default plan" not in words(await chat.answer(full()))


async def test_tools_that_a_plan_invents_are_dropped_and_flagged(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("analyst", tools=["calculator", "teleport"]))
    events = await chat.answer(full())
    assert "teleport" in words(events)
    [first, *_] = calls_of(team, ANALYST)
    assert [tool["function"]["name"] for tool in first.body["tools"]] == ["calculator"]


async def test_an_agent_whose_plan_names_only_tools_of_others_keeps_its_own(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("researcher", tools=["calculator"]))
    events = await chat.answer(full())
    assert "dropped: calculator" in words(events)
    [call] = calls_of(team, RESEARCHER)
    assert [tool["function"]["name"] for tool in call.body["tools"]] == ["clock"]


async def test_a_weak_draft_is_revised_once(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(REVIEWER.instructions, verdict(3, "the year is missing"))
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


async def test_what_the_team_leaves_out_is_said(chat: Chatting, team: ScriptedModel) -> None:
    everybody = words(await chat.answer(full()))
    assert everybody == "The draft is good enough, so there is no revision."
    team.as_agent(PLANNER.instructions, plan("analyst"))
    team.as_agent(REVIEWER.instructions, verdict(3, "the year is missing"))
    events = await chat.answer(full())
    assert words(events) == "Not needed: researcher."
    assert of_kind(events, "routing.decided")[0]["data"]["skipped"] == []


async def test_a_review_that_cannot_be_read_changes_nothing(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(REVIEWER.instructions, Script(tokens=["Looks fine to me, 12 of 10."]))
    events = await chat.answer(full())
    assert "could not be read" in words(events)
    assert text_of(events) == "The final answer."


@pytest.mark.parametrize("agent", [RESEARCHER, WRITER, REVIEWER])
@pytest.mark.parametrize(
    "fault", [{"status": 400}, {"cut_after": 1}, {"tokens": []}, {"garbage_after": 1}]
)
async def test_a_member_that_fails_does_not_cost_the_answer(
    chat: Chatting, team: ScriptedModel, agent: Any, fault: dict
) -> None:
    team.as_agent(agent.instructions, Script(**fault))
    events = await chat.answer(full())
    assert f"{agent.name} could not finish" in words(events)
    assert text_of(events) == "The final answer."
    assert len(of_kind(events, "agent.start")) == len(of_kind(events, "agent.complete"))


async def test_a_specialist_that_hangs_is_found_while_others_work(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    await Worker.current().stop()  # the next one reads the setting
    settings.FLEET_CHUNK_TIMEOUT = 1  # which the others of the team keep on a busy machine, too
    team.as_agent(RESEARCHER.instructions, Script(hang_after=1))
    events = await chat.answer(full())
    assert "Researcher could not finish" in words(events)
    assert "The ans" not in text_of(events)
    assert text_of(events) == "The final answer."


def _in_pieces(script: Script, pace: float) -> Script:
    text = script.tokens[0]
    return Script(tokens=[text[at : at + 4] for at in range(0, len(text), 4)], pace=pace)


@pytest.mark.parametrize("agent", [PLANNER, ANALYST, WRITER])
async def test_a_model_that_writes_what_is_not_shown_is_not_silent(
    chat: Chatting, team: ScriptedModel, settings: Settings, agent: Any
) -> None:
    settings.FLEET_IDLE_TIMEOUT, settings.FLEET_HEARTBEAT = 0.8, 0.1
    arguments = json.dumps({"expression": "1 + 1" + " " * 90})
    slow = {
        PLANNER: _in_pieces(plan("analyst"), 0.05),
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
async def test_without_its_head_the_team_ends_in_words(
    chat: Chatting, team: ScriptedModel, agent: Any
) -> None:
    team.as_agent(agent.instructions, Script(status=400))
    events = await chat.answer(full())
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["code"] == "model_error"


@pytest.mark.parametrize("agent", MEMBERS)
async def test_cancel_in_every_phase_is_quick_and_closes_every_call(
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


# --- Caps -------------------------------------------------------------------------------------------------------------


async def test_the_cap_on_supersteps_leaves_one_for_the_answer(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_MAX_SUPERSTEPS = 3
    events = await chat.answer(full())
    assert phases(events) == ["routing", "analysis", "research", "final"]
    assert "3 rounds of model calls" in words(events)
    assert text_of(events) == "The final answer."


async def test_agents_side_by_side_share_a_superstep(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_MAX_SUPERSTEPS = 5
    events = await chat.answer(full())
    assert len(team.calls) == 6
    assert "limit" not in words(events)


async def test_the_cap_on_written_tokens_ends_the_preparation(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_MAX_TOKENS = 3
    events = await chat.answer(full())
    assert "3 written tokens" in words(events)
    assert phases(events) == ["routing", "analysis", "research", "final"]
    assert text_of(events) == "The final answer."


async def test_the_cap_on_written_tokens_ends_a_specialists_rounds(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_MAX_TOKENS = 10
    team.as_agent(PLANNER.instructions, plan("analyst"))
    counting = wants(("calculator", {"expression": "1 + 1"}))
    counting.tokens = ["so "] * 10
    team.as_agent(ANALYST.instructions, counting)
    events = await chat.answer(full())
    assert "10 written tokens is reached. Analyst stops here." in words(events)
    assert len(calls_of(team, ANALYST)) == 1
    assert text_of(events) == "The final answer."


async def test_the_cap_on_time_ends_a_phase_with_what_is_there(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_MAX_SECONDS = 1.5  # in which a busy machine gets as far as research
    team.as_agent(RESEARCHER.instructions, Script(tokens=["half of ", "it"], hang_after=1))
    events = await chat.answer(full())
    assert "1.5 seconds" in words(events)
    assert "half of" in calls_of(team, EDITOR)[0].question
    assert text_of(events) == "The final answer."
    assert len(of_kind(events, "agent.start")) == len(of_kind(events, "agent.complete"))
    assert all(call.ended.wait(10) for call in team.calls)


async def test_the_cap_on_fan_out_makes_others_wait(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_MAX_FANOUT = 2
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
    assert "6 subtasks" in words(events)


async def test_the_cap_on_tool_calls_holds_for_the_whole_team(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_FULL_MAX_TOOL_CALLS = 2
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


async def test_a_specialist_that_has_spoken_is_not_asked_again(
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


async def test_a_specialist_that_loops_ends_after_its_rounds(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("analyst"))
    team.as_agent(ANALYST.instructions, wants(("calculator", {"expression": "1 + 1"})))
    events = await chat.answer(full())
    assert len(calls_of(team, ANALYST)) == 3
    assert "tools" not in calls_of(team, ANALYST)[-1].body, "in its last round it has to answer"
    assert sum(not event["data"]["repeated"] for event in of_kind(events, "tool.complete")) == 1
    assert text_of(events) == "The final answer."


async def test_a_tool_whose_result_nobody_would_read_is_not_called(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(PLANNER.instructions, plan("analyst"))
    sums = [wants(("calculator", {"expression": f"{n} + 1"})) for n in range(3)]
    team.as_agent(ANALYST.instructions, *sums)
    events = await chat.answer(full())
    assert len(calls_of(team, ANALYST)) == 3
    assert len(of_kind(events, "tool.complete")) == 2
    assert [event["data"]["reason"] for event in of_kind(events, "tool.rejected")] == [
        "cap_reached"
    ]


async def test_a_light_answer_that_wants_a_tool_after_its_last_round_needs_more_than_it_may(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MAX_TOOL_CALLS = 5
    team.as_agent(
        ASSISTANT.instructions,
        *[wants(("calculator", {"expression": f"{n} + 1"})) for n in range(5)],
    )
    events = await chat.answer()
    assert len(calls_of(team, ASSISTANT)) == 2
    assert "more tools" in of_kind(events, "routing.decided")[1]["data"]["reasons"][0]
    assert text_of(events) == "The final answer."


# --- The light path, and when the team takes over ---------------------------------------------------------------------


async def test_a_light_answer_is_one_call(chat: Chatting, team: ScriptedModel) -> None:
    events = await chat.answer()
    assert phases(events) == ["routing", "answer"]
    assert len(team.calls) == 1
    [decided] = of_kind(events, "routing.decided")
    assert decided["data"]["path"] == "light"
    assert decided["data"]["reasons"]
    assert "research" in decided["data"]["skipped"]


SHORTFALLS = {
    "empty": (Script(tokens=[]), "was empty"),
    "refused": (Script(tokens=["I would rather not."], refusal=True), "refusal"),
    "filtered": (Script(tokens=["Well"], finish_reason="content_filter"), "refusal"),
    "unsure": (Script(tokens=["I'm sorry, ", "but I don't know who that is."]), "did not know"),
    "unsure, as an AI": (
        Script(tokens=["As an AI language model, I don't have access to today's news."]),
        "did not know",
    ),
    "unsure, with regret": (Script(tokens=["I'm afraid I'm not able to say."]), "did not know"),
    "unsure, in German": (Script(tokens=["Das weiß ich leider nicht."]), "did not know"),
    "cut": (Script(tokens=["So ", "much ", "to "], finish_reason="length"), "more words"),
    "short of tools": (
        wants(("calculator", {"expression": "1 + 1"}), ("calculator", {"expression": "2 + 2"})),
        "more tools",
    ),
}


@pytest.mark.parametrize(("reply", "reason"), SHORTFALLS.values(), ids=SHORTFALLS.keys())
async def test_a_light_answer_that_will_not_do_goes_to_the_team_once(
    chat: Chatting, team: ScriptedModel, reply: Script, reason: str
) -> None:
    team.as_agent(ASSISTANT.instructions, reply)
    events = await chat.answer()
    first, second = of_kind(events, "routing.decided")
    assert (first["data"]["path"], first["data"]["escalated"]) == ("light", False)
    assert (second["data"]["path"], second["data"]["escalated"]) == ("full", True)
    assert reason in second["data"]["reasons"][0]
    assert text_of(events) == "The final answer."
    assert events[-2]["message"] == "The final answer."
    assert events[-2]["data"]["path"] == "full"
    if of_kind(events[: events.index(second)], "response.delta"):
        [reset] = of_kind(events, "response.snapshot")
        assert reset["data"]["text"] == ""
        assert events.index(reset) == events.index(second) + 1


async def test_who_joins_after_an_escalation_never_sees_the_answer_emptied(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    team.as_agent(EDITOR.instructions, Script(tokens=["The final", " answer."], hold_after=1))
    request = chat_request()
    first = await chat.ask(request)
    await first.until("response.snapshot")
    seen = await first.until("response.delta")
    late = await chat.ask({**request, "after": seen["seq"]}, subprotocol=SUBPROTOCOL_HTML)
    snapshot = await late.until("response.snapshot")
    assert snapshot["data"]["text"] == "The final"
    team.release()
    assert of_kind(await late.rest(), "response.snapshot") == [snapshot]
    await first.rest()


@pytest.mark.parametrize("answer", ["I don't know.", "No sé."])
async def test_the_team_may_not_know_either(
    chat: Chatting, team: ScriptedModel, answer: str
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    team.as_agent(EDITOR.instructions, Script(tokens=[answer]))
    events = await chat.answer()
    assert len(of_kind(events, "routing.decided")) == 2
    assert text_of(events) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "I know this one: Lima.",
        "Nobody can say for sure, but I am sure of the year: 1969.",
        "Not sure? Ask for a sample: the shop gives them away.",
        "I cannot stress this enough. " * 20,
    ],
)
async def test_an_answer_that_only_sounds_unsure_stands(
    chat: Chatting, team: ScriptedModel, answer: str
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=[answer]))
    assert text_of(await chat.answer()) == answer


@pytest.mark.parametrize(("reply", "_reason"), SHORTFALLS.values(), ids=SHORTFALLS.keys())
async def test_who_chose_light_keeps_it(
    chat: Chatting, team: ScriptedModel, reply: Script, _reason: str
) -> None:
    team.as_agent(ASSISTANT.instructions, reply, Script(tokens=["done"]))
    events = await chat.answer(chat_request(mode="light"))
    assert phases(events) == ["routing", "answer"]
    assert len(of_kind(events, "routing.decided")) == 1


async def test_an_answer_that_is_cut_says_so(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MAX_TOKENS = 17
    team.as_agent(ASSISTANT.instructions, Script(tokens=["So ", "much"], finish_reason="length"))
    events = await chat.answer(chat_request(mode="light"))
    assert text_of(events) == "So much"
    assert "17 tokens" in words(events)
    assert team.calls[0].body["max_tokens"] == 17


async def test_a_server_that_minds_no_limit_is_left(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MAX_TOKENS = 20
    team.as_agent(
        ASSISTANT.instructions,
        Script(tokens=["and on it goes, "] * 2000, reasoning=["hm "] * 1000, hang_after=2000),
    )
    events = await chat.answer(chat_request(mode="light"))
    assert text_of(events) == "and on it goes, " * 21
    assert "20 tokens" in words(events)
    assert await asyncio.to_thread(team.calls[0].ended.wait, 5), "it is not paid for any longer"


async def test_few_long_pieces_are_not_taken_for_too_many_tokens(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MAX_TOKENS = 20
    team.as_agent(ASSISTANT.instructions, Script(tokens=["x" * 500] * 20))
    assert len(text_of(await chat.answer(chat_request(mode="light")))) == 10_000


def _counts_before(tokens: int) -> Script:
    return Script(tokens=["so "] * tokens, calls=[("calculator", '{"expression": "1 + 1"}')])


async def test_the_length_of_a_light_answer_is_that_of_all_its_rounds(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MAX_TOKENS = 20
    team.as_agent(ASSISTANT.instructions, _counts_before(15), Script(tokens=["Two."]))
    await chat.answer(chat_request(mode="light"))
    assert [call.body["max_tokens"] for call in team.calls] == [20, 5]


@pytest.mark.parametrize("mode", ["light", "auto"])
async def test_a_light_answer_that_has_used_its_length_goes_no_further(
    chat: Chatting, team: ScriptedModel, settings: Settings, mode: str
) -> None:
    settings.FLEET_LIGHT_MAX_TOKENS = 20
    used = _counts_before(20)
    used.tokens[:] = [""] * 20
    team.as_agent(ASSISTANT.instructions, used)
    events = await chat.answer(chat_request(mode=mode))
    assert len(calls_of(team, ASSISTANT)) == 1
    if mode == "light":
        assert (
            events[-1]["error"]["message"]
            == "The limit of 20 written tokens was reached before the answer."
        )
    else:
        assert "more words" in of_kind(events, "routing.decided")[1]["data"]["reasons"][0]
        assert text_of(events) == "The final answer."


async def test_a_light_answer_calls_one_tool_however_many_it_wants(
    chat: Chatting, team: ScriptedModel
) -> None:
    ten = wants(*[("calculator", {"expression": f"{n} + 1"}) for n in range(10)])
    team.as_agent(ASSISTANT.instructions, ten)
    events = await chat.answer(chat_request(mode="light"))
    assert len(of_kind(events, "tool.complete")) == 1
    assert len(of_kind(events, "tool.rejected")) == 9 + 10, "in its last round it may call nothing"
    assert len(team.calls) == 2, "two supersteps"
    assert events[-1]["error"]["message"] == "The model gave an empty answer."


async def test_of_thousands_of_calls_at_once_few_are_looked_at_and_that_is_said(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(
        ASSISTANT.instructions, wants(*[("teleport", {})] * 3000), Script(tokens=["Without them."])
    )
    events = await chat.answer(chat_request(mode="light"))
    assert len(of_kind(events, "tool.rejected")) == MAX_CALLS
    assert "more than 32 tools at once" in words(events)
    assert text_of(events) == "Without them."


@pytest.mark.parametrize(
    ("call_id", "index"), [("", None), ("same", None), ("long" * 1000, None), (None, 0)]
)
async def test_calls_are_told_apart_where_the_server_does_not(
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


async def test_the_result_of_a_tool_is_read_by_the_model(
    chat: Chatting, team: ScriptedModel
) -> None:
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
        ("functions.calculator", "{}", "unknown_tool"),
        ("tele port\u200b" * 20, "[" * 5000, "unknown_tool"),
        ("calculator", "{not json", "malformed"),
        ("calculator", "[1]", "malformed"),
        ("calculator", '{"expresion": "1+1"}', "invalid_arguments"),
        ("calculator", '{"expression": 7}', "invalid_arguments"),
        ("calculator", '{"expression": "' + "1" * 300_000 + '"}', None),
    ],
)
async def test_a_wrong_tool_call_is_dropped_flagged_and_told(
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
    json.loads(told["arguments"])


async def test_the_obvious_tool_is_called_first_and_the_model_phrases_its_result(
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
    assert "12 * 7 = 84" in call.question
    assert call.question.endswith("What is 12 * 7?")


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("What is 12 * 7?", "84"),
        ("how much is 15% of 80", "12"),
        ("What time is it in Tokyo?", "UTC+09:00"),
    ],
)
async def test_the_built_in_model_does_not_spoil_what_a_tool_says(
    chat: Chatting, team: ScriptedModel, settings: Settings, asked: str, answer: str
) -> None:
    settings.FLEET_MODEL_BUILTIN = True
    events = await chat.answer(asked)
    assert answer in text_of(events)
    assert not team.calls


async def test_the_built_in_model_is_offered_no_tools_and_is_not_replaced_by_the_team(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_BUILTIN = True
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    events = await chat.answer("Who wrote it?")
    assert text_of(events) == "I don't know."
    assert "tools" not in team.calls[0].body


async def test_the_built_in_model_neither_plans_nor_reviews(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_BUILTIN = True
    events = await chat.answer(full("Compare two things."))
    assert phases(events) == ["routing", "research", "final"]
    assert of_kind(events, "routing.decided")[0]["data"]["skipped"] == [
        "analysis",
        "writing",
        "review",
    ]
    assert words(events) == "Not needed: analyst."
    assert "found it" in calls_of(team, EDITOR)[0].question
    assert text_of(events) == "The final answer."


async def test_a_tool_that_is_off_is_said_and_done_without(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    events = await chat.answer("What is the weather in Oslo today?")
    assert "Web search is off" in words(events)
    assert "Web search is off" in team.calls[0].question
    assert text_of(events) == "I don't know.", "the team has no search either"


async def test_the_built_in_model_does_not_invent_what_should_be_looked_up(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_BUILTIN = True
    events = await chat.answer("What is the weather in Oslo today?")
    assert "Web search is off" in text_of(events)
    assert not team.calls


# --- Models that think in secret --------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def thinker(chat: Chatting, team: ScriptedModel, settings: Settings) -> ScriptedModel:
    """A team whose model is known to think."""
    settings.FLEET_THINKING_TOKENS, settings.FLEET_STEP_TOKENS, settings.FLEET_MAX_OUTPUT_TOKENS = (
        4000,
        1000,
        3000,
    )
    await Worker.current().stop()  # the next one reads the setting
    return team


async def test_all_but_the_answer_is_asked_with_little_thinking_and_everything_with_room_for_it(
    chat: Chatting, thinker: ScriptedModel
) -> None:
    await chat.answer(full())
    for agent in MEMBERS:
        [call] = calls_of(thinker, agent)
        is_answer = agent is EDITOR
        assert call.body.get("reasoning_effort") == (None if is_answer else "low")
        assert call.body["max_tokens"] == 4000 + (3000 if is_answer else 1000)


async def test_the_effort_that_a_person_chose_is_everybodys(
    chat: Chatting, thinker: ScriptedModel
) -> None:
    await chat.answer(full(reasoning_effort="maximal"))
    assert {call.body["reasoning_effort"] for call in thinker.calls} == {"high"}


async def test_a_model_that_is_not_known_to_think_is_asked_as_before(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    await chat.answer(full())
    assert not any("reasoning_effort" in call.body for call in team.calls)
    assert calls_of(team, WRITER)[0].body["max_tokens"] == settings.FLEET_STEP_TOKENS


@pytest.mark.parametrize(
    "words",
    [
        "Unrecognized request argument supplied: reasoning_effort",
        '"scripted" does not support thinking',
    ],
)
async def test_effort_that_is_refused_is_left_out_for_an_hour(
    chat: Chatting,
    thinker: ScriptedModel,
    words: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cautious = plan("researcher")
    cautious.refuses = {"reasoning_effort": words}
    thinker.as_agent(PLANNER.instructions, cautious)
    assert text_of(await chat.answer(full())) == "The final answer."
    assert ["reasoning_effort" in call.body for call in thinker.calls] == [True] + 5 * [False]
    assert calls_of(thinker, WRITER)[0].body["max_tokens"] == 1000, (
        "who does not think needs no room for it"
    )
    assert "takes no reasoning_effort" in caplog.text
    monkeypatch.setattr("chat.llm.client.REFUSAL_TTL", 0)
    await chat.answer(full())
    assert "reasoning_effort" in calls_of(thinker, PLANNER)[2].body


async def test_a_refusal_that_names_several_parts_costs_the_least_of_them(
    chat: Chatting, thinker: ScriptedModel
) -> None:
    both = Script(
        tokens=["counted"],
        refuses={"reasoning_effort": "Function tools with reasoning_effort are not supported."},
    )
    thinker.as_agent(PLANNER.instructions, plan("analyst"))
    thinker.as_agent(ANALYST.instructions, both)
    await chat.answer(full())
    assert "tools" in calls_of(thinker, ANALYST)[1].body


async def test_a_model_that_only_thought_says_so(chat: Chatting, team: ScriptedModel) -> None:
    mute = Script(tokens=[], finish_reason="length", thinking_tokens=1000)
    team.as_agent(WRITER.instructions, mute)
    team.as_agent(EDITOR.instructions, mute)
    events = await chat.answer(full())
    assert "Writer could not finish: The model spent all its tokens on thinking" in words(events)
    assert "FLEET_THINKING_TOKENS" in events[-1]["error"]["message"]


async def test_thinking_is_paid_for_and_takes_no_words_from_the_answer(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MAX_TOKENS = 20
    thoughtful = _counts_before(5)
    thoughtful.thinking_tokens = 500
    team.as_agent(ASSISTANT.instructions, thoughtful, Script(tokens=["Two."]))
    events = await chat.answer(chat_request(mode="light"))
    assert [call.body["max_tokens"] for call in team.calls] == [20, 15]
    assert events[-2]["data"]["usage"]["output_tokens"] == 506


# --- Who chooses ------------------------------------------------------------------------------------------------------


async def test_below_the_threshold_the_team_answers(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_THRESHOLD = 1
    assert "final" in phases(await chat.answer())


async def test_with_the_light_path_switched_off_the_team_answers(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MODE = False
    events = await chat.answer()
    assert "final" in phases(events)
    assert "switched off" in of_kind(events, "routing.decided")[0]["data"]["reasons"][0]


@pytest.fixture
def grey(
    team: ScriptedModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Script], None]:
    """Every question is in the grey zone, and the router's model replies with this script, however busy the machine is."""
    monkeypatch.setattr("chat.workflow.opinion.DEADLINE", 10)
    settings.FLEET_ROUTER_MODEL = "small"
    settings.FLEET_ROUTER_LOW, settings.FLEET_ROUTER_HIGH = 0, 1.01

    def reply(script: Script) -> None:
        team.as_agent(DEFINITION, script)

    return reply


async def test_in_the_grey_zone_the_routers_model_decides(
    chat: Chatting, team: ScriptedModel, grey: Callable[[Script], None]
) -> None:
    grey(Script(tokens=['{"path": "full", "reason": "two\\n\\u202e lookups"}']))
    events = await chat.answer()
    [decided] = of_kind(events, "routing.decided")
    assert decided["data"]["path"] == "full"
    assert "two lookups" in decided["data"]["reasons"][0]
    assert (await RoutingDecision.objects.aget(pk=events[0]["workflow_id"])).asked
    await chat.answer()
    assert sum(call.instructions == DEFINITION for call in team.calls) == 1, (
        "the second time it is known"
    )


async def test_an_opinion_is_paid_for_once(
    chat: Chatting, team: ScriptedModel, grey: Callable[[Script], None]
) -> None:
    grey(Script(tokens=['{"path": ', '"light"}'], read_tokens=100))
    first, again = await chat.answer(), await chat.answer()
    assert of_kind(first, "routing.decided")[0]["data"]["usage"]["input_tokens"] == 100
    assert (
        first[-2]["data"]["usage"]["input_tokens"]
        == again[-2]["data"]["usage"]["input_tokens"] + 100
    )
    assert first[-2]["data"]["usage"]["model_calls"] == 2
    decision = await RoutingDecision.objects.aget(pk=first[0]["workflow_id"])
    assert (
        decision.tokens
        == (await RoutingDecision.objects.aget(pk=again[0]["workflow_id"])).tokens + 102
    )


async def test_of_a_long_question_the_routers_model_reads_both_ends(
    chat: Chatting, team: ScriptedModel, grey: Callable[[Script], None]
) -> None:
    grey(Script(tokens=['{"path": "light"}']))
    await chat.answer("Read this. " + "Words. " * 4000 + "Who wrote it?")
    [asked] = [call.question for call in team.calls if call.instructions == DEFINITION]
    assert asked.startswith("Read this.")
    assert asked.endswith("Who wrote it?")
    assert len(asked) < 2000


async def test_an_opinion_takes_little_thinking(
    chat: Chatting, thinker: ScriptedModel, grey: Callable[[Script], None]
) -> None:
    grey(Script(tokens=['{"path": "light"}']))
    await chat.answer()
    [asked] = [call for call in thinker.calls if call.instructions == DEFINITION]
    assert (asked.body["reasoning_effort"], asked.body["max_tokens"]) == ("low", 4060)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(tokens=["light, I think"]), "no opinion"),
        (Script(tokens=['{"path": "medium"}']), "no opinion"),
        (Script(status=500), "no opinion"),
        (Script(hang_after=0), "longer than"),
    ],
)
async def test_without_an_opinion_in_time_the_team_answers(
    chat: Chatting,
    grey: Callable[[Script], None],
    script: Script,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if script.hang_after == 0:
        monkeypatch.setattr("chat.workflow.opinion.DEADLINE", 0.3)
    grey(script)
    [decided] = of_kind(await chat.answer(), "routing.decided")
    assert decided["data"]["path"] == "full"
    assert reason in decided["data"]["reasons"][0]


async def test_who_chose_a_mode_is_not_second_guessed(
    chat: Chatting, team: ScriptedModel, grey: Callable[[Script], None]
) -> None:
    grey(Script(tokens=['{"path": "full"}']))
    assert phases(await chat.answer(chat_request(mode="light"))) == ["routing", "answer"]


# --- What stays apart, what is recorded, what fits --------------------------------------------------------------------


async def test_many_answers_at_once_share_nothing(chat: Chatting, team: ScriptedModel) -> None:
    asked = [f"Compare number {n}n with the rest." for n in range(50)]
    answers = await asyncio.gather(*[chat.answer(full(text)) for text in asked])
    assert {text_of(events) for events in answers} == {"The final answer."}
    for text in asked:
        others = [other for other in asked if other != text]
        seen = [call for call in team.calls if text in json.dumps(call.body)]
        assert len(seen) == len(MEMBERS)
        assert not any(other in json.dumps(call.body) for call in seen for other in others)


async def test_a_run_leaves_its_decision_and_its_tool_calls(
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
    uses = [use async for use in ToolCall.objects.filter(run=run_id)]
    assert {(use.tool, use.outcome) for use in uses} == {
        ("calculator", "ok"),
        ("teleport", "rejected"),
    }


@pytest.mark.parametrize(
    ("mode", "reply", "name"),
    [("light", "Yes.", "weak"), ("auto", "", "strong"), ("full", "Yes.", "strong")],
)
async def test_a_run_is_recorded_with_the_model_that_answered(
    chat: Chatting, team: ScriptedModel, settings: Settings, mode: str, reply: str, name: str
) -> None:
    settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL = "strong", "weak"
    team.as_agent(ASSISTANT.instructions, Script(tokens=[reply] if reply else []))
    events = await chat.answer(chat_request(mode=mode))
    assert team.calls[-1].body["model"] == name
    assert (await Run.objects.aget(pk=events[0]["workflow_id"])).model == name


async def test_an_escalated_run_is_recorded_as_such(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=[]))
    events = await chat.answer()
    decision = await RoutingDecision.objects.aget(pk=events[0]["workflow_id"])
    assert (decision.path, decision.escalated) == ("light", True)
    assert (await Run.objects.aget(pk=decision.pk)).path == "full"


async def test_what_no_store_can_hold_is_left_out(chat: Chatting, team: ScriptedModel) -> None:
    team.as_agent(
        PLANNER.instructions,
        Script(tokens=['{"subtasks": [{"agent": "analyst", "task": "cou\\u0000nt"}]}']),
    )
    team.as_agent(
        ANALYST.instructions,
        Script(
            tokens=[],
            calls=[("calcu\0lator", '{"expression": "1 +\\u0000 1"}'), ("tele\0port", "{}")],
        ),
        Script(tokens=["cou\0nted"], reasoning=["h\0m"]),
    )
    team.as_agent(REVIEWER.instructions, verdict(9, "no\0thing"))
    team.as_agent(
        EDITOR.instructions,
        Script(tokens=["An ans\0wer, where \\u0000 is text."], read_tokens=-100),
    )
    events = await chat.answer(full())
    assert "\\u0000" not in json.dumps(events).replace("\\\\u0000", "")
    assert text_of(events) == "An answer, where \\u0000 is text."
    assert {event["data"]["tool"] for event in events if event["type"].startswith("tool.")} == {
        "calculator",
        "teleport",
    }
    run = await Run.objects.select_related("answer").aget(pk=events[0]["workflow_id"])
    assert run.answer.text == text_of(events)
    assert run.status == "completed"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (rb'"a\u0000b"', "ab"),
        (rb'"\u0000\u0000"', ""),
        (rb'"a\\u0000b"', r"a\u0000b"),
        (rb'"a\\\u0000b"', "a\\b"),
        (rb'{"a\u0000": ["\\\\\u0000\u00001"]}', {"a": ["\\\\1"]}),
    ],
)
def test_json_without_nul_is_the_same_otherwise(sent: bytes, kept: object) -> None:
    assert json.loads(without_nul(sent)) == kept


def test_what_does_not_fit_is_left_out_oldest_result_first() -> None:
    messages = [
        ChatMessage("system", "s"),
        ChatMessage("user", "the question"),
        ChatMessage("tool", "old " * 300, tool_call_id="1"),
        ChatMessage("tool", "new " * 300, tool_call_id="2"),
    ]
    kept = within(messages, 500)
    assert [message.content for message in kept[:3]] == ["s", "the question", LEFT_OUT]
    assert kept[3].content == "new " * 300
    tight = within(messages, 100)
    assert sum(message.tokens for message in tight) <= 110
    assert tight[1].content == "the question"


def test_what_was_said_before_makes_room_for_the_question_and_what_was_found_for_it() -> None:
    turns = [
        ChatMessage(role, f"{role} {number} " * 100)
        for number in range(3)
        for role in ("user", "assistant")
    ]
    asked = ChatMessage("user", "found " * 300 + "the question")
    calls = [
        ChatMessage("assistant", "", tool_calls=[WantedCall("1", "clock", "{}")]),
        ChatMessage("tool", "noon", tool_call_id="1"),
    ]
    whole = [ChatMessage("system", "s"), *turns, asked, *calls]
    kept = within(whole, 1500)
    assert kept == [whole[0], *turns[4:], asked, *calls]
    assert sum(message.tokens for message in kept) <= 1500
    assert within([whole[0], *turns[4:], asked], 1000)[1].content == turns[4].content, (
        "the last turn is what a follow-up is about"
    )


async def test_of_a_question_that_is_too_long_both_ends_are_read(
    chat: Chatting, team: ScriptedModel
) -> None:
    await chat.answer(
        chat_request("Read this: " + "größer " * 4000 + "Who wrote it?", mode="light")
    )
    [call] = team.calls
    assert call.question.startswith("Read this: größer")
    assert " […] " in call.question
    assert call.question.endswith("größer Who wrote it?")
    assert len(call.question.encode()) < 3 * 6000


async def test_after_a_long_talk_the_team_reads_its_notes(
    chat: Chatting, team: ScriptedModel
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["word " * 1000]))
    conversation = None
    for _ in range(5):
        events = await chat.answer(chat_request(mode="light", conversation_id=conversation))
        conversation = events[0]["data"]["conversation_id"]
    team.as_agent(RESEARCHER.instructions, Script(tokens=["found " * 400]))
    team.as_agent(WRITER.instructions, Script(tokens=["a draft " * 300]))
    await chat.answer(full(conversation_id=conversation))
    [call] = calls_of(team, EDITOR)
    assert call.question.count("a draft") == 300
    assert call.question.count("found") == 400
    assert "counted it" in call.question
    assert "word word" in json.dumps(call.body["messages"])


def test_the_arguments_of_calls_count_too() -> None:
    wordy = [WantedCall(f"{number}", "web_search", "x" * 8000) for number in range(MAX_CALLS)]
    messages = [
        ChatMessage("system", "s"),
        ChatMessage("user", "the question"),
        ChatMessage("assistant", "", tool_calls=wordy),
        *[ChatMessage("tool", "rejected", tool_call_id=call.id) for call in wordy],
    ]
    kept = within(messages, 6000)
    assert sum(message.tokens for message in kept) <= 6000
    assert [message.content for message in kept] == [message.content for message in messages]
    assert within(messages, 1_000_000) == messages


async def test_arguments_that_were_refused_for_their_length_are_not_read_again(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_CONTEXT_TOKENS = 100_000  # they would fit
    team.as_agent(
        ASSISTANT.instructions,
        wants(("calculator", {"expression": "1" * 200_000})),
        Script(tokens=["Without it, then."]),
    )
    events = await chat.answer("Please work it out.")
    assert text_of(events) == "Without it, then."
    assert len(json.dumps(team.calls[1].body["messages"])) < 2000
