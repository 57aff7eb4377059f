"""Cached web search: keys, ages, prices, and what of a query is stored."""

import json
import random
import statistics
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio import Redis

from tests.scripted_search import RESULT, ScriptedSearch
from tests.timing import quickest
from tooling.bounded import BoundedRedis
from tooling.cache import ToolCache
from tooling.calls import Call
from tooling.entries import PREFIX, Wanted
from tooling.services import Services
from tooling.toolbox import Toolbox
from tooling.websearch import web_search

from .caching import TTL, Clock

# --- Keys -----------------------------------------------------------------------------------------


def key_of(clock: Clock, *, zone: str = "UTC", **arguments: Any) -> str:
    assert web_search.cache
    full = web_search.parameters.check(arguments)
    services = Services(now=clock, zone=ZoneInfo(zone))
    return Wanted("web_search", web_search.cache.parameters(full, services), "general").key


def test_different_parameters_have_different_keys(clock: Clock) -> None:
    noise = random.Random(4)
    words = [
        "tea",
        "not",
        "healthy",
        "10",
        "100",
        "c++",
        "C",
        "Peru",
        "5²",
        "52",
        "day",
        "news",
        "general",
        "-1",
        "1",
        "ß",
        "ss",
        "é",
        "e",
        '"',
        ":",
        "{}",
    ]
    seen: dict[str, tuple[Any, ...]] = {}
    for _ in range(3000):
        query = " ".join(noise.choices(words, k=noise.randint(1, 4)))
        arguments: dict[str, Any] = {
            "query": query,
            "topic": noise.choice(["general", "news", "finance"]),
            "time_range": noise.choice(["any", "day", "week", "month", "year"]),
            "max_results": noise.randint(1, 10),
            "deep": noise.random() < 0.5,
        }
        meaning = (query.lower(), *list(arguments.values())[1:])
        assert seen.setdefault(key_of(clock, **arguments), meaning) == meaning
    assert len(seen) == len(set(seen.values()))
    assert len(seen) > 2000


def test_spellings_of_one_call_share_a_key(clock: Clock) -> None:
    plain = key_of(clock, query="capital of peru")
    assert plain == key_of(
        clock,
        query=" Capital of  PERU?",
        topic="general",
        max_results=5,
        deep=False,
        time_range="any",
    )


@pytest.mark.parametrize(
    ("arguments", "rolls"),
    [
        ({"query": "weather today"}, True),
        ({"query": "Wetter heute"}, True),
        ({"query": "elections", "topic": "news"}, True),
        ({"query": "elections", "time_range": "week"}, True),
        ({"query": "capital of peru"}, False),
    ],
)
def test_key_changes_at_midnight_if_the_query_is_about_today(
    clock: Clock, arguments: dict[str, Any], rolls: bool
) -> None:
    before = key_of(clock, **arguments)
    clock.pass_(4 * 3600)
    assert key_of(clock, **arguments) == before
    clock.pass_(3600)
    assert (key_of(clock, **arguments) != before) is rolls


def test_key_changes_at_midnight_of_the_configured_time_zone(clock: Clock) -> None:
    before = key_of(clock, zone="Asia/Tokyo", query="weather today")  # 04:05 on the next day
    clock.pass_(5 * 3600)
    assert key_of(clock, zone="Asia/Tokyo", query="weather today") == before
    clock.pass_(15 * 3600)
    assert key_of(clock, zone="Asia/Tokyo", query="weather today") != before


# --- In the toolbox -------------------------------------------------------------------------------


async def test_second_run_gets_the_cached_result_for_free(
    ask: Any, web: ScriptedSearch, clock: Clock
) -> None:
    first = await ask()
    clock.pass_(90)
    second = await ask(" capital of PERU ")
    assert (first.cached, first.age_s, first.credits) == (False, None, 1)
    assert (second.cached, second.age_s, second.credits) == (True, 90, 0)
    assert second.sources == first.sources
    assert len(web.queries) == 1


async def test_fresh_run_searches_again(ask: Any, web: ScriptedSearch, clock: Clock) -> None:
    await ask()
    clock.pass_(1)
    assert not (await ask(fresh=True)).cached
    assert len(web.queries) == 2


async def test_old_result_is_marked_stale_while_the_provider_fails(
    ask: Any, web: ScriptedSearch, clock: Clock
) -> None:
    await ask()
    clock.pass_(4000)
    web.default.status = 432
    result = await ask()
    assert (result.ok, result.stale, result.cached, result.age_s) == (True, True, True, 4000)
    await ask()
    assert len(web.queries) == 2


async def test_hit_takes_less_than_five_milliseconds(ask: Any) -> None:
    await ask()

    async def usual_time() -> float:
        return statistics.median([(await ask()).duration_ms for _ in range(50)])

    assert await quickest(usual_time, enough=5) < 5


async def test_cached_passages_are_cleaned(ask: Any, web: ScriptedSearch, redis: Redis) -> None:
    web.default.results = [{**RESULT, "content": "Li\u200bma", "title": "<b>Peru</b>"}]
    await ask()
    [key] = [key async for key in redis.scan_iter(f"{PREFIX}*")]
    body = json.loads(await redis.hget(key, "body"))
    assert body["passages"] == [
        {"title": "Peru", "url": RESULT["url"], "text": "Lima", "published": "2026-11-16"}
    ]


async def test_personal_data_is_not_stored(ask: Any, redis: Redis) -> None:
    await ask("who is ada.lovelace@example.org in maths")
    [key] = [key async for key in redis.scan_iter(f"{PREFIX}*")]
    assert b"example.org" not in b"".join((await redis.hgetall(key)).values())


async def test_calculator_and_clock_are_not_cached(
    redis: Redis, valkey_url: str, clock: Clock
) -> None:
    services = Services(cache=ToolCache(BoundedRedis(valkey_url), ttl=TTL, now=clock), now=clock)
    box = Toolbox(services, allowed=frozenset({"calculator", "clock"}), max_calls=5)
    for made in (box.check("calculator", {"expression": "1 + 1"}), box.check("clock", {})):
        assert isinstance(made, Call)
        await box.make(made)
    assert [key async for key in redis.scan_iter("fleet:cache:*")] == []
    await services.aclose()
