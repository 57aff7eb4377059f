"""The tool cache: what is shared and what never is, one call upstream for many askers, and what happens when a part is gone."""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.proxy import Proxy
from tests.scripted_search import RESULT, ScriptedSearch
from tests.timing import quickest
from tooling import bounded
from tooling import cache as cache_module
from tooling import toolbox as toolbox_module
from tooling.bounded import BoundedRedis
from tooling.cache import ToolCache
from tooling.entries import DAY_PREFIX, LOCK_PREFIX, MAX_BYTES, PREFIX, Wanted, packed, unpacked
from tooling.results import Output, Passage, ToolFailure
from tooling.services import Services
from tooling.toolbox import Call, Toolbox, ToolResult
from tooling.websearch import web_search

ROOT = Path(__file__).parent.parent.parent
TTL = {"news": 600.0, "general": 3600.0}


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


type MakeCache = Callable[..., ToolCache]


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


async def counters(redis: Redis, clock: Clock) -> dict[str, float]:
    fields = await redis.hgetall(f"{DAY_PREFIX}{clock.now.date()}")
    return {name.decode(): float(value) for name, value in fields.items()}


# --- Hits and misses ------------------------------------------------------------------------------


async def test_the_second_call_is_a_hit_with_its_age(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis
) -> None:
    first = await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(30)
    second = await cache.get(wanted(), upstream, fresh=False)
    assert (first.cached, second.cached, second.age, second.stale) == (False, True, 30, False)
    assert second.output == first.output
    assert upstream.calls == 1
    assert await counters(redis, clock) == {
        "misses": 1,
        "upstream": 1,
        "hits": 1,
        "credits_spent": 1,
        "credits_saved": 1,
    }


