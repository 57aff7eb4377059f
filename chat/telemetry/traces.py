"""Traces for OpenTelemetry: off unless a receiver is configured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

from chat.protocol.events import StreamEvent
from chat.protocol.terms import Ending
from chat.trace_context import RunTrace

if TYPE_CHECKING:
    from .otlp import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedRun:
    """What the trace of a run is made of. A run that was lost has no steps and no words."""

    trace: RunTrace
    ending: Ending
    started_ns: int  # of the epoch, as below
    ended_ns: int
    conversation_id: UUID
    mode: str
    epoch: int = 0
    continues: UUID | None = None  # the paused run that it goes on with
    measured: Sequence[StreamEvent] = ()  # with times and usage
    steps: Sequence[StreamEvent] = ()  # with what was asked and said
    question: str = ""
    answer: str = ""


class Drops:
    """How many spans of this process were lost. Each count is written by one thread."""

    at_queue = 0  # it was full
    at_receiver = 0  # it was away, or refused them


def dropped() -> int:
    """Return how many spans of this process were not delivered."""
    return Drops.at_queue + Drops.at_receiver


def open_traces(worker: str) -> "Traces | None":
    """Return the export of a worker's traces; None if no receiver is configured."""
    if not settings.FLEET_TRACES:
        return None
    # An optional package, and importing it takes 0.15 s.
    from .otlp import Traces  # noqa: PLC0415

    return Traces(worker)
