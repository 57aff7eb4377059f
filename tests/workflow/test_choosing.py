"""The choice between the paths."""

from collections.abc import Callable
from typing import cast

import pytest
from pytest_django import Settings

from chat.llm.messages import Finished, Text
from chat.llm.models import Models
from chat.protocol.terms import Usage
from chat.workflow.opinion import DEFINITION, Opinions
from chat.workflow.question import Question
from routing.models import RoutingDecision
from tests.chatting import Chatting, chat_request
from tests.scripted_model import Script, ScriptedModel

from .playing import Values, of_kind, phases, work_of

pytestmark = pytest.mark.django_db(transaction=True)


async def test_confidence_below_the_threshold_goes_full(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_THRESHOLD = 1
    assert "final" in phases(await chat.answer())


async def test_light_mode_off_sends_everything_full(
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
    """Put every question into the grey zone. The router's model replies with the given script."""
    monkeypatch.setattr("chat.workflow.opinion.DEADLINE", 10)
    settings.FLEET_ROUTER_MODEL = "small"
    monkeypatch.setattr("routing.policy.GREY_ZONE", (0, 1.01))

    def reply(script: Script) -> None:
        team.as_agent(DEFINITION, script)

    return reply


async def test_router_model_decides_in_the_grey_zone(
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


async def test_opinion_is_cached(
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


async def test_router_model_reads_both_ends_of_a_long_question(
    chat: Chatting, team: ScriptedModel, grey: Callable[[Script], None]
) -> None:
    grey(Script(tokens=['{"path": "light"}']))
    await chat.answer("Read this. " + "Words. " * 4000 + "Who wrote it?")
    [asked] = [call.question for call in team.calls if call.instructions == DEFINITION]
    assert asked.startswith("Read this.")
    assert asked.endswith("Who wrote it?")
    assert len(asked) < 2000


async def test_opinion_asks_for_little_thinking(
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
async def test_late_or_failed_opinion_goes_full(
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
    assert decided["data"]["usage"]["model_calls"] == 1


async def test_chosen_mode_asks_for_no_opinion(
    chat: Chatting, team: ScriptedModel, grey: Callable[[Script], None]
) -> None:
    grey(Script(tokens=['{"path": "full"}']))
    assert phases(await chat.answer(chat_request(mode="light"))) == ["routing", "answer"]


async def test_oldest_opinion_is_dropped_when_the_cache_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chat.workflow.opinion.MAX_KEPT", 2)
    client = Values(Text('{"path": "light"}'), Finished(Usage(), 1))
    opinions = Opinions(cast("Models", client))
    for asked, calls in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("a", 3), ("b", 4)]:
        await opinions.on(Question(asked, "auto"), work_of(client, []))
        assert client.calls == calls