async def test_fresh_reads_past_and_refreshes(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(30)
    upstream.output = found("Lima, still")
    assert not (await cache.get(wanted(), upstream, fresh=True)).cached
    after = await cache.get(wanted(), upstream, fresh=False)
    assert (after.cached, after.age, after.output) == (True, 0, found("Lima, still"))
    assert (await counters(redis, clock))["bypass"] == 1


async def test_a_result_gets_old(cache: ToolCache, upstream: Upstream, clock: Clock) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(TTL["general"] * 1.1 + 1)
    assert not (await cache.get(wanted(), upstream, fresh=False)).cached
    assert upstream.calls == 2


async def test_times_to_live_differ_by_class_and_vary_by_a_tenth(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    for ttl, expected in TTL.items():
        lives = []
        for number in range(20):
            key = Wanted("web_search", {"query": f"{ttl} {number}"}, ttl)  # type: ignore[arg-type]
            await cache.get(key, upstream, fresh=False)
            fetched, soft = await redis.hmget(key.key, ["fetched", "soft"])
            lives.append((float(soft) - float(fetched)) / expected)
            assert await redis.pttl(key.key) == pytest.approx(
                lives[-1] * expected * cache_module.STALE_FACTOR * 1000, abs=500
            )
        assert 0.9 <= min(lives) < max(lives) <= 1.1
        assert max(lives) - min(lives) > 0.02


async def test_an_empty_result_lives_a_minute_at_most(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    upstream.output = Output(credits=1)
    await cache.get(wanted(), upstream, fresh=False)
    assert 0 < await redis.pttl(wanted().key) <= 60_000
    assert (await cache.get(wanted(), upstream, fresh=False)).cached


async def test_failures_are_not_kept(cache: ToolCache, upstream: Upstream, redis: Redis) -> None:
    upstream.failure = BUSY
    for _ in range(2):
        with pytest.raises(ToolFailure, match="busy"):
            await cache.get(wanted(), upstream, fresh=False)
    assert upstream.calls == 2
    assert not await redis.exists(wanted().key)


@pytest.mark.parametrize("fresh", [False, True])
async def test_an_old_result_is_better_than_a_failure_and_says_its_age(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis, fresh: bool
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(7200)
    upstream.failure = BUSY
    kept = await cache.get(wanted(), upstream, fresh=fresh)
    assert (kept.stale, kept.cached, kept.age, kept.output) == (True, True, 7200, found("Lima"))
    assert (await counters(redis, clock))["stale"] == 1


async def test_a_bad_question_is_not_answered_with_an_old_result(
    cache: ToolCache, upstream: Upstream, clock: Clock
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(7200)
    upstream.failure = ToolFailure("The search service did not take this query.")
    with pytest.raises(ToolFailure, match="did not take"):
        await cache.get(wanted(), upstream, fresh=False)


async def test_a_closed_account_is_not_asked_by_anybody(
    make_cache: MakeCache, upstream: Upstream
) -> None:
    upstream.failure = ToolFailure(
        "The limit of the search plan is reached.", stale_will_do=True, closed_for=3600
    )
    with pytest.raises(ToolFailure):
        await make_cache().get(wanted(), upstream, fresh=False)
    with pytest.raises(ToolFailure, match="limit of the search plan") as caught:
        await make_cache().get(wanted("another"), upstream, fresh=True)
    assert 3590 < caught.value.closed_for <= 3600
    assert upstream.calls == 1
    upstream.failure = None
    other = Wanted("web_search", {"query": "x"}, "general", account="another account")
    assert (await make_cache().get(other, upstream, fresh=False)).output == found("Lima")


async def test_an_account_that_is_closed_for_no_known_reason_is_not_asked(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    await redis.set(wanted().closed_key, "nonsense", ex=60)
    with pytest.raises(ToolFailure, match="cannot be called now"):
        await cache.get(wanted(), upstream, fresh=False)
    assert upstream.calls == 0


# --- What stands in Redis -------------------------------------------------------------------------


async def test_an_entry_is_json_with_all_about_it(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis
) -> None:
    await cache.get(wanted(topic="news"), upstream, fresh=False)
    entry = await redis.hgetall(wanted(topic="news").key)
    about = json.loads(entry[b"about"])
    assert (about["tool"], about["query"], about["topic"]) == (
        "web_search",
        "capital of peru",
        "general",
    )
    assert about["parameters"] == {"query": "capital of peru", "topic": "news"}
    assert about["source_date"] == "2026-11-16"
    assert about["size"] == len(entry[b"body"])
    assert float(entry[b"fetched"]) == clock.now.timestamp()
    assert json.loads(entry[b"body"])["credits"] == 1


async def test_the_key_says_its_schema_and_not_the_question(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    assert wanted().key.startswith("fleet:cache:v1:web_search:")
    assert "peru" not in wanted().key


async def test_entries_of_another_schema_are_not_read(
    cache: ToolCache, upstream: Upstream, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    monkeypatch.setattr("tooling.entries.PREFIX", PREFIX.replace("v1", "v2"))
    assert not (await cache.get(wanted(), upstream, fresh=False)).cached
    assert upstream.calls == 2


async def test_large_results_are_packed(cache: ToolCache, upstream: Upstream, redis: Redis) -> None:
    upstream.output = found("word " * 4000)
    await cache.get(wanted(), upstream, fresh=False)
    body = await redis.hget(wanted().key, "body")
    assert len(body) < 1000
    assert (await cache.get(wanted(), upstream, fresh=False)).output == upstream.output


async def test_results_over_the_cap_are_given_but_not_kept(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    noise = random.Random(1)
    upstream.output = found("".join(chr(noise.randrange(0x4E00, 0x9FFF)) for _ in range(60_000)))
    assert packed(upstream.output) is None
    assert (await cache.get(wanted(), upstream, fresh=False)).output == upstream.output
    assert not await redis.exists(wanted().key)
    assert not await redis.exists(LOCK_PREFIX + wanted().key)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"znot zlib", b"\x80\x04pickle", b'{"passages": 5}', b'"x"']
)
async def test_a_broken_entry_is_a_miss_and_is_mended(
    cache: ToolCache, upstream: Upstream, redis: Redis, body: bytes
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    await redis.hset(wanted().key, "body", body)
    assert not (await cache.get(wanted(), upstream, fresh=False)).cached
    assert (await cache.get(wanted(), upstream, fresh=False)).cached


def test_a_packed_entry_cannot_unpack_without_bound() -> None:
    import zlib

    assert unpacked(b"z" + zlib.compress(b'{"text": "' + b" " * 3_000_000 + b'"}')) is None
    assert MAX_BYTES < 3_000_000


async def test_a_test_of_another_type_at_the_key_does_no_harm(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    await redis.set(wanted().key, "a string")
    assert (await cache.get(wanted(), upstream, fresh=False)).output == found("Lima")


# --- Keys -----------------------------------------------------------------------------------------


def key_of(clock: Clock, **arguments: Any) -> str:
    assert web_search.cache
    full = web_search.parameters.check(arguments)
    return Wanted(
        "web_search", web_search.cache.parameters(full, Services(now=clock)), "general"
    ).key


def test_different_parameters_never_share(clock: Clock) -> None:
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


def test_ways_to_write_one_call_share_an_entry(clock: Clock) -> None:
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
def test_today_rolls_over_with_the_date(
    clock: Clock, arguments: dict[str, Any], rolls: bool
) -> None:
    before = key_of(clock, **arguments)
    clock.pass_(4 * 3600)
    assert key_of(clock, **arguments) == before
    clock.pass_(3600)
    assert (key_of(clock, **arguments) != before) is rolls


# --- One flight -----------------------------------------------------------------------------------


async def test_many_askers_in_one_process_are_one_call(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis
) -> None:
    upstream.gate.clear()
    asking = [asyncio.ensure_future(cache.get(wanted(), upstream, fresh=False)) for _ in range(50)]
    await upstream.asked.wait()
    upstream.gate.set()
    kept = await asyncio.gather(*asking)
    assert upstream.calls == 1
    assert [each.cached for each in kept].count(False) == 1
    await cache.aclose()
    assert await counters(redis, clock) == {
        "misses": 1,
        "upstream": 1,
        "hits": 49,
        "credits_spent": 1,
        "credits_saved": 49,
    }


async def test_a_fresh_asker_joins_a_call_under_way_elsewhere_but_takes_nothing_older(
    make_cache: MakeCache, upstream: Upstream, clock: Clock
) -> None:
    here, there = make_cache(), make_cache()
    await here.get(wanted(), upstream, fresh=False)
    clock.pass_(1)
    upstream.gate.clear()
    upstream.asked.clear()
    asking = [
        asyncio.ensure_future(each.get(wanted(), upstream, fresh=True)) for each in (here, there)
    ]
    await upstream.asked.wait()
    clock.pass_(1)
    upstream.gate.set()
    kept = await asyncio.gather(*asking)
    assert upstream.calls == 2
    assert [each.age for each in kept] == [0, 0]


async def test_those_who_waited_for_a_failure_share_it(
    make_cache: MakeCache, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.gate.clear()
    upstream.failure = BUSY
    claims: Counter[ToolCache] = Counter()
    claim = ToolCache.claim

    async def counted(cache: ToolCache, *args: Any, **options: Any) -> list[Any]:
        reply = await claim(cache, *args, **options)
        claims[cache] += 1
        return reply

    monkeypatch.setattr(ToolCache, "claim", counted)
    asking = [
        asyncio.ensure_future(make_cache().get(wanted(), upstream, fresh=False)) for _ in range(10)
    ]
    async with asyncio.timeout(30):
        while len(claims) < 10:
            await asyncio.sleep(0.01)
    upstream.gate.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(outcome, ToolFailure) and outcome.temporary for outcome in outcomes)
    assert upstream.calls == 1


async def test_a_cancelled_leader_lets_go_at_once(
    make_cache: MakeCache, upstream: Upstream, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LOCK_TTL", 30.0)
    upstream.gate.clear()
    leading = asyncio.ensure_future(make_cache().get(wanted(), upstream, fresh=False))
    await upstream.asked.wait()
    waiting = asyncio.ensure_future(make_cache().get(wanted(), upstream, fresh=False))
    leading.cancel()
    upstream.gate.set()
    async with asyncio.timeout(cache_module.LOCK_TTL - 1):
        assert not (await waiting).cached
    assert upstream.calls == 2


async def test_one_of_many_that_leaves_does_not_end_the_call(
    cache: ToolCache, upstream: Upstream
) -> None:
    upstream.gate.clear()
    asking = [asyncio.ensure_future(cache.get(wanted(), upstream, fresh=False)) for _ in range(3)]
    await upstream.asked.wait()
    asking[0].cancel()
    upstream.gate.set()
    assert (await asking[1]).output == found("Lima")
    assert upstream.calls == 1


async def test_a_slow_leader_keeps_its_lock(
    make_cache: MakeCache, upstream: Upstream, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "LOCK_RENEWAL_INTERVAL", 0.1)
    upstream.gate.clear()
    asking = [
        asyncio.ensure_future(make_cache().get(wanted(), upstream, fresh=False)) for _ in range(2)
    ]
    await upstream.asked.wait()
    renewals, left = 0, inf
    async with asyncio.timeout(30):
        while renewals < 3:
            await asyncio.sleep(0.02)
            before, left = left, await redis.pttl(LOCK_PREFIX + wanted().key)
            renewals += left > before
    upstream.gate.set()
    await asyncio.gather(*asking)
    assert upstream.calls == 1


async def test_a_lock_is_released_by_its_owner_only(
    make_cache: MakeCache, upstream: Upstream, redis: Redis
) -> None:
    upstream.gate.clear()
    asking = asyncio.ensure_future(make_cache().get(wanted(), upstream, fresh=False))
    await upstream.asked.wait()
    await redis.set(LOCK_PREFIX + wanted().key, "somebody else's")
    upstream.gate.set()
    await asking
    assert await redis.get(LOCK_PREFIX + wanted().key) == b"somebody else's"


ASKER = """
import asyncio, json, sys
from tooling import bounded, cache
from tooling.toolbox import Toolbox, open_services

async def main(redis_url, search_url, count, lock):
    cache.LOCK_TTL, cache.LOCK_RENEWAL_INTERVAL = float(lock), float(lock) / 3
    bounded.CALL_TIMEOUT = 5  # a busy machine is not a dead Redis
    services = open_services(redis_url=redis_url, search="on", tavily_key="k", tavily_url=search_url, ttl={"news": 600, "general": 3600})
    print("ready", flush=True)
    query = await asyncio.to_thread(sys.stdin.readline)
    boxes = [Toolbox(services, allowed=frozenset({"web_search"}), max_calls=1) for _ in range(int(count))]
    results = await asyncio.gather(*(box.make(box.check("web_search", {"query": query})) for box in boxes))
    print(json.dumps([[result.ok, result.cached] for result in results]), flush=True)
    await services.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def askers(
    valkey_url: str, search_server: ScriptedSearch
) -> "Iterator[list[subprocess.Popen[str]]]":
    """Processes that ask as soon as they are given a query; they start while other tests run."""
    command = [sys.executable, "-c", ASKER, valkey_url, search_server.url]
    askers = [
        subprocess.Popen(
            [*command, count, lock],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for count, lock in (("25", "10"), ("25", "10"), ("1", "0.5"))
    ]
    yield askers
    for asker in askers:
        asker.kill()
        asker.communicate()


def go(asker: "subprocess.Popen[str]", query: str) -> None:
    assert asker.stdin
    assert asker.stdout
    assert asker.stdout.readline() == "ready\n"
    asker.stdin.write(f"{query}\n")
    asker.stdin.flush()


async def test_fifty_askers_in_two_processes_are_one_call_upstream(
    redis: Redis, web: ScriptedSearch, askers: "list[subprocess.Popen[str]]"
) -> None:
    web.default.hold = True
    for asker in askers[:2]:
        go(asker, "Capital of Peru?")
    wait_until(lambda: bool(web.queries))
    time.sleep(0.3)
    web.release()
    results = [row for asker in askers[:2] for row in json.loads(asker.communicate(timeout=60)[0])]
    assert len(web.queries) == 1
    assert [ok for ok, _ in results] == [True] * 50
    assert [cached for _, cached in results].count(False) == 1


async def test_a_dead_leader_blocks_nobody_beyond_its_lock(
    redis: Redis, web: ScriptedSearch, askers: "list[subprocess.Popen[str]]", ask: Any
) -> None:
    web.default.hang = True
    leader = askers[2]
    go(leader, "Capital of Chile?")
    wait_until(lambda: bool(web.queries))
    web.default.hang = False
    following = asyncio.ensure_future(ask("Capital of Chile?"))
    await asyncio.sleep(0.1)
    leader.kill()
    died = time.monotonic()
    result = await following
    assert (result.ok, result.cached) == (True, False)
    assert time.monotonic() - died < 8  # the lock, a look at it and the search; a call may take 15
    assert len(web.queries) == 2


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# --- Without Redis --------------------------------------------------------------------------------


@pytest.fixture
def proxy(valkey_url: str, impatience: None) -> Any:
    proxy = Proxy(urlsplit(valkey_url).port or 0)
    yield proxy
    proxy.stop()


def through(proxy: Proxy, valkey_url: str) -> str:
    return valkey_url.replace(f":{urlsplit(valkey_url).port}", f":{proxy.port}")


@pytest.mark.parametrize("mode", ["refuse", "hang"])
async def test_without_redis_tools_are_called_at_once(
    make_cache: MakeCache,
    upstream: Upstream,
    proxy: Proxy,
    valkey_url: str,
    mode: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = make_cache(through(proxy, valkey_url))
    proxy.set(mode)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        assert not (await cache.get(wanted(), upstream, fresh=False)).cached
        times.append(time.perf_counter() - started)
    assert times[0] < bounded.CALL_TIMEOUT + 1
    assert statistics.median(times[1:]) < 0.05
    assert upstream.calls == 5
    assert len([record for record in caplog.records if "does not answer" in record.message]) == 1


async def test_redis_may_go_in_the_middle_of_a_call(
    make_cache: MakeCache, upstream: Upstream, proxy: Proxy, valkey_url: str
) -> None:
    cache = make_cache(through(proxy, valkey_url))
    upstream.gate.clear()
    asking = asyncio.ensure_future(cache.get(wanted(), upstream, fresh=False))
    await upstream.asked.wait()
    proxy.set("refuse")
    upstream.gate.set()
    assert (await asking).output == found("Lima")
    assert upstream.calls == 1


async def test_redis_may_come_back(
    make_cache: MakeCache,
    upstream: Upstream,
    proxy: Proxy,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bounded, "BREAKER", 0.05)
    cache = make_cache(through(proxy, valkey_url))
    proxy.set("refuse")
    await cache.get(wanted(), upstream, fresh=False)
    proxy.set("open")
    await asyncio.sleep(0.06)
    await cache.get(wanted(), upstream, fresh=False)
    assert (await cache.get(wanted(), upstream, fresh=False)).cached
    assert "answers again" in caplog.text


# --- In the toolbox -------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def ask(
    redis: Redis, valkey_url: str, web: ScriptedSearch, clock: Clock
) -> AsyncIterator[Callable[..., Awaitable[ToolResult]]]:
    services = toolbox_module.open_services(
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


async def test_another_run_gets_the_kept_result_and_pays_nothing(
    ask: Any, web: ScriptedSearch, clock: Clock
) -> None:
    first = await ask()
    clock.pass_(90)
    second = await ask(" capital of PERU ")
    assert (first.cached, first.age_s, first.credits) == (False, None, 1)
    assert (second.cached, second.age_s, second.credits) == (True, 90, 0)
    assert second.sources == first.sources
    assert len(web.queries) == 1


async def test_a_fresh_run_searches_again(ask: Any, web: ScriptedSearch, clock: Clock) -> None:
    await ask()
    clock.pass_(1)
    assert not (await ask(fresh=True)).cached
    assert len(web.queries) == 2


async def test_a_failing_provider_leaves_the_old_result_marked_as_stale(
    ask: Any, web: ScriptedSearch, clock: Clock
) -> None:
    await ask()
    clock.pass_(4000)
    web.default.status = 432
    result = await ask()
    assert (result.ok, result.stale, result.cached, result.age_s) == (True, True, True, 4000)
    await ask()
    assert len(web.queries) == 2


async def test_a_hit_takes_less_than_five_milliseconds(ask: Any) -> None:
    await ask()

    async def usual_time() -> float:
        return statistics.median([(await ask()).duration_ms for _ in range(50)])

    assert await quickest(usual_time, enough=5) < 5


async def test_what_is_kept_is_the_providers_and_clean(
    ask: Any, web: ScriptedSearch, redis: Redis
) -> None:
    web.default.results = [{**RESULT, "content": "Li\u200bma", "title": "<b>Peru</b>"}]
    await ask()
    [key] = [key async for key in redis.scan_iter(f"{PREFIX}*")]
    body = json.loads(await redis.hget(key, "body"))
    assert body["passages"] == [
        {"title": "Peru", "url": RESULT["url"], "text": "Lima", "published": "2026-11-16"}
    ]


async def test_personal_data_does_not_stay_in_redis(ask: Any, redis: Redis) -> None:
    await ask("who is ada.lovelace@example.org in maths")
    [key] = [key async for key in redis.scan_iter(f"{PREFIX}*")]
    assert b"example.org" not in b"".join((await redis.hgetall(key)).values())


async def test_calculator_and_clock_keep_nothing(
    redis: Redis, valkey_url: str, clock: Clock
) -> None:
    services = Services(cache=ToolCache(BoundedRedis(valkey_url), ttl=TTL, now=clock), now=clock)
    box = Toolbox(services, allowed=frozenset({"calculator", "clock"}), max_calls=5)
    for made in (box.check("calculator", {"expression": "1 + 1"}), box.check("clock", {})):
        assert isinstance(made, Call)
        await box.make(made)
    assert [key async for key in redis.scan_iter("fleet:cache:*")] == []
    await services.aclose()
