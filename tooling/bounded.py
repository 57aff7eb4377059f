"""Redis for those who may not be kept waiting by it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CALL_TIMEOUT = 0.3  # seconds that a call waits on Redis
BREAKER = 1.0  # seconds without a further try after a failed one


class RedisDown(Exception):
    """Redis did not answer in time, refused, or failed a moment ago."""


class BoundedRedis:
    """One event loop's Redis: no call waits longer than CALL_TIMEOUT, and for BREAKER after one failed none is tried."""

    def __init__(self, url: str) -> None:
        # Deadlines stand around whole calls: redis-py's own are set for every reply, and its default ends idle reads after 5 s.
        self.client = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=CALL_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            max_connections=10_000,
        )
        self._closed_until = 0.0

    async def ask[T](self, call: Callable[[], Awaitable[T]], *, blocks: float = 0) -> T:
        """What Redis replies to a call that may block there for that many seconds; RedisDown if it does not."""
        if time.monotonic() < self._closed_until:
            raise RedisDown("Redis did not answer a moment ago")
        try:
            async with asyncio.timeout(blocks + CALL_TIMEOUT):
                return await call()
        except (RedisError, OSError, TimeoutError) as exc:
            self._closed_until = time.monotonic() + BREAKER
            raise RedisDown(str(exc) or type(exc).__name__) from exc

    async def aclose(self) -> None:
        await self.client.aclose()
