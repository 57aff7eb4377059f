"""Compose what a follower of a run gets, from what is known of the run. No I/O.

A follower has seen the events up to a seq and gets those behind it. If deltas are left out, a
snapshot (the whole answer up to a seq) takes their place. A JSON follower continues behind its
cursor. A page asks for a compact start: all steps, because it draws later ones inside earlier
ones, then one snapshot, whose seq is never below what the page has seen.

live     This process drives the run. It knows the steps, the text and the latest events. The
         ending has its place in the log.
stored   Another process drives the run, or drove it. The log in Redis has every event, up to
         50 ms late. If the log has a gap, the row has the text as of the last renewal, but no
         steps. An ending has the seqs that its run gave it.
resumed  Another worker goes on with the run, in a new epoch. Epoch k counts from k * EPOCH_SIZE, so
         nothing that an earlier worker still writes can come after it. It opens with a snapshot,
         which replaces all that followers may have seen of earlier epochs and closes the gap.
lost     A reaper ended the run for a worker that died, or the conversation was deleted. Nothing
         says how far the followers have read, so the ending's events have seq 0, and each
         follower gets them behind all that it may have seen.

Example: 1 connected, 2 step, 3 delta "a", 4 delta "b", 5 step, 6 delta "c", 7 delta "d", then the
ending 8 response.completed, 9 done. A follower that has seen 3 events gets

live, and only 7 to 9 are in the window   4 snapshot "ab", 5, 7 snapshot "abcd", 8, 9
live or stored, with a compact start      1, 2, 5, 7 snapshot "abcd", 8, 9
stored, from the log                      4, 5, 6, 7, 8, 9
stored, from the row                      7 snapshot "abcd", 8, 9
lost after 7 events, the row at 4         4, 5, 6, 7, 8 snapshot "ab", 9 error

A follower that has seen 8 gets 9. One that claims to have seen 5000 gets the terminal as 5001: the
terminal is never left out, or a client would wait for ever.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from uuid import UUID
from weakref import ref

import msgspec

from chat.protocol.events import (
    TERMINAL,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    StreamEvent,
    encode,
    stamp,
)
from chat.protocol.payloads import SnapshotData

EPOCH_SIZE = 10_000_000  # seqs of one epoch
WINDOW = 256  # latest events that are kept as they are
MAX_STEPS = 1000  # steps kept for followers that join late


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Entry:
    """One event with its place in the run and its encoded form.

    `is_summary`: it is not in the log, but stands for events that are left out.
    """

    seq: int
    payload: bytes
    event: StreamEvent
    is_summary: bool = False

    @property
    def is_terminal(self) -> bool:
        return isinstance(self.event, TERMINAL)


def first_seq(epoch: int) -> int:
    """Return the seq of the first event that the worker of this epoch tells."""
    return epoch * EPOCH_SIZE or 1


def opens_epoch(seq: int) -> bool:
    return seq == 1 or seq % EPOCH_SIZE == 0


def entry_of(event: StreamEvent, *, seq: int, run_id: UUID) -> Entry:
    """Stamp the event in place and return it as an entry."""
    stamp(event, seq=seq, workflow_id=str(run_id))
    return Entry(seq, encode(event), event)


def snapshot_of(text: str, *, seq: int, run_id: UUID) -> Entry:
    """Return the answer up to `seq` as one event, in place of the deltas that are left out."""
    entry = entry_of(ResponseSnapshot(data=SnapshotData(text)), seq=seq, run_id=run_id)
    return replace(entry, is_summary=True)


def renumber_ending(ending: Sequence[StreamEvent], *, after: int, run_id: UUID) -> list[Entry]:
    """Return the ending for a follower that has seen the events up to `after`.

    Leave out events that it has seen, but never the terminal. Give events that have no seq, or one
    that the follower has passed, the next free one.
    """
    if not ending:
        return []
    *before, terminal = ending
    entries = []
    for event in before:
        if event.seq == 0 or event.seq > after:
            after = max(after + 1, event.seq)
            entries.append(renumbered(event, seq=after, run_id=run_id))
    return [*entries, renumbered(terminal, seq=max(after + 1, terminal.seq), run_id=run_id)]


def renumbered(event: StreamEvent, *, seq: int, run_id: UUID) -> Entry:
    """Return the event with this seq. Copy it if it has another: other followers share it."""
    if event.seq == seq and event.timestamp:
        return Entry(seq, encode(event), event)
    return entry_of(msgspec.structs.replace(event), seq=seq, run_id=run_id)


class Transcript:
    """What is known of a run: its steps, its text, its latest events, and its ending.

    A log is added entry by entry. A row has only the text and the ending.
    """

    def __init__(
        self,
        run_id: UUID,
        *,
        last_seq: int = 0,
        text: str = "",
        ending: Sequence[StreamEvent] = (),
    ) -> None:
        self.run_id = run_id
        self.last_seq = last_seq  # of the last event before the ending
        self.ending = ending
        # Without a gap, up to the run's last event: nothing of earlier epochs. An ending that has
        # its place here is included.
        self.window: deque[Entry] = deque(maxlen=WINDOW)
        self._steps: list[tuple[Entry, int]] = []  # each with the length of the text before it
        self._text = [text]
        self._length = len(text)
        # The newest snapshot, for as long as a follower holds it: it may have megabytes.
        self._snapshot: ref[Entry] | None = None

    @property
    def text(self) -> str:
        """The answer so far."""
        self._text = ["".join(self._text)]
        return self._text[0]

    @property
    def steps(self) -> list[Entry]:
        return [entry for entry, _ in self._steps]

    def has_all_behind(self, seen: int) -> bool:
        """Return True if every event behind `seen` is in the window."""
        return bool(self.window) and self.window[0].seq <= seen + 1

    def add(self, entry: Entry) -> None:
        """Add the run's next event, which isn't part of its ending."""
        if entry.seq != self.last_seq + 1:
            self.window.clear()
        self.last_seq = entry.seq
        self.window.append(entry)
        event = entry.event
        if isinstance(event, ResponseDelta):
            self._text.append(event.delta)
            self._length += len(event.delta)
        elif isinstance(event, ResponseSnapshot):
            self._text = [event.data.text]
            self._length = len(event.data.text)
        elif not isinstance(event, ReasoningDelta) and len(self._steps) < MAX_STEPS:
            self._steps.append((entry, self._length))

    def behind(self, seen: int, *, compact: bool) -> list[Entry]:
        """Return what a follower gets behind `seen`. Return nothing if it must wait.

        `compact`: return all steps and one snapshot that covers `seen`, even if nothing is new.
        """
        if compact:
            return self.compact_start(seen)
        if self.window:
            missing = self.window[-1].seq - seen
            if missing == 1:
                # The usual case, for every delta and every follower: allocate nothing else.
                return [self.window[-1]]
            if 1 < missing <= len(self.window):
                return list(islice(reversed(self.window), missing))[::-1]
        return self.catch_up(seen)

    def compact_start(self, seen: int) -> list[Entry]:
        if self.last_seq < max(seen, 1) and not self.ending:
            # A snapshot from before `seen` would take text back from the page.
            return []
        at = max(seen, self.last_seq)
        snapshot = [self.snapshot(at)] if self.last_seq else []
        return [*self.steps, *snapshot, *self.ending_after(at)]

    def catch_up(self, seen: int) -> list[Entry]:
        """Return the steps behind `seen` and the ending, with a snapshot where events are left out.

        Each snapshot has the text as it was there: a follower that disconnects between any two of
        these events and rejoins has lost nothing.
        """
        entries: list[Entry] = []
        for step, length in self._steps:
            if step.seq > seen + 1:
                text = self.text[:length]
                entries.append(snapshot_of(text, seq=step.seq - 1, run_id=self.run_id))
            if step.seq > seen:
                entries.append(step)
                seen = step.seq
        if self.last_seq > seen:
            entries.append(self.snapshot(self.last_seq))
        return [*entries, *self.ending_after(max(seen, self.last_seq))]

    def snapshot(self, seq: int) -> Entry:
        """Return the whole answer so far, as one event that followers share.

        `seq`: not below the last one, so that there is one text for it.
        """
        shared = self._snapshot() if self._snapshot else None
        if shared is None or shared.seq != seq:
            shared = snapshot_of(self.text, seq=seq, run_id=self.run_id)
            self._snapshot = ref(shared)
        return shared

    def ending_after(self, seq: int) -> list[Entry]:
        if self.ending and self.has_all_behind(seq) and self.window[-1].seq > seq:
            # It has its place here, and is encoded: its text may have megabytes, too.
            return [entry for entry in self.window if entry.seq > seq]
        return renumber_ending(self.ending, after=seq, run_id=self.run_id)


@dataclass(frozen=True, slots=True)
class Stored:
    """What Redis holds of a run's log behind a cursor."""

    entries: list[Entry]
    ending: list[StreamEvent]
    has_more: bool = False  # behind these entries

    def last_seq(self, cursor: int) -> int:
        return self.entries[-1].seq if self.entries else cursor

    def connects(self, cursor: int) -> bool:
        """Return True if there is something behind `cursor`, without a gap.

        Only the opening of an epoch closes a gap. Another snapshot may be all that is left of a
        log, whose steps are lost.
        """
        for entry in self.entries:
            is_next = entry.seq == cursor + 1
            if not is_next and not (entry.seq > cursor and opens_epoch(entry.seq)):
                return False
            cursor = entry.seq
        if self.ending:
            return self.ending[0].seq <= cursor + 1
        return bool(self.entries)


