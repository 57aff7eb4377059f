"""Results of tools, kept in Redis and shared by all workers: one upstream call for a question,
however many runs ask it at once.

Only successes are kept. Nothing here fails a call: without Redis, every call goes upstream at once.
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

LOCK_TTL = 3.0  # seconds for which a leader that died blocks the others
LOCK_RENEWAL_INTERVAL = LOCK_TTL / 3
FIRST_POLL, MAX_POLL = 0.02, 0.2  # seconds between two claims of a waiting worker
FAILURE_TTL = 5.0  # seconds for which waiting workers can read why a call failed
JITTER = 0.1  # of a time to live, either way, so that entries do not expire together
MAX_EMPTY_TTL = 60.0  # seconds
STALE_FACTOR = 6  # times its time to live; an old entry helps if upstream fails
DAYS_COUNTED = 8

# A worker claims a result by one round trip. The script replies with a list; its first word tells
# the worker what to do next:
#
#   reply                        what to do
#   hit, fetched, body           use this result, which was fetched at that timestamp
#   failed, failure              the call that this worker waited for has failed: fail too
#   closed, failure, time left   the provider refuses this account for so many ms: fail
#   lead                         this worker has the lock: call upstream, then release the lock
#   wait, token                  another worker has it: claim again, with `awaited` = its token
#
# `claim` passes KEYS and ARGV in the order in which the first two lines unpack them.
CLAIM = """
local entry, lock, day, closed = unpack(KEYS)
local now, since, token, lock_ms, awaited, miss, day_ttl = unpack(ARGV)
local kept = redis.call('HMGET', entry, 'soft', 'fetched', 'body', 'credits')
local soft, fetched, body, credits = kept[1], kept[2], kept[3], kept[4]
if soft and body and tonumber(soft) > tonumber(now) and tonumber(fetched) > tonumber(since) then
  redis.call('HINCRBY', entry, 'hits', 1)
  redis.call('HINCRBY', day, 'hits', 1)
  redis.call('HINCRBYFLOAT', day, 'credits_saved', credits)
  redis.call('EXPIRE', day, day_ttl)
  return {'hit', fetched, body}
end
if awaited ~= '' then
  local failure = redis.call('GET', lock .. ':' .. awaited)
  if failure then return {'failed', failure} end
end
local failure = redis.call('GET', closed)
if failure then return {'closed', failure, redis.call('PTTL', closed)} end
if redis.call('SET', lock, token, 'NX', 'PX', lock_ms) then
  redis.call('HINCRBY', day, miss, 1)
  redis.call('HINCRBY', day, 'upstream', 1)
  redis.call('EXPIRE', day, day_ttl)
  return {'lead'}
end
return {'wait', redis.call('GET', lock)}
"""
# Both check that the lock is still this worker's: it may have expired and been taken by another.
RENEW = """
local lock = KEYS[1]
local token, lock_ms = unpack(ARGV)
if redis.call('GET', lock) ~= token then return 0 end
return redis.call('PEXPIRE', lock, lock_ms)
"""
RELEASE = """
local lock = KEYS[1]
local token, failure, failure_ms = unpack(ARGV)
if redis.call('GET', lock) ~= token then return 0 end
if failure ~= '' then redis.call('SET', lock .. ':' .. token, failure, 'PX', failure_ms) end
return redis.call('DEL', lock)
"""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A result with its origin."""

    output: Output
    cached: bool = False
    age: float = 0  # seconds
    stale: bool = False


