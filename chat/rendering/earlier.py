"""What an answer keeps of the workers and the paused runs before."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from chat.protocol.events import (
    AgentOutput,
    ReasoningCompleted,
    ReasoningDelta,
    StreamEvent,
    is_cut_end,
)
from chat.protocol.payloads import ResumedData
from chat.protocol.terms import Ending, Summary

from .asks import AskView


@dataclass(frozen=True, slots=True)
class Earlier:
    """The paused runs that an answer goes on with, oldest first: one article shows them all.

    `first_id` is the first run's. All ids of elements begin with it.
    """

    first_id: str
    steps: Sequence[StreamEvent] = ()
    asks: Sequence[AskView] = ()
    figures: Sequence[Summary] = ()

    def with_their_figures(self, ending: Ending) -> Ending:
        """Return the ending with the figures of all runs together. Each run has only its own."""
        timings, usage, cost = ending.timings, ending.usage, ending.cost
        total_ms = timings.total_ms
        for each in self.figures:
            usage += each.usage
            cost = None if cost is None or each.cost is None else cost + each.cost
            if total_ms is not None:
                total_ms += each.timings.total_ms or 0
        timings = msgspec.structs.replace(timings, total_ms=total_ms)
        return msgspec.structs.replace(ending, timings=timings, usage=usage, cost=cost)


def still_told[E: StreamEvent](told: Sequence[E], resumed: ResumedData) -> list[E]:
    """Return the events that still hold after another worker took the run over.

    Steps behind `from_seq` are told again, and those that ended cut. Thinking that was not complete
    is void if its agent works again.
    """
    kept: list[E] = []
    is_void = set(resumed.redone)
    is_whole: set[str] = set()  # the agents whose thinking, up to here, was completed later
    for event in reversed(told):
        if event.seq > resumed.from_seq or is_cut_end(event):
            continue
        if isinstance(event, ReasoningCompleted | AgentOutput):
            is_whole.add(event.agent_id)
        elif isinstance(event, ReasoningDelta) and event.agent_id in is_void - is_whole:
            continue
        kept.append(event)
    return kept[::-1]
