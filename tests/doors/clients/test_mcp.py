"""Clients of MCP, as they come from PyPI and npm, at the fleet's own server."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chat.workflow.agents import ASSISTANT
from tests.scripted_model import Call, Script, ScriptedModel
from tests.serving import NO_LIMITS, Fleet, running, until
from tests.workflow.playing import wants

from .running import in_node, in_python

PYTHON = ("mcp==2.3.0",)
NODE = ("@modelcontextprotocol/sdk@1.32.2",)
FASTMCP = ("fastmcp==4.2.3",)
both_generations = pytest.mark.parametrize("mode", ["legacy", "auto"])


@pytest.fixture(scope="module")
def token(fleet: Fleet) -> str:
    return fleet.token("create", "--service", "mcp")


def played(fleet: Fleet, token: str, mode: str, scene: str, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = in_python(
        "mcp_python.py", fleet.address, token, mode, scene, *words, packages=PYTHON
    )
    return found


@both_generations
def test_client_asks_and_reads_the_steps(
    fleet: Fleet, model: ScriptedModel, token: str, mode: str
) -> None:
    calls = wants(("calculator", {"expression": "6 * 7"}))
    model.as_agent(ASSISTANT.instructions, calls, Script(tokens=["It is", " 42."]))
    played_ = played(fleet, token, mode, "ask", f"Count, {mode}")
    found = played_["found"]
    assert found["tools"] == ["ask", "search"]
    assert found["result"]["content"][0]["text"].startswith("It is 42.\n")
    assert found["result"]["structuredContent"]["status"] == "completed"
    places = [place for place, _ in played_["steps"]]
    assert places == sorted(set(places))
    assert "Calculator: 6 * 7" in [words for _, words in played_["steps"]]


@both_generations
def test_client_waits_searches_and_is_told_what_is_wrong(
    fleet: Fleet, model: ScriptedModel, token: str, mode: str
) -> None:
    question = f"What do ocelots eat, {mode}?"
    model.on(question, tokens=["Me", "at"], first_after=1)  # longer than many beats
    tour = played(fleet, token, mode, "tour", question, f"ocelots {mode}")["found"]
    answered, found, unfit, unknown = tour
    assert answered["structuredContent"]["answer"] == "Meat"
    [chat] = json.loads(found["content"][0]["text"])
    assert chat["id"] == answered["structuredContent"]["conversation_id"]
    assert unfit["isError"]
    assert "the message is empty" in unfit["content"][0]["text"]
    assert unknown == [-32601, "There is no such method or tool here."]


def test_client_that_gives_up_ends_its_run(fleet: Fleet, model: ScriptedModel, token: str) -> None:
    """It closes the response. One of the older generation leaves it open, until the answer ends."""
    question = "Give up"
    model.on(question, tokens=["Forty", "-two"], hold_after=1)
    found = played(fleet, token, "auto", "leave", question)["found"]
    assert found == ["ask", "search"]
    until(lambda: ended(model, question), 20, "it does not end")


@both_generations
def test_refusal_of_a_fleet_reaches_the_client_in_words(
    fleet: Fleet, model: ScriptedModel, mode: str
) -> None:
    narrow = fleet.token("create", "--service", "reader", "--scope", "read")
    found = played(fleet, narrow, mode, "silent", "May I?")["found"]
    assert found["isError"]
    assert found["content"][0]["text"] == 'This token has no scope "ask".'


@both_generations
def test_killed_worker_is_an_error(
    fleet: Fleet, model: ScriptedModel, token: str, mode: str, tmp_path: Path
) -> None:
    question, mark = f"Killed, {mode}", tmp_path / "first step"
    model.on(question, tokens=["Forty", "-two"], hold_after=1)
    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(played, fleet, token, mode, "ask", question, str(mark))
        until(mark.exists, 100, "no step has arrived")
        [worker] = fleet.children("fleet-worker")
        worker.kill()
        found = playing.result()["found"]
    # Another worker goes on, although nobody reads it any more.
    until(lambda: len(calls_of(model, question)) == 2, 60, "the run does not go on")
    model.release()
    until(lambda: ended(model, question), 20, "it does not end")
    assert found == {"code": -32000, "message": "SSE stream ended without a response"}


@pytest.fixture(scope="module")
def careful(
    tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel
) -> Iterator[Fleet]:
    """A fleet in which people approve each look at the clock."""
    folder = tmp_path_factory.mktemp("mcp")
    with running(
        folder, model_server, "--workers", "1", **NO_LIMITS, FLEET_APPROVE="clock"
    ) as fleet:
        yield fleet


@both_generations
def test_client_is_told_where_a_paused_run_is_decided(
    careful: Fleet, model: ScriptedModel, mode: str
) -> None:
    look = wants(("clock", {"place": "Tokyo"}))
    model.as_agent(ASSISTANT.instructions, look, Script(tokens=["It is late."]))
    token = careful.token("create", "--service", "mcp")
    found = played(careful, token, mode, "silent", f"Look up, {mode}")["found"]
    assert found["structuredContent"]["status"] == "paused"
    page = f"{careful.address}c/{found['structuredContent']['conversation_id']}/"
    assert found["content"][0]["text"].endswith(f"The conversation: {page}")


def test_client_for_typescript_asks(fleet: Fleet, model: ScriptedModel, token: str) -> None:
    calls = wants(("calculator", {"expression": "6 * 7"}))
    model.as_agent(ASSISTANT.instructions, calls, Script(tokens=["It is", " 42."]))
    played_ = in_node("mcp_node.mjs", fleet.address, token, "ask", "Count", packages=NODE)
    assert played_["problems"] == []
    assert played_["found"]["tools"] == ["ask", "search"]
    assert played_["found"]["result"]["structuredContent"]["answer"] == "It is 42."
    assert "Calculator: 6 * 7" in [step["message"] for step in played_["steps"]]
    assert played_["version"] == "2025-11-25"


def test_client_for_typescript_is_refused_in_words(fleet: Fleet, model: ScriptedModel) -> None:
    narrow = fleet.token("create", "--service", "looker", "--scope", "read")
    played_ = in_node("mcp_node.mjs", fleet.address, narrow, "refused", "May I?", packages=NODE)
    assert played_["found"]["isError"]
    assert played_["found"]["content"][0]["text"] == 'This token has no scope "ask".'


def test_client_of_fastmcp_asks(fleet: Fleet, model: ScriptedModel, token: str) -> None:
    calls = wants(("calculator", {"expression": "6 * 7"}))
    model.as_agent(ASSISTANT.instructions, calls, Script(tokens=["It is", " 42."]))
    found = in_python("mcp_fastmcp.py", fleet.address, token, "Count once", packages=FASTMCP)
    assert found["tools"] == ["ask", "search"]
    assert found["text"].startswith("It is 42.\n")
    assert found["value"]["answer"] == "It is 42."
    assert "Calculator: 6 * 7" in found["steps"]


def calls_of(model: ScriptedModel, question: str) -> list[Call]:
    return [each for each in model.calls if question in json.dumps(each.body)]


def ended(model: ScriptedModel, question: str) -> bool:
    """Return True once no call to the model with this question lasts."""
    return all(each.ended.is_set() for each in calls_of(model, question))
