"""Whether somebody reads a run, on any worker.

Each worker knows its own readers. The others are asked for theirs: those that have some leave a
mark in Redis for a few seconds.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING
from uuid import UUID

from tooling.bounded import BoundedRedis, RedisDown

from .commands import send_look_for_readers

if TYPE_CHECKING:
    from .worker import Socket

logger = logging.getLogger(__name__)

MARK_TTL = 5  # seconds; longer than anybody waits between the question and the look


class Readers:
    """The readers of runs, as one event loop knows them."""

    def __init__(self, redis: BoundedRedis, sockets: "Collection[Socket]") -> None:
        self._redis = redis
        self._sockets = sockets

    def reads_here(self, run_id: UUID) -> bool:
        return any(socket.run_id == run_id for socket in self._sockets)

    async def mark(self, run_id: UUID) -> None:
        """Tell all workers that somebody reads this run, or is about to."""
        try:
            await self._redis.ask(lambda: self._redis.client.set(key_of(run_id), "", ex=MARK_TTL))
        except RedisDown as exc:
            logger.debug("run=%s could not be marked as read: %s", run_id, exc)

    async def mark_if_read_here(self, run_id: UUID) -> None:
        if self.reads_here(run_id):
            await self.mark(run_id)

    async def remain(self, run_id: UUID, *, within: float) -> bool:
        """Return True if somebody reads this run now, or begins to within these seconds.

        Half of them are for the answers of other workers. If Redis doesn't tell, some may.
        """
        await asyncio.sleep(within / 2)
        await send_look_for_readers(run_id)
        await asyncio.sleep(within / 2)
        if self.reads_here(run_id):
            return True
        try:
            return bool(await self._redis.ask(lambda: self._redis.client.exists(key_of(run_id))))
        except RedisDown as exc:
            logger.warning("run=%s goes on, because readers elsewhere are unknown: %s", run_id, exc)
            return True


def key_of(run_id: UUID) -> str:
    return f"fleet:read:{run_id}"
