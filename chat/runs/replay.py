"""The events that a follower gets, composed from what is known of a run. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from chat.protocol.events import (
    TERMINAL,
    ReasoningDelta,
    ResponseDelta,
    ResponseSnapshot,
    SnapshotData,
    StreamEvent,
    encode,
    stamp,
)


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
