"""The floor: an ASGI application for uvicorn that only forwards tokens to a WebSocket."""

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import aiohttp

DONE = '{"type":"done"}'

_sessions: list[aiohttp.ClientSession] = []


def session() -> aiohttp.ClientSession:
    """Return this process's session, which needs a running loop."""
    if not _sessions:
        _sessions.append(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout()
            )
        )
    return _sessions[0]


async def frames(request: str) -> AsyncGenerator[str]:
    """Yield the model's answer to a request, each chunk as a small JSON object."""
    question = {
        "model": "paced",
        "stream": True,
        "messages": [{"role": "user", "content": json.loads(request)["message"]}],
    }
    async with session().post(
        f"{os.environ['OPENAI_BASE_URL']}/chat/completions", json=question
    ) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                choices = json.loads(line[6:])["choices"]
                if choices and (text := choices[0]["delta"].get("content")):
                    yield json.dumps(
                        {"type": "response.delta", "delta": text}, separators=(",", ":")
                    )
    yield DONE


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    assert scope["type"] == "websocket"
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            async for frame in frames(message["text"]):
                await send({"type": "websocket.send", "text": frame})
