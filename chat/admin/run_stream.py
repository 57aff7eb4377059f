"""A run's events as JSON lines: from its log in Redis, later from its row."""

from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID

import msgspec
from django.conf import settings
from redis.exceptions import RedisError

from chat.models import Run
from chat.protocol.events import StreamEvent, stored
from chat.runs.replay import Entry
from chat.runs.rows import row_ending_events
from chat.runs.store import EVENTS, READ_BATCH, events_of, key_of
from tooling.bounded import blocking_client
from tooling.decoding import UNREADABLE_JSON


class LogUnavailable(Exception):
    """Raised if Redis doesn't answer in time, or holds something else than a log."""


def entries_of_log(run_id: UUID) -> list[Entry]:
    """Return what the run's log in Redis holds so far; nothing if it isn't kept any longer.

    Raise LogUnavailable.
    """
    if not settings.REDIS_URL:
        return []
    client = blocking_client(settings.REDIS_URL)
    found, after = list[Entry](), b"-"
    try:
        while True:
            reply = client.xrange(key_of(run_id), min=after, count=READ_BATCH)
            batch = cast("list[tuple[bytes, dict[bytes, bytes]]]", reply)
            for _, fields in batch:
                seen = found[-1].seq if found else 0
                # Events may be stored twice. Those of a lost run's ending have no seq.
                found += [each for each in events_of(fields[EVENTS]) if not 0 < each.seq <= seen]
            if len(batch) < READ_BATCH:
                return found
            after = b"(" + batch[-1][0]
    except (RedisError, OSError, *UNREADABLE_JSON) as exc:
        raise LogUnavailable(str(exc)) from exc
    finally:
        client.close()


def steps_of(run: Run) -> list[StreamEvent] | None:
    """Return the run's steps from its row. A live or lost run has them only in its log.

    Return None if that can't be read now.
    """
    if run.steps:
        return list(run.recorded_steps)
    try:
        return [entry.event for entry in entries_of_log(run.pk)]
    except LogUnavailable:
        return None


def lines_of_row(run: Run) -> Iterator[bytes]:
    """Yield the run's steps and its ending as its row keeps them: without deltas."""
    steps: list[dict[str, Any]] = run.steps
    for step in (*steps, *map(stored, row_ending_events(run))):
        yield msgspec.json.encode(step)
