"""One call upstream for all callers of a result, in one process and in several."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.scripted_search import ScriptedSearch
from tooling import cache as cache_module
from tooling.cache import ToolCache
from tooling.entries import LOCK_PREFIX
from tooling.results import ToolFailure

from .caching import BUSY, Clock, MakeCache, Upstream, counters, found, wanted

ROOT = Path(__file__).parent.parent.parent


async def test_fifty_callers_in_one_process_make_one_call(
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


async def test_fresh_caller_takes_no_result_fetched_before_it_asked(
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


async def test_waiting_callers_share_a_failure(
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


async def test_cancelled_leader_releases_its_lock_at_once(
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


async def test_cancelled_caller_does_not_end_a_shared_call(
    cache: ToolCache, upstream: Upstream
) -> None:
    upstream.gate.clear()
    asking = [asyncio.ensure_future(cache.get(wanted(), upstream, fresh=False)) for _ in range(3)]
    await upstream.asked.wait()
    asking[0].cancel()
    upstream.gate.set()
    assert (await asking[1]).output == found("Lima")
    assert upstream.calls == 1


async def test_slow_leader_renews_its_lock(
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


async def test_lock_is_released_by_its_owner_only(
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
from tooling.opening import open_services
from tooling.toolbox import Toolbox

async def main(redis_url, search_url, count, lock):
    cache.LOCK_TTL, cache.LOCK_RENEWAL_INTERVAL = float(lock), float(lock) / 3
    bounded.CALL_TIMEOUT = 5  # a busy machine is not a dead Redis
    ttl = {"news": 600, "general": 3600}
    services = open_services(
        redis_url=redis_url, search="on", tavily_key="k", tavily_url=search_url, ttl=ttl
    )
    print("ready", flush=True)
    query = await asyncio.to_thread(sys.stdin.readline)

    async def search():
        box = Toolbox(services, allowed=frozenset({"web_search"}), max_calls=1)
        return await box.make(box.check("web_search", {"query": query}))

    results = await asyncio.gather(*(search() for _ in range(int(count))))
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


async def test_fifty_callers_in_two_processes_make_one_call(
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


async def test_dead_leader_blocks_others_until_its_lock_expires(
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
