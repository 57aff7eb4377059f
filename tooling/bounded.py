"""Redis with a time limit on every call, for callers that must not hang with it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CALL_TIMEOUT = 0.3  # seconds that a call waits for Redis
TURNS = 15  # of the event loop, at least, in which Redis doesn't answer
BREAKER = 1.0  # seconds after a failed call in which no other is tried
BLOCKING_TIMEOUT = 1.0  # seconds that a call outside of event loops waits for Redis
PROBE_KEY = "fleet:check"  # which probes write for a second


class RedisDown(Exception):
    """Raised if Redis did not answer in time, refused, or failed a moment ago."""


@asynccontextmanager
async def patience(seconds: float, *, after: float = 0) -> AsyncIterator[None]:
    """Raise TimeoutError if the block takes longer than `after` and these seconds.

    They are counted in TURNS parts. However long one takes, because this process does something
    else or gets no processor, it counts as one: the answer may be there, and nobody has read it.
    """
    loop = asyncio.get_running_loop()
    part = seconds / TURNS
    waiting: asyncio.TimerHandle

    def count(left: int) -> None:
        nonlocal waiting
        if left:
            waiting = loop.call_later(part, count, left - 1)
        else:
            limit.reschedule(loop.time())

    waiting = loop.call_later(after + part, count, TURNS - 1)
    async with asyncio.timeout(None) as limit:
        try:
            yield
        finally:
            waiting.cancel()


class BoundedRedis:
    """The Redis client of one event loop.

    No call waits longer than CALL_TIMEOUT, as `patience` counts it. After a failure, calls fail at
    once for BREAKER seconds.
    """

    def __init__(self, url: str) -> None:
        # `ask` sets a deadline for the whole call. redis-py's own timeouts apply to every reply,
        # and by default end a blocking read after 5 s.
        self.client = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
            max_connections=10_000,
        )
        self._closed_until = 0.0

    async def ask[T](self, call: Callable[[], Awaitable[T]], *, blocks: float = 0) -> T:
        """Return the reply to a call that may block in Redis for `blocks` s, or raise RedisDown."""
        if time.monotonic() < self._closed_until:
            raise RedisDown("Redis did not answer a moment ago")
        try:
            async with patience(CALL_TIMEOUT, after=blocks):
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
    """Return why the Redis at this URL cannot be used, or None if it stores things."""
    try:
        # The channel layer speaks this protocol.
        client = blocking_client(url, protocol=3)
    except ValueError as exc:
        return str(exc)
    try:
        # Not a ping, which a full one answers, too, and one that has become a replica.
        client.set(PROBE_KEY, "", px=1000)
    except (RedisError, OSError) as exc:
        return str(exc)
    finally:
        client.close()
    return None
