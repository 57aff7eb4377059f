"""Clients of chat completions. Each script checks many things, because its start takes longest."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_model import Call, ScriptedModel
from tests.serving import Fleet, until

from .running import in_node, in_python

OPENAI = "openai==3.57.0"
TEXT, THOUGHT = "It is 42.", "Let me see."
SILENCE = 2.1  # seconds: 20 beats
LEFT_WITHIN = 2.3  # seconds until the model is told that nobody reads it


@pytest.fixture
def scripts(model: ScriptedModel) -> ScriptedModel:
    model.on("hello", tokens=["It is ", "42."])
    model.on("think", reasoning=["Let me ", "see."], tokens=["It is ", "42."])
    model.on("silent", tokens=["It is ", "42."], first_after=SILENCE)
    model.on("busy", status=429)
    for question in ("fails", "fails, streamed"):
        model.on(question, status=400)
    # One for each client, because a failure that has cost something is told again.
    for question in ("fails late", "fails late in node", "fails late in the SDK"):
        model.on(question, tokens=["It is ", "42."], cut_after=1)
    model.on("cut", tokens=["It is ", "42."], cut_after=1)
    model.on("stay", tokens=["It is ", "42."], hold_after=1)
    return model


def api_of(fleet: Fleet) -> str:
    return f"{fleet.address.rstrip('/')}/v1"


def calls_of(model: ScriptedModel, question: str) -> list[Call]:
    return [call for call in model.calls if call.question == question]


def streamed(reply: dict[str, Any]) -> tuple[Any, ...]:
    assert THOUGHT in reply["reasoning"]
    return reply["text"], reply["finish"], reply["tokens"]


def test_openai_python(fleet: Fleet, scripts: ScriptedModel) -> None:
    found = in_python("openai_chat.py", api_of(fleet), packages=(OPENAI,))
    assert "fleet-plain" in found["models"]
    assert found["model"] == "fleet"
    assert (found["text"], found["finish"], found["tokens"]) == (TEXT, "stop", 9)
    assert THOUGHT in found["reasoning"]
    # The tokens once, whether they were asked for or not.
    assert streamed(found["stream"]) == (TEXT, ["stop"], [9])
    assert streamed(found["stream with usage"]) == (TEXT, ["stop"], [9])
    assert found["silent stream"] == TEXT
    assert found["helper"] == [TEXT, ["chunk", "content.delta", "content.done"]]
    assert found["raw"] == ["temperature", 36, TEXT]
    assert found["no token"] == ["AuthenticationError", "invalid_api_key", None]
    assert found["no model"] == ["NotFoundError", "model_not_found", "model"]
    assert found["bad"] == ["BadRequestError", "unsupported_parameter", "stop"]
    assert found["busy"] == ["RateLimitError", "rate_limited", None]
    for failed in ("fails", "fails, streamed", "fails late"):
        assert found[failed][:2] == ["InternalServerError", "model_error"], failed
        assert len(calls_of(scripts, failed)) == 1, f"{failed}: it was paid for more than once"
    assert found["cut"][0] == "APIError"
    [call] = calls_of(scripts, "stay")
    assert call.ended.wait(20)
    assert call.ended_at is not None
    assert call.ended_at - found["left"] < LEFT_WITHIN


def test_openai_node(fleet: Fleet, scripts: ScriptedModel) -> None:
    found = in_node("openai_chat.mjs", api_of(fleet), packages=("openai@6.49.0",))
    assert "fleet-plain" in found["models"]
    assert found["model"] == "fleet"
    assert (found["text"], found["tokens"]) == (TEXT, 9)
    assert THOUGHT in found["reasoning"]
    assert streamed(found["stream"]) == (TEXT, ["stop"], [9])
    assert streamed(found["stream with usage"]) == (TEXT, ["stop"], [9])
    assert found["silent stream"] == TEXT
    assert found["helper"] == TEXT
    assert found["raw"] == ["seed", TEXT]
    assert found["no token"] == ["AuthenticationError", "invalid_api_key", None]
    assert found["no model"] == ["NotFoundError", "model_not_found", "model"]
    assert found["bad"] == ["BadRequestError", "unsupported_parameter", "n"]
    for failed in ("fails", "fails late"):
        assert found[failed][:2] == ["InternalServerError", "model_error"], failed
    for failed in ("fails", "fails late in node"):
        assert len(calls_of(scripts, failed)) == 1
    assert found["cut"][0] == "APIError"
    [call] = calls_of(scripts, "stay")
    assert call.ended.wait(20)
    assert call.hung_up


def test_langchain(fleet: Fleet, scripts: ScriptedModel) -> None:
    found = in_python("langchain_chat.py", api_of(fleet), packages=("langchain-openai==1.7.4",))
    assert (found["text"], found["tokens"], found["finish"]) == (TEXT, 9, "stop")
    assert (found["streamed"], found["streamed finish"]) == (TEXT, "stop")
    assert (found["streamed tokens"], found["counted tokens"]) == (9, 9)
    assert found["refused"].startswith("OpenAIInvalidRequestError")
    assert "image_url" in found["refused"]


def test_llama_index(fleet: Fleet, scripts: ScriptedModel) -> None:
    package = "llama-index-llms-openai-like==0.8.1"
    found = in_python("llama_index_chat.py", api_of(fleet), packages=(package,))
    assert (found["text"], found["streamed"]) == (TEXT, TEXT)
    assert "ThinkingBlock" in found["streamed blocks"]
    assert "Be brief." in scripts.calls[-1].instructions


def test_pydantic_ai(fleet: Fleet, scripts: ScriptedModel) -> None:
    package = "pydantic-ai-slim[openai]==2.68.0"
    found = in_python("pydantic_ai_chat.py", api_of(fleet), packages=(package,))
    assert (found["text"], found["streamed"]) == (TEXT, TEXT)
    [thinking] = found["thinking"]
    assert thinking.count(THOUGHT) == 1
    assert found["streamed tokens"] == 9
    status, error = found["refused"]
    assert (status, error["param"]) == (400, "tool_choice")
    assert "structured outputs" in error["message"]


def test_litellm(fleet: Fleet, scripts: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    # It fetches a list of prices from the internet.
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    found = in_python("litellm_chat.py", api_of(fleet), packages=("litellm==1.110.0",))
    assert (found["text"], found["streamed"], found["tokens"]) == (TEXT, TEXT, 9)
    assert found["reasoning"].count(THOUGHT) == 1
    assert found["streamed reasoning"].count(THOUGHT) == 1
    assert found["no model"] == "NotFoundError"
    assert found["fails"] in ("InternalServerError", "BadGatewayError")
    assert found["cut"] not in ("no error", "")


def test_ai_sdk(fleet: Fleet, scripts: ScriptedModel) -> None:
    packages = ("ai@6.0.326", "@ai-sdk/openai-compatible@2.0.92")
    found = in_node("ai_sdk_chat.mjs", api_of(fleet), packages=packages)
    assert (found["text"], found["tokens"], found["finish"]) == (TEXT, 9, "stop")
    assert THOUGHT in found["reasoning"]
    stream = found["stream"]
    assert (stream["text"], stream["error"], found["stream tokens"]) == (TEXT, None, 9)
    assert THOUGHT in stream["reasoning"]
    assert "error" in found["cut"]["kinds"]
    # It obeys no header, but nothing is paid for again.
    assert found["failure"] == "RetryError"
    assert len(calls_of(scripts, "fails late in the SDK")) == 1


@pytest.mark.parametrize("how", ["streamed", "whole"])
def test_killed_worker_never_looks_like_the_end_of_an_answer(
    fleet: Fleet, model: ScriptedModel, tmp_path: Path, how: str
) -> None:
    mark = tmp_path / "first word"
    question = f"killed, {how}"
    model.on(question, tokens=["It is ", "42."], hold_after=1)

    def kill() -> None:
        until(lambda: any(call.sent for call in calls_of(model, question)), 60, "it was not asked")
        if how == "streamed":
            until(mark.exists, 60, "the first word has not arrived")
        for process in fleet.children("fleet-worker"):
            process.kill()
        model.release()

    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill)
        words = (api_of(fleet), question, how, str(mark))
        found = in_python("openai_killed.py", *words, packages=(OPENAI,))
        killing.result()
    if how == "streamed":
        assert found == {"text": "It is ", "error": "APIConnectionError"}
    else:
        # The library asks again, and joins the run, with which another worker goes on.
        assert found == {"text": TEXT, "error": None}
