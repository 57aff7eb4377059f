"""The client of a model server: what it sends, and how a stream ends."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from socket import create_server
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from chat.deadlines import Deadlines
from chat.llm import client as module
from chat.llm.attempts import LOADING
from chat.llm.client import ModelClient
from chat.llm.connection import Connection
from chat.llm.dialects.framing import NotAnAnswer
from chat.llm.errors import ChunkTimeout, CutOff, FirstChunkTimeout, ModelError
from chat.llm.faults.verdicts import ServerError
from chat.llm.messages import ChatMessage, Piece, Remark, Text
from chat.llm.windows import Budget
from tests.scripted_model import ScriptedModel

from .test_connection import Seen, http, serving

QUESTION = "What?"
MESSAGES = [ChatMessage("user", QUESTION)]
LONG = Deadlines(first_chunk=30, chunk=30, idle=60, runtime=180)


@pytest_asyncio.fixture
async def client(model: ScriptedModel) -> AsyncIterator[ModelClient]:
    client = ModelClient(
        Connection(model.url),
        deadlines=LONG,
        budget=Budget(thinking_tokens=lambda model: 4000),
    )
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


async def test_problem_that_passes_by_itself_is_no_refusal() -> None:
    problem = b'{"error": {"message": "The tool server is unavailable."}}'
    answer = b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}'
    responses = [
        b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
        % (status, len(body), body)
        for status, body in ((b"500 Error", problem), (b"200 OK", answer))
    ]
    async with serving(http(Seen(), *responses)) as port:
        client = ModelClient(
            Connection(f"http://127.0.0.1:{port}/v1"), deadlines=LONG, budget=Budget()
        )
        tools = [{"type": "function", "function": {"name": "clock"}}]
        async with aclosing(
            client.stream(MESSAGES, model="m", max_tokens=100, tools=tools)
        ) as pieces:
            assert Text("a") in [piece async for piece in pieces]
        assert not client.refusals.remembered("m")
        await client.aclose()


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ({"garbage_after": 2}, NotAnAnswer),
        ({"cut_after": 2}, aiohttp.ClientError),
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
        (replace(LONG, first_chunk=1), {"hang_after": 0}, FirstChunkTimeout),
        (replace(LONG, first_chunk=1), {"waits": 1000, "pace": 0.01}, FirstChunkTimeout),
        (replace(LONG, chunk=0.1), {"hang_after": 2}, ChunkTimeout),
    ],
    ids=["silence", "comments only", "silence in mid-answer"],
)
async def test_silent_server_is_left_at_its_deadline(
    model: ScriptedModel, deadlines: Deadlines, script: dict[str, Any], error: type[ModelError]
) -> None:
    model.on(QUESTION, **script)
    client = ModelClient(Connection(model.url), deadlines=deadlines, budget=Budget())
    with pytest.raises(error):
        await read(client, [])
    assert await asyncio.to_thread(model.calls[0].ended.wait, 5)
    await client.aclose()


async def test_search_for_another_base_url_ends_at_the_deadline() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            await reader.read()  # until the client gives up
        writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")

    async with serving(handle) as port:
        client = ModelClient(
            Connection(f"http://127.0.0.1:{port}"),
            deadlines=replace(LONG, first_chunk=0.5),
            budget=Budget(),
        )
        async with asyncio.timeout(3):
            with pytest.raises(ModelError, match="nothing at the address"):
                await read(client, [])
        await client.aclose()


async def test_error_whose_body_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ERROR_TIMEOUT", 0.2)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 401 Unauthorized\r\n\r\n{"error": "Who are you?"}')
        await reader.read()  # until the client gives up

    async with serving(handle) as port:
        client = ModelClient(
            Connection(f"http://127.0.0.1:{port}/v1"), deadlines=LONG, budget=Budget()
        )
        async with asyncio.timeout(5):
            with pytest.raises(ModelError, match=r'refused the key.*"Who are you\?"'):
                await read(client, [])
        await client.aclose()


async def test_flood_does_not_block_the_event_loop() -> None:
    events = b'data: {"response": "a"}\n' * 60_000 + b": hoot\n" * 100_000

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + events)
        await writer.drain()

    gaps = []

    async def tick() -> None:
        while True:
            begin = time.thread_time()
            await asyncio.sleep(0)
            gaps.append(time.thread_time() - begin)

    async with serving(handle) as port:
        client = ModelClient(
            Connection(f"http://127.0.0.1:{port}/v1"), deadlines=LONG, budget=Budget()
        )
        ticking = asyncio.create_task(tick())
        async with aclosing(client.stream(MESSAGES, model="m", max_tokens=10**6)) as pieces:
            with pytest.raises(CutOff):
                assert [piece async for piece in pieces]
        ticking.cancel()
        await client.aclose()
    # A share of all the work, so that it doesn't matter how fast the machine is. Two gaps may be
    # longer: the first call's, and one in which garbage is collected.
    assert sorted(gaps)[-3] < sum(gaps) / 20


async def test_closing_the_stream_ends_the_call(client: ModelClient, model: ScriptedModel) -> None:
    model.on(QUESTION, hang_after=1)
    pieces = client.stream(MESSAGES, model="scripted", max_tokens=100)
    assert await anext(pieces) == Text("The ")
    await pieces.aclose()
    assert await asyncio.to_thread(model.calls[0].ended.wait, 5)
    assert model.calls[0].hung_up


async def test_first_question_finds_a_server_below_v1(model: ScriptedModel) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "scripted"}]}
    base_url = model.url.removesuffix("/v1")
    client = ModelClient(Connection(base_url), deadlines=LONG, budget=Budget())
    pieces: list[Piece] = []
    await read(client, pieces)
    assert "".join(piece.text for piece in pieces if isinstance(piece, Text)) == (
        "The answer is **42**."
    )
    assert client.connection.base_url == model.url
    await client.aclose()


async def test_question_on_its_way_while_the_catalog_finds_the_server_is_asked_there(
    model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "scripted"}]}
    base_url = model.url.removesuffix("/v1")
    client = ModelClient(Connection(base_url), deadlines=LONG, budget=Budget())
    at_once = Connection.open

    async def late(connection: Connection, *call: Any, **options: Any) -> Any:
        response = await at_once(connection, *call, **options)
        await client.catalog.refresh()
        return response

    monkeypatch.setattr(Connection, "open", late)
    await read(client, [])
    assert len(model.calls) == 1
    await client.aclose()


async def test_call_waits_for_a_server_that_is_still_starting(model: ScriptedModel) -> None:
    with create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    connection = Connection(f"http://127.0.0.1:{port}/v1", may_be_starting=True)
    client = ModelClient(connection, deadlines=LONG, budget=Budget())
    async with aclosing(client.stream(MESSAGES, model="m", max_tokens=100)) as pieces:
        assert await anext(pieces) == Remark(LOADING)
        client.connection.base_url = model.url
        assert Text("The ") in [piece async for piece in pieces]
    await client.aclose()


async def test_server_that_never_starts_is_called_loading_at_the_deadline() -> None:
    with create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    connection = Connection(f"http://127.0.0.1:{port}/v1", may_be_starting=True)
    deadlines = replace(LONG, first_chunk=1)
    client = ModelClient(connection, deadlines=deadlines, budget=Budget())
    with pytest.raises(ServerError, match="still loading"):
        await read(client, [])
    await client.aclose()
