"""A run's events as the events of a response.

`sequence_number` counts what is told from the run's first event on, so it follows from the run's
log alone: whoever reads on behind a number gets, on any worker, exactly the rest. Each takeover of
the run begins at a number of its own, because the worker before may have told readers in its own
process more than the log has. Numbers behind a gap, for which a snapshot stands, don't follow from
the log, which may have all of it later: they are in the upper half of their epoch, and whoever
comes back behind one gets only the ending.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from chat.doors import streams
from chat.doors.errors import object_of
from chat.doors.sse import message
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import Done, Error, StreamEvent
from chat.protocol.terms import Summary
from chat.runs.replay import EPOCH_SIZE, Entry, opens_epoch

from .items import Items
from .objects import IncompleteDetails, ResponseObject, ResponseStatus, UsageObject

BEHIND_GAP = EPOCH_SIZE // 2  # is added to the numbers behind a gap
TERMINALS: dict[ResponseStatus, str] = {
    "completed": "response.completed",
    "failed": "response.failed",
    # The API has no event for it.
    "cancelled": "response.incomplete",
    "incomplete": "response.incomplete",
}


class Rendering(streams.Rendering):
    """Renders one run. `response` is the answer so far, and complete at the run's ending.

    A reader that has seen the numbers up to `after` gets those behind it. If it can't be known what
    it has seen, because the run's first events are gone, it gets the whole answer at the ending.
    `recorded` are the steps of an ended run, in place of events that are gone.
    """

    def __init__(
        self,
        response: ResponseObject,
        *,
        tag: str,
        shows_searches: bool = False,
        shows_steps: bool = True,
        after: int | None = None,
        recorded: Sequence[StreamEvent] = (),
    ) -> None:
        self.response = response
        self._items = Items(tag, self._emit, shows_searches=shows_searches, shows_steps=shows_steps)
        self._after = -1 if after is None else after
        self._recorded = recorded
        self._number = 0  # of the next event
        self._seq = 0  # of the run's last event
        # The reader's place can't be found.
        self._is_lost = self._after >= 0 and self._after % EPOCH_SIZE >= BEHIND_GAP
        self._offset = 0  # of numbers, once there was a gap
        self._pieces: list[bytes] = []

    def events(self, batch: Iterable[Entry]) -> bytes:
        for entry in batch:
            self._place(entry.seq, is_summary=entry.is_summary)
            if not isinstance(entry.event, Done | Error):
                self._items.take(entry.event)
            elif isinstance(entry.event, Done):
                self._end(entry.event.data, None)
            else:
                self._end(entry.event.data, entry.event.error)
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)

    def refusal(self, error: ErrorInfo) -> bytes:
        """Return an event that isn't the run's ending: it may go on."""
        told = object_of(error)
        self._is_lost = False
        self._number = max(self._number, self._after + 1)
        self._emit("error", code=told.code, message=told.message, param=told.param)
        return self._pieces.pop()

    def _place(self, seq: int, *, is_summary: bool) -> None:
        """Note the place of the run's next event."""
        is_first = self._seq == 0
        is_takeover = opens_epoch(seq) and seq > 1
        has_gap = is_summary or (seq != self._seq + 1 and (is_first or not is_takeover))
        self._seq = seq
        if has_gap and self._number <= self._after:
            self._is_lost = True
        if is_first:
            for kind in ("response.created", "response.in_progress"):
                self._emit(kind, response=self.response)
        if has_gap and not self._is_lost and not self._offset:
            self._offset = BEHIND_GAP
            self._number += BEHIND_GAP
        if has_gap and is_first:
            for event in self._recorded:
                self._items.take(event)
        elif has_gap:
            self._items.take_sources(self._recorded)
        if is_takeover:
            self._number = max(self._number, seq + self._offset)

    def _end(self, summary: Summary, error: ErrorInfo | None) -> None:
        response = self.response
        status = summary.status
        if error:
            response.status = "failed"
            response.error = object_of(error)
        elif status == "cancelled":
            response.status = "cancelled"
            response.incomplete_details = IncompleteDetails("cancelled")
        elif status == "paused":
            response.status = "incomplete"
            response.incomplete_details = IncompleteDetails("paused")
        else:
            response.status = "completed"
        self._items.close(is_complete=response.status == "completed")
        response.output = self._items.output
        response.usage = UsageObject.of(summary.usage)
        if summary.timings.total_ms is not None:
            response.completed_at = response.created_at + int(summary.timings.total_ms / 1000)
        # The ending is never left out, or the reader would wait for ever.
        self._is_lost = False
        self._number = max(self._number, self._after + 1)
        self._emit(TERMINALS[response.status], response=response)

    def _emit(self, kind: str, **fields: Any) -> None:
        number = self._number
        self._number += 1
        if self._is_lost or number <= self._after:
            return
        data = {"type": kind, "sequence_number": number, **fields}
        self._pieces.append(message(msgspec.json.encode(data), event=kind))
