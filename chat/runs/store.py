"""The logs of all runs in Redis, one stream for each.

Up to MAX_EVENTS_PER_ENTRY events are one entry, whose id is `<seq of the last event>-0`. A batch
that may have been stored already is written again together with newer events, so readers skip
the events that they have. The ending is one entry with the greatest id that a stream can have: a
reader at any cursor gets it, and Redis refuses every entry after it. So a stored log, too, has one
ending, and nothing follows it. In the same way a worker that goes on with a run shuts out the one
that was taken for dead: its ids are greater.
"""

from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec
from redis.exceptions import ResponseError

from chat.protocol.events import StreamEvent, decode, encode
from tooling.bounded import BoundedRedis

from .log import RunLog
from .replay import Entry, Stored, first_seq, opens_epoch

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

MAX_EVENTS_PER_ENTRY = 64
READ_BATCH = 32  # entries read at once; full ones block the event loop for about 10 ms
LAST_ID = f"{2**64 - 1}-{2**64 - 1}".encode()
EVENTS = b"events"  # an entry's only field: a JSON array


@dataclass(frozen=True, slots=True)
class Unstored:
    """The part of a run's log that Redis lacks."""

    run_id: UUID
    entries: Sequence[Entry]
    ending: Sequence[StreamEvent]
    replaces_stored: bool = False  # what Redis has of earlier epochs is useless


class LogStore:
    """The logs of all runs in Redis. Each call raises RedisDown if Redis doesn't answer in time."""

    def __init__(self, url: str, *, ttl: int) -> None:
        self._redis = BoundedRedis(url)
        self._ttl = ttl

    async def write(self, logs: Iterable[RunLog]) -> None:
        """Write what Redis lacks of these logs, in one round trip.

        After RedisDown their events are still pending.
        """
        sent = [
            (log, Unstored(log.run_id, list(log.pending), list(log.ending), log.replaces_stored))
            for log in logs
        ]
        await self.write_parts(part for _, part in sent)
        for log, part in sent:
            log.forget_pending(part.entries)

    async def write_ending(self, run_id: UUID, ending: Sequence[StreamEvent]) -> None:
        """Close the log of a run that another process left open."""
        await self.write_parts([Unstored(run_id, [], ending)])

    async def fence(self, run_id: UUID, epoch: int) -> bool:
        """Refuse what workers of earlier epochs still write to the log of this run.

        Return False if the log goes beyond this epoch, or has an ending. Then it is of a later
        time than the run's row, and the store refuses what this epoch writes.
        """
        key, last_id = key_of(run_id), f"{first_seq(epoch) - 1}-0"

        def call() -> Awaitable[None]:
            # An entry that is deleted at once: the stream remembers its id. In one transaction, or
            # readers that wait would get an entry without events.
            pipe = self._redis.client.pipeline(transaction=True)
            pipe.xadd(key, {EVENTS: b"[]"}, id=last_id)
            pipe.xdel(key, last_id)
            pipe.expire(key, self._ttl)
            return execute(pipe)

        await self._redis.ask(call)
        stream = await self._redis.ask(lambda: self._redis.client.xinfo_stream(key))
        # Greater only if it was refused, and not because a reply was lost and it was sent again.
        return bool(stream["last-generated-id"] == last_id.encode())

    async def drop(self, run_id: UUID) -> None:
        """Forget the log of this run. Its followers read the row until it has another one."""
        await self._redis.ask(lambda: self._redis.client.delete(key_of(run_id)))

    async def read_all(self, run_id: UUID) -> list[Entry]:
        """Return the events of the log from the first one on; nothing if some are missing."""
        entries: list[Entry] = []
        has_more = True
        while has_more:
            cursor = entries[-1].seq if entries else 0
            stored = await self.read(run_id, cursor)
            if not stored.connects(cursor):
                return []
            entries += stored.entries
            has_more = stored.has_more
        return entries

    async def read(self, run_id: UUID, after: int, *, wait: float = 0) -> Stored:
        """Return the events behind `after`, of at most READ_BATCH entries.

        If there are none, wait up to `wait` seconds for the next entry.
        """
        block = int(wait * 1000) if wait else None
        # XREAD returns entries with greater ids. This is the greatest id that begins with `after`.
        cursor = f"{after}-{2**64 - 1}"

        def call() -> Awaitable[Any]:
            # Ask for one entry more, which tells if there are more.
            return self._redis.client.xread(
                {key_of(run_id): cursor}, count=READ_BATCH + 1, block=block
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

    async def write_parts(self, parts: Iterable[Unstored]) -> None:
        pipe = self._redis.client.pipeline(transaction=False)
        for part in parts:
            self.add_to(pipe, part)
        await self._redis.ask(lambda: execute(pipe))

    def add_to(self, pipe: "Pipeline", part: Unstored) -> None:
        """Add the commands that store this part."""
        key = key_of(part.run_id)
        for batch in batched(part.entries, MAX_EVENTS_PER_ENTRY, strict=False):
            events = array_of(entry.payload for entry in batch)
            pipe.xadd(key, {EVENTS: events}, id=f"{batch[-1].seq}-0")
        if part.ending:
            pipe.xadd(key, {EVENTS: array_of(encode(event) for event in part.ending)}, id=LAST_ID)
        is_opening = bool(part.entries) and opens_epoch(part.entries[0].seq)
        if is_opening and part.replaces_stored:
            pipe.xtrim(key, minid=f"{part.entries[0].seq}-0", approximate=False)
        # Once at the beginning, in case that no ending follows, and anew from the ending on.
        if part.ending or is_opening:
            pipe.expire(key, self._ttl)


def key_of(run_id: UUID) -> str:
    return f"fleet:log:{run_id}"


def array_of(payloads: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(payloads) + b"]"


def events_of(array: bytes) -> list[Entry]:
    events = [
        (bytes(raw), decode(raw)) for raw in msgspec.json.decode(array, type=list[msgspec.Raw])
    ]
    return [Entry(event.seq, payload, event) for payload, event in events]


async def execute(pipe: "Pipeline") -> None:
    """Send the pipeline. Raise the first error, except for entries that are already stored."""
    for reply in await pipe.execute(raise_on_error=False):
        if isinstance(reply, Exception) and not is_already_stored(reply):
            raise reply


def is_already_stored(reply: Exception) -> bool:
    # If the reply to a pipeline is lost, it is sent again, and Redis refuses ids that it has. It
    # also refuses every entry behind an ending.
    return isinstance(reply, ResponseError) and (
        "equal or smaller" in str(reply) or "exhausted the last possible ID" in str(reply)
    )
