"""A made-up run once it is told: its numbered events, and the ending that they amount to."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from chat.clock import Clock
from chat.protocol.events import ResponseDelta, StreamEvent, ToolComplete
from chat.protocol.payloads import ModelCall, RouteData
from chat.protocol.terms import Ending, Mode
from chat.telemetry.recorder import Recorder

from . import texts

type TimedEvents = list[tuple[float, StreamEvent]]  # each with its milliseconds since the start


class StoryClock(Clock):
    """A clock that is set, for a run that takes no time."""

    def __init__(self) -> None:
        super().__init__(0)
        self.now = 0.0

    @property
    def ms(self) -> float:
        return round(self.now, 2)


@dataclass(frozen=True, slots=True)
class Told:
    """A made-up run. `events` are its steps."""

    question: str
    text: str
    mode: Mode
    events: TimedEvents
    ending: Ending
    last_seq: int
    model: str
    first_route: RouteData | None


def numbered(told: TimedEvents, *, deltas: int) -> tuple[TimedEvents, int]:
    """Give the steps their seqs and return them with the last seq. Deltas only take seqs."""
    steps, seq = [], 0
    for ms, event in told:
        seq += 1
        if isinstance(event, ResponseDelta):
            seq += deltas
        else:
            event.seq = seq
            steps.append((ms, event))
    return steps, seq


def ending_of(
    ending: Ending,
    told: TimedEvents,
    calls: Sequence[ModelCall],
    *,
    stopped_ms: float,
    waited_ms: float,
) -> Ending:
    """Return the ending with the figures and the verdict of the product's own recorder."""
    clock = StoryClock()
    recorder = Recorder(clock)
    for clock.now, event in told:
        recorder.observe(event)
    clock.now = stopped_ms
    if waited_ms:
        recorder.note_stop()
        clock.now += waited_ms
    tools = [event.data for _, event in told if isinstance(event, ToolComplete)]
    cost = texts.PRICES.cost_of(calls, tools)
    return msgspec.structs.replace(recorder.ending(ending, calls), cost=cost)
