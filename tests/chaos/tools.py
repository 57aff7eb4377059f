"""The tools of a storm, and the app that gives them to the agents of its fleet."""

import os
import signal

import httpx
from django.apps import AppConfig
from django.conf import settings

from tooling.registry import CallKey, tool
from tooling.results import ToolFailure

TIMEOUT = 8.0  # seconds


@tool(timeout=TIMEOUT, acts=True)
async def book(item: str, key: CallKey) -> str:
    """Book an item."""
    return await act("book", item, key)


@tool(timeout=TIMEOUT, acts=True, approver="owner")
async def pay(item: str, key: CallKey) -> str:
    """Pay for an item."""
    return await act("pay", item, key)


@tool(timeout=TIMEOUT)
async def poison(item: str, key: CallKey) -> str:
    """Kill the process that calls it."""
    await act("poison", item, key)
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


async def act(name: str, item: str, key: CallKey) -> str:
    body = {"tool": name, "item": item, "key": key}
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
            await client.post(settings.CHAOS_ACTS_URL, json=body)
    except httpx.HTTPError as exc:
        raise ToolFailure(f"The act server does not answer: {exc!r}") from exc
    return f"{name} is done: {item}"


class StormTools(AppConfig):
    """Adds the tools to the registry, and to what the specialists may call."""

    name = "tests.chaos"
    label = "chaos"

    def ready(self) -> None:
        # Imported here because Django loads this module before its models.
        from chat.workflow.agents import SPECIALISTS
        from tooling import known

        tools = {tool.name: tool for tool in (book, pay, poison)}
        known.TOOLS.update(tools)
        for agent in SPECIALISTS:
            object.__setattr__(agent, "tools", agent.tools | tools.keys())
