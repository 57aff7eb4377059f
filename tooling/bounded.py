"""Redis with a time limit on every call, for callers that must not hang with it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Literal

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CALL_TIMEOUT = 0.3  # seconds that a call waits for Redis
BREAKER = 1.0  # seconds after a failed call in which no other is tried
BLOCKING_TIMEOUT = 1.0  # seconds that a call outside of event loops waits for Redis


class RedisDown(Exception):
    """Raised if Redis did not answer in time, refused, or failed a moment ago."""


class BoundedRedis:
    """The Redis client of one event loop.

    No call waits longer than CALL_TIMEOUT. After a failure, calls fail at once for BREAKER seconds.
    """

    def __init__(self, url: str) -> None:
        # `ask` sets a deadline for the whole call. redis-py's own timeouts apply to every reply,
        # and by default end a blocking read after 5 s.
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
        """Return the reply to a call that may block in Redis for `blocks` s, or raise RedisDown."""
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


def blocking_client(url: str, *, protocol: Literal[2, 3] = 2) -> redis.Redis:
    """Return a client for a thread or a command; the caller closes it. It raises redis-py's errors.

    Raise ValueError for an unknown option in the URL's query.
    """
    return redis.Redis.from_url(
        url,
        protocol=protocol,
        socket_timeout=BLOCKING_TIMEOUT,
        socket_connect_timeout=BLOCKING_TIMEOUT,
        retry=redis.retry.Retry(NoBackoff(), 0),
    )


def redis_problem(url: str) -> str | None:
    """Return why the Redis at this URL cannot be used, or None if it answers."""
    try:
        # The channel layer speaks this protocol.
        client = blocking_client(url, protocol=3)
    except ValueError as exc:
        return str(exc)
    try:
        client.ping()
    except (RedisError, OSError) as exc:
        return str(exc)
    finally:
        client.close()
    return None
