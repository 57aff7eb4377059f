"""Whether somebody reads a run, on any worker.

Each worker knows its own readers. When one looks for others, those that have some mark this look in
Redis. A mark of the run would also tell of readers that have left since.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from tooling.bounded import BoundedRedis, RedisDown

from .commands import send_look_for_readers

if TYPE_CHECKING:
    from .worker import Socket

logger = logging.getLogger(__name__)

LOOK_TTL = 5  # seconds; longer than anybody waits for the marks of a look
MARK_TTL = 2  # seconds until who joins a run is known as its reader


class Readers:
    """The readers of runs, as one event loop knows them."""

    def __init__(self, redis: BoundedRedis, sockets: "Collection[Socket]") -> None:
        self._redis = redis
        self._sockets = sockets

    def reads_here(self, run_id: UUID) -> bool:
        return any(socket.run_id == run_id for socket in self._sockets)

    async def mark(self, run_id: UUID) -> None:
        """Tell all workers that somebody is about to read this run."""
        await self._set(key_of(run_id), MARK_TTL, run_id)

    async def mark_if_read_here(self, run_id: UUID, look: UUID) -> None:
        if self.reads_here(run_id):
            await self._set(key_of(look), LOOK_TTL, run_id)

    async def _set(self, key: str, ttl: int, run_id: UUID) -> None:
        try:
            await self._redis.ask(lambda: self._redis.client.set(key, "", ex=ttl))
        except RedisDown as exc:
            logger.debug("run=%s could not be marked as read: %s", run_id, exc)

    async def remain(self, run_id: UUID, *, within: float) -> bool:
        """Return True if somebody reads this run now, or begins to within these seconds.

        Half of them are for the answers of other workers. If Redis doesn't tell, some may.
        """
        look = uuid4()
        marks = (key_of(look), key_of(run_id))
        await asyncio.sleep(within / 2)
        await send_look_for_readers(run_id, look)
        await asyncio.sleep(within / 2)
        if self.reads_here(run_id):
            return True
        try:
            return bool(await self._redis.ask(lambda: self._redis.client.exists(*marks)))
        except RedisDown as exc:
            logger.warning("run=%s goes on, because readers elsewhere are unknown: %s", run_id, exc)
            return True


def key_of(what: UUID) -> str:
    return f"fleet:read:{what}"
