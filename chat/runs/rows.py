"""A run's row as values for followers."""

from uuid import UUID

from chat.models import Run
from chat.protocol.events import StreamEvent, ending_events


def find_row(run_id: UUID) -> Run | None:
    return Run.objects.select_related("answer").filter(pk=run_id).first()


def row_ending_events(row: Run) -> list[StreamEvent]:
    """The ending that a row records, with the seqs that its run gave it; nothing while the run is live."""
    ending = row.recorded_ending
    if ending is None:
        return []
    events = ending_events(ending, row.answer.text)
    if not ending.lost:
        for seq, event in enumerate(events, row.last_seq - len(events) + 1):
            event.seq = seq
    return events
