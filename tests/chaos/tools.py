"""The tools of a storm. Its fleet.toml names this package as an app, and their agents."""

import os
import signal

import httpx

from tooling import CallKey, ToolFailure, tool

TIMEOUT = 8.0  # seconds


@tool(timeout=TIMEOUT, acts=True, light=False)
async def book(item: str, key: CallKey) -> str:
    """Book an item."""
    return await act("book", item, key)


@tool(timeout=TIMEOUT, acts=True, approver="owner", light=False)
async def pay(item: str, key: CallKey) -> str:
    """Pay for an item."""
    return await act("pay", item, key)


@tool(timeout=TIMEOUT, light=False)
async def poison(item: str, key: CallKey) -> str:
    """Kill the process that calls it."""
    await act("poison", item, key)
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


async def act(name: str, item: str, key: CallKey) -> str:
    body = {"tool": name, "item": item, "key": key}
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            await client.post(os.environ["CHAOS_ACTS_URL"], json=body)
    except httpx.HTTPError as exc:
        raise ToolFailure(f"The act server does not answer: {exc!r}") from exc
    return f"{name} is done: {item}"
