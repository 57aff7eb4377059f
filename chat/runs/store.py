"""The logs of all runs in Redis.

Events that are written together, up to MAX_EVENTS_PER_ENTRY, are one entry; its id is `<seq of the last>-0`. A batch that was
perhaps stored already is written again with what came since, so a reader skips what it has. The ending is one entry with the
greatest id there is: a reader at any cursor gets it, and Redis refuses every entry after it, so that "one ending, and last"
holds in the store too.
"""

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec
from redis.exceptions import ResponseError

from chat.protocol.events import (
    StreamEvent,
    decode,
    encode,
)
from tooling.bounded import BoundedRedis

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline
from .log import RunLog
from .replay import Entry, Stored

MAX_EVENTS_PER_ENTRY = 64  # events in one entry of a stored log
READ_BATCH = 32  # entries that are read at once: full ones hold up the loop for some 10 ms
LAST_ID = f"{2**64 - 1}-{2**64 - 1}".encode()
EVENTS = b"events"  # an entry's one field: a JSON array


@dataclass(frozen=True, slots=True)
class Unstored:
    """What the store lacks of a run."""

    run_id: UUID
    entries: Sequence[Entry]
    ending: Sequence[StreamEvent]


class LogStore:
    """The logs of all runs in Redis; RedisDown where it does not answer in time."""

    def __init__(self, url: str, *, ttl: int) -> None:
        self._redis = BoundedRedis(url)
        self._ttl = ttl

    async def write(self, logs: Iterable[RunLog]) -> None:
        """Bring the store up to date with these logs in one round trip; after RedisDown their events are still pending."""
        sent = [(log, Unstored(log.run_id, list(log.pending), list(log.ending))) for log in logs]
        await self._write(part for _, part in sent)
        for log, part in sent:
            log.forget_pending(part.entries)

    async def write_ending(self, run_id: UUID, ending: Sequence[StreamEvent]) -> None:
        """Close the log of a run that another process left open."""
        await self._write([Unstored(run_id, [], ending)])

    async def read(self, run_id: UUID, after: int, *, wait: float = 0) -> Stored:
        """What stands behind `after`, READ_BATCH entries at the most; waits up to `wait` seconds for something to come."""
        block = int(wait * 1000) if wait else None
        cursor = f"{after}-18446744073709551615"

        def call() -> Awaitable[Any]:
            # One more than is wanted, to know whether it is there.
            return self._redis.client.xread(
                {_key(run_id): cursor}, count=READ_BATCH + 1, block=block
            )

        reply: Any = await self._redis.ask(call, blocks=wait)
        entries: list[Entry] = []
        ending: list[StreamEvent] = []
        rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", reply[0][1] if reply else [])
        for entry_id, fields in rows[:READ_BATCH]:
            stored = events_of(fields[EVENTS])
            if entry_id == LAST_ID:
                ending = [entry.event for entry in stored]
            else:
                seen = entries[-1].seq if entries else after
                entries += [entry for entry in stored if entry.seq > seen]
        return Stored(entries, ending, has_more=len(rows) > READ_BATCH)

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _write(self, parts: Iterable[Unstored]) -> None:
        pipe = self._redis.client.pipeline(transaction=False)
        for part in parts:
            self._queue(pipe, part)
        await self._redis.ask(lambda: executed(pipe))

    def _queue(self, pipe: "Pipeline", part: Unstored) -> None:
        key = _key(part.run_id)
        for together in batched(part.entries, MAX_EVENTS_PER_ENTRY, strict=False):
            pipe.xadd(
                key,
                {EVENTS: array_of(entry.payload for entry in together)},
                id=f"{together[-1].seq}-0",
            )
        if part.ending:
            pipe.xadd(key, {EVENTS: array_of(encode(event) for event in part.ending)}, id=LAST_ID)
        if part.ending or (part.entries and part.entries[0].seq == 1):
            pipe.expire(key, self._ttl)


def _key(run_id: UUID) -> str:
    return f"fleet:log:{run_id}"


def array_of(payloads: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(payloads) + b"]"


def events_of(array: bytes) -> list[Entry]:
    events = [
        (bytes(raw), decode(raw)) for raw in msgspec.json.decode(array, type=list[msgspec.Raw])
    ]
    return [Entry(event.seq, payload, event) for payload, event in events]


async def executed(pipe: "Pipeline") -> None:
    """Send the pipeline; raise the first reply that is an error, unless it says that Redis has the entry."""
    for reply in await pipe.execute(raise_on_error=False):
        if isinstance(reply, Exception) and not already_stored(reply):
            raise reply


def already_stored(reply: Exception) -> bool:
    # A pipeline whose answer was lost is sent again; what Redis has, it refuses by its id. Behind an ending it takes nothing.
    return isinstance(reply, ResponseError) and (
        "equal or smaller" in str(reply) or "exhausted the last possible ID" in str(reply)
    )
