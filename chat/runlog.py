"""The ordered, replayable log of a run: live in the process that answers, in a Redis Stream for everyone else.

In Redis the events that are written together, up to MAX_EVENTS_PER_ENTRY, are one entry; its id is `<seq of the last>-0`. What was
perhaps stored already is written again with what came since, so a reader skips what it has. The ending is one entry with the
greatest id there is: a reader at any cursor gets it, and Redis refuses every entry after it, so that "one ending, and last"
holds in the store too.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import batched, islice
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec
from redis.exceptions import ResponseError

from tooling.bounded import BoundedRedis

from .protocol.events import (
    TERMINAL,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    SnapshotData,
    StreamEvent,
    decode,
    encode,
    stamp,
)

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline

WINDOW = 256  # events kept in memory for followers
MAX_STEPS = 1000  # events, text aside, kept for a follower that joins late
MAX_EVENTS_PER_ENTRY = 64  # events in one entry of a stored log
READ_BATCH = 32  # entries that are read at once: full ones hold up the loop for some 10 ms
MAX_PENDING = 5000  # events kept for Redis while it is away
LAST_ID = f"{2**64 - 1}-{2**64 - 1}".encode()
EVENTS = b"events"  # an entry's one field: a JSON array


type Rest = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One event with its place in the run and its encoded form."""

    seq: int
    payload: bytes
    event: StreamEvent

    @property
    def is_terminal(self) -> bool:
        return isinstance(self.event, TERMINAL)


def entry_of(event: StreamEvent, *, seq: int, run_id: UUID) -> Entry:
    stamp(event, seq=seq, workflow_id=str(run_id))
    return Entry(seq, encode(event), event)


def snapshot_of(text: str, *, seq: int, run_id: UUID) -> Entry:
    """The answer so far as an event of its own, for a follower that cannot be given every delta."""
    return entry_of(ResponseSnapshot(data=SnapshotData(text)), seq=seq, run_id=run_id)


def renumber_ending(ending: Sequence[StreamEvent], *, cursor: int, run_id: UUID) -> list[Entry]:
    """An ending's events as a follower at `cursor` gets them: what it has seen is left out, the terminal never."""
    *before, terminal = ending
    entries = []
    for event in before:
        if event.seq == 0 or event.seq > cursor:
            cursor = max(cursor + 1, event.seq)
            entries.append(renumbered(event, seq=cursor, run_id=run_id))
    return [*entries, renumbered(terminal, seq=max(cursor + 1, terminal.seq), run_id=run_id)]


def renumbered(event: StreamEvent, *, seq: int, run_id: UUID) -> Entry:
    """The event at this place: itself where it already stands there, else a copy, since others follow the original."""
    if event.seq == seq and event.timestamp:
        return Entry(seq, encode(event), event)
    return entry_of(msgspec.structs.replace(event), seq=seq, run_id=run_id)


def compacted(entries: Sequence[Entry], *, seen: int, run_id: UUID) -> list[Entry]:
    """A run's events from its beginning as its steps and one snapshot, for a follower that has seen events up to `seen`."""
    text: list[str] = []
    for entry in entries:
        match entry.event:
            case ResponseDelta():
                text.append(entry.event.delta)
            case ResponseSnapshot():
                text = [entry.event.data.text]
    steps = [entry for entry in entries if is_step(entry.event)]
    return (
        [*steps, snapshot_of("".join(text), seq=max(seen, entries[-1].seq), run_id=run_id)]
        if entries
        else []
    )


def is_step(event: StreamEvent) -> bool:
    """Whether a follower that joins late is shown this event; for the others one snapshot stands."""
    return not isinstance(event, ResponseDelta | ReasoningDelta | ResponseSnapshot)


