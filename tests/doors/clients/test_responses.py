"""Clients of OpenAI's Responses."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chat.workflow.agents import ASSISTANT
from tests.scripted_model import Script, ScriptedModel
from tests.scripted_search import RESULT
from tests.serving import Fleet, until

from .running import in_node, in_python

ANSWER = "The answer is **42**."
OPENAI = "openai==3.57.0"
WORDS = [f"{number} " for number in range(20)]


@pytest.fixture(autouse=True)
def _scripts(model: ScriptedModel) -> Iterator[None]:
    model.on("slow", tokens=WORDS, pace=0.05)
    model.on("hang", hang_after=1)
    model.on("pings", tokens=["One"], first_after=1.5)
    model.on("bad", status=400)
    model.on("cut", tokens=["One", " two"], cut_after=1)
    model.on("think", reasoning=["Hm."])
    call = ("web_search", json.dumps({"query": "capital of Peru"}))
    found = Script(tokens=["Lima [1]", "."])
    model.as_agent_on(ASSISTANT.instructions, "search", Script(tokens=[], calls=[call]), found)
    yield
    model.release()


def address(fleet: Fleet) -> str:
    return fleet.address.rstrip("/")


def test_openai_python(fleet: Fleet) -> None:
    found = in_python("openai_python_responses.py", address(fleet), packages=(OPENAI,))
    assert found == {
        "plain": [ANSWER, "completed", True],
        "input": ["What is the answer?", ANSWER, "And?"],
        "stream": [ANSWER, 5, ANSWER],
        "search": ["capital of Peru", True],
        "cited": "[1]",
        "live": "in_progress",
        "numbers": True,
        "background": "".join(WORDS),
        "later": "".join(WORDS),
        "helper": True,
        "polled": ANSWER,
        "cancelled": "cancelled",
        "deleted": None,
        "gone": ["not_found", "response_id"],
        "refused": ["BadRequestError", 400, "context_length_exceeded"],
        "failed": ["InternalServerError", 502, "model_error"],
        "cut": "response.failed",
        "pings": ["response.created", "response.completed"],
    }


def test_background_goes_on_after_its_worker_was_killed(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("killed", tokens=WORDS, pace=0.1)

    def kill() -> None:
        until(lambda: any(call.sent > 5 for call in model.calls), 60, "it was not asked")
        for process in fleet.children("fleet-worker"):
            process.kill()

    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill)
        words = (address(fleet), "killed")
        found = in_python("openai_python_resuming.py", *words, packages=(OPENAI,))
        killing.result()
    text = "".join(WORDS)
    assert found == {"cut": True, "in order": True, "pieces": text, "text": text}


def test_openai_node(fleet: Fleet) -> None:
    found = in_node("openai_node_responses.mjs", address(fleet), packages=("openai@6.49.0",))
    assert found == {
        "plain": [ANSWER, "completed"],
        "stream": [ANSWER, ANSWER],
        "pings": "One",
        "numbers": True,
        "background": "".join(WORDS),
        "cancelled": "cancelled",
        "unknown": ["NotFoundError", 404, "not_found"],
    }


def test_openai_agents(fleet: Fleet) -> None:
    packages = ("openai-agents==0.24.0", OPENAI)
    found = in_python("openai_agents.py", address(fleet), packages=packages)
    assert found["chat"] == [ANSWER, ANSWER, ANSWER]
    assert found["responses"] == [ANSWER, ANSWER, ANSWER]
    items, answer = found["search"]
    assert items == ["reasoning_item", "tool_call_item", "message_output_item"]
    assert answer == ANSWER


def test_langchain(fleet: Fleet) -> None:
    packages = ("langchain-openai==1.7.4", OPENAI)
    found = in_python("langchain_responses.py", address(fleet), packages=packages)
    assert found == {
        "plain": [ANSWER, True],
        "stream": [ANSWER, True, True],
        "kinds": ["reasoning", "text"],
        "search": ["reasoning", "web_search_call", "text"],
        "sources": [RESULT["url"]],
        "chat": ANSWER,
    }


def test_ai_sdk(fleet: Fleet) -> None:
    packages = ("ai@6.0.326", "@ai-sdk/openai@3.0.141")
    found = in_node("ai_sdk_responses.mjs", address(fleet), packages=packages)
    assert found["plain"] == [ANSWER, "stop", True]
    text, has_thought, kinds = found["stream"]
    assert (text, has_thought) == (ANSWER, True)
    assert {"reasoning-delta", "text-delta", "finish"} <= set(kinds)
    assert "error" not in kinds
    assert found["pings"] == "One"
    assert found["chat"] == ANSWER
    assert found["search"] == [
        "Lima [1].",
        [RESULT["url"]],
        ["tool-input-start", "tool-input-end", "tool-call", "tool-result"],
        0,
    ]
    assert found["quiet"] == ["Lima [1].", 0]
    assert found["cut"] == ["error", True]
    assert found["refused"] == ["AI_APICallError", 400]