class Replay:
    """Compose the batches of one follower of a run that another process drives, or drove."""

    def __init__(self, run_id: UUID, *, seen: int, compact: bool) -> None:
        self.run_id = run_id
        self.seen = seen
        self.cursor = 0 if compact else seen  # up to which the log has been read
        # Collects a compact start, which may take several reads; None without one, or after it.
        self._start = Transcript(run_id) if compact else None

    def from_log(self, stored: Stored) -> list[Entry]:
        """Return what to send after this read; nothing while a compact start is incomplete.

        `stored` must connect to the cursor.
        """
        self.cursor = stored.last_seq(self.cursor)
        if self._start is None:
            ending = renumber_ending(stored.ending, after=self.cursor, run_id=self.run_id)
            return self._hand_out([*stored.entries, *ending])
        for entry in stored.entries:
            self._start.add(entry)
        if stored.has_more and not stored.ending:
            return []
        self._start.ending = stored.ending
        return self._hand_out(self._start.behind(self.seen, compact=True))

    def from_row(self, row: Transcript) -> list[Entry]:
        """Return what the row knows and the follower doesn't."""
        if row.ending and row.ending[0].seq == 0:
            # Lost. The ending begins with a snapshot of its own.
            seen = max(self.seen, self.cursor, row.last_seq)
            return self._hand_out(renumber_ending(row.ending, after=seen, run_id=self.run_id))
        return self._hand_out(row.behind(self.seen, compact=self._start is not None))

    def _hand_out(self, batch: list[Entry]) -> list[Entry]:
        if batch:
            self.seen = self.cursor = batch[-1].seq
            self._start = None
        return batch
