"""What goes into a model call when the server tells how much its models read."""

import json
import re

import pytest
from pytest_django import Settings

from chat.llm.messages import BYTES_PER_TOKEN
from chat.runs.worker import Worker
from chat.workflow.agents import EDITOR, RESEARCHER, WRITER
from tests.chatting import Chatting, Event, chat_request
from tests.scripted_model import Call, Script, ScriptedModel

from .playing import calls_of, full

LONG = "größer " * 4000 + "Who wrote it?"
OLLAMA = {"data": [{"id": "scripted", "owned_by": "library"}]}


def tokens_of(call: Call) -> int:
    """Return the size of a request as the project estimates it, with what the answer may take."""
    rest = {name: value for name, value in call.body.items() if name in ("tools", "messages")}
    size = len(json.dumps(rest, ensure_ascii=False).encode()) // BYTES_PER_TOKEN
    return size + int(call.body["max_tokens"])


def messages_of(events: list[Event]) -> list[str]:
    return [event["message"] for event in events if event["type"] == "orchestrator.message"]


async def test_request_and_answer_fit_into_the_window_that_the_server_tells(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "scripted", "max_model_len": 8192}]}
    await Worker.current().models.own.catalog.refresh()
    await chat.answer(chat_request(LONG, mode="light"))
    [call] = model.calls
    assert 7000 < tokens_of(call) <= 8192
    assert call.body["max_tokens"] == int(8192 * 0.3)


async def test_team_keeps_within_a_small_window(chat: Chatting, team: ScriptedModel) -> None:
    team.replies["/v1/models"] = {"data": [{"id": "scripted", "max_model_len": 4096}]}
    team.as_agent(RESEARCHER.instructions, Script(tokens=["found " * 4000]))
    team.as_agent(WRITER.instructions, Script(tokens=["a draft " * 4000]))
    await Worker.current().models.own.catalog.refresh()
    await chat.answer(full(LONG))
    assert len(team.calls) == 6
    assert max(map(tokens_of, team.calls)) <= 4096


async def test_each_path_reads_what_its_own_model_reads(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MODEL = "small"
    models = [{"id": "small", "context_length": 4096}, {"id": "scripted", "context_length": 32_768}]
    team.replies["/v1/models"] = models
    await Worker.current().models.own.catalog.refresh()
    await chat.answer(chat_request(LONG, mode="light"))
    assert tokens_of(team.calls[-1]) <= 4096
    await chat.answer(full(LONG))
    [editor] = calls_of(team, EDITOR)
    assert 12_000 < tokens_of(editor) <= 32_768


async def test_reader_is_told_once_that_the_model_reads_less_than_it_gets(
    chat: Chatting, team: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_CONTEXT_TOKENS = 8000
    await Worker.current().stop()  # the next one reads the setting
    team.replies |= {"/v1/models": OLLAMA, "/api/show/scripted": {"model_info": {}}}
    await Worker.current().models.own.catalog.refresh()
    told = "The model reads only the last 4,096 tokens of what it is given."
    assert messages_of(await chat.answer(full(LONG))).count(told) == 1
    assert told not in messages_of(await chat.answer(full("What is short?")))


@pytest.mark.parametrize("is_own_machine", [True, False])
async def test_reader_is_told_once_what_the_server_has_not_read_and_operators_how_to_raise_it(
    chat: Chatting,
    team: ScriptedModel,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    is_own_machine: bool,
) -> None:
    settings.FLEET_IS_LOCAL = is_own_machine
    settings.FLEET_CONTEXT_TOKENS = 4000
    await Worker.current().stop()  # the next one reads the setting
    team.default = Script(tokens=["Fine."], read_tokens=2050)
    team.replies |= {"/v1/models": OLLAMA, "/api/show/scripted": {"model_info": {}}}
    await Worker.current().models.own.catalog.refresh()
    said = messages_of(await chat.answer(chat_request(LONG, mode="light")))
    [told] = [message for message in said if "read only" in message]
    advice = " This makes it read more: OLLAMA_CONTEXT_LENGTH=16384 ollama serve"
    assert re.fullmatch(
        r"The model server read only 2,050 of about 4,0\d\d tokens\. Its context is 4,096 tokens\."
        + advice * is_own_machine,
        told,
    )
    assert advice in caplog.text


async def test_request_fits_into_what_a_silent_server_reads(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.replies |= {"/v1/models": OLLAMA, "/api/show/scripted": {"model_info": {}}}
    await Worker.current().models.own.catalog.refresh()
    events = await chat.answer(chat_request(LONG, mode="light"))
    [call] = model.calls
    assert tokens_of(call) <= 4096
    assert not any("tokens" in message for message in messages_of(events))


async def test_first_question_does_not_wait_for_a_server_that_lists_nothing(
    chat: Chatting, model: ScriptedModel
) -> None:
    await chat.answer(chat_request(LONG, mode="light"))
    [call] = model.calls
    assert call.body["max_tokens"] == 4096
    assert len(call.question.encode()) < 3 * 6000
