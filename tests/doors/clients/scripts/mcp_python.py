"""The client of MCP's SDK for Python. Prints what a scene gives, in one generation or the other."""

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

address, token, mode, scene, *words = sys.argv[1:]
steps: list[tuple[float, str | None]] = []


async def note(progress: float, total: float | None, message: str | None) -> None:
    steps.append((progress, message))
    if words[1:] and message:  # a file that is made at the first step
        Path(words[1]).touch()


async def scene_ask(client: Client) -> Any:
    tools = [tool.name for tool in (await client.list_tools()).tools]
    given = {"question": words[0]}
    result = await client.call_tool("ask", given, progress_callback=note)
    return {"tools": tools, "result": result.model_dump(mode="json", by_alias=True)}


async def scene_silent(client: Client) -> Any:
    result = await client.call_tool("ask", {"question": words[0]})
    return result.model_dump(mode="json", by_alias=True)


async def scene_leave(client: Client) -> Any:
    async def step(progress: float, total: float | None, message: str | None) -> None:
        scope.cancel()

    with anyio.CancelScope() as scope:
        await client.call_tool("ask", {"question": words[0]}, progress_callback=step)
    # The session goes on.
    return [tool.name for tool in (await client.list_tools()).tools]


async def scene_tour(client: Client) -> Any:
    """Ask without reading steps, search for that, and do what is wrong."""
    question, words_ = words
    answered = await client.call_tool("ask", {"question": question})
    found = await client.call_tool("search", {"q": words_})
    unfit = await client.call_tool("ask", {"question": " "})
    try:
        await client.call_tool("shell", {})
    except MCPError as exc:
        unknown = [exc.code, exc.message]
    results = [each.model_dump(mode="json", by_alias=True) for each in (answered, found, unfit)]
    return [*results, unknown]


SCENES = {
    "ask": scene_ask,
    "silent": scene_silent,
    "leave": scene_leave,
    "tour": scene_tour,
}


async def main() -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{address}mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            try:
                return await SCENES[scene](client)
            except MCPError as exc:
                return {"code": exc.code, "message": exc.message}


try:
    found = {"found": anyio.run(main)}
except BaseExceptionGroup as exc:
    found = {"failed": repr(exc)}
print(json.dumps({**found, "steps": steps}))
