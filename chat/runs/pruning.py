"""Prune once a day what is no longer kept: one worker of all, in small batches.

More often, close asks that have waited too long. Each worker may do that.
"""

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass

from django.db import Error as DatabaseProblem

from chat.asks import Ask
from chat.database import in_database
from chat.telemetry.retention import PRUNES
from tooling.bounded import BoundedRedis, RedisDown

logger = logging.getLogger(__name__)

# Seconds
FIRST_CHECK = 5.0  # after a worker's start, when its first readers are served
CHECK_INTERVAL = 600.0
INTERVAL = 24 * 3600  # from the end of a prune to the next one
CLAIM_TTL = 60  # of a worker that prunes; it renews its claim with each batch
MIN_PAUSE = 0.05  # after a batch
PAUSE_FACTOR = 9  # times the batch's own time, so that the database has nine tenths for others
CLAIM = "fleet:pruning"


@dataclass(frozen=True, slots=True)
class Pruning:
    """The prunes of one worker.

    The claim in Redis only spares other workers the work. If Redis loses it, a prune begins early
    and finds nothing to do: what is due follows from the rows.
    """

    worker: str
    redis: BoundedRedis

    async def keep(self) -> None:
        """Expire asks and prune whenever that is due, for as long as the worker lives."""
        await asyncio.sleep(FIRST_CHECK)
        while True:
            await self.expire_asks()
            await self.check()
            await asyncio.sleep(CHECK_INTERVAL)

    async def expire_asks(self) -> None:
        """Close the asks that nobody has answered in time."""
        try:
            while count := await in_database(Ask.objects.expire):
                logger.info("asks expired: %d", count)
        except DatabaseProblem as exc:
            logger.warning("%s could not expire asks, trying again: %s", self.worker, exc)

    async def check(self) -> None:
        """Prune if no worker has done so within INTERVAL, and none does now."""
        client = self.redis.client
        try:
            if await self.redis.ask(lambda: client.set(CLAIM, self.worker, nx=True, ex=CLAIM_TTL)):
                await self.prune()
                await self.redis.ask(lambda: client.set(CLAIM, "done", ex=INTERVAL))
        except (DatabaseProblem, RedisDown) as exc:
            logger.warning("%s could not prune, trying again: %s", self.worker, exc)

    async def prune(self) -> None:
        """Remove all that is due, and log how much it was, even if it is interrupted."""
        removed: Counter[str] = Counter()
        try:
            for name, prune in PRUNES.items():
                started = time.monotonic()
                while (count := await in_database(prune.batch)) is not None:
                    removed[name] += count
                    await self.redis.ask(lambda: self.redis.client.expire(CLAIM, CLAIM_TTL))
                    await asyncio.sleep(pause_after(time.monotonic() - started))
                    started = time.monotonic()
        finally:
            if removed:
                logger.info("pruned: %s", counts(removed))


def pause_after(seconds: float) -> float:
    """Return how long to wait after a batch of `seconds`; longer if the database is busy."""
    return max(MIN_PAUSE, PAUSE_FACTOR * seconds)


def counts(removed: Counter[str]) -> str:
    return " ".join(f"{name}={removed[name]}" for name in PRUNES)
