"""The mode plain: one call of the light model, and nothing else."""

import pytest
from pytest_django import Settings

from chat.workflow.agents import ASSISTANT
from routing.models import RoutingDecision
from tests.chatting import Chatting, chat_request, text_of
from tests.scripted_model import Script, ScriptedModel

from .playing import of_kind, phases

pytestmark = pytest.mark.django_db(transaction=True)


def plain(message: str) -> dict[str, str]:
    return chat_request(message, mode="plain")


@pytest.mark.parametrize(
    "message", ["What is 6 * 7?", "What time is it?", "Search the web for today's news."]
)
async def test_plain_question_is_one_call_without_tools(
    chat: Chatting, team: ScriptedModel, message: str
) -> None:
    events = await chat.answer(plain(message))
    [call] = team.calls
    assert call.body["model"] == "scripted"
    assert "tools" not in call.body
    assert of_kind(events, "tool.start") == []
    [decided] = of_kind(events, "routing.decided")
    assert (decided["data"]["path"], decided["data"]["mode"]) == ("light", "plain")
    assert phases(events) == ["routing", "answer"]


async def test_call_that_a_model_makes_unasked_is_not_made(
    chat: Chatting, team: ScriptedModel
) -> None:
    call = ("calculator", '{"expression": "1 + 1"}')
    team.as_agent(ASSISTANT.instructions, Script(tokens=["It is 2."], calls=[call]))
    events = await chat.answer(plain("A title, please."))
    assert text_of(events) == "It is 2."
    assert of_kind(events, "tool.start") == []
    assert len(team.calls) == 1


async def test_plain_answer_never_escalates(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MODE = False
    team.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    events = await chat.answer(plain("Compare them."))
    assert text_of(events) == "I don't know."
    assert len(team.calls) == 1


async def test_plain_run_is_no_decision_of_the_router(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_ROUTER_MODEL = "scripted"
    await chat.answer(plain("Compare the histories of Rome and Carthage."))
    assert len(team.calls) == 1
    assert await RoutingDecision.objects.acount() == 0


async def test_stand_in_is_asked_whatever_a_plain_question_wants(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    await chat.answer(plain("Schreibe einen Titel für dieses Gespräch über Datenbanken."))
    assert len(team.calls) == 1
