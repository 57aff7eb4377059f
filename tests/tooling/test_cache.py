"""The tool cache: hits and misses, times to live, failures, and what is stored in Redis."""

import json
import random
import zlib

import pytest
from redis.asyncio import Redis

from tooling import cache as cache_module
from tooling.cache import ToolCache
from tooling.entries import DAY_PREFIX, LOCK_PREFIX, MAX_BYTES, PREFIX, Wanted, packed, unpacked
from tooling.results import Output, ToolFailure

from .caching import BUSY, TTL, Clock, MakeCache, Upstream, counters, found, wanted

# --- Hits and misses ------------------------------------------------------------------------------


async def test_second_call_is_a_hit_with_its_age(
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
    assert await redis.hget(wanted().key, "hits") == b"1"


async def test_counters_of_a_day_expire(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(86400)
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(60)
    [day] = [key async for key in redis.scan_iter(f"{DAY_PREFIX}{clock.now.date()}")]
    await redis.persist(day)
    await cache.get(wanted(), upstream, fresh=False)  # a hit, which may be the first of its day
    assert 0 < await redis.ttl(day) <= cache_module.DAYS_COUNTED * 86400


async def test_fresh_call_ignores_and_replaces_the_entry(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(30)
    upstream.output = found("Lima, still")
    assert not (await cache.get(wanted(), upstream, fresh=True)).cached
    after = await cache.get(wanted(), upstream, fresh=False)
    assert (after.cached, after.age, after.output) == (True, 0, found("Lima, still"))
    assert (await counters(redis, clock))["bypass"] == 1


async def test_entry_is_a_miss_after_its_time_to_live(
    cache: ToolCache, upstream: Upstream, clock: Clock
) -> None:
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


async def test_empty_result_is_kept_for_at_most_a_minute(
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
async def test_old_result_replaces_a_failure_that_allows_it(
    cache: ToolCache, upstream: Upstream, clock: Clock, redis: Redis, fresh: bool
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(7200)
    upstream.failure = BUSY
    kept = await cache.get(wanted(), upstream, fresh=fresh)
    assert (kept.stale, kept.cached, kept.age, kept.output) == (True, True, 7200, found("Lima"))
    assert (await counters(redis, clock))["stale"] == 1


async def test_old_result_does_not_replace_a_rejected_query(
    cache: ToolCache, upstream: Upstream, clock: Clock
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    clock.pass_(7200)
    upstream.failure = ToolFailure("The search service did not take this query.")
    with pytest.raises(ToolFailure, match="did not take"):
        await cache.get(wanted(), upstream, fresh=False)


async def test_closed_account_is_not_used_by_any_worker(
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


async def test_account_closed_by_an_unreadable_failure_is_not_used(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    await redis.set(wanted().closed_key, "nonsense", ex=60)
    with pytest.raises(ToolFailure, match="cannot be called now"):
        await cache.get(wanted(), upstream, fresh=False)
    assert upstream.calls == 0


# --- What stands in Redis -------------------------------------------------------------------------


async def test_entry_is_stored_as_json_with_its_facts(
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


async def test_key_has_the_schema_version_but_not_the_query(
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


async def test_large_results_are_compressed(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    upstream.output = found("word " * 4000)
    await cache.get(wanted(), upstream, fresh=False)
    body = await redis.hget(wanted().key, "body")
    assert len(body) < 1000
    assert (await cache.get(wanted(), upstream, fresh=False)).output == upstream.output


async def test_huge_results_are_returned_but_not_kept(
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
async def test_broken_entry_is_a_miss_and_is_replaced(
    cache: ToolCache, upstream: Upstream, redis: Redis, body: bytes
) -> None:
    await cache.get(wanted(), upstream, fresh=False)
    await redis.hset(wanted().key, "body", body)
    assert not (await cache.get(wanted(), upstream, fresh=False)).cached
    assert (await cache.get(wanted(), upstream, fresh=False)).cached


def test_decompression_of_an_entry_is_bounded() -> None:
    assert unpacked(b"z" + zlib.compress(b'{"text": "' + b" " * 3_000_000 + b'"}')) is None
    assert MAX_BYTES < 3_000_000


async def test_key_of_another_type_is_a_miss(
    cache: ToolCache, upstream: Upstream, redis: Redis
) -> None:
    await redis.set(wanted().key, "a string")
    assert (await cache.get(wanted(), upstream, fresh=False)).output == found("Lima")
