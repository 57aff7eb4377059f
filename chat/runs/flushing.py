"""Bring the logs of this worker's runs to Redis, and report when Redis fails and recovers."""

import asyncio
import logging
from collections.abc import Callable

from tooling.bounded import RedisDown
from tooling.sentences import sentence

from .log import RunLog
from .store import LogStore

logger = logging.getLogger(__name__)

FLUSH_INTERVAL = 0.05  # seconds; events that arrive meanwhile share one round trip
MAX_KEPT = 50  # logs of ended runs while Redis is away: long ones hold megabytes

REDIS_GONE = (
    "redis_gone",
    sentence("Redis does not answer. This answer goes on; joining it from elsewhere takes longer."),
)
REDIS_BACK = ("redis_back", sentence("Redis answers again."))


class LogFlusher:
    """Collects changed logs and writes them to Redis."""

    def __init__(self, store: LogStore, *, notify: Callable[[str, str], None]) -> None:
        """Call `notify` with a code and a message once when Redis fails, and when it recovers."""
        self.store = store
        self.notify = notify
        self.changed: set[RunLog] = set()  # since the last write
        self.has_changed = asyncio.Event()
        self.has_redis = True

    def add(self, log: RunLog) -> None:
        """Write this log soon. Returns at once: it is called for every event."""
        self.changed.add(log)
        self.has_changed.set()

    async def keep_flushing(self) -> None:
        """Write changed logs for as long as the worker lives."""
        while True:
            await self.has_changed.wait()
            await self.flush()
            await asyncio.sleep(FLUSH_INTERVAL)

    async def flush(self) -> None:
        """Write the changed logs. Keep them for the next time if Redis doesn't answer."""
        self.has_changed.clear()
        logs, self.changed = self.changed, set()
        try:
            await self.store.write(logs)
        except RedisDown as exc:
            self.note_redis(is_there=False, why=str(exc))
            ended = [log for log in logs if log.ending]
            # A log that is dropped here loses nothing but speed: the run's row has its ending, and
            # the log is closed from there.
            self.changed |= logs.difference(ended[MAX_KEPT:])
            self.has_changed.set()
        else:
            self.note_redis(is_there=True)

    def note_redis(self, *, is_there: bool, why: str = "") -> None:
        """Log and notify if Redis has failed or recovered since the last write."""
        if is_there == self.has_redis:
            return
        self.has_redis = is_there
        code, message = REDIS_BACK if is_there else REDIS_GONE
        logger.warning("%s %s", code, why)
        self.notify(code, message)
