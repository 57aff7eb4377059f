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
    assert found["result"]["content"][0]["text"] == "It is 42."
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
    assert answered["content"][0]["text"] == "Meat"
    [chat] = found["structuredContent"]["conversations"]
    assert chat["conversation_id"] == answered["structuredContent"]["conversation_id"]
    assert chat["url"] == f"{fleet.address}c/{chat['conversation_id']}/"
    assert unfit["isError"]
    assert "the message is empty" in unfit["content"][0]["text"]
    assert unknown == [-32602, "There is no tool shell here."]


@both_generations
def test_client_that_gives_up_ends_its_run(
    fleet: Fleet, model: ScriptedModel, token: str, mode: str
) -> None:
    """It closes the response, or else says so and leaves it open."""
    question = f"Give up, {mode}"
    model.on(question, tokens=["Forty", "-two"], hold_after=1)
    found = played(fleet, token, mode, "leave", question)["found"]
    assert found == ["ask", "search"]
    until(lambda: ended(model, question), 20, "it does not end")


@both_generations
def test_refusal_of_a_fleet_reaches_the_client_in_words(
    fleet: Fleet, model: ScriptedModel, mode: str
) -> None:
    narrow = fleet.token("create", "--service", "reader", "--scope", "read")
    found = played(fleet, narrow, mode, "silent", "May I?")["found"]
    assert found == {"code": -32000, "message": 'This token has no scope "ask".'}


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
def test_client_asks_its_person_or_says_where_that_is_decided(
    careful: Fleet, model: ScriptedModel, mode: str
) -> None:
    look = wants(("clock", {"place": "Tokyo"}))
    model.as_agent(ASSISTANT.instructions, look, Script(tokens=["It is late."]))
    token = careful.token("create", "--service", "mcp")
    played_ = played(careful, token, mode, "approve", f"Look up, {mode}")
    answered = played_["found"]["structuredContent"]
    if mode == "auto":
        assert "Tokyo" in played_["forms"][0]["message"]
        assert (answered["status"], answered["answer"]) == ("completed", "It is late.")
    else:
        assert (answered["status"], played_["forms"]) == ("paused", [])
        page = f"{careful.address}c/{answered['conversation_id']}/"
        assert played_["found"]["content"][0]["text"].endswith(f"That is decided at {page}")


def test_client_for_typescript_asks(fleet: Fleet, model: ScriptedModel, token: str) -> None:
    calls = wants(("calculator", {"expression": "6 * 7"}))
    model.as_agent(ASSISTANT.instructions, calls, Script(tokens=["It is", " 42."]))
    played_ = in_node("mcp_node.mjs", fleet.address, token, "ask", "Count", packages=NODE)
    assert played_["problems"] == []
    assert played_["found"]["tools"] == ["ask", "search"]
    assert played_["found"]["result"]["structuredContent"]["answer"] == "It is 42."
    assert "Calculator: 6 * 7" in [step["message"] for step in played_["steps"]]
    assert played_["version"] == "2025-11-25"


def test_client_for_typescript_cancels(fleet: Fleet, model: ScriptedModel, token: str) -> None:
    model.on("Cancel", tokens=["Forty", "-two"], hold_after=1)
    played_ = in_node("mcp_node.mjs", fleet.address, token, "cancel", "Cancel", packages=NODE)
    assert played_["found"] == 2
    until(lambda: ended(model, "Cancel"), 20, "it does not end")


def test_client_for_typescript_is_refused_in_words(fleet: Fleet, model: ScriptedModel) -> None:
    narrow = fleet.token("create", "--service", "looker", "--scope", "read")
    played_ = in_node("mcp_node.mjs", fleet.address, narrow, "refused", "May I?", packages=NODE)
    assert played_["found"]["code"] == 403
    assert 'This token has no scope \\"ask\\".' in played_["found"]["message"]


def test_client_of_fastmcp_asks(fleet: Fleet, model: ScriptedModel, token: str) -> None:
    calls = wants(("calculator", {"expression": "6 * 7"}))
    model.as_agent(ASSISTANT.instructions, calls, Script(tokens=["It is", " 42."]))
    found = in_python("mcp_fastmcp.py", fleet.address, token, "Count once", packages=FASTMCP)
    assert found["tools"] == ["ask", "search"]
    assert (found["text"], found["value"]["answer"]) == ("It is 42.", "It is 42.")
    assert "Calculator: 6 * 7" in found["steps"]


def calls_of(model: ScriptedModel, question: str) -> list[Call]:
    return [each for each in model.calls if question in json.dumps(each.body)]


def ended(model: ScriptedModel, question: str) -> bool:
    """Return True once no call to the model with this question lasts."""
    return all(each.ended.is_set() for each in calls_of(model, question))
