"""Whole runs that call tools of an MCP server."""

import sys

import pytest

from chat.runs.worker import Worker
from chat.workflow import answer
from chat.workflow.agents import ASSISTANT
from tests.chatting import Chatting, chat_request, text_of
from tests.configs import Configure
from tests.mcp.serving import PLAYER
from tests.runs.pausing import Pause
from tests.scripted_model import Script, ScriptedModel

QUESTION = "How many are in stock?"


@pytest.fixture
def configured(configure: Configure, request: pytest.FixtureRequest) -> None:
    part = getattr(request, "param", "good")
    command = [sys.executable, "-I", "-S", str(PLAYER), part]
    configure(f"[mcp.shop]\ncommand = {command!r}\nread = ['read']\ntimeout = 0.5")


@pytest.fixture
def misspelt(configure: Configure) -> None:
    command = [sys.executable, "-I", "-S", str(PLAYER)]
    configure(f"[mcp.shop]\ncommand = {command!r}\n[agents.assistant]\ntools = ['shop__raed']")


def plays(model: ScriptedModel, *, name: str = "shop__read") -> None:
    model.as_agent(
        ASSISTANT.instructions,
        Script(tokens=[], calls=[(name, '{"text": "seven"}')]),
        Script(tokens=["There are ", "seven."]),
    )


def results(events: list[dict]) -> list[dict]:
    return [event for event in events if event["type"] == "tool.result"]


async def test_first_run_of_a_worker_has_the_tools(
    configured: None, chat: Chatting, model: ScriptedModel
) -> None:
    plays(model)
    events = await chat.answer(chat_request(QUESTION, mode="light"))
    assert text_of(events) == "There are seven."
    told = model.calls[-1].body["messages"][-1]["content"]
    assert "text from outside" in told
    assert "\nread: seven\n" in told
    offered = [tool["function"]["name"] for tool in model.calls[0].body["tools"]]
    assert "shop__read" in offered


@pytest.mark.parametrize(
    "configured",
    ["dies in a call", "hangs in a call", "large result", "null result", "reports"],
    indirect=True,
)
async def test_run_goes_on_without_the_result(
    configured: None, chat: Chatting, model: ScriptedModel
) -> None:
    model.as_agent(
        ASSISTANT.instructions,
        Script(tokens=[], calls=[("shop__read", '{"text": "hang"}')]),
        Script(tokens=["There are ", "seven."]),
    )
    events = await chat.answer(chat_request(QUESTION, mode="light"))
    assert events[-1]["type"] == "done"
    assert text_of(events) == "There are seven."
    told = model.calls[-1].body["messages"][-1]["content"]
    assert told.startswith(("shop__read failed: ", "shop__read took longer than 0.5 s."))


async def test_tool_of_an_agent_that_the_server_lacks_is_logged(
    misspelt: None, chat: Chatting, caplog: pytest.LogCaptureFixture
) -> None:
    await chat.answer(chat_request(QUESTION, mode="light"))
    assert "has no tool shop__raed" in caplog.text


@pytest.mark.parametrize("configured", ["dies at start"], indirect=True)
async def test_run_goes_on_without_the_server(
    configured: None, chat: Chatting, model: ScriptedModel
) -> None:
    plays(model)
    events = await chat.answer(chat_request(QUESTION, mode="light"))
    assert events[-1]["type"] == "done"
    assert text_of(events) == "There are seven."


async def test_call_that_acts_waits_for_its_owner(
    configured: None, chat: Chatting, model: ScriptedModel
) -> None:
    plays(model, name="shop__write")
    events = await chat.answer(chat_request(QUESTION, mode="light"))
    [ask] = [event for event in events if event["type"] == "ask.opened"]
    assert ask["data"]["tool"] == "shop__write"
    assert events[-1]["data"]["status"] == "paused"


@pytest.mark.parametrize("configured", ["starts slowly"], indirect=True)
async def test_approved_call_waits_for_its_server_on_a_worker_that_has_just_started(
    configured: None, chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plays(model, name="shop__write")
    pause = Pause(await chat.answer(chat_request(QUESTION, mode="light")))
    await Worker.current().stop()
    monkeypatch.setattr(answer, "SERVERS_TIMEOUT", 0.0)
    events = await chat.answer(pause.frame("approve"))
    assert text_of(events) == "There are seven."
    [result] = [event for event in events if event["type"] == "tool.complete"]
    assert result["data"]["ok"]
