"""Follow a run that another process drives, or drove."""

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

from chat.database import read_in_database
from tooling.bounded import RedisDown

from .log import Rest
from .replay import Entry, Replay, Stored
from .rows import ROW_POLL_INTERVAL, row_state
from .store import LogStore

ROW_CHECK_INTERVAL = 5.0  # seconds without an event after which a follower checks the row


async def follow_stored(
    store: LogStore, run_id: UUID, after: int, *, compact: bool, rest: Rest | None = None
) -> AsyncGenerator[list[Entry]]:
    """Yield the events of the run behind `after`, in batches, up to its terminal event.

    Read the log in Redis. If it has a gap, or Redis doesn't answer, read the row instead: it is
    older than the log, but never has a gap. Arguments as in `RunLog.follow`.
    """
    replay = Replay(run_id, seen=after, compact=compact)
    wait = 0.0  # The first read returns what is stored; later ones wait for more.
    while True:
        stored = await read_log(store, run_id, replay.cursor, wait=wait)
        wait = ROW_CHECK_INTERVAL
        if stored is not None and stored.connects(replay.cursor):
            batch = replay.from_log(stored)
        else:
            batch = replay.from_row(await read_in_database(row_state, run_id))
            if not batch and (stored is None or stored.entries):
                # The read didn't wait: Redis is away, or its log begins behind a gap. Don't spin.
                await asyncio.sleep(ROW_POLL_INTERVAL)
        if batch:
            yield batch
            if batch[-1].is_terminal:
                return
            if rest:
                await rest()


async def read_log(store: LogStore, run_id: UUID, cursor: int, *, wait: float) -> Stored | None:
    """Return what Redis holds behind `cursor`. Return None if it doesn't answer."""
    try:
        return await store.read(run_id, cursor, wait=wait)
    except RedisDown:
        return None
