"""The log of a live run, in the memory of the process that drives it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import islice
from uuid import UUID

from chat.protocol.events import (
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
    encode,
    stamp,
)

from .replay import Entry, is_step, renumber_ending, snapshot_of

WINDOW = 256  # events kept in memory for followers
MAX_STEPS = 1000  # events, text aside, kept for a follower that joins late
MAX_PENDING = 5000  # events kept for Redis while it is away


type Rest = Callable[[], Awaitable[None]]


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
