"""Counts that all workers share: of live runs and open sockets, and of a minute's requests.

fleet:limits:since            when this Redis began to count, in ms
fleet:limits:LIMIT:SUBJECT    sorted set: the ids of claims, by the time when each ends, in ms

A run, a question or a socket claims a place in all sets that it counts for, or in none. A claim of
a minute ends by itself after a minute, so any 60 s hold at most as many as are allowed.
"""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tooling.bounded import BoundedRedis, RedisDown

from .limits import Bound

PREFIX = "fleet:limits:"
SINCE = f"{PREFIX}since"
MAX_OWED = 10_000  # places; those beyond become free by themselves
# KEYS: SINCE and the sets. ARGV: the id, then for each set how many may be in it, and for how long.
# Return the age of the counts, then the number of each full set with the ms until it has a place.
CLAIM = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[1], now, 'NX')
local found = {now - redis.call('GET', KEYS[1])}
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  local surplus = redis.call('ZCARD', KEYS[i]) - ARGV[2 * i - 2]
  if surplus >= 0 then
    local next_end = redis.call('ZRANGE', KEYS[i], surplus, surplus, 'WITHSCORES')[2]
    table.insert(found, i - 2)
    table.insert(found, (next_end or now + ARGV[2 * i - 1]) - now)
  end
end
if #found == 1 then
  for i = 2, #KEYS do
    local life = ARGV[2 * i - 1]
    redis.call('ZADD', KEYS[i], now + life, ARGV[1])
    redis.call('PEXPIRE', KEYS[i], life)
  end
end
return found
"""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the set of a bound, for at most `life` seconds."""

    bound: Bound
    life: float

    @property
    def key(self) -> str:
        return f"{PREFIX}{self.bound.limit}:{self.bound.subject}"


@dataclass(frozen=True, slots=True)
class Full:
    """A place that can't be had, and the seconds until one is free by itself."""

    place: Place
    wait: float


class Claims:
    """The counts as one event loop reaches them."""

    def __init__(self, redis: BoundedRedis, *, trusted_after: float) -> None:
        """`trusted_after`: seconds after which all that is counted now has ended."""
        self._redis = redis
        self._script = redis.client.register_script(CLAIM)
        self._trusted_after = trusted_after
        self._gap_until = 0.0
        self._owed: list[tuple[str, str]] = []  # keys and ids of places to be given back

    @property
    def may_lack_some(self) -> bool:
        """True if something that has not ended may have been started without a claim."""
        return time.monotonic() < self._gap_until

    async def claim(self, claim_id: str, places: Sequence[Place]) -> list[Full]:
        """Claim all these places, or return the full ones. Raise RedisDown."""
        amounts = [(math.floor(each.bound.most), round(each.life * 1000)) for each in places]
        keys = [SINCE, *(place.key for place in places)]
        args: list[str | int] = [claim_id, *(number for pair in amounts for number in pair)]
        try:
            await self._settle()
            age, *full = await self._redis.ask(lambda: self._script(keys=keys, args=args))
        except RedisDown:
            self._note_gap(self._trusted_after)
            raise
        # A Redis that has just begun, or that was emptied, doesn't know what goes on already.
        self._note_gap(self._trusted_after - age / 1000)
        waits = zip(full[::2], full[1::2], strict=True)
        return [Full(places[number], wait / 1000) for number, wait in waits]

    async def ages(self, place: Place) -> dict[str, float]:
        """Return the ids of all claims in this place's set, with their ages. Raise RedisDown."""
        pipe = self._redis.client.pipeline(transaction=False)
        pipe.time()
        pipe.zrange(place.key, 0, -1, withscores=True)
        (seconds, microseconds), claims = await self._redis.ask(pipe.execute)
        now = seconds + microseconds / 1e6
        return {each.decode(): now + place.life - end / 1000 for each, end in claims}

    async def counts(self, places: Sequence[Place]) -> list[int]:
        """Return how many claims are in the set of each of these places. Raise RedisDown."""
        now = round(time.time() * 1000)
        pipe = self._redis.client.pipeline(transaction=False)
        for place in places:
            pipe.zcount(place.key, now, "+inf")
        found: list[int] = await self._redis.ask(pipe.execute)
        return found

    async def release(self, claim_ids: Sequence[str], places: Sequence[Place]) -> None:
        """Give these places back; if Redis is away, with the next call that reaches it."""
        self._owed += [(place.key, claim_id) for place in places for claim_id in claim_ids]
        with suppress(RedisDown):
            await self._settle()

    async def _settle(self) -> None:
        """Give back what could not be given back before. Raise RedisDown."""
        if not self._owed:
            return
        owed, self._owed = self._owed, []
        pipe = self._redis.client.pipeline(transaction=False)
        for key, claim_id in owed:
            pipe.zrem(key, claim_id)
        try:
            await self._redis.ask(pipe.execute)
        except RedisDown:
            self._owed = [*owed, *self._owed][-MAX_OWED:]
            raise

    def _note_gap(self, seconds: float) -> None:
        self._gap_until = max(self._gap_until, time.monotonic() + seconds)


class LocalClaims:
    """The same counts, of one process alone."""

    SWEEP_INTERVAL = 60.0  # seconds between two looks for sets that nobody asks for any more

    def __init__(self) -> None:
        # By key: the ids of claims, with the time.monotonic() when each ends. All claims of a set
        # last equally long, so those that end first come first.
        self._ends: dict[str, dict[str, float]] = {}
        self._swept_at = time.monotonic()

    def claim(self, claim_id: str, places: Sequence[Place]) -> list[Full]:
        """Claim all these places, or return the full ones."""
        now = time.monotonic()
        if now - self._swept_at > self.SWEEP_INTERVAL:
            self._swept_at = now
            for key in list(self._ends):
                self._remove_ended(key, now)
        full: list[Full] = []
        for place in places:
            ends = self._remove_ended(place.key, now)
            surplus = len(ends) - math.floor(place.bound.most)
            if surplus >= 0:
                at = list(ends.values())
                full.append(Full(place, at[surplus] - now if surplus < len(at) else place.life))
        if not full:
            for place in places:
                self._ends.setdefault(place.key, {})[claim_id] = now + place.life
        return full

    def release(self, claim_id: str, places: Sequence[Place]) -> None:
        """Give these places back."""
        for place in places:
            if ends := self._ends.get(place.key):
                ends.pop(claim_id, None)
                if not ends:
                    del self._ends[place.key]

    def _remove_ended(self, key: str, now: float) -> dict[str, float]:
        """Return the claims of a set, without those that have ended."""
        ends = self._ends.get(key, {})
        while ends and next(iter(ends.values())) <= now:
            del ends[next(iter(ends))]
        if not ends:
            self._ends.pop(key, None)
        return ends
