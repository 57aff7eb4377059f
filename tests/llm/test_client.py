"""The client of a model server: what it sends, and how a stream ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import pytest
import pytest_asyncio

from chat.limits import Deadlines
from chat.llm.client import ModelClient
from chat.llm.errors import ChunkTimeout, CutOff, FirstChunkTimeout, ModelError
from chat.llm.messages import ChatMessage, Piece, Text
from tests.scripted_model import ScriptedModel

QUESTION = "What?"
MESSAGES = [ChatMessage("user", QUESTION)]
LONG = Deadlines(first_chunk=30, chunk=30, idle=60, runtime=180)


@pytest_asyncio.fixture
async def client(model: ScriptedModel) -> AsyncIterator[ModelClient]:
    client = ModelClient(base_url=model.url, api_key="", deadlines=LONG, thinking_tokens=4000)
    yield client
    await client.aclose()


async def read(client: ModelClient, into: list[Piece]) -> None:
    async with aclosing(client.stream(MESSAGES, model="scripted", max_tokens=100)) as pieces:
        async for piece in pieces:
            into.append(piece)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, {"max_tokens": 4100}),
        ({"is_aside": True}, {"max_tokens": 4100, "reasoning_effort": "low"}),
        ({"effort": "medium"}, {"max_tokens": 4100, "reasoning_effort": "medium"}),
        (
            {"effort": "maximal", "is_aside": True},
            {"max_tokens": 4100, "reasoning_effort": "high"},
        ),
        ({"tools": [{"type": "function"}]}, {"max_tokens": 4100, "tools": [{"type": "function"}]}),
        (
            {"tools": [{"type": "function"}], "may_call": False},
            {"max_tokens": 4100, "tools": [{"type": "function"}], "tool_choice": "none"},
        ),
        (
            {"schema": {"type": "object"}},
            {
                "max_tokens": 4100,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": {"type": "object"}},
                },
            },
        ),
    ],
)
async def test_request_has_only_the_parts_that_were_asked_for(
    client: ModelClient, model: ScriptedModel, asked: dict[str, Any], sent: dict[str, Any]
) -> None:
    pieces = client.stream(MESSAGES, model="scripted", max_tokens=100, **asked)
    async with aclosing(pieces):
        assert [piece.text async for piece in pieces if isinstance(piece, Text)]
    assert model.calls[0].body == {
        "model": "scripted",
        "messages": [{"role": "user", "content": QUESTION}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **sent,
    }


async def test_model_that_refused_effort_gets_no_room_for_thinking(
    client: ModelClient, model: ScriptedModel
) -> None:
    model.default.refuses = {"reasoning_effort": "Unknown parameter: reasoning_effort"}
    for _ in range(2):
        pieces = client.stream(MESSAGES, model="scripted", max_tokens=100, is_aside=True)
        async with aclosing(pieces):
            assert [piece async for piece in pieces]
    first, second, third = (call.body for call in model.calls)
    assert first["reasoning_effort"] == "low"
    assert "reasoning_effort" not in second
    assert "reasoning_effort" not in third
    assert third["max_tokens"] == 100


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ({"garbage_after": 2}, msgspec.DecodeError),
        ({"cut_after": 2}, httpx2.HTTPError),
    ],
)
async def test_broken_stream_raises_with_its_cause_after_the_text(
    client: ModelClient, model: ScriptedModel, script: dict[str, Any], cause: type[Exception]
) -> None:
    model.on(QUESTION, tokens=["one ", "two ", "three "], **script)
    pieces: list[Piece] = []
    with pytest.raises(ModelError) as caught:
        await read(client, pieces)
    assert pieces == [Text("one "), Text("two ")]
    assert isinstance(caught.value.__cause__, cause)


async def test_stream_without_an_end_is_cut_off(client: ModelClient, model: ScriptedModel) -> None:
    model.on(QUESTION, finish=False)
    with pytest.raises(CutOff):
        await read(client, [])


@pytest.mark.parametrize(
    ("deadlines", "script", "error"),
    [
        (replace(LONG, first_chunk=0.1), {"hang_after": 0}, FirstChunkTimeout),
        (replace(LONG, first_chunk=0.1), {"waits": 1000, "pace": 0.01}, FirstChunkTimeout),
        (replace(LONG, chunk=0.1), {"hang_after": 2}, ChunkTimeout),
    ],
    ids=["silence", "comments only", "silence in mid-answer"],
)
async def test_silent_server_is_left_at_its_deadline(
    model: ScriptedModel, deadlines: Deadlines, script: dict[str, Any], error: type[ModelError]
) -> None:
    model.on(QUESTION, **script)
    client = ModelClient(base_url=model.url, api_key="", deadlines=deadlines)
    with pytest.raises(error):
        await read(client, [])
    assert await asyncio.to_thread(model.calls[0].ended.wait, 5)
    await client.aclose()


async def test_closing_the_stream_ends_the_call(client: ModelClient, model: ScriptedModel) -> None:
    model.on(QUESTION, hang_after=1)
    pieces = client.stream(MESSAGES, model="scripted", max_tokens=100)
    assert await anext(pieces) == Text("The ")
    await pieces.aclose()
    assert await asyncio.to_thread(model.calls[0].ended.wait, 5)
    assert model.calls[0].hung_up
