"""Results of tools, kept in Redis and shared by all workers: one call upstream for one question, however many ask it at once.

Only successes are kept. Nothing here may fail a call: without Redis every call goes upstream, and is not made to wait for that.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from .bounded import BoundedRedis, RedisDown
from .entries import (
    CLOSED_INDEX,
    DAY_PREFIX,
    LOCK_PREFIX,
    Failure,
    Wanted,
    about,
    failure_in,
    packed,
    unpacked,
)
from .flights import Flights
from .results import Output, ToolFailure, TtlClass

logger = logging.getLogger(__name__)

LOCK = 3.0  # seconds for which a leader that died blocks the others
RENEW = LOCK / 3
FIRST_POLL, MAX_POLL = 0.02, 0.2  # seconds between looks of those who wait
FAILURE_KEPT = 5.0  # seconds in which those who waited learn why there is nothing
JITTER = 0.1  # of a time to live, either way
EMPTY_TTL = 60.0  # seconds, at the most
STALE_FACTOR = 6  # times its time to live an entry is kept for when upstream fails
DAYS_COUNTED = 8

# One round trip decides: a kept result, the failure of the flight that was waited for, a closed account, the lead, or to wait.
_CLAIM = """
local entry, lock, day, closed = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local now, since, token, lock_ms, awaited, miss, day_ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local kept = redis.call('HMGET', entry, 'soft', 'fetched', 'body', 'credits')
if kept[1] and kept[3] and tonumber(kept[1]) > tonumber(now) and tonumber(kept[2]) > tonumber(since) then
  redis.call('HINCRBY', entry, 'hits', 1)
  redis.call('HINCRBY', day, 'hits', 1)
  redis.call('HINCRBYFLOAT', day, 'credits_saved', kept[4])
  redis.call('EXPIRE', day, day_ttl)
  return {'hit', kept[2], kept[3]}
end
if awaited ~= '' then
  local failure = redis.call('GET', lock .. ':' .. awaited)
  if failure then return {'failed', failure} end
end
local why = redis.call('GET', closed)
if why then return {'closed', why, redis.call('PTTL', closed)} end
if redis.call('SET', lock, token, 'NX', 'PX', lock_ms) then
  redis.call('HINCRBY', day, miss, 1)
  redis.call('HINCRBY', day, 'upstream', 1)
  redis.call('EXPIRE', day, day_ttl)
  return {'lead'}
