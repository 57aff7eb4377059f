"""The log of a live run, in the memory of the process that drives it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol
from uuid import UUID

from chat.protocol.events import StreamEvent, encode, stamp

from .replay import Entry, Transcript, first_seq

MAX_PENDING = 5000  # events kept for Redis while it is away

type Rest = Callable[[], Awaitable[None]]


class Follow(Protocol):
    """Follows a run behind a seq. See `RunLog.follow`."""

    def __call__(
        self, after: int, *, compact: bool, rest: Rest | None
    ) -> AsyncGenerator[list[Entry]]: ...


class RunLog:
    """A live run's events.

    One writer appends. Each follower reads at its own pace and is woken by every change.
    """

    def __init__(
        self,
        run_id: UUID,
        *,
        on_change: Callable[["RunLog"], None],
        epoch: int = 0,
        earlier: Transcript | None = None,
    ) -> None:
        """Go on behind the events of earlier epochs. Without them, drop what Redis has of them."""
        self.run_id = run_id
        self._workflow_id = str(run_id)
        self.replaces_stored = epoch > 0 and earlier is None
        self.last_seq = first_seq(epoch) - 1
        self.changed_at = time.monotonic()
        self.pending: deque[Entry] = deque(maxlen=MAX_PENDING)  # not yet in Redis
        self.transcript = earlier or Transcript(run_id)
        # Follows the run once it goes on elsewhere.
        self.moved_to: Follow | None = None
        self._is_stopped = False
        # Makes what each follower raises, while something is wrong. Each needs an exception of its
        # own: one that is raised by several tasks collects the tracebacks of all.
        self.fault: Callable[[], Exception] | None = None
        self._on_change = on_change
        self._wakers: set[asyncio.Event] = set()

    @property
    def text(self) -> str:
        """The answer so far."""
        return self.transcript.text

    @property
    def steps(self) -> list[StreamEvent]:
        return [entry.event for entry in self.transcript.steps]

    @property
    def ending(self) -> Sequence[StreamEvent]:
        return self.transcript.ending

    def append(self, event: StreamEvent) -> bool:
        """Give the event its place and wake the followers.

        Once the log is stopped, drop it and return False.
        """
        if self._is_stopped:
            # `Work.close` stops a slow workflow before; here no writer can follow the ending.
            return False
        entry = self._place(event)
        self.transcript.add(entry)
        self.pending.append(entry)
        self.mark_changed()
        return True

    def close(self, ending: Sequence[StreamEvent]) -> None:
        """End the log with the run's ending. Call it once."""
        assert not self.transcript.ending
        self._is_stopped = True
        self.transcript.ending = ending
        self.transcript.window.extend([self._place(event) for event in ending])
        self.mark_changed()

    def forget_pending(self, stored: Sequence[Entry]) -> None:
        """Drop these entries, and all before them: Redis has them."""
        while stored and self.pending and self.pending[0].seq <= stored[-1].seq:
            self.pending.popleft()

    def stop(self) -> None:
        """Drop what is told from now on: the run goes on elsewhere."""
        self._is_stopped = True

    def move(self, follow: Follow) -> None:
        """Let each follower go on with `follow`, behind what it has seen here."""
        self.stop()
        self.moved_to = follow
        self.wake()

    def fail(self, fault: Callable[[], Exception]) -> None:
        """Make each follower raise `fault()` once it has read what there is, instead of waiting."""
        self.fault = fault
        self.wake()

    async def follow(
        self, after: int, *, compact: bool, rest: Rest | None = None
    ) -> AsyncGenerator[list[Entry]]:
        """Yield the events behind `after`, in the batches in which they arrive, up to the terminal.

        `compact`: begin with all steps and one snapshot that covers `after`. `rest` is awaited
        once there is more; events that arrive meanwhile are in the same batch. Raise what `fail`
        was given. If the run goes on elsewhere, go on there.
        """
        waker = asyncio.Event()
        self._wakers.add(waker)
        seen = after
        try:
            while True:
                if batch := self.transcript.behind(seen, compact=compact):
                    yield batch
                    seen, compact = batch[-1].seq, False
                    if batch[-1].is_terminal:
                        return
                if self.last_seq <= seen:
                    if self.moved_to:
                        break
                    if self.fault:
                        raise self.fault()
                    await waker.wait()
                if rest:
                    await rest()
                # No event is missed: nothing else runs between this line and the next read.
                waker.clear()
        finally:
            self._wakers.discard(waker)
        assert self.moved_to
        async with aclosing(self.moved_to(seen, compact=compact, rest=rest)) as batches:
            async for batch in batches:
                yield batch

    def _place(self, event: StreamEvent) -> Entry:
        self.last_seq += 1
        stamp(event, seq=self.last_seq, workflow_id=self._workflow_id)
        return Entry(self.last_seq, encode(event), event)

    def mark_changed(self) -> None:
        self.changed_at = time.monotonic()
        self.wake()
        self._on_change(self)

    def wake(self) -> None:
        for waker in self._wakers:
            waker.set()
