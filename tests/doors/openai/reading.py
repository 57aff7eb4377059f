"""Events as a log has them, and what a client of chat completions reads of a stream."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from chat.protocol.events import StreamEvent
from chat.runs.replay import Entry, entry_of
from tests.rendering.events import RUN


def entries(events: Iterable[StreamEvent]) -> list[Entry]:
    run_id = UUID(RUN)
    return [entry_of(event, seq=seq, run_id=run_id) for seq, event in enumerate(events, 1)]


def chunks_in(body: str) -> list[dict[str, Any]]:
    """Return the data of a stream, without the last one, which must be [DONE]."""
    data = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data:")]
    assert data[-1] == "[DONE]"
    return [json.loads(each) for each in data[:-1]]


def deltas(chunks: Sequence[dict[str, Any]], field: str = "content") -> str:
    """Return one field of all deltas together."""
    found = [choice["delta"].get(field) for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(filter(None, found))


def finish_reasons(chunks: Sequence[dict[str, Any]]) -> list[str]:
    found = [choice["finish_reason"] for chunk in chunks for choice in chunk.get("choices", ())]
    return [reason for reason in found if reason]
