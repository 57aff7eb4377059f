"""Calls to Redis with a time limit: what counts as silence, and what doesn't."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.proxy import Proxy
from tests.timing import quickest
from tooling import bounded
from tooling.bounded import BoundedRedis, RedisDown

pytestmark = pytest.mark.usefixtures("impatience")


@pytest_asyncio.fixture
async def client(valkey_url: str) -> AsyncIterator[BoundedRedis]:
    client = BoundedRedis(valkey_url)
    yield client
    await client.aclose()


async def keep_busy(seconds: float) -> None:
    """Do something else in each turn of the event loop, for so many seconds."""
    while True:
        time.sleep(seconds)
        await asyncio.sleep(0)


@pytest.mark.parametrize("connected", [True, False])
async def test_busy_process_is_no_silent_redis(client: BoundedRedis, connected: bool) -> None:
    if connected:
        await client.ask(client.client.ping)
    busy = asyncio.create_task(keep_busy(bounded.CALL_TIMEOUT / 3))
    assert await client.ask(client.client.ping)
    busy.cancel()


async def test_answer_that_nobody_had_time_to_read_counts(client: BoundedRedis) -> None:
    await client.ask(client.client.ping)
    asking = asyncio.create_task(client.ask(client.client.ping))
    await asyncio.sleep(0)
    time.sleep(2 * bounded.CALL_TIMEOUT)
    assert await asking


@pytest.mark.parametrize("connected", [True, False])
async def test_silent_redis_is_noticed_soon(valkey_url: str, connected: bool) -> None:
    port = urlsplit(valkey_url).port
    proxy = Proxy(port or 0)

    async def time_to_notice() -> float:
        proxy.set("open")
        client = BoundedRedis(valkey_url.replace(f":{port}", f":{proxy.port}"))
        if connected:
            await client.ask(client.client.ping)
        proxy.set("hang")
        started = time.monotonic()
        with pytest.raises(RedisDown):
            await client.ask(client.client.ping)
        took = time.monotonic() - started
        await client.aclose()
        return took

    try:
        took = await quickest(time_to_notice, enough=0.6)
    finally:
        proxy.stop()
    assert bounded.CALL_TIMEOUT <= took < 0.6
