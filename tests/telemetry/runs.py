"""Runs that end in every way, and what the wire and the row say of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import Settings
from redis import Redis

from chat.database import in_database
from chat.models import Run
from chat.runs.worker import Worker
from chat.workflow.agents import (
    ANALYST,
    ASSISTANT,
    EDITOR,
    PLANNER,
    RESEARCHER,
    REVIEWER,
    WRITER,
    Agent,
)
from tests.chatting import Chatting, Event, chat_request
from tests.scripted_model import Script, ScriptedModel
from tests.scripted_search import Answer, ScriptedSearch
from tests.workflow.playing import review


@dataclass(frozen=True)
class Stage:
    """What a scene plays on."""

    chat: Chatting
    model: ScriptedModel
    web: ScriptedSearch
    settings: Settings
    monkeypatch: pytest.MonkeyPatch

    def ask_the_router(self) -> None:
        """Let the router's model be asked about every question."""
        self.monkeypatch.setattr("routing.policy.GREY_ZONE", (0, 1.01))
        self.monkeypatch.setattr("chat.workflow.opinion.DEADLINE", 10)
        self.settings.FLEET_ROUTER_MODEL = "router"

    async def answer(self, mode: str = "light", message: str = "Why 12?") -> list[Event]:
        return await self.chat.answer(chat_request(message, mode=mode))

    async def renew_worker(self, **settings: Any) -> None:
        """Let a new worker read these settings."""
        for name, value in settings.items():
            setattr(self.settings, name, value)
        await Worker.current().stop()


type Scene = Callable[[Stage], Awaitable[list[Event]]]

WEATHER = "What is the weather in Oslo today?"  # The light path searches for it.
HANG = Script(tokens=["half ", "of ", "it"], hang_after=2)


def completed(mode: str) -> Scene:
    return lambda stage: stage.answer(mode)


async def escalated(stage: Stage) -> list[Event]:
    stage.model.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know."]))
    return await stage.answer("auto")


async def uncounted(stage: Stage) -> list[Event]:
    """The server reports no usage."""
    stage.model.default = Script(usage=False)
    return await stage.answer()


async def used_tools(stage: Stage) -> list[Event]:
    stage.model.as_agent(
        ASSISTANT.instructions,
        Script(tokens=[], calls=[("calculator", '{"expression": "6 * 7"}')]),
        Script(tokens=["42."]),
    )
    return await stage.answer()


async def searched_twice(stage: Stage) -> list[Event]:
    """The second answer uses the search of the first."""
    await search_is_on(stage)
    await stage.answer(message=WEATHER)
    stage.model.calls.clear()
    return await stage.answer(message=WEATHER)


async def cancelled_while_searching(stage: Stage) -> list[Event]:
    await search_is_on(stage)
    stage.web.default = Answer(hang=True)
    return await cancelled(stage, "light", lambda: len(stage.web.queries) > 0, WEATHER)


async def search_is_on(stage: Stage) -> None:
    await stage.renew_worker(
        TAVILY_BASE_URL=stage.web.url, TAVILY_API_KEY="tvly-x", FLEET_SEARCH="on"
    )
    with Redis.from_url(stage.settings.REDIS_URL) as cache:
        cache.flushdb()


async def opined(stage: Stage) -> list[Event]:
    """The router's model is asked."""
    stage.ask_the_router()
    return await stage.answer("auto")


def cancelled_while(agent: Agent) -> Scene:
    async def scene(stage: Stage) -> list[Event]:
        if agent is WRITER:
            # The second draft: the revision.
            stage.model.as_agent(REVIEWER.instructions, review(3, "more"))
            stage.model.as_agent(WRITER.instructions, Script(tokens=["draft"]), HANG)
        else:
            stage.model.as_agent(agent.instructions, HANG)
        mode = "light" if agent is ASSISTANT else "full"
        calls = 2 if agent is WRITER else 1
        return await cancelled(stage, mode, lambda: calls_of(stage.model, agent) >= calls)

    return scene


async def cancelled_while_routing(stage: Stage) -> list[Event]:
    stage.ask_the_router()
    stage.model.default = HANG
    return await cancelled(stage, "auto", lambda: len(stage.model.calls) > 0)


async def cancelled(
    stage: Stage, mode: str, has_begun: Callable[[], bool], message: str = "Why 12?"
) -> list[Event]:
    socket = await stage.chat.ask(chat_request(message, mode=mode))
    async with asyncio.timeout(30):
        while not has_begun():
            await asyncio.sleep(0.005)
    # Until the server has sent what it sends before it hangs.
    await asyncio.sleep(0.1)
    await socket.send({"type": "cancel"})
    return await socket.rest()


