"""Workers share what models refuse; without Redis each one remembers for itself."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from redis import Redis

from chat.llm.refusals.changes import Change
from chat.llm.refusals.memory import REFUSAL_TTL, Refusals
from chat.refusals import KEY, digest_of, forget, stored_refusals
from chat.runs.refusals import RefusalSharing
from tooling.bounded import BoundedRedis, RedisDown

pytestmark = pytest.mark.asyncio

TOOLS, EFFORT = Change("tools"), Change("reasoning_effort")
NO_REDIS = "redis://127.0.0.1:1"


@pytest.fixture
def stored(valkey_url: str) -> Iterator[Redis]:
    client = Redis.from_url(valkey_url, protocol=2)
    client.delete(KEY)
    yield client
    client.delete(KEY)
    client.close()


@pytest_asyncio.fixture
async def bounded(valkey_url: str) -> AsyncIterator[BoundedRedis]:
    redis = BoundedRedis(valkey_url)
    yield redis
    await redis.aclose()


async def test_other_workers_take_over_what_one_has_found_out(
    stored: Redis, bounded: BoundedRedis
) -> None:
    one, other = (RefusalSharing([Refusals("a")], bounded) for _ in range(2))
    one.refusals[0].remember("some", [TOOLS])
    await one.share()
    await other.share()
    assert other.refusals[0].remembered("some") == [TOOLS]
    assert one.refusals[0].remembered("some") == [TOOLS]
    assert 0 < stored.ttl(KEY) <= REFUSAL_TTL + 60


async def test_refusals_of_two_workers_are_joined(stored: Redis, bounded: BoundedRedis) -> None:
    one, other = (RefusalSharing([Refusals("a")], bounded) for _ in range(2))
    one.refusals[0].remember("some", [TOOLS])
    other.refusals[0].remember("some", [EFFORT])
    for sharing in (one, other, one):
        await sharing.share()
    for sharing in (one, other):
        assert {change.part for change in sharing.refusals[0].remembered("some")} == {
            "tools",
            "reasoning_effort",
        }


async def test_what_operators_forget_is_forgotten_by_all(
    stored: Redis, bounded: BoundedRedis
) -> None:
    one, other = (RefusalSharing([Refusals("a")], bounded) for _ in range(2))
    one.refusals[0].remember("some", [TOOLS])
    await one.share()
    await other.share()
    (refusal,) = stored_refusals(stored)
    assert forget(stored, digest_of(refusal)) == refusal
    for sharing in (one, other, one):
        await sharing.share()
        assert sharing.refusals[0].remembered("some") == []


async def test_worker_without_redis_remembers_for_itself() -> None:
    redis = BoundedRedis(NO_REDIS)
    sharing = RefusalSharing([Refusals("a")], redis)
    sharing.refusals[0].remember("some", [TOOLS])
    with pytest.raises(RedisDown):
        await sharing.share()
    assert sharing.refusals[0].remembered("some") == [TOOLS]
    assert [refusal.change for refusal in sharing.refusals[0].unshared()] == [TOOLS]
    await redis.aclose()
