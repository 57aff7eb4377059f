"""The light path, and when the team takes over."""

import asyncio
from dataclasses import replace

import pytest
from pytest_django import Settings

from chat.protocol.terms import SUBPROTOCOL_HTML
from chat.workflow.agents import ASSISTANT, EDITOR
from tests.chatting import Chatting, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel

from .playing import calls_of, counts_before, messages_of, of_kind, phases, wants

pytestmark = pytest.mark.django_db(transaction=True)


async def test_light_answer_is_one_model_call(chat: Chatting, team: ScriptedModel) -> None:
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
async def test_insufficient_light_answer_escalates_once(
    chat: Chatting, team: ScriptedModel, reply: Script, reason: str
) -> None:
    team.as_agent(ASSISTANT.instructions, reply)
    events = await chat.answer()
    first, second = of_kind(events, "routing.decided")
    assert (first["data"]["path"], first["data"]["escalated"]) == ("light", False)
    assert (second["data"]["path"], second["data"]["escalated"]) == ("full", True)
    assert reason in second["data"]["reasons"][0]
    why = events[events.index(second) - 1]
    assert why["type"] == "orchestrator.thought"
    assert reason in why["message"]
    assert text_of(events) == "The final answer."
    assert events[-2]["message"] == "The final answer."
    assert events[-2]["data"]["path"] == "full"
    if of_kind(events[: events.index(second)], "response.delta"):
        [reset] = of_kind(events, "response.snapshot")
        assert reset["data"]["text"] == ""
        assert events.index(reset) == events.index(second) + 1


async def test_late_joiner_never_sees_the_emptied_answer_of_an_escalation(
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
async def test_escalated_answer_that_does_not_know_stands(
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
async def test_long_answer_that_sounds_unsure_stands(
    chat: Chatting, team: ScriptedModel, answer: str
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=[answer]))
    assert text_of(await chat.answer()) == answer


@pytest.mark.parametrize(("reply", "_reason"), SHORTFALLS.values(), ids=SHORTFALLS.keys())
async def test_light_mode_never_escalates(
    chat: Chatting, team: ScriptedModel, reply: Script, _reason: str
) -> None:
    team.as_agent(ASSISTANT.instructions, reply, Script(tokens=["done"]))
    events = await chat.answer(chat_request(mode="light"))
    assert phases(events) == ["routing", "answer"]
    assert len(of_kind(events, "routing.decided")) == 1


async def test_answer_cut_by_its_length_carries_a_message(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tokens=17)
    team.as_agent(ASSISTANT.instructions, Script(tokens=["So "] * 17, finish_reason="length"))
    events = await chat.answer(chat_request(mode="light"))
    assert text_of(events) == "So " * 17
    assert "The answer reached the limit of 17 tokens." in messages_of(events)
    assert team.calls[0].body["max_tokens"] == 17


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("MAX_TOKENS", "The model server cut the answer at its own length limit, after 2 tokens."),
        ("content_filter", "A content filter of the model server ended the answer here."),
    ],
)
async def test_answer_that_its_server_ended_early_carries_a_message(
    chat: Chatting, team: ScriptedModel, reason: str, message: str
) -> None:
    team.as_agent(ASSISTANT.instructions, Script(tokens=["So ", "much"], finish_reason=reason))
    events = await chat.answer(chat_request(mode="light"))
    assert text_of(events) == "So much"
    assert message in messages_of(events)


async def test_server_that_ignores_the_token_limit_is_cut_off(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tokens=20)
    team.as_agent(
        ASSISTANT.instructions,
        Script(tokens=["and on it goes, "] * 2000, reasoning=["hm "] * 1000, hang_after=2000),
    )
    events = await chat.answer(chat_request(mode="light"))
    assert text_of(events) == "and on it goes, " * 21
    assert "20 tokens" in messages_of(events)
    assert await asyncio.to_thread(team.calls[0].ended.wait, 5), "it is not paid for any longer"


async def test_few_long_pieces_are_not_counted_as_too_many_tokens(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tokens=20)
    team.as_agent(ASSISTANT.instructions, Script(tokens=["x" * 500] * 20))
    assert len(text_of(await chat.answer(chat_request(mode="light")))) == 10_000


async def test_light_answer_length_counts_all_its_rounds(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tokens=20)
    team.as_agent(ASSISTANT.instructions, counts_before(15), Script(tokens=["Two."]))
    await chat.answer(chat_request(mode="light"))
    assert [call.body["max_tokens"] for call in team.calls] == [20, 5]


@pytest.mark.parametrize("mode", ["light", "auto"])
async def test_light_answer_stops_when_its_length_is_used(
    chat: Chatting, team: ScriptedModel, settings: Settings, mode: str
) -> None:
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tokens=20)
    used = counts_before(20)
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
        [reason] = of_kind(events, "routing.decided")[1]["data"]["reasons"]
        assert reason == "the light answer reached the limit of 20 written tokens"
        assert text_of(events) == "The final answer."