def calls_of(model: ScriptedModel, agent: Agent) -> int:
    return sum(call.instructions == agent.instructions and call.sent > 0 for call in model.calls)


def failed(**script: Any) -> Scene:
    async def scene(stage: Stage) -> list[Event]:
        stage.model.default = Script(**script)
        return await stage.answer()

    return scene


def overdue(deadline: str, **script: Any) -> Scene:
    async def scene(stage: Stage) -> list[Event]:
        deadlines = replace(stage.settings.FLEET_DEADLINES, **{deadline: 0.3})
        await stage.renew_worker(FLEET_DEADLINES=deadlines)
        stage.model.default = Script(**script)
        return await stage.answer()

    return scene


async def unreachable(stage: Stage) -> list[Event]:
    await stage.renew_worker(OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    return await stage.answer()


async def shut_down(stage: Stage) -> list[Event]:
    stage.model.default = HANG
    socket = await stage.chat.ask(chat_request("Why 12?", mode="light"))
    await socket.until("response.delta")
    Worker.current().end_all_runs()
    events = await socket.rest()
    await stage.renew_worker()
    return events


def broken(stage: Stage) -> Awaitable[list[Event]]:
    """A step has a bug."""
    stage.settings.FLEET_LIGHT_CAPS = None
    return stage.answer()


async def lost(stage: Stage) -> list[Event]:
    """Another worker takes this one for dead, soon after it has renewed its leases."""
    stage.model.default = HANG
    socket = await stage.chat.ask(chat_request("Why 12?", mode="light"))
    run_id = UUID((await socket.until("response.delta"))["workflow_id"])
    await Worker.current().leases.renew()
    await in_database(reap, run_id)
    return await socket.rest()


def reap(run_id: UUID) -> None:
    expired = timezone.now() - timedelta(seconds=5)
    Run.objects.filter(pk=run_id).update(lease_expires_at=expired)
    assert Run.objects.reap(run_id)


# By how the run ends: the path that is stored, the status, and the error's code.
SCENES: dict[str, tuple[Scene, str, str, str]] = {
    "light": (completed("light"), "light", "completed", ""),
    "full": (completed("full"), "full", "completed", ""),
    "escalated": (escalated, "full", "completed", ""),
    "uncounted": (uncounted, "light", "completed", ""),
    "with tools": (used_tools, "light", "completed", ""),
    "with a cached search": (searched_twice, "light", "completed", ""),
    "cancelled in a tool": (cancelled_while_searching, "light", "cancelled", ""),
    "with an opinion": (opined, "full", "completed", ""),
    "cancelled in routing": (cancelled_while_routing, "", "cancelled", ""),
    "cancelled in answer": (cancelled_while(ASSISTANT), "light", "cancelled", ""),
    "cancelled in analysis": (cancelled_while(PLANNER), "full", "cancelled", ""),
    "cancelled in research": (cancelled_while(RESEARCHER), "full", "cancelled", ""),
    "cancelled in one of two": (cancelled_while(ANALYST), "full", "cancelled", ""),
    "cancelled in revision": (cancelled_while(WRITER), "full", "cancelled", ""),
    "cancelled in review": (cancelled_while(REVIEWER), "full", "cancelled", ""),
    "cancelled in final": (cancelled_while(EDITOR), "full", "cancelled", ""),
    "unreachable": (unreachable, "light", "failed", "model_unavailable"),
    "wrong key": (failed(status=401), "light", "failed", "model_error"),
    "busy": (failed(status=429), "light", "failed", "rate_limited"),
    "too long": (
        failed(status=400, error={"code": "context_length_exceeded", "message": "x"}),
        "light",
        "failed",
        "context_too_long",
    ),
    "cut off": (failed(cut_after=2), "light", "failed", "model_error"),
    "empty": (failed(tokens=[]), "light", "failed", "model_error"),
    "no first chunk": (
        overdue("first_chunk", hang_after=0),
        "light",
        "failed",
        "first_chunk_timeout",
    ),
    "no next chunk": (overdue("chunk", hang_after=2), "light", "failed", "idle_timeout"),
    "idle": (overdue("idle", hang_after=2), "light", "failed", "idle_timeout"),
    "too slow": (
        overdue("runtime", tokens=["x "] * 1000, pace=0.02),
        "light",
        "failed",
        "max_runtime",
    ),
    "shut down": (shut_down, "light", "failed", "shutting_down"),
    "broken": (broken, "light", "failed", "internal"),
    "lost": (lost, "light", "failed", "worker_lost"),
}
