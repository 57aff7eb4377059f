"""How frames with html are made: when the next one is due, and without blocking the loop."""

import asyncio
from collections.abc import Iterator
from itertools import groupby
from uuid import UUID

from django.utils import translation

from chat.rendering.answer import AnswerView
from chat.rendering.turns import turn
from chat.runs.replay import Entry, entry_of

from .protocol.events import ResponseDelta, StreamEvent

FRAME_TIME = 0.016  # seconds between two frames of a screen
RENDER_SHARE = 10  # a rendering is followed by a pause of this many times its cost
MAX_PAUSE = 0.5  # seconds between two renderings; only hostile text takes that long to render


def pause_after(cost: float) -> float:
    """Return the seconds until the next frame, if the last one took `cost` seconds to render.

    Frames come no more often than a screen shows them. If rendering is slow, it gets a fixed share
    of the processor, but readers never wait longer than MAX_PAUSE.
    """
    return min(max(FRAME_TIME, RENDER_SHARE * cost), MAX_PAUSE)


async def rendered(view: AnswerView, event: StreamEvent) -> str:
    """Return the event's html. What takes long is rendered in a thread, to keep the loop free."""
    if view.may_take_long(event):
        language = translation.get_language()
        return await asyncio.to_thread(rendered_in_turn, view, event, language)
    return view.render(event)


def rendered_in_turn(view: AnswerView, event: StreamEvent, language: str | None) -> str:
    # Django's active language doesn't come along into the thread.
    with turn, translation.override(language):
        return view.render(event)


def merge_deltas(entries: list[Entry]) -> Iterator[Entry]:
    """Yield the entries, with neighbouring deltas of the answer joined into one."""
    for is_answer, group in groupby(
        entries, key=lambda entry: isinstance(entry.event, ResponseDelta)
    ):
        deltas = list(group)
        if not is_answer or len(deltas) == 1:
            yield from deltas
        else:
            text = "".join(
                entry.event.delta for entry in deltas if isinstance(entry.event, ResponseDelta)
            )
            last = deltas[-1]
            yield entry_of(
                ResponseDelta(delta=text), seq=last.seq, run_id=UUID(last.event.workflow_id)
            )
