"""Models with hidden thinking."""

import time
from dataclasses import replace

import pytest
from pytest_django import Settings

from chat.llm.errors import ALL_THINKING
from chat.llm.refusals.memory import REFUSAL_TTL
from chat.runs.worker import Worker
from chat.workflow.agents import ANALYST, ASSISTANT, EDITOR, PLANNER, WRITER
from tests.chatting import Chatting, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel

from .playing import MEMBERS, calls_of, counts_before, full, messages_of, of_kind, plan

pytestmark = pytest.mark.django_db(transaction=True)


async def test_steps_ask_for_little_thinking_and_every_call_has_room_for_it(
    chat: Chatting, thinker: ScriptedModel
) -> None:
    await chat.answer(full())
    for agent in MEMBERS:
        [call] = calls_of(thinker, agent)
        is_answer = agent is EDITOR
        assert call.body.get("reasoning_effort") == (None if is_answer else "low")
        assert call.body["max_tokens"] == 4000 + (3000 if is_answer else 1000)


async def test_chosen_effort_applies_to_every_agent(chat: Chatting, thinker: ScriptedModel) -> None:
    await chat.answer(full(reasoning_effort="maximal"))
    assert {call.body["reasoning_effort"] for call in thinker.calls} == {"high"}


async def test_model_not_known_to_think_gets_no_effort(
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
async def test_refused_effort_is_left_out_for_an_hour(
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
    assert "refused a part of a request: asked with “without reasoning_effort”" in caplog.text
    refusals = Worker.current().models.own.refusals
    monkeypatch.setattr(refusals, "_clock", lambda: time.monotonic() + REFUSAL_TTL)
    await chat.answer(full())
    assert "reasoning_effort" in calls_of(thinker, PLANNER)[2].body


async def test_refusal_naming_several_parts_drops_the_least_important(
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


async def test_answer_of_nothing_but_thinking_is_an_error_with_advice(
    chat: Chatting, team: ScriptedModel
) -> None:
    mute = Script(tokens=[], finish_reason="length", thinking_tokens=1000)
    team.as_agent(WRITER.instructions, mute)
    team.as_agent(EDITOR.instructions, mute)
    events = await chat.answer(full())
    assert "Writer could not finish: The model spent all its tokens on thinking" in messages_of(
        events
    )
    assert events[-1]["error"]["message"] == ALL_THINKING
    editor = [e for e in events if e["type"] == "agent.complete"][-1]
    assert editor["data"]["usage"]["output_tokens"] >= 1000, "as the server counted"


async def test_thinking_counts_in_usage_but_not_in_the_answer_length(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tokens=20)
    thoughtful = counts_before(5)
    thoughtful.thinking_tokens = 500
    team.as_agent(ASSISTANT.instructions, thoughtful, Script(tokens=["Two."]))
    events = await chat.answer(chat_request(mode="light"))
    assert [call.body["max_tokens"] for call in team.calls] == [20, 15]
    assert events[-2]["data"]["usage"]["output_tokens"] == 506


@pytest.mark.parametrize(
    ("tokens", "snapshots"),
    [
        (["<thi", "nk>\nFirst ", "the wick\n</think>", "\n\nLantern"], []),
        (["First ", "the wick", "\n</think>\n\n", "Lantern"], [""]),
    ],
    ids=["tags", "no opening tag"],
)
async def test_thinking_in_tags_is_told_as_reasoning(
    chat: Chatting, team: ScriptedModel, tokens: list[str], snapshots: list[str]
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=tokens))
    events = await chat.answer(chat_request(mode="light"))
    assert text_of(events) == "Lantern"
    told = "".join(event["delta"] for event in of_kind(events, "reasoning.delta"))
    assert told.strip() == "First the wick"
    assert [event["data"]["text"] for event in of_kind(events, "response.snapshot")] == snapshots
