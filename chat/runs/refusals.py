"""Share what models refuse between workers, so that each of them need not find it out."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import msgspec

from chat.llm.refusals.memory import REFUSAL_TTL, Refusal, Refusals
from chat.refusals import KEY, digest_of, refusals_in
from tooling.bounded import BoundedRedis, RedisDown

SHARE_INTERVAL = 3.0  # Seconds. A worker forgets as late as this what operators forget.


@dataclass(frozen=True, slots=True)
class RefusalSharing:
    """Keeps one worker's memory of refusals, by server, like that of all others.

    Runs never wait for it. Without Redis, each worker remembers for itself.
    """

    refusals: Sequence[Refusals]
    redis: BoundedRedis

    async def keep(self) -> None:
        """Share again and again, for as long as the worker lives."""
        while True:
            with suppress(RedisDown):
                await self.share()
            await asyncio.sleep(SHARE_INTERVAL)

    async def share(self) -> None:
        """Write what this worker has found out, and take over what all workers have."""
        own = [refusal for each in self.refusals for refusal in each.unshared()]
        stored = refusals_in(await self.redis.ask(lambda: self.exchange(own)))
        for each in self.refusals:
            each.share(own, stored)

    async def exchange(self, own: list[Refusal]) -> dict[bytes, bytes]:
        pipe = self.redis.client.pipeline(transaction=False)
        if own:
            pipe.hset(KEY, mapping={digest_of(each): msgspec.json.encode(each) for each in own})
            # Longer than any refusal in it is remembered.
            pipe.expire(KEY, int(REFUSAL_TTL) + 60)
        pipe.hgetall(KEY)
        return cast("dict[bytes, bytes]", (await pipe.execute())[-1])
