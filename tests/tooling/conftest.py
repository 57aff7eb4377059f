from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.scripted_search import ScriptedSearch
from tooling.bounded import BoundedRedis
from tooling.cache import ToolCache
from tooling.calls import Call, ToolResult
from tooling.opening import open_services
from tooling.searchclient import SearchClient
from tooling.services import Services
from tooling.toolbox import Toolbox

from .caching import TTL, Clock, MakeCache, Upstream
from .searching import NOW, called


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest_asyncio.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(valkey_url, protocol=2)
    if keys := [key async for key in client.scan_iter("fleet:cache:*", count=1000)]:
        await client.delete(*keys)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def make_cache(redis: Redis, valkey_url: str, clock: Clock) -> AsyncIterator[MakeCache]:
    made: list[ToolCache] = []

    def make(url: str = valkey_url, **options: Any) -> ToolCache:
        made.append(ToolCache(BoundedRedis(url), **{"ttl": TTL, "now": clock, **options}))
        return made[-1]

    yield make
    for cache in made:
        await cache.aclose()


@pytest.fixture
def cache(make_cache: MakeCache) -> ToolCache:
    return make_cache()


@pytest_asyncio.fixture
async def ask(
    redis: Redis, valkey_url: str, web: ScriptedSearch, clock: Clock
) -> AsyncIterator[Callable[..., Awaitable[ToolResult]]]:
    services = open_services(
        redis_url=valkey_url,
        search="on",
        tavily_key="k",
        tavily_url=web.url,
        ttl={"news": 600, "general": 3600},
        now=clock,
    )

    async def call(
        query: str = "Capital of Peru?", *, fresh: bool = False, **arguments: Any
    ) -> ToolResult:
        box = Toolbox(services, allowed=frozenset({"web_search"}), max_calls=5, fresh=fresh)
        made = box.check("web_search", {"query": query, **arguments})
        assert isinstance(made, Call)
        return await box.make(made)

    yield call
    await services.aclose()


@pytest.fixture
def slept() -> list[float]:
    """The pauses that the client made, none of which is waited for."""
    return []


@pytest_asyncio.fixture
async def services(web: ScriptedSearch, slept: list[float]) -> AsyncIterator[Services]:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    services = Services(
        search=SearchClient(api_key="tvly-secret", base_url=web.url, sleep=sleep), now=lambda: NOW
    )
    yield services
    await services.aclose()


@pytest.fixture
def search(services: Services) -> Callable[..., Any]:
    async def call(query: str = "q", **arguments: Any) -> ToolResult:
        toolbox = Toolbox(services, allowed=frozenset({"web_search"}), max_calls=5)
        return await called(toolbox, query, **arguments)

    return call