class RunLog:
    """A live run's events. One writer appends; followers read at their own pace and are woken at once."""

    def __init__(self, run_id: UUID, *, on_change: Callable[["RunLog"], None]) -> None:
        self.run_id = run_id
        self._workflow_id = str(run_id)
        self.last_seq = 0
        self.changed_at = time.monotonic()
        self.pending: deque[Entry] = deque(maxlen=MAX_PENDING)  # not yet in Redis
        self.ending: list[StreamEvent] = []
        self.fault: Callable[[], Exception] | None = (
            None  # makes what is raised to each follower, while there is one
        )
        self._on_change = on_change
        self._window: deque[Entry] = deque(maxlen=WINDOW)
        self._steps: list[tuple[Entry, int]] = []  # each with how long the answer was then
        self._text: list[str] = []
        self._length = 0  # characters of the answer
        self._wakers: set[asyncio.Event] = set()

    @property
    def text(self) -> str:
        """The answer so far."""
        self._text = ["".join(self._text)]
        return self._text[0]

    @property
    def steps(self) -> list[StreamEvent]:
        return [entry.event for entry, _ in self._steps]

    def append(self, event: StreamEvent) -> None:
        """Give the event its place and show it to everybody. After the ending it is dropped."""
        if self.ending:
            return
        entry = self._place(event)
        self.pending.append(entry)
        if isinstance(event, ResponseDelta):
            self._text.append(event.delta)
            self._length += len(event.delta)
        elif isinstance(event, ResponseSnapshot):
            self._text = [event.data.text]
            self._length = len(event.data.text)
        if is_step(event) and len(self._steps) < MAX_STEPS:
            self._steps.append((entry, self._length))
        self._changed()

    def close(self, ending: Sequence[StreamEvent]) -> None:
        """End the log, once, with the run's ending."""
        assert not self.ending
        self.ending = list(ending)
        for event in ending:
            self._place(event)
        self._changed()

    def forget_pending(self, stored: Sequence[Entry]) -> None:
        """Redis has these, and all before them."""
        while stored and self.pending and self.pending[0].seq <= stored[-1].seq:
            self.pending.popleft()

    def fail(self, fault: Callable[[], Exception]) -> None:
        """Let no follower wait any longer: raise what this makes to each that has read what there is."""
        self.fault = fault
        self._wake()

    async def follow(
        self, after: int, *, compact: bool, rest: Rest | None = None
    ) -> AsyncGenerator[list[Entry]]:
        """What comes behind `after`, in the batches in which it became known, to the ending.

        `compact`: begin with all steps and one snapshot that covers `after`. `rest` is waited for once there is more: what comes
        meanwhile is in the same batch. Raises the log's `fault`.
        """
        waker = asyncio.Event()
        self._wakers.add(waker)
        try:
            cursor = after
            while True:
                covers = self.last_seq >= after or self.ending
                if batch := self._fold(seen=after) if compact and covers else self._since(cursor):
                    yield batch
                    cursor = batch[-1].seq
                    if batch[-1].is_terminal:
                        return
                    compact = False
                if not (self.ending or self.last_seq > cursor):
                    if self.fault:
                        raise self.fault()
                    await waker.wait()
                if rest:
                    await rest()
                waker.clear()
        finally:
            self._wakers.discard(waker)

    def _since(self, cursor: int) -> list[Entry]:
        if self.ending and cursor >= self.last_seq:
            return self._ending_behind(cursor)
        if cursor >= self.last_seq:
            return []
        if cursor == self.last_seq - 1:
            return [self._window[-1]]
        if cursor < self._window[0].seq - 1:
            return self._catch_up(cursor)
        newest_first = list(islice(reversed(self._window), self.last_seq - cursor))
        return newest_first[::-1]

    def _fold(self, *, seen: int) -> list[Entry]:
        """All steps, a snapshot, and the ending if there is one, for a follower that joins and has seen events up to `seen`."""
        before_ending = max(seen, self.last_seq - len(self.ending))
        snapshot = snapshot_of(self.text, seq=before_ending, run_id=self.run_id)
        return [*(entry for entry, _ in self._steps), snapshot, *self._ending_behind(before_ending)]

    def _catch_up(self, cursor: int) -> list[Entry]:
        """The steps behind `cursor` and the ending. A snapshot stands where events are left out, of the answer as it was there: a
        follower that goes away between any two of these has lost nothing when it comes back.
        """
        entries: list[Entry] = []
        for step, length in self._steps:
            if step.seq > cursor + 1:
                entries.append(
                    snapshot_of(self.text[:length], seq=step.seq - 1, run_id=self.run_id)
                )
            if step.seq > cursor:
                entries.append(step)
                cursor = step.seq
        before_ending = self.last_seq - len(self.ending)
        if before_ending > cursor:
            entries.append(snapshot_of(self.text, seq=before_ending, run_id=self.run_id))
        return [*entries, *self._ending_behind(before_ending)]

    def _ending_behind(self, cursor: int) -> list[Entry]:
        return (
            renumber_ending(self.ending, cursor=cursor, run_id=self.run_id) if self.ending else []
        )

    def _place(self, event: StreamEvent) -> Entry:
        self.last_seq += 1
        stamp(event, seq=self.last_seq, workflow_id=self._workflow_id)
        entry = Entry(self.last_seq, encode(event), event)
        self._window.append(entry)
        return entry

    def _changed(self) -> None:
        self.changed_at = time.monotonic()
        self._wake()
        self._on_change(self)

    def _wake(self) -> None:
        for waker in self._wakers:
            waker.set()


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds of a run behind a cursor."""

    entries: list[Entry]
    ending: list[StreamEvent]
    has_more: bool = False  # behind these

    def last_seq(self, cursor: int) -> int:
        return self.entries[-1].seq if self.entries else cursor

    def connects(self, cursor: int) -> bool:
        """Whether this holds something, and all of it, from `cursor` on."""
        for entry in self.entries:
            if entry.seq != cursor + 1:
                return False
            cursor = entry.seq
        if self.ending:
            return self.ending[0].seq <= cursor + 1
        return bool(self.entries)


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
