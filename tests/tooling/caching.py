"""What the tests of the tool cache share: a clock, an upstream, and results to ask for."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.asyncio import Redis

from tooling.cache import ToolCache
from tooling.entries import DAY_PREFIX, Wanted
from tooling.results import Output, Passage, ToolFailure

TTL = {"news": 600.0, "general": 3600.0}

type MakeCache = Callable[..., ToolCache]


class Clock:
    """A time of day that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 19, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Upstream:
    """What is behind the cache: it counts, and does what it is told."""

    def __init__(self) -> None:
        self.calls = 0
        self.output = found("Lima")
        self.failure: ToolFailure | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def __call__(self) -> Output:
        self.calls += 1
        self.asked.set()
        await self.gate.wait()
        if self.failure:
            raise self.failure
        return self.output


def found(text: str) -> Output:
    return Output(
        passages=(Passage("Peru", "https://encyclopedia.example/peru", text, "2026-11-16"),),
        credits=1,
    )


def wanted(query: str = "capital of peru", **parameters: Any) -> Wanted:
    return Wanted(
        "web_search",
        {"query": query, **parameters},
        "general",
        query=query,
        topic="general",
        account="acc",
    )


BUSY = ToolFailure("The search service is busy.", temporary=True, stale_will_do=True)


async def counters(redis: Redis, clock: Clock) -> dict[str, float]:
    fields = await redis.hgetall(f"{DAY_PREFIX}{clock.now.date()}")
    return {name.decode(): float(value) for name, value in fields.items()}