end
return {'wait', redis.call('GET', lock)}
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then redis.call('SET', KEYS[1] .. ':' .. ARGV[1], ARGV[2], 'PX', ARGV[3]) end
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A result, and how it was come by."""

    output: Output
    cached: bool = False
    age: float = 0  # seconds
    stale: bool = False


class ToolCache:
    """The cache as one event loop sees it."""

    def __init__(
        self, redis: BoundedRedis, *, ttl: Mapping[TtlClass, float], now: Callable[[], datetime]
    ) -> None:
        self._redis = redis
        self._client = redis.client
        self._ttl = ttl
        self._now = now
        self._is_up = True
        self._flights: Flights[Kept] = Flights()
        self._tasks: set[asyncio.Task[None]] = set()
        self._claim = redis.client.register_script(_CLAIM)
        self._renew = redis.client.register_script(_RENEW)
        self._release = redis.client.register_script(_RELEASE)

    async def get(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], *, fresh: bool
    ) -> Kept:
        """The kept result, or that of `work`, which is then kept; `fresh`: nothing that was fetched before this call.

        One `work` runs for all who want the same at a time. Where it fails, an old result is given if one will do.
        """
        flight = (wanted.key, fresh)
        joined = flight in self._flights
        kept = await self._flights.join(flight, lambda: self._get(wanted, work, fresh=fresh))
        if not joined:
            return kept
        self._later(self._count_joined(kept))
        return replace(kept, cached=True)

    async def aclose(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._redis.aclose()

    async def _get(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], *, fresh: bool
    ) -> Kept:
        try:
            return await self._kept_or_made(wanted, work, fresh=fresh)
        except RedisDown:
            return Kept(await work())
        except ToolFailure as exc:
            if exc.closed_for:
                await self._close(wanted, exc)
            if exc.stale_will_do and (stale := await self._stale(wanted)):
                return stale
            raise

    async def _kept_or_made(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], *, fresh: bool
    ) -> Kept:
        """A kept result, or the result of leading; waits while somebody else leads. RedisDown before anything was asked upstream."""
        token = secrets.token_hex(8)
        since = self._stamp() if fresh else 0
        awaited, pause = "", FIRST_POLL
        while True:
            match await self._claimed(wanted, token, since=since, awaited=awaited, fresh=fresh):
                case [b"hit", fetched, body] if output := unpacked(body):
                    return Kept(output, cached=True, age=max(0, self._stamp() - float(fetched)))
                case [b"hit", *_]:
                    # Not ours, or broken: make room for a good one.
                    await self._ask(lambda: self._client.delete(wanted.key))
                case [b"failed", why]:
                    raise failure_of(why)
                case [b"closed", why, milliseconds]:
                    raise failure_of(why, closed_for=max(0, milliseconds) / 1000)
                case [b"lead"]:
                    return Kept(await self._lead(wanted, work, token))
                case [b"wait", leader]:
                    awaited = leader.decode()
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, MAX_POLL)

    async def _claimed(
        self, wanted: Wanted, token: str, *, since: float, awaited: str, fresh: bool
    ) -> list[Any]:
        keys = [wanted.key, LOCK_PREFIX + wanted.key, self._day(), wanted.closed_key]
        miss = "bypass" if fresh else "misses"
        arguments: list[str | float] = [
            self._stamp(),
            since,
            token,
            int(LOCK * 1000),
            awaited,
            miss,
            DAYS_COUNTED * 86400,
        ]
        reply: list[Any] = await self._ask(lambda: self._claim(keys=keys, args=arguments))
        return reply

    async def _lead(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], token: str
    ) -> Output:
        renewing = asyncio.ensure_future(self._keep_lock(wanted, token))
        try:
            output = await work()
        except ToolFailure as exc:
            await self._let_go(wanted, token, failure=exc)
            raise
        except BaseException:
            # Cancelled, or a bug: whoever waits may try.
            self._later(self._let_go(wanted, token))
            raise
        finally:
            renewing.cancel()
        await self._keep(wanted, output, token)
        return output

    async def _keep(self, wanted: Wanted, output: Output, token: str) -> None:
        body = packed(output)
        soft, hard = self._lifetime(wanted, output)
        now = self._stamp()
        pipe = self._client.pipeline(transaction=True)
        if body is not None:
            fields: list[str | bytes | float] = [
                "about",
                about(wanted, output, len(body)),
                "body",
                body,
            ]
            fields += ["fetched", now, "soft", now + soft, "credits", output.credits]
            pipe.hset(wanted.key, items=fields)
            pipe.pexpire(wanted.key, int(hard * 1000))
        pipe.hincrbyfloat(self._day(), "credits_spent", output.credits)
        pipe.expire(self._day(), DAYS_COUNTED * 86400)
        try:
            await self._ask(pipe.execute)
            await self._let_go(wanted, token)
        except RedisDown as exc:
            logger.debug("a result was not kept: %s", exc)

    def _lifetime(self, wanted: Wanted, output: Output) -> tuple[float, float]:
        """How long a result is as good as new, and how long it is kept for when upstream fails."""
        ttl = self._ttl[wanted.ttl] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        if output.is_empty:
            return min(ttl, EMPTY_TTL), min(ttl, EMPTY_TTL)
        return ttl, ttl * STALE_FACTOR

    async def _stale(self, wanted: Wanted) -> Kept | None:
        with suppress(RedisDown):
            fetched, body = cast(
                "list[bytes | None]",
                await self._ask(lambda: self._client.hmget(wanted.key, ["fetched", "body"])),
            )
            if fetched and body and (output := unpacked(body)):
                await self._ask(lambda: self._client.hincrby(self._day(), "stale", 1))
                return Kept(
                    output, cached=True, age=max(0, self._stamp() - float(fetched)), stale=True
                )
        return None

    async def _close(self, wanted: Wanted, failure: ToolFailure) -> None:
        """Let nobody with this account ask for a while."""
        pipe = self._client.pipeline(transaction=True)
        pipe.set(
            wanted.closed_key,
            failure_text(failure),
            px=max(1, int(failure.closed_for * 1000)),
            nx=True,
        )
        pipe.sadd(CLOSED_INDEX, wanted.closed_key)
        pipe.expire(CLOSED_INDEX, DAYS_COUNTED * 86400)
        with suppress(RedisDown):
            await self._ask(pipe.execute)

    async def _keep_lock(self, wanted: Wanted, token: str) -> None:
        while True:
            await asyncio.sleep(RENEW)
            with suppress(RedisDown):
                await self._ask(
                    lambda: self._renew(
                        keys=[LOCK_PREFIX + wanted.key], args=[token, int(LOCK * 1000)]
                    )
                )

    async def _let_go(
        self, wanted: Wanted, token: str, *, failure: ToolFailure | None = None
    ) -> None:
        why = b"" if failure is None else failure_text(failure)
        with suppress(RedisDown):
            await self._ask(
                lambda: self._release(
                    keys=[LOCK_PREFIX + wanted.key], args=[token, why, int(FAILURE_KEPT * 1000)]
                )
            )

    async def _count_joined(self, kept: Kept) -> None:
        """Who took a result that somebody else in this process asked for counts as if it had been read from Redis."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hincrby(self._day(), "stale" if kept.stale else "hits", 1)
        if not kept.stale:
            pipe.hincrbyfloat(self._day(), "credits_saved", kept.output.credits)
        pipe.expire(self._day(), DAYS_COUNTED * 86400)
        with suppress(RedisDown):
            await self._ask(pipe.execute)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it without making anybody wait who is being cancelled."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """What Redis replies, or RedisDown; says in the log when that changes."""
        try:
            reply = await self._redis.ask(call)
        except RedisDown as exc:
            self._note(is_up=False, why=str(exc))
            raise
        self._note(is_up=True)
        return reply

    def _note(self, *, is_up: bool, why: str = "") -> None:
        if is_up != self._is_up:
            self._is_up = is_up
            logger.warning(
                "the tool cache %s %s",
                "answers again" if is_up else "does not answer; tools are called directly:",
                why,
            )

    def _stamp(self) -> float:
        return self._now().timestamp()

    def _day(self) -> str:
        return f"{DAY_PREFIX}{self._now().astimezone(UTC).date()}"


def failure_text(failure: ToolFailure) -> bytes:
    fields = (
        failure.message,
        failure.advice,
        failure.temporary,
        failure.stale_will_do,
        failure.closed_for,
    )
    return msgspec.json.encode(Failure(*fields))


def failure_of(text: bytes, *, closed_for: float = 0) -> ToolFailure:
    told = failure_in(text)
    return ToolFailure(
        told.message,
        advice=told.advice,
        temporary=told.temporary,
        stale_will_do=told.stale_will_do,
        closed_for=closed_for or told.closed_for,
    )