class ToolCache:
    """The cache as one event loop uses it."""

    def __init__(
        self, redis: BoundedRedis, *, ttl: Mapping[TtlClass, float], now: Callable[[], datetime]
    ) -> None:
        self._redis = redis
        self._client = redis.client
        self._ttl = ttl
        self._now = now
        self._is_up = True
        self._flights: Flights[Lookup] = Flights()
        self._tasks: set[asyncio.Task[None]] = set()
        self._claim_script = redis.client.register_script(CLAIM)
        self._renew_script = redis.client.register_script(RENEW)
        self._release_script = redis.client.register_script(RELEASE)

    async def get(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], *, fresh: bool
    ) -> Lookup:
        """Return the kept result, or that of `work`, which is then kept.

        Return nothing that was fetched before this call if `fresh`. One `work` runs at a time for
        all callers that want the same result. If it fails, return an old result if the failure
        allows that.
        """
        # A fresh call must not join a flight that may return an older result.
        flight = (wanted.key, fresh)
        joined = flight in self._flights
        found = await self._flights.join(flight, lambda: self.look_up(wanted, work, fresh=fresh))
        if not joined:
            return found
        self.run_in_background(self.count_joined(found))
        return replace(found, cached=True)

    async def aclose(self) -> None:
        """Wait for what runs in the background, then close the connections."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._redis.aclose()

    async def look_up(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], *, fresh: bool
    ) -> Lookup:
        try:
            return await self.kept_or_made(wanted, work, fresh=fresh)
        except RedisDown:
            # Raised only before a call upstream, so this one is the first.
            return Lookup(await work())
        except ToolFailure as exc:
            if exc.closed_for:
                await self.close_account(wanted, exc)
            if exc.stale_will_do and (stale := await self.stale(wanted)):
                return stale
            raise

    async def kept_or_made(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], *, fresh: bool
    ) -> Lookup:
        """Return a kept result, or lead; wait while another worker leads.

        Raise RedisDown only if nothing was asked upstream.
        """
        # The token tells this worker's lock from one that was taken after it expired.
        token = secrets.token_hex(8)
        since = self.timestamp() if fresh else 0
        awaited, pause = "", FIRST_POLL
        while True:
            match await self.claim(wanted, token, since=since, awaited=awaited, fresh=fresh):
                case [b"hit", fetched, body] if output := unpacked(body):
                    age = max(0, self.timestamp() - float(fetched))
                    return Lookup(output, cached=True, age=age)
                case [b"hit", *_]:
                    # Broken, or written by something else: make room for a good entry.
                    await self.ask(lambda: self._client.delete(wanted.key))
                case [b"failed", failure]:
                    raise failure_of(failure)
                case [b"closed", failure, milliseconds]:
                    raise failure_of(failure, closed_for=max(0, milliseconds) / 1000)
                case [b"lead"]:
                    return Lookup(await self._lead(wanted, work, token))
                case [b"wait", leader]:
                    awaited = leader.decode()
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, MAX_POLL)

    async def claim(
        self, wanted: Wanted, token: str, *, since: float, awaited: str, fresh: bool
    ) -> list[Any]:
        """Return the reply of the CLAIM script, whose table says what it can be."""
        keys = {
            "entry": wanted.key,
            "lock": LOCK_PREFIX + wanted.key,
            "day": self.day_key(),
            "closed": wanted.closed_key,
        }
        arguments: dict[str, str | float] = {
            "now": self.timestamp(),
            "since": since,
            "token": token,
            "lock_ms": int(LOCK_TTL * 1000),
            "awaited": awaited,
            "miss": "bypass" if fresh else "misses",
            "day_ttl": DAYS_COUNTED * 86400,
        }
        reply: list[Any] = await self.ask(
            lambda: self._claim_script(keys=[*keys.values()], args=[*arguments.values()])
        )
        return reply

    async def _lead(
        self, wanted: Wanted, work: Callable[[], Awaitable[Output]], token: str
    ) -> Output:
        """Return the result of `work`, and keep it. The caller must have the lock."""
        renewing = asyncio.ensure_future(self.renew_lock(wanted, token))
        try:
            output = await work()
        except ToolFailure as exc:
            await self.release_lock(wanted, token, failure=exc)
            raise
        except BaseException:
            # A cancel, or a bug in the tool. Another worker may try at once, instead of waiting
            # until the lock expires. Don't await: a cancelled caller must end now.
            self.run_in_background(self.release_lock(wanted, token))
            raise
        finally:
            renewing.cancel()
        await self.store(wanted, output, token)
        return output

    async def store(self, wanted: Wanted, output: Output, token: str) -> None:
        """Keep the result unless it is too large, count its price, and release the lock."""
        body = packed(output)
        soft, hard = self.lifetime(wanted, output)
        now = self.timestamp()
        pipe = self._client.pipeline(transaction=True)
        if body is not None:
            fields: dict[str, str | bytes | float] = {
                "about": about(wanted, output, len(body)),
                "body": body,
                "fetched": now,
                "soft": now + soft,
                "credits": output.credits,
            }
            pipe.hset(wanted.key, items=[part for field in fields.items() for part in field])
            pipe.pexpire(wanted.key, int(hard * 1000))
        pipe.hincrbyfloat(self.day_key(), "credits_spent", output.credits)
        pipe.expire(self.day_key(), DAYS_COUNTED * 86400)
        try:
            await self.ask(pipe.execute)
            await self.release_lock(wanted, token)
        except RedisDown as exc:
            logger.debug("the result of a tool could not be kept: %s", exc)

    def lifetime(self, wanted: Wanted, output: Output) -> tuple[float, float]:
        """Return for how long a result counts as new, and for how long it is kept."""
        ttl = self._ttl[wanted.ttl] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
        if output.is_empty:
            return min(ttl, MAX_EMPTY_TTL), min(ttl, MAX_EMPTY_TTL)
        return ttl, ttl * STALE_FACTOR

    async def stale(self, wanted: Wanted) -> Lookup | None:
        """Return the kept result, however old; None if there is none or Redis is away."""
        with suppress(RedisDown):
            fetched, body = cast(
                "list[bytes | None]",
                await self.ask(lambda: self._client.hmget(wanted.key, ["fetched", "body"])),
            )
            if fetched and body and (output := unpacked(body)):
                await self.ask(lambda: self._client.hincrby(self.day_key(), "stale", 1))
                age = max(0, self.timestamp() - float(fetched))
                return Lookup(output, cached=True, age=age, stale=True)
        return None

    async def close_account(self, wanted: Wanted, failure: ToolFailure) -> None:
        """Make all calls with this account fail until the provider accepts it again."""
        pipe = self._client.pipeline(transaction=True)
        # NX: failures of calls that were already in progress must not extend the time.
        pipe.set(
            wanted.closed_key,
            failure_text(failure),
            px=max(1, int(failure.closed_for * 1000)),
            nx=True,
        )
        pipe.sadd(CLOSED_INDEX, wanted.closed_key)
        pipe.expire(CLOSED_INDEX, DAYS_COUNTED * 86400)
        with suppress(RedisDown):
            await self.ask(pipe.execute)

    async def renew_lock(self, wanted: Wanted, token: str) -> None:
        """Renew the lock until this is cancelled."""
        lock, lock_ms = LOCK_PREFIX + wanted.key, int(LOCK_TTL * 1000)
        while True:
            await asyncio.sleep(LOCK_RENEWAL_INTERVAL)
            with suppress(RedisDown):
                await self.ask(lambda: self._renew_script(keys=[lock], args=[token, lock_ms]))

    async def release_lock(
        self, wanted: Wanted, token: str, *, failure: ToolFailure | None = None
    ) -> None:
        """Release the lock; with a failure, waiting workers fail like this one."""
        why = b"" if failure is None else failure_text(failure)
        lock, failure_ms = LOCK_PREFIX + wanted.key, int(FAILURE_TTL * 1000)
        with suppress(RedisDown):
            await self.ask(lambda: self._release_script(keys=[lock], args=[token, why, failure_ms]))

    async def count_joined(self, found: Lookup) -> None:
        """Count a result of another call in this process like one that was read from Redis."""
        pipe = self._client.pipeline(transaction=True)
        pipe.hincrby(self.day_key(), "stale" if found.stale else "hits", 1)
        if not found.stale:
            pipe.hincrbyfloat(self.day_key(), "credits_saved", found.output.credits)
        pipe.expire(self.day_key(), DAYS_COUNTED * 86400)
        with suppress(RedisDown):
            await self.ask(pipe.execute)

    def run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` without making a cancelled caller wait for it."""
        task = asyncio.ensure_future(work)
        # asyncio holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """Return the reply of Redis, or raise RedisDown. Log when Redis fails or recovers."""
        try:
            reply = await self._redis.ask(call)
        except RedisDown as exc:
            if self._is_up:
                logger.warning("the tool cache does not answer; tools are called directly: %s", exc)
            self._is_up = False
            raise
        if not self._is_up:
            logger.warning("the tool cache answers again")
        self._is_up = True
        return reply

    def timestamp(self) -> float:
        return self._now().timestamp()

    def day_key(self) -> str:
        return f"{DAY_PREFIX}{self._now().astimezone(UTC).date()}"


def failure_text(failure: ToolFailure) -> bytes:
    """Return the failure as other workers read it."""
    return msgspec.json.encode(
        Failure(
            failure.message,
            failure.advice,
            failure.temporary,
            failure.stale_will_do,
            failure.closed_for,
        )
    )


def failure_of(text: bytes, *, closed_for: float = 0) -> ToolFailure:
    """Return the failure that another worker stored."""
    stored = failure_in(text)
    return ToolFailure(
        stored.message,
        advice=stored.advice,
        temporary=stored.temporary,
        stale_will_do=stored.stale_will_do,
        closed_for=closed_for or stored.closed_for,
    )
