"""A run's row as values for followers."""

from uuid import UUID

from chat.models import Run
from chat.protocol.events import StreamEvent, ending_events
from chat.protocol.requests import MAX_SEQ
from chat.protocol.terms import DELETED

from .replay import Transcript

ROW_POLL_INTERVAL = 0.5  # seconds between two looks at a row that will hold an ending soon


def find_row(run_id: UUID) -> Run | None:
    """Return the run with its answer. Return None if its conversation was deleted."""
    return Run.objects.select_related("answer").filter(pk=run_id).first()


def row_ending_events(row: Run) -> list[StreamEvent]:
    """Return the ending that a row records; nothing while the run is live.

    Its events have the seqs that the run gave them, or 0 if the run was lost.
    """
    ending = row.recorded_ending
    if ending is None:
        return []
    events = ending_events(ending, row.answer.text)
    if not ending.lost:
        for seq, event in enumerate(events, row.last_seq - len(events) + 1):
            event.seq = seq
    return events


def is_past_ending(row: Run, seq: int) -> bool:
    """Return True if a follower that has seen the events up to `seq` has seen the ending.

    That of a lost run has no place of its own, so only a cursor behind all of them is past it.
    """
    ending = row.recorded_ending
    return ending is not None and seq >= (MAX_SEQ if ending.lost else row.last_seq)


def row_state(run_id: UUID) -> Transcript:
    """Return what the row knows of a run. The ending of a deleted run has no seqs."""
    row = find_row(run_id)
    if row is None:
        return Transcript(run_id, ending=ending_events(DELETED, ""))
    ending = row_ending_events(row)
    if not ending:
        return Transcript(run_id, last_seq=row.last_seq, text=row.text_so_far)
    is_numbered = ending[0].seq > 0
    last_seq = row.last_seq - len(ending) if is_numbered else row.last_seq
    return Transcript(run_id, last_seq=last_seq, text=row.answer.text, ending=ending)
